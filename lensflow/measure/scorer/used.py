"""Used or unused: what does a trained scorer lose where stamps equal their controls in what one gate looks at?

A gate that fails says that a leak is there. A scorer that loses nothing when it is taken away does not use it; one that
loses is built on it. Arcs are in most views, too: their light in the core or in rings is theirs by right, so a loss
there is a leak only where the gate of that view says that there is one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike, NDArray

from lensflow.config.checks import parse_recipe
from lensflow.measure.gate.verdicts import GateResult, Verdict
from lensflow.measure.scorer.areas import Areas
from lensflow.measure.scorer.matched import WHAT, matched
from lensflow.stats.hostsums import named

USED, UNUSED, OPEN, NOT_TESTED = "used", "not used", "open", "not tested"
# A scorer that loses less than this of its AUROC does not use the view.
LEAST_PCT = 1.0
# As the judges of scores (:mod:`lensflow.measure.scorer.gates`): below these no interval is given.
MIN_PAIRS, MIN_HOSTS = 20, 10
_WORST = (Verdict.FAIL, Verdict.EXPLAINED, Verdict.INCONCLUSIVE, Verdict.ERROR, Verdict.NOT_TESTABLE, Verdict.PASS)

Score = Callable[[NDArray[np.float32]], NDArray[np.float64]]


def score_matched(
    stamp: NDArray[Any],
    ctrl: NDArray[Any],
    x_center: ArrayLike,
    y_center: ArrayLike,
    core_radius_pix: ArrayLike,
    score: Score,
    decimals: int | None = None,
) -> dict[str, NDArray[np.float64]]:
    """Score pairs as they are, and with one view after the other made equal.

    Parameters
    ----------
    stamp, ctrl : ndarray, shape (n, band, y, x)
        Each stamp with its own control, nMgy/pixel.
    x_center, y_center : array_like, shape (n,)
        Targets in stamp pixels.
    core_radius_pix : array_like, shape (n,) or scalar
    score : callable
        Images to numbers, shape (n,).
    decimals : int, optional
        Scores are rounded to so many: sums in single precision differ with the size of a batch.

    Returns
    -------
    dict of ndarray, shape (n,)
        ``stamp``, ``own_ctrl``, and of each view ``stamp NAME`` and ``own_ctrl NAME``.
    """

    def scores(images: NDArray[Any]) -> NDArray[np.float64]:
        found = np.asarray(score(np.ascontiguousarray(images, dtype=np.float32)), np.float64)
        return found if decimals is None else np.round(found, decimals)

    out = {"stamp": scores(stamp), "own_ctrl": scores(ctrl)}
    for name, lens, other in matched(stamp, ctrl, x_center, y_center, core_radius_pix):
        out[f"stamp {name}"] = scores(lens)
        same = np.array_equal(other, ctrl, equal_nan=True)
        out[f"own_ctrl {name}"] = out["own_ctrl"] if same else scores(other)
    return out


def used(
    scores: Mapping[str, NDArray[np.float64]],
    host_index: ArrayLike,
    draws: int,
    seed: int,
    gates: Mapping[str, GateResult] | None = None,
    least_pct: float = LEAST_PCT,
    more: Mapping[str, str] | None = None,
) -> xr.Dataset:
    """Judge the scores of :func:`score_matched`, of all pairs.

    Parameters
    ----------
    scores : mapping of ndarray, shape (n,)
    host_index : array_like, shape (n,)
        Host of each pair.
    draws, seed : int
        Of the bootstrap of hosts, the same for the scores as they are and for all views.
    gates : mapping of GateResult, optional
        By name, of the same run: whether each view's leak is there.
    least_pct : float
        Loss, % of the AUROC, below which a view is not used.
    more : mapping of str, optional
        Further views that ``scores`` has, named as the kind of gate that looks at them, and what was made equal.

    Returns
    -------
    Dataset, dim view
        ``auc`` as it is, ``auc_matched``, ``drop`` (% of the first; negative where the scorer gains), each with
        ``_low`` and ``_high``; ``use``: "used" if the whole interval of the drop lies above ``least_pct``, "not used"
        if below, else "open"; ``gate``: worst verdict of the view's gates, empty without one; ``what`` was made equal;
        ``text``: in words. Attrs ``n_pairs``, ``n_hosts``.

    Raises
    ------
    GateError
        If a score is not finite.
    """
    host = np.asarray(host_index)
    n_hosts = int(np.unique(host).size)
    rows: list[dict[str, Any]] = []
    views = {**WHAT, **(more or {})}
    for name, what in views.items():
        before, after = (np.concatenate([scores[f"stamp{k}"], scores[f"own_ctrl{k}"]]) for k in ("", f" {name}"))
        areas = Areas.between(before, after, host, draws, seed, "scorer.used")
        use = _use(areas, len(host), n_hosts, least_pct)
        verdict = _gate_of(name, gates or {})
        rows.append(
            {
                **areas.bare.fields("auc"), **areas.filled.fields("auc_matched"), **areas.drop_pct.fields("drop"),
                "use": use, "gate": str(verdict or ""), "what": what, "text": _text(use, verdict, areas),
            }
        )  # fmt: skip
    texts = {"use": "whether the scorer uses the view", "gate": "worst verdict of the view's gates",
             "what": "what was made equal", "text": "in words"}  # fmt: skip
    out = {k: named(["view"], np.array([r[k] for r in rows]), "", text) for k, text in texts.items()}
    for k in (k for k in rows[0] if k not in texts):
        unit = "%" if k.startswith("drop") else "1"
        out[k] = named(["view"], np.array([r[k] for r in rows]), unit, _meaning(k))
    attrs = {"title": "what the scorer uses", "n_pairs": len(host), "n_hosts": n_hosts, "least_pct": least_pct}
    return xr.Dataset(out, coords={"view": list(views)}, attrs=attrs)


def _use(areas: Areas, n_pairs: int, n_hosts: int, least_pct: float) -> str:
    # A scorer near chance has nothing to lose.
    if n_pairs < MIN_PAIRS or n_hosts < MIN_HOSTS or not areas.drop_pct.is_measured or not areas.bare.low > 0.5:
        return NOT_TESTED
    if areas.drop_pct.low > least_pct:
        return USED
    return UNUSED if areas.drop_pct.high <= least_pct else OPEN


def _gate_of(view: str, gates: Mapping[str, GateResult]) -> Verdict | None:
    found = []
    for name, gate in gates.items():
        try:
            kind = parse_recipe(name).kind
        except ValueError:  # a gate that compares findings
            kind = name
        if kind == view or (view == "bits" and kind == "diagnostics"):
            found.append(gate.verdict)
    return min(found, key=_WORST.index) if found else None


def _text(use: str, gate: Verdict | None, areas: Areas) -> str:
    lost = areas.drop_pct
    found = f"AUROC {areas.bare.value:.3f}, {areas.filled.value:.3f} with it made equal: {lost:.1f} % lost"
    if use == NOT_TESTED:
        return f"{found}: too few pairs or hosts, or the scorer is no better than chance"
    if gate is None:
        return f"{found}: {use}"
    if gate is Verdict.FAIL:
        return f"{found}: a leak is there (gate FAIL), and it is {use}" if use != OPEN else f"{found}: a leak is there"
    return f"{found}: {use}; gate {gate}"


def _meaning(name: str) -> str:
    words = {
        "auc": "AUROC as the images are",
        "auc_matched": "AUROC with the view made equal",
        "drop": "loss, % of AUROC",
    }
    base = name.removesuffix("_low").removesuffix("_high")
    end = {"_low": "lower end, 95 % host bootstrap of ", "_high": "upper end, 95 % host bootstrap of "}
    return end.get(name.removeprefix(base), "") + words[base]
