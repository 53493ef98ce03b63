"""Hold the injections of a finished run against real lenses: cut, match, measure, judge, keep."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from lensflow.config import RunConfig, fingerprint
from lensflow.config.place import Place, of_inputs
from lensflow.errors import ConfigError
from lensflow.measure.realism.verdict import OTHER_MATCHING, judge_realism, with_area
from lensflow.run.execute import Progress, silent
from lensflow.run.identity import pairs_content, stored_key
from lensflow.run.importable import source_of
from lensflow.run.realism.features import features_of_cutouts, features_of_pairs
from lensflow.run.realism.files import results_of
from lensflow.run.realism.gather import gather
from lensflow.run.realism.lens_targets import lenses_for
from lensflow.run.realism.matched_injections import FOLDER, matched_injections
from lensflow.run.realism.pixels import find_encoder
from lensflow.run.realism.result import Realism
from lensflow.run.realism.scoring import judge_scorer, scorer_for
from lensflow.run.realism.sets import MatchedSets, matched_sets, with_arcs_of
from lensflow.run.realism.stamps import RealFolder, imported_content, open_real, real_stamps, stamps_content
from lensflow.run.realism.stored import kept_realism
from lensflow.stats import codec
from lensflow.store import paths
from lensflow.store.results import current_results, keep_results


def realism_step(
    config: RunConfig,
    table: str | None = None,
    scorer: Any = None,
    progress: Progress = silent,
    *,
    again: bool = False,
    keep: bool = True,
) -> Realism:
    """Compare injections with real lenses on matched hosts, or read what is stored of it.

    Real lenses are cut like the run's hosts into ``real.zarr``, unless their stamps were imported. Results go to
    ``summaries/realism/``, and are read from there if pairs, settings, table, scorer and lensflow's code are the same.

    Parameters
    ----------
    config : RunConfig
        Its section ``realism``; for a scorer also ``completeness``, which sets the thresholds.
    table : str, optional
        Table of real lenses; replaces ``realism.table``.
    scorer : str or object, optional
        Whose recall of them is judged too.
    progress : callable, optional
    again : bool
        Ignore what is stored.
    keep : bool
        Store the results; those of a scorer that no text names are not.

    Returns
    -------
    Realism

    Raises
    ------
    ConfigError
        If there is no table, encoder or scorer, or the scorer cannot score images.
    TargetError
        If the table cannot be read, or no lens of it lies in the survey.
    RealismError
        If stamps cannot be compared.
    StoreError
        If the pairs are not complete.
    """
    config, source = _with_table(config, table)
    here = str(Path.cwd())
    content = pairs_content(config)
    encoder = "" if config.realism.encoder is None else _encoder_source(config.realism.encoder, here)
    who = None if scorer is None else scorer_for(config, scorer)
    keep = keep and (who is None or isinstance(scorer, str))
    name = "" if who is None else who.name
    url = results_of(config, source, name)
    key = fingerprint(
        stored_key(config, "realism", content), stored_key(config, "completeness", content) if who else "",
        paths.content(source), "" if who is None else who.source or "", encoder or "",
        "" if config.realism.catalogue is None else paths.content(config.realism.catalogue), imported_content(config),
    )  # fmt: skip
    unknown = encoder is None or (who is not None and who.source is None)
    stored: Any = None if again or unknown else current_results(url, key)
    if stored is None:
        stored = _measured(config, source, scorer, name, here, progress)
        if keep:
            keep_results(url, key, stored)
    return Realism(kept_realism(config, url, stored), url if keep else "")


def _encoder_source(encoder: str, here: str) -> str | None:
    """Fingerprint of an encoder: results of another are not its own; None if it has none."""
    find_encoder(encoder, here)
    return source_of(encoder, here)


def _with_table(config: RunConfig, table: str | None) -> tuple[RunConfig, str]:
    source = table if table is not None else config.realism.table
    if source is None:
        raise ConfigError(
            "realism.table: no table of real lenses. Name one (--real TABLE, realism.table; docs/realism.md says which "
            "tables are known)"
        )
    place = Place(source, of_inputs(config.storage))
    realism = config.realism.model_copy(update={"table": place})
    return config.model_copy(update={"realism": realism}), place


def _measured(config: RunConfig, source: str, scorer: Any, name: str, here: str, progress: Progress) -> dict[str, Any]:
    lenses = lenses_for(config, source)
    real = real_stamps(config, lenses, progress)
    url = RealFolder.of(config).cutouts
    # A scorer has seen the hosts of the train split; without one every split may be compared.
    splits = ("train", "val", "test") if scorer is None else ("val", "test")
    sets = matched_sets(config, splits=splits, tiers=config.realism.tiers, progress=progress)
    pairs, rows = _pairs_of(config, url, sets.sets, progress)
    if config.realism.injections == "matched":
        sets = with_arcs_of(sets, pairs, rows, progress)
    found = gather(config, url, rows, sets.balance, sets.road.reason, progress, here, pairs)
    judged = judge_realism(found.comparison, config.realism, config.seed)
    gate = judged.gate
    counts = _left_out(lenses, real, sets.counts, found.counts)
    n_real = int((np.isin(lenses["tier"].values, config.realism.tiers)).sum())
    gate = gate.decided(gate.verdict, gate.reason, controls={**gate.controls, "counts": {"n_real": n_real}})
    tables = {**judged.tables, "sets": found.sets, "rows": found.rows, "road": sets.road.table}
    if sets.other is not None and sets.other_sets is not None:
        tables["other_balance"] = sets.other.balance
        pairs_again, rows_again = _pairs_of(config, url, sets.other_sets, progress, f"{FOLDER}-again")
        other = gather(config, url, rows_again, None, "", progress, here, pairs_again, plain=True).comparison.rows
        if "areas" in tables and other.n_sets >= config.realism.folds:
            tables["areas"] = with_area(tables["areas"], OTHER_MATCHING, other, config.realism, config.seed)
    gates = [gate]
    if scorer is not None:
        of_scorer = judge_scorer(config, scorer, url, open_real(config), progress)
        gates += of_scorer.gates
        tables |= of_scorer.tables
    return {
        "table": str.__str__(source), "scorer": name, "pairs": pairs_content(config),
        "gates": [g.to_dict() for g in gates],
        "tables": codec.encode(tables), "settings": config.realism.model_dump(mode="json"),
        "numbers": {
            "n_table": int(lenses.sizes["lens"]), "table_content": paths.content(source),
            "left_out": counts, "injections": config.realism.injections,
            "stamps": stamps_content(config, pairs), "notes": _notes(sets, gate.controls),
        },
    }  # fmt: skip


def _pairs_of(
    config: RunConfig, url: str, sets: xr.Dataset, progress: Progress, folder: str = FOLDER
) -> tuple[RunConfig, xr.Dataset]:
    """Run whose injections are compared, and the sets with rows of its pairs."""
    if config.realism.injections == "run":
        return config, sets
    real = features_of_cutouts(url, sets["real_row"].values, progress, rounded_as=config)["arc_mag"].values
    rows = sets["injection_row"].values
    magnitude = np.full(rows.shape, np.nan)
    magnitude[rows >= 0] = features_of_pairs(config, rows[rows >= 0], progress)["arc_mag"].values
    made = matched_injections(config, sets, real, magnitude, progress, folder)
    return made.config, made.sets


def _notes(sets: MatchedSets, controls: Mapping[str, Any]) -> list[list[str]]:
    """What a reader of the numbers should know, and where it was noticed."""
    notes = [["matching", n] for n in sets.matched.notes]
    if sets.hosts_left_out:
        why = ", ".join(f"{n:,} {reason}" for reason, n in sets.hosts_left_out.items())
        notes.append(["matching", f"hosts that were not offered: {why}"])
    if sets.other is not None:
        notes += [["other matching", n] for n in (*sets.other.notes, *filter(None, [sets.other.reason]))]
    elif sets.other_reason:
        notes.append(["other matching", f"none: {sets.other_reason}"])
    if (share := controls.get("arcless", {}).get("share")) is not None:
        notes.append(["visibility", f"{share:.0%} of the matched hosts without an arc pass the visibility cut, too"])
    if constant := controls.get("constant"):
        notes.append(["features", f"one value in all rows, so left out of the fit: {', '.join(constant)}"])
    notes += [[name, f"left out: {why}"] for name, why in controls.get("left_out", {}).items()]
    notes += [[name, f"not made: {control['not_made']}"] for name, control in controls.items()
              if isinstance(control, Mapping) and "not_made" in control]  # fmt: skip
    return notes


def _left_out(
    lenses: xr.Dataset, real: xr.Dataset, matched: dict[str, int], compared: dict[str, int]
) -> dict[str, int]:
    """Reason -> lenses that are not compared; known non-lenses are a reason of their own."""
    out = {str(k): int(n) for part in ("dropped", "failed") for k, n in real.attrs.get(part, {}).items() if n}
    if n := int((lenses["is_lens"].values == 0).sum()):
        out["known non-lenses: for the false-positive rate of a scorer"] = n
    for part in (matched, compared):
        for reason, n in part.items():
            out[reason] = out.get(reason, 0) + int(n)
    return out
