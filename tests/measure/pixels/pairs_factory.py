"""Small, deterministic blocks of pairs: Gaussian rings on noisy galaxies."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr

from lensflow import geometry, schema

PIXEL_ARCSEC = 0.262
SKY_SIGMA = {"g": 0.004, "r": 0.006, "z": 0.012}


def pairs_block(
    n_hosts: int = 8,
    per_host: int = 4,
    controls_per_host: int = 1,
    size: int = 48,
    bands: tuple[str, ...] = ("g", "r", "z"),
    seed: int = 0,
    arc_flux: float = 3.0,
    noise: float = 0.3,
    pedestal: float = 0.0,
    absent_band_every: int = 7,
) -> xr.Dataset:
    """Pairs of ``n_hosts`` hosts, sorted by host.

    ``arc_flux`` is the mean arc flux (nMgy), ``noise`` the arc noise at its peak, in units of the sky sigma,
    ``pedestal`` a constant (nMgy/pixel) that is added to stamps of injections and is in no other variable. Every
    ``absent_band_every``-th row has no first band (no PSF, no arc); 0 for none.
    """
    draw = np.random.default_rng(seed)
    per = per_host + controls_per_host
    n, n_bands = n_hosts * per, len(bands)
    host = np.repeat(np.arange(n_hosts) * 3 + 5, per)
    is_control = np.tile(np.arange(per) >= per_host, n_hosts)
    sigma = np.array([SKY_SIGMA.get(b, 0.006) for b in bands])
    middle = geometry.centre(size)
    x, y = (np.repeat(middle + draw.uniform(-0.5, 0.5, n_hosts), per) for _ in range(2))
    r = geometry.radius_pix(size, x, y)

    bright = np.repeat(draw.uniform(0.5, 2.0, n_hosts), per)
    sky = np.repeat(draw.normal(size=(n_hosts, n_bands, size, size)), per, axis=0) * sigma[:, None, None]
    ctrl = (bright[:, None, None] * np.exp(-r / 4))[:, None] * np.linspace(0.5, 2, n_bands)[:, None, None] + sky
    ctrl = ctrl.astype(np.float32)

    theta = np.where(is_control, 0.0, draw.uniform(0.4, 2.4, n))
    flux = arc_flux * draw.uniform(0.5, 1.5, (n, n_bands)) * ~is_control[:, None]
    psf = np.broadcast_to(np.linspace(1.5, 1.2, n_bands), (n, n_bands)).copy()
    if absent_band_every:
        gone = ~is_control & (np.arange(n) % absent_band_every == 0)
        psf[gone, 0] = np.nan
        flux[gone, 0] = 0.0
    ring = np.exp(-0.5 * ((r - theta[:, None, None] / PIXEL_ARCSEC) / 2.2) ** 2)
    ring /= ring.sum(axis=(1, 2), keepdims=True)
    arc = (ring[:, None] * flux[..., None, None]).astype(np.float32)
    arc[arc < 1e-6 * arc.max(axis=(2, 3), keepdims=True)] = 0
    peak = np.maximum(arc.max(axis=(2, 3), keepdims=True), 1e-12)
    shot = noise * draw.normal(size=arc.shape) * sigma[:, None, None] * np.sqrt(arc / peak)
    extra = pedestal * np.isfinite(psf) * ~is_control[:, None]
    stamp = (ctrl.astype(np.float64) + arc + shot + extra[..., None, None]).astype(np.float32)
    stamp[is_control] = ctrl[is_control]

    total = arc.sum(axis=(2, 3), dtype=np.float64)
    nulls = np.where(is_control, np.nan, 1.0)
    offset = draw.uniform(-0.4, 0.4, (n, 2))
    reference = bands.index("r") if "r" in bands else 0
    arrays: dict[str, Any] = {
        "row_id": np.arange(n) * 11 + 100,
        "host_index": host,
        "replicate": np.tile(np.arange(per), n_hosts),
        "is_control": is_control,
        "lens_model": np.where(is_control, "CONTROL", "SIS"),
        "theta_e_arcsec": theta,
        "src_x_arcsec": offset[:, 0],
        "src_y_arcsec": offset[:, 1],
        "src_reff_arcsec": draw.uniform(0.1, 0.5, n),
        "src_flux_nmgy": flux / 4,
        "psf_fwhm_arcsec": psf,
        "x_center": x,
        "y_center": y,
        "split": np.repeat(np.arange(n_hosts) % 3, per),
        "arc": arc,
        "stamp": stamp,
        "arc_snr": arc[:, reference].max(axis=(1, 2)) / sigma[reference] * nulls,
        "total_injected_flux_nmgy": total * nulls[:, None],
        "is_clean": np.isfinite(psf).all(axis=1),
    }
    data = {name: schema.dataset("manifest" if name in _MANIFEST else "pairs", {name: values})[name]
            for name, values in arrays.items()}  # fmt: skip
    data["ctrl"] = xr.DataArray(ctrl, dims=("sample", "band", "y", "x"))
    return xr.Dataset(data, coords={"band": list(bands)})


_MANIFEST = {v.name for v in schema.MANIFEST}
