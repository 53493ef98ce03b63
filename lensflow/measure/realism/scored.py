"""Real lenses and injections with their scores, and the shape of the verdicts on them."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from lensflow.config import fingerprint
from lensflow.errors import RealismError
from lensflow.measure.completeness.thresholds import Threshold
from lensflow.measure.gate.verdicts import GateResult, Verdict
from lensflow.measure.pixels.judging import Finding, Status
from lensflow.stats.estimate import NOT_MEASURED, Estimate
from lensflow.stats.proportions import clopper_pearson

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

# With fewer, an interval of a share is 0.4 wide.
FEWEST = 20
_STATUS = {Verdict.PASS: Status.OK, Verdict.FAIL: Status.ALARM}
_WORST_FIRST = (Verdict.ERROR, Verdict.FAIL, Verdict.NOT_TESTABLE, Verdict.INCONCLUSIVE)
OVERLAP_UNKNOWN = "training overlap unknown"


@dataclass(frozen=True, eq=False)
class ScoredLenses:
    """Real lenses and known non-lenses with their scores.

    Attributes
    ----------
    lens_id : ndarray of str, shape (n,)
    tier : ndarray of str, shape (n,)
        A, B, C; N for known non-lenses.
    visible : ndarray of bool, shape (n,)
        Whether arcs pass the visibility cut.
    score : ndarray, shape (n,)
        Finite.
    covariates : ndarray, shape (n, covariate)
        theta_E, magnitude of the arc, seeing: what completeness is reweighted by; NaN where not known.
    confuser : ndarray of str, shape (n,)
        Kind of a non-lens; empty where the table does not say.
    """

    lens_id: NDArray[np.str_]
    tier: NDArray[np.str_]
    visible: Bools
    score: Floats
    covariates: Floats
    confuser: NDArray[np.str_]

    def __post_init__(self) -> None:
        if not np.isfinite(self.score).all():
            bad = int(np.argmin(np.isfinite(self.score)))
            raise RealismError(f"the score of real lens {self.lens_id[bad]} is not finite")


@dataclass(frozen=True, eq=False)
class ScoredInjections:
    """Injections of the run with their scores.

    Attributes
    ----------
    score : ndarray, shape (n,)
    host : ndarray of int, shape (n,)
    covariates : ndarray, shape (n, covariate)
        As of :class:`ScoredLenses`.
    """

    score: Floats
    host: NDArray[np.int64]
    covariates: Floats


@dataclass(frozen=True)
class Asked:
    """What a scorer's verdicts are made of, beside the numbers.

    Attributes
    ----------
    scorer, source : str
        Its name, and the fingerprint of what it is made of.
    removed : int
        Lenses left out because the scorer was trained on their place.
    overlap_known : bool
        Whether the scorer brings a list of what it was trained on.
    negatives : str
        Which images set the thresholds.
    lacking : dict
        Bands -> lenses left out because the survey has no exposure of them there: a scorer reads 0 for light.
    extra : dict
        Of the recipe.
    """

    scorer: str
    source: str = ""
    removed: int = 0
    overlap_known: bool = False
    negatives: str = ""
    lacking: dict[str, int] = field(default_factory=dict)
    extra: dict[str, Any] = field(default_factory=dict)

    @property
    def note(self) -> str:
        """What is known of the overlap with the training, and which lenses were not scored, in words."""
        missing = "".join(f"; {n:,} without {bands} not counted" for bands, n in self.lacking.items())
        return missing + ("" if self.overlap_known else f"; {OVERLAP_UNKNOWN}")


def share(k: int, n: int) -> Estimate:
    """Share of k of n lenses with its exact interval; NaN where n is 0."""
    low, high = (float(v) for v in clopper_pearson(k, n))
    return Estimate(k / n if n else math.nan, low, high, n)


def finding_of(
    name: str, verdict: Verdict, tau: Threshold, value: Estimate, expected: float, text: str
) -> tuple[Verdict, Finding]:
    """Make a verdict at one threshold, and the finding that says it."""
    shown = value if value.is_measured else NOT_MEASURED
    where = in_words(tau)
    return verdict, Finding(
        name, name, _STATUS.get(verdict, Status.NOT_TESTED), where, shown, expected, f"{where}: {text}", "1"
    )


def gate_of(
    name: str, findings: list[tuple[Verdict, Finding]], limit: float, asked: Asked, n: int, seed: int
) -> GateResult:
    """Make the verdict of all thresholds: the worst counts."""
    description = {
        "check": name, "scorer": asked.scorer, **({"scorer_source": asked.source} if asked.source else {}),
        "limit": limit, "fewest": FEWEST, "negatives": asked.negatives, "removed_for_training": asked.removed,
        **({"removed_for_absent_bands": asked.lacking} if asked.lacking else {}),
        "training": "known" if asked.overlap_known else OVERLAP_UNKNOWN, "seed": seed, **asked.extra,
    }  # fmt: skip
    verdict, reason = Verdict.ERROR, "no threshold"
    if findings:
        verdict = next((v for v in _WORST_FIRST if any(w is v for w, _ in findings)), Verdict.PASS)
        reason = next(f.text for v, f in findings if v is verdict)
    # The estimate at the threshold that decided.
    deciding = next((f.found for v, f in findings if v is verdict), NOT_MEASURED)
    return GateResult(
        name, description, fingerprint(description), limit, verdict, reason, n_rows=n, n_hosts=n,
        controls={"deciding": deciding.fields()}, findings=tuple(f.to_dict() for _, f in findings),
    )  # fmt: skip


def in_words(tau: Threshold) -> str:
    """Name a threshold."""
    if tau.source == "fpr":
        return f"threshold {tau.tau:.4g} (false-positive rate {tau.rate:g})"
    return f"threshold {tau.tau:.4g}"


def line_of(tau: Threshold, where: str, value: Estimate, count: int, names: str) -> dict[str, Any]:
    """Make one line of a table of shares."""
    return {"tau": tau.tau, "rate_wanted": tau.rate, "where": where, "n": value.n_hosts, "count": count,
            **value.fields("share"), "names": names}  # fmt: skip


def table_of(lines: list[dict[str, Any]], what: str) -> xr.Dataset:
    """Put lines below each other, dim line."""
    names = list(dict.fromkeys(k for line in lines for k in line))
    data = {k: (["line"], np.array([line[k] for line in lines])) for k in names}
    return xr.Dataset(data, attrs={"long_name": what, "interval": "95 %, exact binomial; of the gap over hosts"})
