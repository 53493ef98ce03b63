"""A sweep from start to end: plan once, make the arms, prove, and only then count; what is done is kept."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import xarray as xr

from lensflow.config import RunConfig, fingerprint
from lensflow.config.completeness import CompletenessConfig
from lensflow.config.sweep import Levels, differing_settings, levels_of
from lensflow.errors import StoreError
from lensflow.measure.completeness.set_thresholds import refuse_without_threshold
from lensflow.measure.gate import GateResult
from lensflow.measure.gate.verdicts import Drawn
from lensflow.measure.realism.sweep.numbers import against_reference, interaction
from lensflow.measure.realism.sweep.result import ArmResult, SweepResult, gates_table
from lensflow.run.completeness.scorers import find_scorer
from lensflow.run.execute import Progress, silent
from lensflow.run.identity import pairs_content, stored_key
from lensflow.run.measure import gate_draws, measure_step
from lensflow.run.sweep.arms import Arm, Design, design_of, prepare_arm, prepare_base
from lensflow.run.sweep.make import Made, made_of, make_arm
from lensflow.run.sweep.null import prove_null
from lensflow.run.sweep.prove import prove
from lensflow.run.sweep.realism import realism_areas
from lensflow.run.sweep.score import (
    ArmScores,
    orders,
    refuse_chance,
    refuse_idle_view,
    score_again,
    score_arm,
    strata_of,
)
from lensflow.show.sweep import write_page
from lensflow.stats import codec
from lensflow.store import objects, paths, receipts
from lensflow.store.lease import hold
from lensflow.store.results import current_results, keep_results, read_results
from lensflow.store.run_folder import RunFolder

RESULT = "sweep.json"


def sweep_step(
    config: RunConfig,
    factors: str | Iterable[str] | Mapping[str, Sequence[Any]] | Sequence[Levels],
    scorer: Any = None,
    progress: Progress = silent,
    *,
    crossed: bool = False,
    gates: bool = True,
    unseal_test: str | None = None,
) -> SweepResult:
    """Change one factor of a run and say what that changes.

    Arms are ordinary runs below ``sweeps/<setting>`` in the run's folder; the arm with the run's own values is the run
    itself. Every step keeps what it has finished, so the same call continues a sweep that was stopped.

    Parameters
    ----------
    config : RunConfig
        Of the run; what of it is not cut and planned yet is done first.
    factors : str, iterable of str, mapping, or sequence of Levels
        ``"injection.noise=true,false"``, or setting -> values. The first value is the reference; one value alone is
        compared with the run's own.
    scorer : str or object, optional
        As for :func:`lensflow.completeness`; by default ``completeness.scorer``. Without any there is a proof and
        there are gates, and nothing is counted.
    progress : callable, optional
    crossed : bool
        Cross two factors of two values each.
    gates : bool
        Whether the gates of every arm are run.
    unseal_test : str, optional
        Why the test split is opened, where ``completeness.split`` is test.

    Returns
    -------
    SweepResult

    Raises
    ------
    ConfigError
        If a factor is unknown, or more than one is given.
    RealismError
        If an arm differs in more than the factor, or the null arm from the reference: then no number is shown.
    """
    given = factors if isinstance(factors, list | tuple) else ()
    levels = list(given) if given and all(isinstance(v, Levels) for v in given) else levels_of(factors)  # type: ignore[arg-type]
    asked = config.completeness
    # What an option says of the threshold is not a setting of any run's folder.
    design = design_of(config.model_copy(update={"completeness": asked.own}), levels, crossed)
    what = asked.scorer if scorer is None else scorer
    here = str(Path.cwd())
    for arm in design.arms if what is not None else ():
        find_scorer(what, arm.counted_by(asked).config, here)  # refused before hours of work
    if what is not None:
        refuse_without_threshold(asked)
    with hold(RunFolder.of(config).root):
        return _sweep(design, asked, what, here, progress, gates, unseal_test)


def _sweep(
    design: Design,
    asked: CompletenessConfig,
    scorer: Any,
    here: str,
    progress: Progress,
    with_gates: bool,
    unseal_test: str | None,
) -> SweepResult:
    prepare_base(design, progress)
    for arm in design.in_order:
        prepare_arm(design, arm, progress)
        make_arm(design, arm, progress)
    # The proof, before any number.
    null = prove_null(design, progress)
    proofs = {design.null.label: (design.reference.label, null.proof.result())}
    for one, other, factor in design.edges:
        proof = prove(design.arms[one], design.arms[other], factor, design.folder, progress)
        # The last arm of an interaction is proved from both sides; what is shown is against one of them.
        proofs.setdefault(design.arms[other].label, (design.arms[one].label, proof))
    found: dict[str, list[GateResult]] = {}
    draws: dict[str, dict[str, Drawn]] = {}
    if with_gates and design.writes:
        for arm in design.arms:
            found[arm.label] = measure_step(arm.config, progress, diagnostics=False)[1]
            draws[arm.label] = gate_draws(arm.config)
    numbers: dict[str, xr.Dataset] = {}
    more: dict[str, Any] = {}
    if scorer is not None:
        arms = tuple(a.counted_by(asked) for a in design.arms)
        counted = replace(design, arms=arms, null=design.null.counted_by(asked))
        numbers, more = _numbers(counted, scorer, here, progress, unseal_test)
    reference = design.reference.label
    results = []
    others = (*design.arms[1:], design.null)
    real = realism_areas(design.reference.config, [a.config for a in others])
    for arm, area, change in zip(others, real.arms, real.changes, strict=True):
        made = made_of(arm) if arm is not design.null else Made(null.n_rows, null.n_rendered)
        shared = arm is not design.null and arm.config.out == design.reference.config.out
        results.append(
            ArmResult(
                arm.label,
                arm.values,
                arm.config.out,
                tuple(differing_settings(design.reference.config, arm.config)),
                made.n_rows,
                0 if shared else made.n_rendered,
                proofs[arm.label][1],
                numbers.get(arm.label),
                _gates(found, draws, reference, arm.label) if arm.label in found else None,
                area,
                proofs[arm.label][0],
                change,
            )
        )
    result = SweepResult(
        design.name, tuple(f.title for f in design.factors), design.base.out, reference, tuple(results[:-1]),
        results[-1], realism=real.reference, **{**more, "notes": (*more.get("notes", ()), *real.notes)},
    )  # fmt: skip
    keep_results(paths.join(design.folder, RESULT), _pixels_of(result), result.to_json())
    page_of(design.base)
    return result


def _gates(
    found: Mapping[str, list[GateResult]], draws: Mapping[str, Mapping[str, Drawn]], reference: str, arm: str
) -> xr.Dataset:
    """Gates of an arm beside the reference's, paired by host where both have drawn the same ones."""
    known = {name: one.correlation(draws[arm].get(name)) for name, one in draws[reference].items()}
    return gates_table(found[reference], found[arm], {k: v for k, v in known.items() if v is not None})


def page_of(config: RunConfig) -> str:
    """Write the page of every finished sweep of a run.

    Parameters
    ----------
    config : RunConfig

    Returns
    -------
    str
        Its path.
    """
    url = paths.join(RunFolder.of(config).sweeps, "index.html")
    paths.write_text(url, write_page(*stored_sweeps(config)))
    return url


def _numbers(
    design: Design, scorer: Any, here: str, progress: Progress, unseal_test: str | None
) -> tuple[dict[str, xr.Dataset], dict[str, Any]]:
    """Numbers of every arm by its label, and what they are of; read where they are stored and current."""
    config = design.reference.config
    url, key = _stored_at(design, scorer, here)
    stored: Any = None if key is None else current_results(url, key)
    if stored is None:
        view = any(f.road == "view" for f in design.factors)
        kept = url.removesuffix(".json")

        def scored(arm: Arm) -> ArmScores:
            return score_arm(arm, scorer, here, progress, unseal_test, view, paths.join(kept, f"{arm.label}.zarr"))

        scores = {a.label: scored(a) for a in design.arms}
        reference = scores[design.reference.label]
        refuse_chance(reference, score_again(design.null, scorer, here, progress, view))
        for one, other, factor in design.edges:
            if factor.road == "view":
                pair = [design.arms[k].label for k in (one, other)]
                refuse_idle_view(scores[pair[0]], scores[pair[1]], factor.setting, pair[1])
        tables, notes = _compared(design, scores, config)
        crossed = _crossed(design, scores, config)
        stored = {
            "tables": {k: codec.encode(v) for k, v in tables.items()},
            "interaction": None if crossed is None else codec.encode(crossed),
            "scorer": reference.scorer, "split": config.completeness.split, "notes": list(notes),
            "thresholds": [_in_words(k, scores.values()) for k in range(len(reference.thresholds))],
        }  # fmt: skip
        if key is not None:
            keep_results(url, key, stored)
    more = {k: stored[k] for k in ("scorer", "split")} | {k: tuple(stored[k]) for k in ("notes", "thresholds")}
    of_both = None if stored["interaction"] is None else codec.dataset(stored["interaction"])
    return {k: codec.dataset(v) for k, v in stored["tables"].items()}, more | {"interaction": of_both}


def _compared(
    design: Design, scores: Mapping[str, ArmScores], config: RunConfig
) -> tuple[dict[str, xr.Dataset], tuple[str, ...]]:
    reference = scores[design.reference.label]
    tables: dict[str, xr.Dataset] = {}
    notes: tuple[str, ...] = ()
    for arm in design.arms[1:]:
        order, other = orders(reference, scores[arm.label], design.owned)
        strata, notes = strata_of(config, reference, order)
        tables[arm.label] = against_reference(
            reference.scored(order), scores[arm.label].scored(other), reference.counted.host[order], strata, config.seed
        )
    return tables, notes


def _crossed(design: Design, scores: Mapping[str, ArmScores], config: RunConfig) -> xr.Dataset | None:
    if len(design.factors) < 2:
        return None
    reference = scores[design.reference.label]
    four = []
    for arm in design.arms:
        order, other = orders(reference, scores[arm.label], design.owned)
        four.append(scores[arm.label].scored(other))
    return interaction(four, reference.counted.host[order], config.seed)


def _stored_at(design: Design, scorer: Any, here: str) -> tuple[str, str | None]:
    """Where the numbers of a scorer are kept, and under which key; no key where nothing names the scorer."""
    who = find_scorer(scorer, design.reference.config, here)
    name = "".join(c if c.isalnum() or c in "._-" else "-" for c in who.name)
    url = paths.join(design.folder, "numbers", f"{name}.{design.reference.config.completeness.split}.json")
    if who.source is None or not isinstance(scorer, str):
        return url, None
    contents = [pairs_content(a.config) for a in design.arms]
    settings = [stored_key(a.config, "completeness", "") for a in design.arms]
    views = [a.config.export.normalisation.model_dump(mode="json") for a in design.arms]
    return url, fingerprint([a.label for a in design.arms], contents, settings, views, who.source, who.kind)


def _in_words(k: int, every: Iterable[ArmScores]) -> str:
    one = [s.thresholds[k] for s in every]
    rate = one[0].rate
    taus = sorted({t.tau for t in one})
    at = f"tau {taus[0]:.4g}" if len(taus) == 1 else f"tau {taus[0]:.4g} to {taus[-1]:.4g}, each arm's own"
    return f"false-positive rate {rate:g}, {at}" if rate == rate else at


def stored_sweeps(config: RunConfig) -> tuple[list[SweepResult], list[str]]:
    """Every finished sweep of a run, in the order of their names.

    Parameters
    ----------
    config : RunConfig

    Returns
    -------
    (list of SweepResult, list of str)
        Those whose arms have the pixels that were compared, and the names of the others: to be swept again.

    Raises
    ------
    StoreError
        If a file is no result of a sweep.
    """
    root, out, stale = RunFolder.of(config).sweeps, [], []
    for name in paths.list_names(root):
        found = read_results(url := paths.join(root, name, RESULT), "run the sweep again")
        if found is None:
            continue
        try:
            one = SweepResult.from_json(found.results)
        except (KeyError, TypeError, ValueError) as error:
            raise StoreError(f"{url}: no result of a sweep ({error!r}). Delete it and run the sweep again.") from error
        if found.key == _pixels_of(one, paths.join(root, name), config.out):
            out.append(one)
        else:
            stale.append(name)
    return out, stale


def _pixels_of(sweep: SweepResult, folder: str = "", run: str = "") -> str:
    """Fingerprint of the pixels of all arms; of one whose folder is gone there is none.

    Parameters
    ----------
    sweep : SweepResult
    folder, run : str
        Where the sweep and its run are now, where they were moved.
    """
    places = [*(a.folder for a in sweep.arms), sweep.null.folder, sweep.run]
    if folder:
        before = paths.join(sweep.run, "sweeps", sweep.name)
        places = [run if p == sweep.run else paths.join(folder, p.removeprefix(f"{before}/")) for p in places]
    found = []
    for place in places:
        pairs = RunFolder(place).pairs
        here = objects.open_group(pairs).attrs if paths.group_exists(pairs) else {}
        done = receipts.read_receipts(RunFolder(place).receipts("pairs"))
        found.append([str(here.get("fingerprint", "")), sorted((k, r.checksums) for k, r in done.items())])
    return fingerprint(found)
