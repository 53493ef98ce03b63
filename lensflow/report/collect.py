"""What a run left behind, as one record for the report; parts that are not there yet are named, not guessed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from lensflow.config import RunConfig
from lensflow.diagnostics import results_from_json
from lensflow.errors import GateError, StoreError
from lensflow.gates import GateResult
from lensflow.gates.core_tuning import CoreTuning
from lensflow.store import paths, receipts
from lensflow.store.open import open_all_pairs, open_cutouts, open_manifest, read_pairs_block
from lensflow.store.regions import Region

GALLERY_ROWS = 10
# theta_E (by rank) x SNR (by rank within it): where the gallery's rows are taken from.
_THETA_E_SHARES = (0.1, 0.5, 0.9)
_SNR_SHARES = (0.08, 0.5, 0.92)


@dataclass(frozen=True)
class Places:
    """Where the parts of a run lie; paths or fsspec URLs."""

    cutouts: str
    manifest: str
    pairs: str
    cutouts_receipts: str
    pairs_receipts: str
    diagnostics: str
    gates: str
    timings: str
    core: str = ""


@dataclass(frozen=True, eq=False)
class Example:
    """One row of the gallery, with its pixels.

    Attributes
    ----------
    ctrl, arc, stamp : ndarray, shape (band, y, x)
        nMgy/pixel.
    absent : tuple of str
        Bands without an exposure of the host.
    """

    row: int
    host_id: str
    theta_e_arcsec: float
    src_mag: float
    magnification: float
    arc_snr: float
    absent: tuple[str, ...]
    ctrl: NDArray[np.float32]
    arc: NDArray[np.float32]
    stamp: NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class RunRecord:
    """Everything that the report shows.

    Attributes
    ----------
    fingerprint : str
        Of the last store that the run has (pairs, else manifest, else cutouts).
    cutouts, manifest, rows : Dataset
        Tables without pixels; ``rows`` are the finished rows of the pairs with the manifest's columns. None where
        the step has not run.
    cutouts_summary, pairs_summary : dict
        As :func:`lensflow.store.receipts.summary`.
    diagnostics, gates
        Empty where they have not run, or belong to other pixels or settings.
    core : CoreTuning or None
        None where the core was not tuned for these pixels and settings.
    notes : tuple of str
        What is missing, why, and the command that makes it.
    """

    config: RunConfig
    fingerprint: str
    cutouts: xr.Dataset
    manifest: xr.Dataset | None
    rows: xr.Dataset | None
    cutouts_summary: dict[str, Any]
    pairs_summary: dict[str, Any]
    timings: dict[str, Any]
    gallery: tuple[Example, ...]
    diagnostics: dict[str, xr.Dataset]
    gates: tuple[GateResult, ...]
    notes: tuple[str, ...]
    core: CoreTuning | None = None

    @property
    def bands(self) -> tuple[str, ...]:
        """The run's bands."""
        return self.config.bands

    @property
    def reference_band(self) -> str:
        """The band that magnitudes and strata refer to."""
        return self.config.bands[self.config.reference_band]

    @property
    def injections(self) -> xr.Dataset | None:
        """Finished rows that carry an arc."""
        return None if self.rows is None else self.rows.isel(sample=~self.rows["is_control"].values)


def collect(config: RunConfig, places: Places, keys: Mapping[str, str] | None = None) -> RunRecord:
    """Read what a run left behind.

    Parameters
    ----------
    config : RunConfig
    places : Places
    keys : mapping, optional
        Stage (``diagnostics``, ``gates``) -> the key that its stored results must carry; results under another key
        belong to other pixels or settings and are left out, with a note. Without an entry any key will do.

    Raises
    ------
    StoreError
        If there are not even cutouts.
    """
    notes: list[str] = []
    cutouts = _tables(open_cutouts(places.cutouts))
    fingerprint, manifest, rows = str(cutouts.attrs.get("fingerprint", "")), None, None
    if paths.group_exists(places.manifest):
        manifest = open_manifest(places.manifest)
        fingerprint = str(manifest.attrs.get("fingerprint", fingerprint))
    else:
        notes.append("No manifest yet: nothing has been planned. `lensflow plan` draws it.")
    done: dict[int, receipts.Receipt] = {}
    if manifest is not None and paths.group_exists(places.pairs):
        fingerprint = str(paths.open_group(places.pairs).attrs.get("fingerprint", fingerprint))
        done = {k: r for k, r in receipts.read_receipts(places.pairs_receipts).items() if r.fingerprint == fingerprint}
        every = open_all_pairs(places.pairs, places.manifest, places.cutouts)
        finished = np.zeros(every.sizes["sample"], dtype=bool)
        for r in done.values():
            finished[r.start : r.stop] = True
        if not finished.all():
            notes.append(
                f"{int((~finished).sum()):,} of {finished.size:,} rows are not injected yet: `lensflow inject` "
                "continues where it stopped. Counts, gallery and histograms are about the finished rows."
            )
        rows = _tables(every).assign(row=("sample", np.arange(finished.size))).isel(sample=finished)
    elif manifest is not None:
        notes.append("No pairs yet: nothing has been injected. `lensflow inject` does it.")
    diagnostics = _stored(places.diagnostics, "diagnostics", "lensflow diagnose", keys or {}, notes)
    return RunRecord(
        config=config,
        fingerprint=fingerprint,
        cutouts=cutouts,
        manifest=manifest,
        rows=rows,
        cutouts_summary=receipts.summary(receipts.read_receipts(places.cutouts_receipts).values()),
        pairs_summary=receipts.summary(done.values()),
        timings=paths.read_json(places.timings) if paths.exists(places.timings) else {},
        gallery=() if rows is None else _gallery(rows, cutouts, places, config),
        diagnostics=results_from_json(json.dumps(diagnostics)) if diagnostics else {},
        gates=_gates(_stored(places.gates, "gates", "lensflow gate", keys or {}, notes), notes),
        core=_core(places.core, keys or {}, notes),
        notes=tuple(notes),
    )


def _tables(ds: xr.Dataset) -> xr.Dataset:
    return ds.drop_vars([v for v in ds.data_vars if "y" in ds[v].dims])


def _stored(url: str, stage: str, command: str, keys: Mapping[str, str], notes: list[str]) -> Any:
    if not paths.exists(url):
        notes.append(f"No {stage} yet: `{command}` computes them.")
        return None
    stored = paths.read_json(url)
    if not isinstance(stored, Mapping) or "results" not in stored:
        raise StoreError(f"{url}: not results of lensflow. Delete it and run `{command}` again.")
    if stage in keys and stored.get("key") != keys[stage]:
        notes.append(
            f"The stored {stage} belong to other pixels or settings and are left out: `{command}` renews them."
        )
        return None
    return stored["results"]


def _gates(stored: Any, notes: list[str]) -> tuple[GateResult, ...]:
    try:
        return tuple(GateResult.from_dict(g) for g in stored or [])
    except GateError as error:
        notes.append(f"The stored gates cannot be read ({error}): delete summaries/gates.json and run `lensflow gate`.")
        return ()


def _core(url: str, keys: Mapping[str, str], notes: list[str]) -> CoreTuning | None:
    """Tuning of the core, which is optional: not a word if nobody asked for it."""
    stored = _stored(url, "core", "lensflow tune-core", keys, notes) if url and paths.exists(url) else None
    return None if stored is None else CoreTuning.from_dict(stored)


def choose_rows(rows: xr.Dataset, count: int = GALLERY_ROWS) -> NDArray[np.int64]:
    """Choose rows to show, spread over theta_E and SNR, each of another host where there are enough.

    Parameters
    ----------
    rows : Dataset
        Manifest columns and metrics of finished rows.
    count : int
        At most so many.

    Returns
    -------
    ndarray of int64
        Positions in ``rows``, sorted by theta_E and SNR. No random number is drawn. One of them is of a host with
        an absent band, if there is any.
    """
    theta_e, snr = rows["theta_e_arcsec"].values, _best_snr(rows)
    usable = np.flatnonzero(~rows["is_control"].values & np.isfinite(snr))
    if usable.size == 0:
        return usable
    absent = ~np.isfinite(rows["psf_fwhm_arcsec"].values).all(axis=1)
    host = rows["host_index"].values
    chosen: list[int] = []

    def nearest(pool: NDArray[np.int64], rank: float) -> None:
        """Take the row at the rank of the pool's SNR, or the nearest one of a host that is not shown yet."""
        pool = np.setdiff1d(pool, chosen)
        fresh = pool[~np.isin(host[pool], host[chosen])] if chosen else pool
        pool = fresh if fresh.size else pool
        if pool.size:
            ordered = pool[np.lexsort((pool, snr[pool]))]
            chosen.append(int(ordered[round(rank * (ordered.size - 1))]))

    if absent[usable].any():
        nearest(usable[absent[usable]], 0.5)
    whole = usable[~absent[usable]] if (~absent[usable]).any() else usable
    groups = np.array_split(whole[np.lexsort((whole, theta_e[whole]))], len(_THETA_E_SHARES))
    for rank in (_SNR_SHARES[1], _SNR_SHARES[0], _SNR_SHARES[2]):
        for group in groups:
            if len(chosen) < count:
                nearest(group, rank)
    order = np.lexsort((snr[chosen], theta_e[chosen]))
    return np.asarray(chosen, dtype=np.int64)[order]


def _best_snr(rows: xr.Dataset) -> NDArray[np.float64]:
    """``arc_snr``, or the best band's peak SNR where the reference band is absent."""
    per_band = np.where(np.isfinite(rows["snr_peak"].values), rows["snr_peak"].values, -np.inf).max(axis=1)
    alias = rows["arc_snr"].values.astype(np.float64)
    return np.where(np.isfinite(alias), alias, np.where(np.isfinite(per_band), per_band, np.nan))


def _gallery(rows: xr.Dataset, cutouts: xr.Dataset, places: Places, config: RunConfig) -> tuple[Example, ...]:
    out = []
    flux = rows["src_flux_nmgy"].values[:, config.reference_band]
    for k in choose_rows(rows):
        at = int(rows["row"].values[k])
        block = read_pairs_block(places.pairs, places.manifest, places.cutouts, Region(0, at, at + 1))
        absent = ~np.isfinite(rows["psf_fwhm_arcsec"].values[k])
        out.append(
            Example(
                row=at,
                host_id=str(cutouts["host_id"].values[int(rows["host_index"].values[k])]),
                theta_e_arcsec=float(rows["theta_e_arcsec"].values[k]),
                src_mag=float(22.5 - 2.5 * np.log10(flux[k])) if flux[k] > 0 else np.nan,
                magnification=float(rows["magnification"].values[k]),
                arc_snr=float(rows["arc_snr"].values[k]),
                absent=tuple(b for b, gone in zip(config.bands, absent, strict=True) if gone),
                ctrl=block["ctrl"].values[0],
                arc=block["arc"].values[0],
                stamp=block["stamp"].values[0],
            )
        )
    return tuple(out)
