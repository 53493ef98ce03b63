"""The manifest: one row per injection and control, everything random already drawn."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from lensflow import rng, schema
from lensflow.config import PlanConfig, RunConfig
from lensflow.errors import ManifestError
from lensflow.lensing.psf import psf_fwhm_from_psfsize
from lensflow.manifest import priors
from lensflow.schema import Reason, Status

_MISSING_PIXELS = Reason.PARTIAL_STAMP | Reason.NONFINITE


def eligible_hosts(
    cutouts: xr.Dataset, config: RunConfig
) -> tuple[NDArray[np.bool_], NDArray[np.float64], dict[str, int]]:
    """Hosts that can carry an arc, their reference-band flux, and why the others cannot.

    Parameters
    ----------
    cutouts : Dataset
        The cutouts' tables (no pixels are read).
    config : RunConfig

    Returns
    -------
    usable : ndarray of bool, shape (host,)
    flux : ndarray, shape (host,)
        Catalogue flux in the reference band, or the aperture flux where the catalogue has none, nMgy.
    skipped : dict
        Reason -> number of hosts left out; a host counts once, under its first reason.
    """
    ref = config.reference_band
    status = cutouts["status"].values
    missing_pixels = (cutouts["band_reasons"].values & int(_MISSING_PIXELS)) > 0
    catalogue = cutouts["flux_nmgy"].values[:, ref].astype(np.float64)
    measured = cutouts["aperture_flux_nmgy"].values[:, ref].astype(np.float64)
    flux = np.where(np.isfinite(catalogue) & (catalogue > 0), catalogue, measured)
    reasons = {
        "FAILED": status == Status.FAILED,
        "PARTIAL_STAMP": (missing_pixels & cutouts["covered"].values).any(axis=1) & (not config.plan.include_partial),
        "GUARD_BAND": cutouts["split"].values == schema.GUARD,
        "NO_HOST_FLUX": ~(np.isfinite(flux) & (flux > 0)) & (config.plan.src_mag == "lens_plus_dmag"),
    }
    usable = np.ones(len(status), dtype=bool)
    skipped = {}
    for name, hit in reasons.items():
        skipped[name] = int((hit & usable).sum())
        usable &= ~hit
    return usable, flux, {k: n for k, n in skipped.items() if n}


def build_manifest(cutouts: xr.Dataset, config: RunConfig) -> xr.Dataset:
    """Draw the manifest for the hosts of a cutouts store.

    Parameters
    ----------
    cutouts : Dataset
        As opened by :func:`lensflow.open_cutouts`; only its tables are read.
    config : RunConfig

    Returns
    -------
    Dataset with dim ``sample``: the variables of ``schema.MANIFEST``, sorted by host; priors, design and
    counts stand in the attrs.

    Raises
    ------
    ManifestError
        If no host can carry an arc, or the plan has more rows than ``plan.max_rows``.
    """
    plan = config.plan
    usable, flux, skipped = eligible_hosts(cutouts, config)
    hosts = np.flatnonzero(usable)
    if hosts.size == 0:
        reasons = ", ".join(f"{n} {k}" for k, n in skipped.items())
        raise ManifestError(
            f"no host can carry an arc ({len(usable)} hosts: {reasons}). See `lensflow cut`'s summary for the reasons; "
            "plan.include_partial: true admits stamps with missing pixels."
        )
    grid = priors.grid_of(plan)
    crossed = grid.crossed() if plan.design == "grid" else None
    per_host = len(crossed) if crossed is not None else plan.injections_per_host
    n_rows = hosts.size * (per_host + plan.controls_per_host)
    if n_rows > plan.max_rows:
        raise ManifestError(
            f"the plan has {n_rows:,} rows ({hosts.size:,} hosts x {per_host} injections + {plan.controls_per_host} "
            f"controls), more than plan.max_rows = {plan.max_rows:,}. Raise plan.max_rows if that is meant."
        )
    replicate = np.concatenate([np.arange(per_host), np.arange(plan.controls_per_host)])
    control = np.arange(replicate.size) >= per_host
    host_index = np.repeat(hosts, replicate.size)
    replicate, is_control = np.tile(replicate, hosts.size), np.tile(control, hosts.size)
    host_key = np.repeat(rng.hash_ids(cutouts["host_id"].values[hosts]), control.size)
    row_id = rng.mix_ids(host_key, 2 * replicate.astype(np.uint64) + is_control)

    drawn = _draw(plan, config, grid, crossed, row_id, replicate, flux[host_index])
    psfsize = cutouts["psfsize_arcsec"].values[host_index].astype(np.float64)
    arrays: dict[str, Any] = {
        **{k: _without_controls(k, v, is_control) for k, v in drawn.items()},
        "row_id": row_id,
        "host_index": host_index,
        "replicate": replicate,
        "is_control": is_control,
        "lens_model": np.where(is_control, "CONTROL", plan.lens_model),
        "psf_fwhm_arcsec": psf_fwhm_from_psfsize(psfsize, plan.psf_model, plan.psf_beta),
        "x_center": cutouts["x_center"].values[host_index],
        "y_center": cutouts["y_center"].values[host_index],
        "split": cutouts["split"].values[host_index],
    }
    out = schema.dataset("manifest", arrays, {"band": list(config.bands)})
    out.attrs.update(_attrs(config, grid, n_hosts=int(hosts.size), skipped=skipped))
    check_manifest(out)
    return out


def _draw(
    plan: PlanConfig,
    config: RunConfig,
    grid: priors.Grid,
    crossed: NDArray[np.float64] | None,
    row_id: NDArray[np.uint64],
    replicate: NDArray[np.int64],
    host_flux: NDArray[np.float64],
) -> dict[str, NDArray]:
    def uniform(purpose: str, count: int = 1) -> NDArray[np.float64]:
        return rng.uniform(config.seed, row_id, purpose, count)

    if crossed is None:
        u = uniform("grid", 5)
        columns = [np.asarray(v)[(u[:, k] * len(v)).astype(int)] for k, v in enumerate(grid.axes())]
    else:
        columns = list(crossed[replicate % len(crossed)].T)
    theta_e, dmag, reff, lens_e, shear = columns
    src_x, src_y = priors.source_offset(plan.src_offset, plan.src_offset_max, theta_e, uniform("src_offset", 2))
    if plan.src_mag == "lens_plus_dmag":
        flux_r = host_flux * 10 ** (-0.4 * dmag)
    else:
        low, high = plan.src_mag_range
        flux_r = 10 ** (-0.4 * (low + (high - low) * uniform("src_mag")[:, 0] - 22.5))
    colours = rng.normal(config.seed, row_id, "src_colour", 2)
    q_low, q_high = plan.src_q
    return {
        "theta_e_arcsec": theta_e,
        "lens_q": priors.axis_ratio_from_ellipticity(lens_e),
        "lens_phi_rad": np.pi * uniform("lens_phi")[:, 0],
        "lens_gamma": _slope(plan, uniform("lens_gamma")[:, 0]),
        "shear": shear,
        "shear_phi_rad": np.pi * uniform("shear_phi")[:, 0],
        "src_x_arcsec": src_x,
        "src_y_arcsec": src_y,
        "src_reff_arcsec": reff,
        "src_n": np.full(len(row_id), plan.src_n),
        "src_q": q_low + (q_high - q_low) * uniform("src_q")[:, 0],
        "src_phi_rad": np.pi * uniform("src_phi")[:, 0],
        "src_flux_nmgy": priors.band_fluxes(flux_r, colours, config.bands, priors.COLOURS[plan.colours]),
    }


def _slope(plan: PlanConfig, u: NDArray[np.float64]) -> NDArray[np.float64]:
    low, high = plan.lens_gamma if plan.lens_model == "EPL" else (2.0, 2.0)
    return low + (high - low) * u


def _without_controls(name: str, values: NDArray, is_control: NDArray[np.bool_]) -> NDArray:
    """Controls have no arc: their Einstein radius and source flux are 0, the other parameters do not apply (NaN)."""
    nothing = 0.0 if name in ("theta_e_arcsec", "src_flux_nmgy", "shear") else np.nan
    mask = is_control[:, None] if values.ndim == 2 else is_control
    return np.where(mask, nothing, values)


def _attrs(config: RunConfig, grid: priors.Grid, n_hosts: int, skipped: Mapping[str, int]) -> dict[str, Any]:
    plan, colours = config.plan, priors.COLOURS[config.plan.colours]
    return {
        "design": plan.design,
        "preset": plan.preset,
        "seed": config.seed,
        "prior_theta_e_arcsec": list(map(float, grid.theta_e_arcsec)),
        "prior_dmag": list(map(float, grid.dmag)) if plan.src_mag == "lens_plus_dmag" else [],
        "prior_src_reff_arcsec": list(map(float, grid.src_reff_arcsec)),
        "prior_lens_e": list(map(float, grid.lens_e)),
        "prior_shear": list(map(float, grid.shear)),
        "prior_src_offset": f"{plan.src_offset}, {plan.src_offset_max:g}",
        "prior_g_r": list(colours.g_r),
        "prior_r_z": list(colours.r_z),
        "prior_colour_clip": list(colours.clip or ()),
        "psf_model": plan.psf_model,
        "psf_beta": plan.psf_beta,
        "n_hosts": n_hosts,
        "hosts_skipped": dict(skipped),
    }


def check_manifest(manifest: xr.Dataset) -> None:
    """Refuse a manifest that cannot be rendered as it stands.

    Raises
    ------
    ManifestError
        Naming the first row that is wrong, its value and how many others there are.
    """
    schema.check("manifest", manifest)
    control = manifest["is_control"].values
    theta_e = manifest["theta_e_arcsec"].values
    reference = {
        "an injection needs theta_e_arcsec > 0": ("theta_e_arcsec", ~control & ~(theta_e > 0)),
        "a control has theta_e_arcsec 0": ("theta_e_arcsec", control & (theta_e != 0)),
        "lens_q must lie in (0, 1]": ("lens_q", ~control & ~_inside(manifest["lens_q"].values, 0, 1)),
        "src_q must lie in (0, 1]": ("src_q", ~control & ~_inside(manifest["src_q"].values, 0, 1)),
        "lens_gamma must lie in (1, 3]": ("lens_gamma", ~control & ~_inside(manifest["lens_gamma"].values, 1, 3)),
        "src_reff_arcsec must be > 0": ("src_reff_arcsec", ~control & ~(manifest["src_reff_arcsec"].values > 0)),
        "src_flux_nmgy must be finite and >= 0": (
            "src_flux_nmgy",
            ~((manifest["src_flux_nmgy"].values >= 0) & np.isfinite(manifest["src_flux_nmgy"].values)).all(axis=1),
        ),
        "CONTROL is the model of controls, and only theirs": (
            "lens_model",
            (manifest["lens_model"].values == "CONTROL") != control,
        ),
        "rows must be sorted by host_index": (
            "host_index",
            np.diff(manifest["host_index"].values, prepend=manifest["host_index"].values[:1]) < 0,
        ),
    }
    for rule, (name, bad) in reference.items():
        if bad.any():
            row = int(np.argmax(bad))
            raise ManifestError(
                f"manifest row {row} (row_id {int(manifest['row_id'].values[row])}): {name} is "
                f"{manifest[name].values[row]}; {rule}. {int(bad.sum()) - 1} other row(s) alike."
            )
    ids, counts = np.unique(manifest["row_id"].values, return_counts=True)
    if (counts > 1).any():
        raise ManifestError(f"row_id {ids[np.argmax(counts)]} appears {counts.max()} times; row ids must be unique.")


def _inside(values: NDArray, low: float, high: float) -> NDArray[np.bool_]:
    return (values > low) & (values <= high)
