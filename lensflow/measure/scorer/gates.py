"""Gates on a trained lens finder: does it find synthetic lenses, and does it need their cores?

Two gates. ``synthetic_auroc``: the area under the ROC curve of stamps against unlensed controls. ``core_drop``: what
is lost of it when the core of both classes is filled with local background.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from lensflow import schema
from lensflow.config import DiagnosticsConfig, ScorerConfig, fingerprint
from lensflow.measure.gate.machine import area_fields, chosen_hosts
from lensflow.measure.gate.strata import SNR_EDGES, ranges
from lensflow.measure.gate.verdicts import GateResult, Verdict
from lensflow.measure.pixels.judging import Finding, Status
from lensflow.measure.scorer.areas import Areas
from lensflow.measure.scorer.scorer import RING_WIDTH_PIX, own_control, some_scores
from lensflow.stats.auc import roc_points
from lensflow.stats.estimate import NOT_MEASURED

Floats = NDArray[np.float64]

AUROC, CORE_DROP = "synthetic_auroc", "core_drop"
# What the findings of core_drop compare.
DROP, FILLED = "drop, % of AUROC", "AUROC, core filled"
# Below these the intervals were not tried.
MIN_PAIRS, MIN_HOSTS = 20, 10
EVERYWHERE = "all"
_SHORT = {"theta_e_arcsec": "theta_E", "arc_snr": "SNR", "absent_bands": "band(s) absent"}
_STATUS = {Verdict.PASS: Status.OK, Verdict.FAIL: Status.ALARM}


def scored_hosts(
    host_index: NDArray[np.int64], split: NDArray[np.uint8], config: ScorerConfig, seed: int
) -> NDArray[np.int64]:
    """Hosts whose rows are scored, sorted: those of ``config.split`` among injections, within ``config.max_pairs``.

    A host lies in one split, whole: rows of these hosts are rows of the split.
    """
    index = host_index[split == schema.SPLITS.index(config.split)]
    return chosen_hosts(index, config.max_pairs, seed)


def judge_scores(
    scores: xr.Dataset,
    config: ScorerConfig,
    scorer: str,
    seed: int,
    edges: Sequence[float] = DiagnosticsConfig().theta_e_edges,
    source: str | None = None,
    core: Mapping[str, Any] | None = None,
) -> list[GateResult]:
    """Judge a scorer by its scores.

    Parameters
    ----------
    scores : Dataset
        Rows of :func:`lensflow.measure.scorer.scorer.score_block`: those of ``config.split``; others are left out.
    config : ScorerConfig
    scorer : str
        Its name.
    seed : int
        Of the choice of hosts and the bootstrap.
    edges : sequence of float
        Strata of theta_E, arcsec.
    source : str, optional
        Fingerprint of the scorer's code, for the recipe.
    core : mapping, optional
        How cores were filled, for the recipe, where not as :func:`lensflow.measure.scorer.scorer.score_block` does.

    Returns
    -------
    list of GateResult
        ``synthetic_auroc``, with areas by theta_E, SNR and absent bands in ``strata``; ``core_drop``, whose ``auc``
        is NaN and whose numbers stand in ``findings``. Scores that are not finite give ERROR; too few rows, equal
        scores and the train split give NOT_TESTABLE.
    """
    hosts = scored_hosts(scores["host_index"].values, scores["split"].values, config, seed)
    used = some_scores(scores, np.isin(scores["host_index"].values, hosts))
    n_rows, n_hosts = used.sizes["sample"], used.sizes["host"]
    recipe = {**_recipe(config, scorer, source, seed, edges), **(core or {})}
    auroc, drop = (
        GateResult(name, r, fingerprint(r), threshold, Verdict.ERROR, "not run", n_rows=n_rows, n_hosts=n_hosts)
        for name, threshold in ((AUROC, config.min_auroc), (CORE_DROP, config.max_core_drop_pct))
        for r in ({"check": name, **recipe, "measured": _MEASURED[name]},)
    )
    refused = _refused(used, config)
    if refused:
        return [auroc.decided(*refused), drop.decided(*refused)]
    whole = Areas.of(used, config.bootstrap, seed, "gates.scorer")
    strata = list(_strata(used, config, seed, edges))
    auroc = replace(
        auroc.with_area(whole.bare),
        strata=tuple(_stratum(place, areas, config) for place, areas in strata),
        controls={"absent_band_rows": int((used["absent"].values > 0).sum())},
        roc=_roc(used["stamp"].values, used["ctrl"].values[own_control(used)]),
    )
    findings = _findings(EVERYWHERE, whole, config)
    for place, areas in strata:
        if areas:
            findings += _findings(where(place), areas, config)
    drop = replace(drop, findings=tuple(findings))
    return [
        auroc.decided(*_of_split(config.split, *_auroc_verdict(whole, config))),
        drop.decided(*_of_split(config.split, *_drop_verdict(whole, config))),
    ]


def where(stratum: dict[str, Any]) -> str:
    """Name a stratum, as the findings of ``core_drop`` do."""
    name, low, high = _SHORT[stratum["by"]], stratum["low"], stratum["high"]
    if stratum["by"] == "absent_bands":
        return f"{low:g} {name}"
    return f"{name} >= {low:g}" if not math.isfinite(high) else f"{name} {low:g} to {high:g}"


def _refused(used: xr.Dataset, config: ScorerConfig) -> tuple[Verdict, str] | None:
    n_rows, n_hosts = used.sizes["sample"], used.sizes["host"]
    if not n_rows:
        return Verdict.NOT_TESTABLE, (
            f"no injection row of the {config.split} split (of whole hosts within scorer.max_pairs = "
            f"{config.max_pairs})"
        )
    for kind, name, ids in (
        ("the stamp of row", "stamp", "row_id"),
        ("the stamp, core filled, of row", "stamp_filled", "row_id"),
        ("the control of row", "ctrl", "ctrl_row_id"),
        ("the control, core filled, of row", "ctrl_filled", "ctrl_row_id"),
    ):
        scores = used[name].values
        bad = ~np.isfinite(scores)
        if bad.any():
            first = int(np.argmax(bad))
            row = int(used[ids].values[first])
            return Verdict.ERROR, (
                f"{kind} {row} scores {scores[first]:g}, and {int(bad.sum()) - 1} more like it do not "
                "score a finite number: a scorer must have an answer for every image"
            )
    if n_rows < MIN_PAIRS or n_hosts < MIN_HOSTS:
        return Verdict.NOT_TESTABLE, (
            f"{n_rows} lenses on {n_hosts} host(s) of the {config.split} split: at least {MIN_PAIRS} on {MIN_HOSTS} "
            "are needed"
        )
    every = np.concatenate([used["stamp"].values, used["ctrl"].values])
    if (every == every[0]).all():
        return Verdict.NOT_TESTABLE, f"every image scores {every[0]:g}: the scorer tells nothing from nothing"
    return None


def _auroc_verdict(areas: Areas, config: ScorerConfig) -> tuple[Verdict, str]:
    found, least = f"AUROC {areas.bare:.3f}", config.min_auroc
    if not areas.bare.is_measured:
        return Verdict.NOT_TESTABLE, f"{found}: no interval"
    if areas.bare.low > least:
        return Verdict.PASS, f"{found}: the whole interval is above {least:g}"
    if areas.bare.high <= least:
        return Verdict.FAIL, f"{found}: the whole interval is at or below {least:g}"
    return Verdict.INCONCLUSIVE, f"{found}: the interval crosses {least:g}; more hosts would decide"


def _drop_verdict(areas: Areas, config: ScorerConfig) -> tuple[Verdict, str]:
    most = config.max_core_drop_pct
    lost = areas.drop_pct
    found = (
        f"AUROC {areas.bare:.3f} with the core, {areas.filled:.3f} without: {lost.value:.1f} % "
        f"[{lost.low:.1f}, {lost.high:.1f}] of it is lost"
    )
    if not lost.is_measured:
        return Verdict.NOT_TESTABLE, f"{found}: no interval"
    if lost.low >= most:
        return Verdict.FAIL, f"{found}: the whole interval is at or above {most:g} %"
    # A scorer near chance has nothing to lose: falling to 1/2 would pass.
    largest = 100 * (1 - 0.5 / areas.bare.low) if areas.bare.low > 0.5 else 0.0
    if largest < most:
        return Verdict.NOT_TESTABLE, (
            f"{found}. But an AUROC of {areas.bare.low:.3f}, the lower end of its interval, would lose "
            f"{largest:.1f} % if it fell to chance: a loss below {most:g} % means nothing here"
        )
    if lost.high < most:
        return Verdict.PASS, f"{found}: the whole interval is below {most:g} %"
    return Verdict.INCONCLUSIVE, f"{found}: the interval crosses {most:g} %; more hosts would decide"


def _of_split(split: str, verdict: Verdict, text: str) -> tuple[Verdict, str]:
    if split == "train":
        return Verdict.NOT_TESTABLE, f"{text}. Scored on the train split: says nothing about new lenses"
    if split == "val":
        return verdict, f"{text}. Scored on the val split: flattering if the model was chosen on it"
    return verdict, f"{text}. Scored on the test split"


def _strata(
    used: xr.Dataset, config: ScorerConfig, seed: int, edges: Sequence[float]
) -> Iterator[tuple[dict[str, Any], Areas | None]]:
    """Stamps by theta_E, SNR and absent bands against the controls of their hosts; no areas where there are too few."""
    cuts, absent = ranges(used["theta_e_arcsec"].values, used["arc_snr"].values, edges), used["absent"].values
    kinds = np.unique(absent)
    if kinds.size > 1:
        cuts += [("absent_bands", float(k), float(k), absent == k) for k in kinds]
    for name, low, high, rows in cuts:
        part = some_scores(used, rows)
        n_rows, n_hosts = part.sizes["sample"], part.sizes["host"]
        place = {"by": name, "low": low, "high": high if high < np.inf else math.nan, "n_rows": n_rows,
                 "n_hosts": n_hosts}  # fmt: skip
        enough = n_rows >= MIN_PAIRS and n_hosts >= MIN_HOSTS
        yield place, Areas.of(part, config.bootstrap, seed, f"gates.scorer.{name}.{low:g}") if enough else None


def _stratum(place: dict[str, Any], areas: Areas | None, config: ScorerConfig) -> dict[str, Any]:
    if areas is None:
        bare = NOT_MEASURED
        verdict, reason = Verdict.NOT_TESTABLE, f"{place['n_rows']} lenses on {place['n_hosts']} host(s) are too few"
    else:
        bare = areas.bare
        verdict, reason = _of_split(config.split, *_auroc_verdict(areas, config))
    return {**place, **area_fields(bare), "verdict": str(verdict), "reason": reason}


def _findings(place: str, areas: Areas, config: ScorerConfig) -> list[dict[str, Any]]:
    verdict, text = _of_split(config.split, *_drop_verdict(areas, config))
    rows = (
        (DROP, _STATUS.get(verdict, Status.NOT_TESTED), areas.drop_pct, config.max_core_drop_pct, text),
        (FILLED, Status.OK, areas.filled, math.nan, "to hold against the AUROC of the images as they are"),
    )
    found = [Finding(CORE_DROP, check, status, place, e, limit, words) for check, status, e, limit, words in rows]
    return [f.to_dict() for f in found]


def _roc(stamp: Floats, ctrl: Floats) -> tuple[tuple[float, float], ...]:
    labels = np.repeat([True, False], [len(stamp), len(ctrl)])
    return tuple((x, y) for x, y in roc_points(labels, np.concatenate([stamp, ctrl])).tolist())


_MEASURED = {
    AUROC: "area under the ROC curve of the scores; passes if the whole interval lies above the threshold",
    CORE_DROP: "100 (A - A_filled) / A, A the AUROC as it is, A_filled with the core of both classes filled; passes if "
    "the whole interval lies below the threshold",
}


def _recipe(config: ScorerConfig, scorer: str, source: str | None, seed: int, edges: Sequence[float]) -> dict[str, Any]:
    return {
        "scorer": scorer,
        **({"scorer_source": source} if source else {}),
        "split": config.split,
        "classes": "1: stamps of injection rows; 0: their hosts' own unlensed controls, weighted by the host's stamps",
        **({"lens_light": config.lens_light} if config.lens_light != "kept" else {}),
        "core_radius_pix": config.core_radius_pix,
        "fill": f"median of the host's control over {RING_WIDTH_PIX:g} pix outside of the core, by band, the same "
        "number in stamp and control; centred on the target",
        "comparisons": "stamps with controls of other hosts",
        "interval": f"95 %, t on the logit, from {config.bootstrap} bootstrap draws of hosts; exactly 0 or 1: Wilson's "
        "for as many trials as hosts",
        "drop": "from both intervals and the correlation over the same draws (Zou 2007), over the AUROC as found",
        "max_pairs": config.max_pairs,
        "theta_e_edges": list(edges),
        "snr_edges": list(SNR_EDGES),
        "seed": seed,
    }
