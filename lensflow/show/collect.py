"""Collect a run's results in one record for the report; missing parts are named."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from lensflow.config import RunConfig
from lensflow.injection.rounding import round_pixels
from lensflow.measure.core.tuning import CoreTuning
from lensflow.measure.gate import GateResult
from lensflow.measure.pixels import KINDS, Finding, Kind
from lensflow.show.completeness_page import KeptCompleteness
from lensflow.show.gallery import Example, choose_rows, example, first_rows, telling_rows, worst_rows
from lensflow.show.kept import read_kept
from lensflow.show.realism_page import ShownRealism
from lensflow.show.training import KeptTraining
from lensflow.store import paths, receipts
from lensflow.store.open import open_all_pairs, open_cutouts, open_manifest, read_attrs, read_pixels
from lensflow.store.results import read_results


@dataclass(frozen=True)
class Places:
    """Locations of the parts of a run; paths or fsspec URLs."""

    cutouts: str
    manifest: str
    pairs: str
    cutouts_receipts: str
    pairs_receipts: str
    diagnostics: str
    gates: str
    timings: str
    core: str = ""
    zoo: str = ""


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
    first : tuple of Example
        The six rows of the first screen.
    gallery, worst : tuple of Example
        Rows chosen by rule over theta_E and SNR; and those that stand out, with the reasons.
    telling : dict of tuple of Example
        Name of a failing or explained gate -> the stamps that drive it.
    diagnostics, gates
        Empty where they have not run, or belong to other pixels or settings.
    core : CoreTuning or None
        None where the core was not tuned for these pixels and settings.
    zoo : DataArray or None
        Alarms by fault and diagnostic, as :func:`lensflow.measure.zoo.faults.matrix`; None where the installed code has
        not made it.
    kinds : tuple of Kind
        What made the diagnostics, with the judge of each.
    completeness : tuple of KeptCompleteness
        Of each scorer and split, on these pixels.
    training : KeptTraining or None
        The reference training on these pixels.
    realism : tuple of ShownRealism
        Comparisons with real lenses, on these pixels.
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
    worst: tuple[Example, ...]
    diagnostics: dict[str, xr.Dataset]
    gates: tuple[GateResult, ...]
    notes: tuple[str, ...]
    core: CoreTuning | None = None
    scorers: tuple[GateResult, ...] = ()
    zoo: xr.DataArray | None = None
    telling: Mapping[str, tuple[Example, ...]] = field(default_factory=dict)
    kinds: tuple[Kind[Finding], ...] = KINDS
    completeness: tuple[KeptCompleteness, ...] = ()
    training: KeptTraining | None = None
    realism: tuple[ShownRealism, ...] = ()
    first: tuple[Example, ...] = ()

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


def collect(
    config: RunConfig,
    places: Places,
    keys: Mapping[str, str] | None = None,
    scorers: Sequence[GateResult] = (),
    kinds: tuple[Kind[Finding], ...] = KINDS,
    stamps: bool = True,
) -> RunRecord:
    """Read a run's results.

    Parameters
    ----------
    config : RunConfig
    places : Places
    keys : mapping, optional
        Stage (``diagnostics``, ``gates``, ``core``, ``zoo``) -> the key that its stored results must carry; results
        under another key belong to other pixels or settings and are left out, with a note. Without an entry any key
        will do.
    scorers : sequence of GateResult, optional
    kinds : tuple of Kind, optional
        What made the diagnostics.
    stamps : bool
        Whether rows are chosen and their pixels read.

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
        fingerprint = str(read_attrs(places.pairs, "pairs").get("fingerprint", fingerprint))
        done = {k: r for k, r in receipts.read_receipts(places.pairs_receipts).items() if r.fingerprint == fingerprint}
        every = open_all_pairs(places.pairs, places.manifest, places.cutouts, unfinished=True)
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
    keys = keys or {}
    diagnostics = read_kept(places.diagnostics, "diagnostics", "lensflow diagnose", keys.get("diagnostics"))
    kept_gates = read_kept(places.gates, "gates", "lensflow gate", keys.get("gates"))
    notes += [kept.note for kept in (diagnostics, kept_gates) if kept.note]
    gates = kept_gates.value or ()
    gallery: tuple[Example, ...] = ()
    worst: tuple[Example, ...] = ()
    first: tuple[Example, ...] = ()
    telling: dict[str, tuple[Example, ...]] = {}
    if rows is not None and stamps:
        of_gallery: _Chosen = dict.fromkeys(choose_rows(rows).tolist(), ())
        of_first: _Chosen = dict.fromkeys(first_rows(rows, config.reference_band).tolist(), ())
        of_worst, of_gates = worst_rows(rows, cutouts, gates, config), telling_rows(rows, gates)
        read = _examples(rows, cutouts, places, config, of_first, of_gallery, of_worst, *of_gates.values())
        first, gallery, worst = read(of_first), read(of_gallery), read(of_worst)
        telling = {name: read(chosen) for name, chosen in of_gates.items()}
    return RunRecord(
        config=config,
        fingerprint=fingerprint,
        cutouts=cutouts,
        manifest=manifest,
        rows=rows,
        cutouts_summary=receipts.summary(receipts.read_receipts(places.cutouts_receipts).values()),
        pairs_summary=receipts.summary(done.values()),
        timings=paths.read_json(places.timings) if paths.exists(places.timings) else {},
        gallery=gallery,
        worst=worst,
        diagnostics=diagnostics.value or {},
        gates=gates,
        zoo=_zoo(places.zoo, keys.get("zoo")),
        core=_core(places.core, keys.get("core"), notes),
        scorers=tuple(scorers),
        telling=telling,
        kinds=kinds,
        first=first,
        notes=tuple(notes),
    )


def _tables(ds: xr.Dataset) -> xr.Dataset:
    return ds.drop_vars([v for v in ds.data_vars if "y" in ds[v].dims])


def _core(url: str, key: str | None, notes: list[str]) -> CoreTuning | None:
    """Tuning of the core, which is optional: nothing if it was not run."""
    if not url or not paths.exists(url):
        return None
    kept = read_kept(url, "core", "lensflow tune-core", key)
    notes += [kept.note] if kept.note else []
    tuning: CoreTuning | None = kept.value
    return tuning


def _zoo(url: str, key: str | None) -> xr.DataArray | None:
    """Matrix of the bug zoo, if this installation's code made it."""
    stored = read_results(url) if url else None
    return xr.DataArray.from_dict(stored.results) if stored and key in (None, stored.key) else None


_Chosen = Mapping[int, tuple[str, ...]]


def _examples(
    rows: xr.Dataset, cutouts: xr.Dataset, places: Places, config: RunConfig, *chosen: _Chosen
) -> Callable[[_Chosen], tuple[Example, ...]]:
    """Read the chosen rows (positions in ``rows`` -> why each is shown) with their pixels, each once."""
    every = np.unique([k for of in chosen for k in of]).astype(np.int64)
    some = rows.isel(sample=every)
    pixels = pixels_of(some, places.pairs, places.cutouts, config.store.copy_ctrl) if every.size else {}
    made = {
        int(k): example(some.isel(sample=n), cutouts, {name: v[n] for name, v in pixels.items()}, config, ())
        for n, k in enumerate(every)
    }
    return lambda of: tuple(replace(made[k], why=tuple(why)) for k, why in of.items())


def pixels_of(rows: xr.Dataset, pairs: str, cutouts: str, copied: bool) -> dict[str, NDArray[np.float32]]:
    """``arc``, ``stamp`` and ``ctrl`` of rows that lie anywhere: of each array, only the chunks that they are in."""
    found = read_pixels(pairs, "pairs", rows["row"].values, ("arc", "stamp", *(("ctrl",) if copied else ())))
    if not copied:
        hosts, of_row = np.unique(rows["host_index"].values, return_inverse=True)
        image = read_pixels(cutouts, "cutouts", hosts, ("image",))["image"][of_row]
        step, row_id = rows["quantize_step_nmgy"].values, rows["row_id"].values
        found["ctrl"] = round_pixels(image, step, row_id, int(rows.attrs["seed"]))
    return found
