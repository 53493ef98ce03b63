"""Bug zoo: known faults, each injected into a small run, and the diagnostics that detect them.

Faults of the renderer replace it (the psf and deflection checks then examine the faulty one); faults of the data are
put into pairs that were made right. The run lies on galaxies with correlated sky, so that it needs no files.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike, NDArray

from lensflow import geometry, rng
from lensflow.config import DiagnosticsConfig
from lensflow.lensing import psf
from lensflow.lensing.render import Rendering, render
from lensflow.lensing.render_reference import lensed_light, ray_positions
from lensflow.measure.measurement import Settings
from lensflow.measure.pixels.block import Block
from lensflow.measure.pixels.judging import Finding, Status
from lensflow.measure.pixels.registry import DIAGNOSTICS, findings, measure
from lensflow.measure.zoo.small_run import SKY_SIGMA, SmallRun
from lensflow.units import NMGY_MAG

_PAD = 16
_BOARD = (-1.0) ** np.add.outer(np.arange(64), np.arange(64))


# --- Faults of the renderer -------------------------------------------------------------------------------------------

Columns = Mapping[str, Any]


def _with(change: Callable[[dict[str, Any]], dict[str, Any]]) -> Callable[..., Rendering]:
    """Make a renderer that is right, of rows that were changed."""

    def faulty(manifest: Columns, **how: Any) -> Rendering:
        return render({**manifest, **change(dict(manifest))}, **how)

    return faulty


def _binned(supersample: int, kernel_pix: int | None = None, corner: bool = False) -> Callable[..., Rendering]:
    """Make a renderer that averages uniform rays over pixels and then convolves with a sampled kernel."""

    def faulty(manifest: Columns, **how: Any) -> Rendering:
        true = render(manifest, **how)
        arc = np.zeros_like(true.arc, dtype=np.float64)
        size, scale = arc.shape[-1], float(how["pixel_scale_arcsec"])
        field_pix, period = size + 2 * _PAD, 3 * size
        magnified = np.full(len(arc), np.nan)
        for i in np.flatnonzero(np.isfinite(true.magnification)):
            row = {k: np.asarray(v)[i] for k, v in manifest.items() if np.ndim(v)}
            x, y = (ray_positions(size, _PAD, supersample, scale, row[k]) for k in ("x_center", "y_center"))
            light = lensed_light(row, x[None, :], y[:, None])
            light = light.reshape(field_pix, supersample, field_pix, supersample).mean(axis=(1, 3)) * scale**2
            magnified[i] = light.sum()
            spectrum = np.fft.rfft2(light, s=(period, period))
            for b, (fwhm, flux) in enumerate(zip(row["psf_fwhm_arcsec"], row["src_flux_nmgy"], strict=True)):
                if np.isfinite(fwhm):
                    kernel = _kernel(fwhm / scale, period, kernel_pix, corner, how)
                    image = np.fft.irfft2(spectrum * np.fft.rfft2(kernel), s=(period, period))
                    arc[i, b] = flux * image[_PAD : _PAD + size, _PAD : _PAD + size]
        arc[np.abs(arc) < 1e-6 * arc.max(axis=(2, 3), keepdims=True, initial=0)] = 0
        return Rendering(
            arc.astype(np.float32), true.render_err, magnified, np.repeat(magnified[:, None], arc.shape[1], axis=1)
        )

    return faulty


def _kernel(fwhm_pix: float, period: int, clip: int | None, corner: bool, how: Columns) -> NDArray[np.float64]:
    model, beta = str(how.get("psf_model", "moffat")), float(how.get("psf_beta", 3.5))
    if clip is None:
        axis = np.fft.fftfreq(period, 1 / period)
        return psf.profile(np.hypot(axis[:, None], axis), fwhm_pix, model, beta)
    small = psf.kernel(clip, fwhm_pix, model, beta)
    kernel = np.zeros((period, period))
    kernel[:clip, :clip] = small
    # What was done: the kernel stays in the corner of a canvas of 64 pixels, which is then turned inside out.
    by = -23 if corner else -(clip // 2)
    return np.roll(kernel, (by, by), (0, 1))


def _renormalised(manifest: Columns, **how: Any) -> Rendering:
    true = render(manifest, **how)
    factor = np.where(np.isfinite(true.magnification), true.magnification, 1.0)
    arc = (true.arc / factor[:, None, None, None]).astype(np.float32)
    return Rendering(arc, true.render_err, true.magnification, true.band_magnification)


# --- Faults of the data -----------------------------------------------------------------------------------------------


def _stamps(change: Callable[[xr.Dataset, NDArray[np.float32]], NDArray]) -> Callable[[xr.Dataset], xr.Dataset]:
    """Change the stamps of injections only."""

    def faulty(pairs: xr.Dataset) -> xr.Dataset:
        stamp, lit = pairs["stamp"].values, ~pairs["is_control"].values
        new = np.where(lit[:, None, None, None], change(pairs, stamp), stamp).astype(np.float32)
        return pairs.assign(stamp=(pairs["stamp"].dims, new))

    return faulty


def _sky(pairs: xr.Dataset) -> NDArray[np.float64]:
    return np.array([SKY_SIGMA[str(b)] for b in pairs["band"].values])[:, None, None]


def _offsets(pairs: xr.Dataset, stamp: NDArray[np.float32]) -> NDArray:
    level = rng.normal(1, pairs["row_id"].values, "zoo.offset")[:, 0]
    return stamp + 0.3 * level[:, None, None, None] * _sky(pairs)


def _noise(factor: float) -> Callable[[xr.Dataset, NDArray[np.float32]], NDArray]:
    def change(pairs: xr.Dataset, stamp: NDArray[np.float32]) -> NDArray:
        clean = pairs["ctrl"].values.astype(np.float64) + pairs["arc"].values
        return clean + factor * (stamp - clean)

    return change


def _dead(pairs: xr.Dataset, stamp: NDArray[np.float32]) -> NDArray:
    out = stamp.copy()
    out[..., [20, 41], [37, 28]] = 0
    return out


def _quantised_hosts(pairs: xr.Dataset) -> xr.Dataset:
    # As survey files that were rounded without dither; the arcs are added to what was read.
    step = _sky(pairs) / 16
    ctrl = (np.round(pairs["ctrl"].values / step) * step).astype(np.float32)
    stamp = ctrl + (pairs["stamp"].values - pairs["ctrl"].values)
    return pairs.assign(ctrl=(pairs["ctrl"].dims, ctrl), stamp=(pairs["stamp"].dims, stamp))


def _shared_checkerboard(pairs: xr.Dataset) -> xr.Dataset:
    arc = pairs["arc"].values
    leak = 2e-5 * arc.max(axis=(2, 3), keepdims=True) * _BOARD * (arc != 0)
    return pairs.assign({k: (pairs[k].dims, (pairs[k].values + leak).astype(np.float32)) for k in ("arc", "stamp")})


def _masked(pairs: xr.Dataset) -> xr.Dataset:
    # In both arc and stamp; the stamp's noise there stays, as for any light.
    r = geometry.radius_pix(64, pairs["x_center"].values, pairs["y_center"].values)
    gone = np.where(r[:, None] < 5, pairs["arc"].values, 0)
    return pairs.assign({k: (pairs[k].dims, pairs[k].values - gone) for k in ("arc", "stamp")})


def _other_hosts(pairs: xr.Dataset) -> xr.Dataset:
    host = pairs["host_index"].values
    _, first, place = np.unique(host, return_index=True, return_inverse=True)
    return pairs.assign(ctrl=(pairs["ctrl"].dims, pairs["ctrl"].values[np.roll(first, 1)[place]]))


def _filled(pairs: xr.Dataset) -> xr.Dataset:
    # inject_block refuses to render into a band without data, so the arc comes from the neighbouring band.
    gone = ~np.isfinite(pairs["psf_fwhm_arcsec"].values) & ~pairs["is_control"].values[:, None]
    arc, stamp = pairs["arc"].values.copy(), pairs["stamp"].values.copy()
    extra = np.where(gone[..., None, None], np.roll(arc, -1, axis=1), 0)
    return pairs.assign(arc=(pairs["arc"].dims, arc + extra), stamp=(pairs["stamp"].dims, stamp + extra))


def _painted_holes(pairs: xr.Dataset) -> xr.Dataset:
    # As if the survey had a dead patch beside every third lens that the injection ignored.
    has_data = pairs["has_data"].values.copy()
    has_data[::3, 1, 28:32, 36:40] = False
    return pairs.assign(has_data=(pairs["has_data"].dims, has_data))


def _best_seeing_controls(pairs: xr.Dataset) -> xr.Dataset:
    fwhm = pairs["psf_fwhm_arcsec"].values[:, 1]
    return pairs.isel(sample=~pairs["is_control"].values | (fwhm < np.quantile(fwhm, 1 / 3)))


def _flux_scale(pairs: xr.Dataset) -> xr.Dataset:
    ctrl, arc = pairs["ctrl"].values, pairs["arc"].values
    noise = pairs["stamp"].values - ctrl - arc
    arc = (1.1 * arc).astype(np.float32)
    return pairs.assign(arc=(pairs["arc"].dims, arc), stamp=(pairs["stamp"].dims, ctrl + arc + noise))


def _counts(pairs: xr.Dataset) -> xr.Dataset:
    # Pixels of zero point 27 taken for nanomaggies (22.5): everything but the arcs is 63 times too bright.
    factor = 10 ** (0.4 * (27 - NMGY_MAG))
    ctrl, arc = (pairs[k].values.astype(np.float64) for k in ("ctrl", "arc"))
    noise = pairs["stamp"].values - ctrl - arc
    stamp = (factor * ctrl).astype(np.float32) + arc + noise
    new = {"ctrl": factor * ctrl, "stamp": stamp}
    out = pairs.assign({k: (pairs[k].dims, v.astype(np.float32)) for k, v in new.items()})
    weaker = ("snr_peak", "snr_matched", "snr_stamp", "arc_snr", "arc_over_host")
    return out.assign({k: pairs[k] / factor for k in weaker})


@dataclass(frozen=True)
class Fault:
    """One known mistake.

    Attributes
    ----------
    name, what : str
    caught_by : tuple of str
        Diagnostics that must notice it; others may.
    renderer : callable
        What renders the run.
    spoil : callable
        What is done to the pairs afterwards.
    slow : bool
        It renders by brute force: seconds.
    """

    name: str
    what: str
    caught_by: tuple[str, ...]
    renderer: Callable[..., Rendering] = render
    spoil: Callable[[xr.Dataset], xr.Dataset] = field(default=lambda pairs: pairs)
    slow: bool = False


FAULTS = (
    Fault("ifftshift kernel", "19-pixel kernel left in the corner, then ifftshifted", ("psf", "rendering"),
          _binned(4, 19, corner=True), slow=True),
    Fault("sigma for FWHM", "the FWHM used as a sigma", ("psf", "rendering"),
          _with(lambda m: {"psf_fwhm_arcsec": 2.3548 * np.asarray(m["psf_fwhm_arcsec"])})),
    Fault("psfsize as Moffat FWHM", "psfsize not converted to the Moffat's FWHM", ("psf", "rendering"),
          _with(lambda m: {"psf_fwhm_arcsec": np.asarray(m["psf_fwhm_arcsec"]) / 0.733})),
    Fault("half-pixel centre", "lens and source half a pixel off along both axes", ("psf", "deflection", "rendering"),
          _with(lambda m: {k: np.asarray(m[k]) + 0.5 for k in ("x_center", "y_center")})),
    Fault("clipped kernel", "a kernel of 19 x 19 pixels, not renormalised", ("psf", "rendering"),
          _binned(4, 19), slow=True),
    Fault("missing sqrt(q)", "SIE without the area normalisation", ("deflection", "rendering"),
          _with(lambda m: {"theta_e_arcsec": np.asarray(m["theta_e_arcsec"]) / np.sqrt(np.asarray(m["lens_q"]))})),
    Fault("pixel-centre sampling", "one ray per pixel", ("psf", "rendering"), _binned(1), slow=True),
    Fault("doubled pixel response", "averaged over pixels, then convolved with the effective PSF",
          ("psf", "rendering"), _binned(8), slow=True),
    Fault("renormalised arc", "the lensed image scaled back to the source's flux", ("flux", "deflection", "rendering"),
          _renormalised),
    Fault("band swap", "g and z fluxes exchanged", ("flux", "rendering"),
          _with(lambda m: {"src_flux_nmgy": np.asarray(m["src_flux_nmgy"])[:, ::-1]})),
    Fault("missing band filled", "an arc in a band without an exposure", ("flux", "recompute"), spoil=_filled),
    Fault("light on dead pixels", "an arc on pixels where the survey has no data", ("flux",), spoil=_painted_holes),
    Fault("flux scale", "arcs 10 % too bright", ("flux", "rendering", "recompute"), spoil=_flux_scale),
    Fault("checkerboard in the arc's light", "0.005 sky sigma, alternating, where the stored arc is not 0",
          ("recompute", "bits"),
          spoil=_stamps(lambda p, s: s + 0.005 * _sky(p) * _BOARD * (p["arc"].values != 0))),
    Fault("float16 in the arc's light", "stamps stored with 10 bits of mantissa where the arc is",
          ("recompute", "bits"),
          spoil=_stamps(lambda p, s: np.where(p["arc"].values != 0, s.astype(np.float16), s))),
    Fault("gain of 1.00002", "stamps multiplied where the arc is", ("recompute",),
          spoil=_stamps(lambda p, s: np.where(p["arc"].values != 0, 1.00002 * s, s))),
    Fault("dead pixels", "two pixels of every injection are 0", ("recompute", "bits"), spoil=_stamps(_dead)),
    Fault("checkerboard in arc and stamp alike", "2e-5 of the peak", ("rendering",), spoil=_shared_checkerboard),
    Fault("undeclared mask", "arcs without their light at r < 5 pixels, a hard edge", ("sharpness", "rendering"),
          spoil=_masked),
    Fault("pedestal", "a tenth of a sky sigma added to every injection", ("annulus", "recompute"),
          spoil=_stamps(lambda p, s: s + 0.1 * _sky(p))),
    Fault("background offset", "a random offset of each injection, mean 0, 0.3 sky sigma", ("annulus", "recompute"),
          spoil=_stamps(_offsets)),
    Fault("one-pixel shift", "the host of every injection moved by a pixel", ("alignment", "annulus", "recompute"),
          spoil=_stamps(lambda p, s: s + np.roll(p["ctrl"].values, 1, axis=-1) - p["ctrl"].values)),
    Fault("missing noise", "no shot noise of the arc", ("noise", "recompute"), spoil=_stamps(_noise(0.0))),
    Fault("wrong gain", "the gain a factor of 4 too small", ("noise", "recompute"), spoil=_stamps(_noise(2.0))),
    Fault("rounded stamps only", "stamps rounded to a quarter of a sky sigma, controls not", ("annulus", "recompute"),
          spoil=_stamps(lambda p, s: np.round(s / (0.25 * _sky(p))) * 0.25 * _sky(p))),
    Fault("arcs on quantised hosts", "hosts on a lattice of a sixteenth of a sky sigma, arcs added to them",
          ("lattice", "bits"), spoil=_quantised_hosts),
    Fault("controls of other hosts", "the control of each row is another galaxy", ("annulus", "alignment"),
          spoil=_other_hosts),
    Fault("wrong zero point", "arcs of 2 % of the light, on pixels of zero point 27 taken for nanomaggies",
          ("visibility",), _with(lambda m: {"src_flux_nmgy": 0.02 * np.asarray(m["src_flux_nmgy"])}), _counts),
    Fault("controls of good seeing", "controls only in the best third of the seeing", ("balance",),
          spoil=_best_seeing_controls),
)  # fmt: skip


def examine(fault: Fault | None, run: SmallRun, diagnostics: DiagnosticsConfig | None = None) -> list[Finding]:
    """Findings of a small run with a fault in it, or of the sound run."""
    config = diagnostics or run.config.diagnostics
    renderer = fault.renderer if fault else render
    pairs = run.pairs(renderer)
    if fault:
        pairs = fault.spoil(pairs)
    settings = Settings(config, run.config.seed, run.injection, renderer)
    return findings(measure(Block(pairs, config, run.origin)).results(settings))


def alarm_counts(fault: Fault | None, run: SmallRun, diagnostics: DiagnosticsConfig | None = None) -> NDArray[np.int64]:
    """Alarms of each of ``DIAGNOSTICS`` for a fault (None: the sound run); -1 where it tested nothing."""
    found = examine(fault, run, diagnostics)
    counts = np.full(len(DIAGNOSTICS), -1, np.int64)
    for j, name in enumerate(DIAGNOSTICS):
        of = [f for f in found if f.diagnostic == name]
        if any(f.status is not Status.NOT_TESTED for f in of):
            counts[j] = sum(f.status is Status.ALARM for f in of)
    return counts


def matrix(counts: ArrayLike) -> xr.DataArray:
    """Name the alarm counts of the sound run (the first row) and of every fault.

    Returns
    -------
    DataArray, dims (fault, diagnostic)
        Number of alarms; -1 where a diagnostic tested nothing.
    """
    coords = {"fault": ["none", *(f.name for f in FAULTS)], "diagnostic": list(DIAGNOSTICS)}
    return xr.DataArray(np.asarray(counts, np.int64), dims=("fault", "diagnostic"), coords=coords)


def shortcomings(found: xr.DataArray) -> list[str]:
    """Report errors of a matrix: alarms on the sound run, diagnostics that miss their fault."""
    sound = found.sel(fault="none")
    out = [f"{d} raises an alarm on the sound run" for d in _noticed(sound)]
    for f in FAULTS:
        missed = [d for d in f.caught_by if d not in _noticed(found.sel(fault=f.name))]
        out += [f"{d} does not notice: {f.name}" for d in missed]
    return out


def _noticed(row: xr.DataArray) -> list[str]:
    return [str(d) for d in row["diagnostic"].values[row.values > 0]]
