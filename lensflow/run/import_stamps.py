"""Stamps without WCS, weights or PSF, as arrays, made into cutouts."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike

from lensflow.config import SplitsConfig, SurveyConfig
from lensflow.run.sources import in_store_order
from lensflow.survey.copies import refuse_copies
from lensflow.survey.photometry import with_measurements
from lensflow.survey.stamps import as_cube, stamps_from_cubes
from lensflow.targets.stamp_hosts import hosts_of_arrays


def import_stamps(
    images: Mapping[str, ArrayLike],
    *,
    pixel_scale_arcsec: float,
    psfsize_arcsec: Mapping[str, float] | None = None,
    psf_images: Mapping[str, ArrayLike] | None = None,
    zero_point: float | Mapping[str, float] | None = None,
    host_id: ArrayLike | None = None,
    ra_deg: ArrayLike | None = None,
    dec_deg: ArrayLike | None = None,
    z_lens: ArrayLike | None = None,
    sigma_v_km_s: ArrayLike | None = None,
    x_center: float | None = None,
    y_center: float | None = None,
    stamp_size: int = 64,
    seed: int = 1,
    host_shapes: bool = False,
) -> xr.Dataset:
    """Make cutouts from stamps without WCS, weights or PSF.

    The hosts of the result are sorted by split, sky cell and name, **not in the caller's order**: ``host_id`` says
    which is which (``attrs["order"]`` says so too).

    The noise is estimated from each stamp's outer pixels and the PSF size is the given one; both are flagged as
    assumed. (FITS cubes go through a config's ``survey.stamps``, which ends here too.)

    Parameters
    ----------
    images : mapping
        Band -> array (host, y, x), nMgy/pixel, or counts with ``zero_point``. One stamp (y, x) is one host.
    pixel_scale_arcsec : float
        Pixel size, arcsec.
    psfsize_arcsec : mapping
        Band -> FWHM, arcsec, of the Gaussian with the PSF's noise-equivalent area; for bands without ``psf_images``.
    psf_images : mapping, optional
        Band -> PSF images at the stamps' pixel scale: one (y, x) for all, or one per host (host, y, x).
    zero_point : float or mapping, optional
        AB magnitude of one unit of the arrays, for all bands or by band; 22.5 (nanomaggies) without.
    host_id : array_like of str, optional
        Names, unique; ``stamp-00000`` and so on without.
    ra_deg, dec_deg : array_like, optional
        Positions, degrees, ICRS; NaN where unknown. Hosts with positions are split by sky cell, and those that lie
        closer than a stamp's diagonal to a host of another split go to the guard band; others are cells of their own.
    z_lens, sigma_v_km_s : array_like, optional
        Redshift and velocity dispersion (km/s) of each host; NaN where unknown.
    x_center, y_center : float, optional
        The target's pixel in the arrays; their middle without.
    stamp_size : int
        Pixels of the stamps that are cut out of the arrays.
    seed : int
        Of the train / val / test split.
    host_shapes : bool
        Measure axis ratio and angle of the hosts' light, for ``plan.lens_shape: host_light`` (10 ms a host).

    Returns
    -------
    Dataset, dims host, band, y, x
        As :func:`lensflow.open_cutouts`, in memory. Hosts are sorted by split, brick, cell and name, not kept in the
        caller's order: select them by the coordinate ``host_id``.

    Raises
    ------
    SurveyError
        If the arrays differ in shape, a stamp does not fit, or a name stands twice.
    CopiedStampsError
        If stamps are copies of others to the bit, turned, mirrored or moved ones too; its ``rows`` says which.
    TargetError
        If there are more or fewer names, positions, redshifts or dispersions than stamps, or a position is none.

    Warns
    -----
    LensflowWarning
        If stamps show the same pixels in other bits (noise on top, other units), naming them.
    """
    cubes = {band: as_cube(values, band, zero_point) for band, values in images.items()}
    n = len(next(iter(cubes.values())))
    hosts = hosts_of_arrays(n, len(cubes), host_id, ra_deg, dec_deg, z_lens, sigma_v_km_s)
    names = hosts["host_id"].values
    # Only the settings of stamps matter here; the root is not used.
    survey = SurveyConfig(root="-", targets="-", stamp_size=stamp_size)
    out = stamps_from_cubes(cubes, names, psfsize_arcsec or {}, x_center, y_center, survey,
                            {band: (values, {}) for band, values in (psf_images or {}).items()},
                            float(pixel_scale_arcsec))  # fmt: skip
    refuse_copies(out, hosts["ra_deg"].values, hosts["dec_deg"].values, float(pixel_scale_arcsec))
    out = with_measurements(out.assign_attrs(pixel_scale_arcsec=float(pixel_scale_arcsec)), host_shapes)
    out = out.assign({name: hosts[name].variable for name in hosts.data_vars})
    placed = bool(np.isfinite(hosts["ra_deg"].values).any())
    guard = float(np.sqrt(2)) * stamp_size * pixel_scale_arcsec if placed else 0.0
    order = "hosts are sorted by split, sky cell and name, not as they were given; host_id says which is which"
    return in_store_order(out, SplitsConfig(), seed, guard).set_coords("host_id").assign_attrs(order=order)
