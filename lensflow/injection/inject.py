"""Inject arcs into a block of hosts: numpy in, numpy out; no I/O, no cluster."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from lensflow import schema
from lensflow.config import InjectionConfig
from lensflow.errors import ConfigError, ManifestError
from lensflow.injection import kernels
from lensflow.injection.core.masks import keep_weights, mask_arcs
from lensflow.injection.metrics import pair_metrics
from lensflow.injection.plausibility import plausibility_marks
from lensflow.injection.quality import bands_without_psf, pair_flags
from lensflow.lensing.noise import PURPOSE, arc_noise, gain_from_exposure, gain_from_invvar, variance_per_nmgy
from lensflow.lensing.render import Rendering, Sources, render
from lensflow.rng import key_words

# Variables of the cutouts that an injection reads, and optional ones.
NEEDED = (
    "image", "invvar", "covered", "nexp", "noise_correlation_factor", "status", "band_reasons", "bad_pixel_frac",
    "psf_source", "aperture_flux_nmgy",
)  # fmt: skip
OPTIONAL = ("sigma_v_km_s", "psf_kernel")


@dataclass(frozen=True)
class Room:
    """Memory for the pixels of a block, to be used again for the next one: new memory costs as much as the noise.

    Attributes
    ----------
    arc, stamp : ndarray of float32, shape (sample, band, y, x)
    """

    arc: NDArray[np.float32]
    stamp: NDArray[np.float32]

    @classmethod
    def of(cls, rows: int, hosts: xr.Dataset) -> Room:
        """Room for a number of rows of hosts of this shape."""
        shape = (rows, *hosts["image"].shape[1:])
        return cls(np.empty(shape, np.float32), np.empty(shape, np.float32))

    def first(self, rows: int) -> Room:
        """Room for fewer rows, in the same memory."""
        return Room(self.arc[:rows], self.stamp[:rows])


def combine(ctrl: NDArray[np.float32], arc: NDArray[np.float32], noise: NDArray[np.float32]) -> NDArray[np.float32]:
    """``float32(ctrl + arc + noise)``, summed in float64 from left to right: the definition of a stamp."""
    total = ctrl.astype(np.float64) + arc + noise
    return total.astype(np.float32)


def rows_of_hosts(hosts: xr.Dataset, host_index: NDArray[np.int64]) -> NDArray[np.int64]:
    """Rows of the given hosts in a host block.

    Raises
    ------
    ManifestError
        If a host is not in the block.
    """
    known = hosts.variables["host_index"].values if "host_index" in hosts.coords else np.arange(hosts.sizes["host"])
    rows = np.searchsorted(known, host_index)
    bad = (rows >= len(known)) | (known[np.minimum(rows, len(known) - 1)] != host_index)
    if bad.any():
        row = int(np.argmax(bad))
        raise ManifestError(f"manifest row {row}: host_index {host_index[row]} is not among the given hosts")
    return rows


def effective_gain(
    hosts: xr.Dataset, bands: list[str], config: InjectionConfig, rows: NDArray[np.int64] | None = None
) -> NDArray[np.float64]:
    """Electrons per nMgy of every host and band.

    Parameters
    ----------
    hosts : Dataset
        With invvar (host, band, y, x) and nexp (host, band).
    bands : list of str
    config : InjectionConfig
        ``gain: invvar`` takes the sky's brightness and the median inverse variance of the pixels with data;
        ``gain: exposure`` the exposure time, number of exposures and throughput; either times ``gain_factor``.

    Returns
    -------
    ndarray, shape (host, band); NaN where a band has no data.
    """
    exposures = config.exposure_time_s or {}
    table = config.sky_mag_arcsec2 if config.gain == "invvar" else exposures
    for band in bands:
        if band not in table or (config.gain == "exposure" and band not in config.electrons_per_s_per_nmgy):
            raise ConfigError(f"injection: no gain setting for band {band!r} (gain: {config.gain})")
    if config.gain == "exposure":
        exptime = np.array([exposures[b] for b in bands])
        rate = np.array([config.electrons_per_s_per_nmgy[b] for b in bands])
        nexp = hosts.variables["nexp"].values.astype(np.float64)
        return np.where(nexp > 0, config.gain_factor * gain_from_exposure(np.maximum(nexp, 1), exptime, rate), np.nan)
    wanted = hosts.variables["covered"].values.copy()
    if rows is not None:
        wanted[np.setdiff1d(np.arange(len(wanted)), rows)] = False
    typical = median_where_positive(hosts.variables["invvar"].values, wanted)
    sky = np.array([config.sky_mag_arcsec2[b] for b in bands])
    return config.gain_factor * gain_from_invvar(typical, sky, float(hosts.attrs["pixel_scale_arcsec"]))


def median_where_positive(invvar: NDArray[np.float32], wanted: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Median over the pixels with data of every wanted host and band; NaN if there is none, or not wanted."""
    pixels = invvar.shape[2] * invvar.shape[3]
    lines, out = invvar.reshape(-1, pixels), np.full(wanted.size, np.nan)
    for i in np.flatnonzero(wanted):
        # np.median does the same at four times the cost: it copies, checks for NaN and averages slices.
        values = np.sort(lines[i])
        first = int(np.searchsorted(values, 0, side="right"))
        if first < pixels:
            out[i] = 0.5 * (np.float64(values[(first + pixels - 1) // 2]) + np.float64(values[(first + pixels) // 2]))
    return out.reshape(wanted.shape)


def inject_block(
    hosts: xr.Dataset,
    manifest: xr.Dataset,
    config: InjectionConfig | None = None,
    sources: Sources | None = None,
    renderer: Callable[..., Rendering] = render,
    room: Room | None = None,
) -> xr.Dataset:
    """Render, add and measure the arcs of a block.

    Parameters
    ----------
    hosts : Dataset
        Cutouts (dims host, band, y, x) that hold every host of the manifest's rows; coordinate ``host_index``
        gives their numbers (0, 1, ... without it); attrs ``pixel_scale_arcsec``. Of ``schema.CUTOUTS`` are needed
        image, invvar, covered, nexp, noise_correlation_factor, status, band_reasons, bad_pixel_frac, psf_source and
        aperture_flux_nmgy; sigma_v_km_s where it is there.
    manifest : Dataset
        Rows of a manifest (dim sample); attrs ``seed``, ``psf_model``, ``psf_beta``.
    config : InjectionConfig, optional
    sources : SourceBank, optional
        Where the images of rows with a ``src_id`` come from.
    renderer : callable
        What renders the arcs; another than :func:`lensflow.lensing.render.render` only where one with a known fault
        is wanted (``lensflow.measure.zoo.faults``).
    room : Room, optional
        Memory for at least as many rows, which the result's ``arc`` and ``stamp`` then are in.

    Returns
    -------
    Dataset with dim sample: ``arc`` and ``stamp`` (sample, band, y, x) float32 nMgy/pixel, the variables of
    ``schema.METRICS`` and ``schema.FLAGS``, and of ``schema.COMPONENT_METRICS`` where sources have bulges or knots.
    ``stamp`` is exactly :func:`combine` of the host's image, ``arc`` and the noise, which :func:`noise_of` draws again
    from the row's key; arc and noise are exactly 0 where the host's invvar is 0. The same bits for any batching.

    Raises
    ------
    ManifestError, RenderError
        Naming the first row that cannot be rendered.
    """
    config = config or InjectionConfig()
    schema.check("cutouts", hosts, NEEDED)
    bands = [str(b) for b in manifest.variables["band"].values]
    # Not manifest[name]: a DataArray for each of sixty columns takes as long as twenty rows.
    columns = {v.name: manifest.variables[v.name].values for v in schema.manifest_variables(manifest.variables)}
    rows = rows_of_hosts(hosts, columns["host_index"])
    if problem := bands_without_psf(manifest, hosts.variables["covered"].values[rows], bands):
        raise ManifestError(f"{problem}.")
    image, invvar = hosts.variables["image"].values, hosts.variables["invvar"].values
    rendering = renderer(
        columns,
        stamp_size=image.shape[-1],
        pixel_scale_arcsec=float(hosts.attrs["pixel_scale_arcsec"]),
        sources=sources,
        **_psf(hosts, rows, manifest),
        **({} if room is None else {"out": room.first(len(rows)).arc}),
    )
    x, y = columns["x_center"], columns["y_center"]
    arc, masked_flux = rendering.arc, np.zeros(rendering.arc.shape[:2])
    if config.core_mask_radius_pix > 0:
        arc, masked_flux = mask_arcs(arc, keep_weights(arc.shape[-1], x, y, *config.core_mask))
    sums = kernels.Sums.of(arc, image, invvar, rows)
    arc, dark_flux = kernels.mask_no_data(arc, invvar, rows, sums)
    per_nmgy = noise_per_nmgy(arc, hosts, rows, manifest, config)
    stamp = add_arcs(arc, hosts, rows, manifest, per_nmgy, sums, None if room is None else room.first(len(rows)).stamp)
    metrics = pair_metrics(
        rendering, sums, hosts, rows, columns, bands, masked_flux, config.core_mask_radius_pix, dark_flux, per_nmgy
    )  # fmt: skip
    flags = pair_flags(metrics, hosts, rows, columns["is_control"], config)
    flags |= plausibility_marks(metrics, hosts, rows, columns, bands.index("r") if "r" in bands else 0)
    out = schema.dataset("pairs", {"arc": arc, "stamp": stamp, **metrics, **flags}, {"band": bands})
    out.attrs["pixel_scale_arcsec"] = hosts.attrs["pixel_scale_arcsec"]
    return out


def add_arcs(
    arc: NDArray[np.float32],
    hosts: xr.Dataset,
    rows: NDArray[np.int64],
    manifest: xr.Dataset,
    per_nmgy: NDArray[np.float32],
    sums: kernels.Sums | None = None,
    out: NDArray[np.float32] | None = None,
) -> NDArray[np.float32]:
    """Add arcs and their noise to the hosts: makes every stamp of a run; the checks repeat it.

    Parameters
    ----------
    arc : ndarray of float32, shape (sample, band, y, x)
        nMgy/pixel, as it is stored: masked, and 0 where there is no data.
    hosts : Dataset
        With ``image`` and ``invvar`` (host, band, y, x).
    rows : ndarray of int64, shape (sample,)
        Row of each sample's host.
    manifest : Dataset
        With ``row_id``, ``x_center`` and ``y_center``; attrs ``seed``.
    per_nmgy : ndarray of float32, shape (sample, band)
        Variance of the noise of 1 nMgy; 0 for none.
    sums : kernels.Sums, optional
        Filled where the metrics are wanted, too.
    out : ndarray of float32, optional
        Where the stamps are written.

    Returns
    -------
    ndarray of float32, shape (sample, band, y, x)
        :func:`combine` of image, arc and the noise of the rows' keys.
    """
    n, bands = arc.shape[:2]
    if sums is None:
        sums = kernels.Sums(*(np.zeros(s) for s in ((n, bands, kernels.N_SUMS), (n, kernels.N_SHAPE), (0, 0, 0))))
    stamp = np.empty_like(arc) if out is None else out
    kernels.inject_rows(
        hosts.variables["image"].values, hosts.variables["invvar"].values, rows, arc, per_nmgy,
        manifest.variables["row_id"].values, *key_words(int(manifest.attrs["seed"]), PURPOSE),
        manifest.variables["x_center"].values, manifest.variables["y_center"].values, stamp, sums.band, sums.shape,
    )  # fmt: skip
    return stamp


def _psf(hosts: xr.Dataset, rows: NDArray[np.int64], manifest: xr.Dataset) -> dict[str, Any]:
    """Return the renderer's PSF: a profile's name, or the hosts' own PSF images."""
    model = str(manifest.attrs["psf_model"])
    if model != "kernel":
        return {"psf_model": model, "psf_beta": float(manifest.attrs["psf_beta"])}
    if "psf_kernel" not in hosts:
        raise ManifestError(
            "psf_model is 'kernel', but the hosts have no psf_kernel. Cut them with survey.psf_images: true, or plan "
            "with plan.psf_model: moffat."
        )
    return {"psf_model": hosts.variables["psf_kernel"].values, "psf_index": rows}


def noise_of(
    arc: NDArray[np.float32], hosts: xr.Dataset, manifest: xr.Dataset, config: InjectionConfig
) -> NDArray[np.float32]:
    """Shot noise of the arcs, drawn from the rows' keys; zeros if ``config.noise`` is off.

    Parameters
    ----------
    arc : ndarray, shape (sample, band, y, x)
    hosts, manifest : Dataset
        As for :func:`inject_block`.
    config : InjectionConfig
    """
    rows = rows_of_hosts(hosts, manifest.variables["host_index"].values)
    gain = _gain_of_rows(arc, hosts, rows, manifest, config)
    return arc_noise(arc, gain, manifest.variables["row_id"].values, int(manifest.attrs["seed"]))


def noise_per_nmgy(
    arc: NDArray[np.float32],
    hosts: xr.Dataset,
    rows: NDArray[np.int64],
    manifest: xr.Dataset,
    config: InjectionConfig,
) -> NDArray[np.float32]:
    """Variance of the shot noise of 1 nMgy in every row and band, 0 where none is drawn, shape (sample, band).

    Parameters
    ----------
    arc : ndarray of float32, shape (sample, band, y, x)
    hosts : Dataset
    rows : ndarray of int64, shape (sample,)
        Row of each sample's host.
    manifest : Dataset
    config : InjectionConfig

    Raises
    ------
    ManifestError
        If a band with an arc has no gain; the message names the first such row.
    """
    return variance_per_nmgy(_gain_of_rows(arc, hosts, rows, manifest, config))


def _gain_of_rows(
    arc: NDArray[np.float32],
    hosts: xr.Dataset,
    rows: NDArray[np.int64],
    manifest: xr.Dataset,
    config: InjectionConfig,
) -> NDArray[np.float64]:
    """Gain of every row and band, infinite where no noise is drawn, shape (sample, band).

    Raises
    ------
    ManifestError
        If a band with an arc has no gain; the message names the first such row.
    """
    if not config.noise:
        return np.full(arc.shape[:2], np.inf)
    bands = [str(b) for b in manifest.variables["band"].values]
    gain = effective_gain(hosts, bands, config, rows)[rows]
    without = np.isnan(gain)
    # Only bands without a gain are checked pixel by pixel; most blocks have none.
    without[without] = (arc[without] != 0).any(axis=(1, 2))
    if without.any():
        row, band = np.argwhere(without)[0]
        raise ManifestError(
            f"row_id {int(manifest['row_id'].values[row])}: the arc in {bands[band]} has no gain, because the host has "
            f"no pixel with data (invvar or nexp) there. Cut the host again, or set injection.noise: false."
        )
    return np.where(np.isnan(gain), np.inf, gain)
