"""Injections on matched hosts whose Einstein radii and magnitudes follow the real lenses: a small run of its own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike, NDArray

from lensflow import rng
from lensflow.config import RunConfig
from lensflow.errors import RealismError, StaleStoreError
from lensflow.manifest.image_sources import bank_of
from lensflow.run.execute import Progress, silent
from lensflow.run.lazy import CHUNK, inject
from lensflow.run.write_pairs import write
from lensflow.store import paths
from lensflow.store.open import open_cutouts, open_manifest
from lensflow.store.run_folder import RunFolder

FOLDER = "matched"
# Makes the new rows' random numbers, and so their noise, others than those of the rows that they come from.
_KEY = np.uint64(0x3A7C4ED)
# An arc is made brighter or fainter by this at most: beyond it a feature was measured on something else.
MOST_MAG = 3.0
# Of the run's manifest: what rendering reads. The rest speaks of the run's plan, which these rows do not follow.
_RENDERING = ("seed", "psf_model", "psf_beta")
THETA_E, MAGNITUDE, CLIPPED = (
    "theta_E of the real lens",
    "magnitude of the real lens's arc",
    f"magnitude changed by {MOST_MAG:g} mag, the most",
)


@dataclass(frozen=True, eq=False)
class MatchedInjections:
    """New injections on the matched hosts.

    Attributes
    ----------
    config : RunConfig
        Of their run, ``RUN/matched``: what reads pairs of a run reads these.
    sets : Dataset
        As given, with ``injection_row`` of that run's pairs.
    counts : dict
        What was changed -> rows; ``rows``, all of them.
    """

    config: RunConfig
    sets: xr.Dataset
    counts: dict[str, int]


def matched_injections(
    config: RunConfig,
    sets: xr.Dataset,
    real_arc_mag: ArrayLike | None = None,
    run_arc_mag: ArrayLike | None = None,
    progress: Progress = silent,
    folder: str = FOLDER,
) -> MatchedInjections:
    """Inject again on the matched hosts, with the real lenses' Einstein radii and arc magnitudes where they are known.

    Each row is one of the run's with another Einstein radius: its source moves with it, so that its images keep their
    configuration, since an isothermal or power-law lens with shear looks the same at every scale. Its flux changes by
    the difference of the arcs' magnitudes, both measured on stamps in the same way. What is not known of a real lens
    stays as the run has it. Host, angles, axis ratios, sizes, profile and colours are the run's.

    Parameters
    ----------
    config : RunConfig
        Of the run.
    sets : Dataset
        ``MatchedSets.sets``.
    real_arc_mag : array_like, shape (set,), optional
        Magnitude of each real lens's arc, as the feature ``arc_mag`` has it; NaN where it has none.
    run_arc_mag : array_like, shape (set, match, draw), optional
        The same of the run's injections, ``injection_row``.
    progress : callable, optional
    folder : str
        Of their run, in the run's folder; what is there is replaced.

    Returns
    -------
    MatchedInjections

    Raises
    ------
    RealismError
        If there are no sets, or one of the magnitudes is given without the other or in another shape.
    """
    rows = sets["injection_row"].values
    real_mag, run_mag = _magnitudes(rows, real_arc_mag, run_arc_mag)
    there = np.argwhere(rows >= 0)
    if not len(there):
        raise RealismError("matched injections: there are no matched sets with an injection.")
    run = RunFolder.of(config)
    taken = rows[tuple(there.T)]
    manifest = open_manifest(run.manifest).isel(sample=taken).load()
    counts = {"rows": len(taken)}
    of_set = there[:, 0]
    shift = real_mag[of_set] - run_mag[tuple(there.T)]
    manifest = _changed(manifest, sets["theta_e_arcsec"].values[of_set].astype(np.float64), shift, counts)
    hosts = np.unique(manifest["host_index"].values)
    manifest["host_index"] = (
        "sample",
        np.searchsorted(hosts, manifest["host_index"].values),
        manifest["host_index"].attrs,
    )
    order = np.lexsort((manifest["row_id"].values, manifest["host_index"].values))
    manifest = manifest.isel(sample=order)
    cutouts = open_cutouts(run.cutouts).isel(host=hosts)
    own = config.model_copy(update={"out": run.path(folder)})
    _write(cutouts, manifest, own, progress)
    new = np.full(rows.shape, -1, np.int64)
    new[tuple(there[order].T)] = np.arange(len(order))
    about = {"long_name": "rows of the pairs of RUN/matched; -1: no more"}
    return MatchedInjections(own, sets.assign(injection_row=(sets["injection_row"].dims, new, about)), counts)


def _magnitudes(
    rows: NDArray[np.int64], real: ArrayLike | None, run: ArrayLike | None
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    if (real is None) != (run is None):
        raise RealismError("matched injections: magnitudes of real arcs and of the run's go together; one is given.")
    of_real = np.full(rows.shape[0], np.nan) if real is None else np.asarray(real, np.float64)
    of_run = np.full(rows.shape, np.nan) if run is None else np.asarray(run, np.float64)
    if of_real.shape != rows.shape[:1] or of_run.shape != rows.shape:
        raise RealismError(
            f"matched injections: magnitudes of shape {of_real.shape} and {of_run.shape}; the sets need "
            f"{rows.shape[:1]} and {rows.shape}."
        )
    return of_real, of_run


def _changed(
    manifest: xr.Dataset, theta_e: NDArray[np.float64], shift_mag: NDArray[np.float64], counts: dict[str, int]
) -> xr.Dataset:
    """Rows with other Einstein radii and fluxes; attributes that speak of the run's plan are left behind."""
    known = np.isfinite(theta_e) & (theta_e > 0)
    ratio = np.where(known, theta_e / manifest["theta_e_arcsec"].values, 1.0)
    bright = np.isfinite(shift_mag)
    shift = np.clip(np.where(bright, shift_mag, 0.0), -MOST_MAG, MOST_MAG)
    counts |= {THETA_E: int(known.sum()), MAGNITUDE: int(bright.sum()),
               CLIPPED: int((bright & (np.abs(shift_mag) > MOST_MAG)).sum())}  # fmt: skip
    columns: dict[str, Any] = {
        "row_id": np.asarray(rng.mix_ids(manifest["row_id"].values, _KEY)),
        "theta_e_arcsec": np.where(known, theta_e, manifest["theta_e_arcsec"].values),
        "src_x_arcsec": manifest["src_x_arcsec"].values * ratio,
        "src_y_arcsec": manifest["src_y_arcsec"].values * ratio,
        "src_flux_nmgy": manifest["src_flux_nmgy"].values * 10 ** (-0.4 * shift)[:, None],
    }
    # theta_E is given now, and no longer that of redshifts and velocity dispersion.
    for name in ("src_z", "lens_z", "lens_sigma_v_km_s"):
        columns[name] = np.where(known, np.nan, manifest[name].values)
    assigned = {n: (manifest[n].dims, v.astype(manifest[n].dtype), manifest[n].attrs) for n, v in columns.items()}
    out = manifest.drop_vars("row_id", errors="ignore").assign(assigned)
    out.attrs = {name: manifest.attrs[name] for name in _RENDERING}
    return out


def _write(cutouts: xr.Dataset, manifest: xr.Dataset, config: RunConfig, progress: Progress) -> None:
    """Store the new pairs; those of other rows, which nothing else depends on, are replaced."""
    pairs = inject(cutouts, manifest, config.injection, CHUNK, bank_of(config), config.store)
    try:
        write(pairs, config, progress)
    except StaleStoreError:
        paths.remove_folder(RunFolder.of(config).root)
        write(inject(cutouts, manifest, config.injection, CHUNK, bank_of(config), config.store), config, progress)
