"""A gate's result: verdict, recipe, numbers and intervals."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from enum import StrEnum
from html import escape
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lensflow.errors import GateError
from lensflow.stats import codec
from lensflow.stats.estimate import NOT_MEASURED, Estimate
from lensflow.stats.hostsums import correlation_of_draws

MIN_PAIRS = 10
# Below these a control that goes wrong says that there are too few rows, not that the gate is broken.
FEW_PAIRS, FEW_HOSTS = 50, 20
# With fewer of its features open to differ, a pass of a core gate is owed to what was blanked, and means nothing.
MOSTLY_OPEN = 0.5
# Kinds of gates on pixels under a mask of the core. Elsewhere stamps should equal their controls: light there that is
# not an arc's would make them differ.
CENTRAL = ("core", "brightness", "colour", "azimuth", "profile")


class Verdict(StrEnum):
    """Outcome of a gate; a required gate needs PASS.

    EXPLAINED: the area is above the threshold, the renderer's noiseless arcs read the same, and nothing else tells the
    classes apart; ``gate.accept_explained`` lets such a gate count as passed.
    """

    PASS = "PASS"
    EXPLAINED = "EXPLAINED"
    FAIL = "FAIL"
    INCONCLUSIVE = "INCONCLUSIVE"
    NOT_TESTABLE = "NOT_TESTABLE"
    ERROR = "ERROR"


# Attributes that are no key of a stored gate.
_APART = {"area", "drawn"}


@dataclass(frozen=True, eq=False)
class Drawn:
    """A gate's area in bootstrap draws of hosts.

    Attributes
    ----------
    hosts : str
        Fingerprint of the hosts, the seed and the purpose: where it is the same, the draws are of the same hosts.
    areas : ndarray, shape (draw,)
    """

    hosts: str
    areas: NDArray[np.float64]

    def correlation(self, other: Drawn | None) -> float | None:
        """Correlation of two areas over draws of the same hosts; None where the hosts are others.

        Parameters
        ----------
        other : Drawn or None
        """
        if other is None or self.hosts != other.hosts or len(self.areas) != len(other.areas):
            return None
        return correlation_of_draws(self.areas, other.areas)

    def to_json(self) -> dict[str, Any]:
        """As plain JSON types; an area that is not known is None."""
        return {"hosts": self.hosts, "areas": [None if math.isnan(a) else round(a, 7) for a in self.areas.tolist()]}

    @classmethod
    def from_json(cls, tree: Mapping[str, Any]) -> Drawn:
        """Read what :meth:`to_json` gave."""
        return cls(str(tree["hosts"]), np.array([math.nan if a is None else a for a in tree["areas"]], np.float64))


@dataclass(frozen=True, repr=False)
class GateResult:
    """One gate's numbers.

    Attributes
    ----------
    name : str
        Of the gate, as the config names it.
    verdict : Verdict
        PASS, EXPLAINED, INCONCLUSIVE, NOT_TESTABLE, FAIL or ERROR.
    recipe, recipe_hash : dict, str
        Everything that the numbers depend on besides the data, and its fingerprint.
    area : Estimate
        Area under the ROC curve and its 95 % interval over hosts; NaN where it was not measured. Also by its parts:
        ``auc``, ``auc_low``, ``auc_high``.
    threshold : float
        The gate passes below it; ``synthetic_auroc`` passes above it.
    n_rows, n_hosts : int
        Injection rows (each with its own control) and their hosts; for metadata, rows of both classes.
    reason : str
        The verdict in words: what was found, or why there is none and what to do.
    strata : tuple of dict
        Area, interval, rows and hosts within ranges of theta_E, SNR and split; an open upper end is NaN.
    controls : dict
        ``null`` and ``positive``: what the same machinery says where the answer is known. ``permutation``: exact
        p-value of the labels (not for trees). ``reference``: what noiseless arcs alone read, and the data's excess
        over it.
    coef : tuple of float
        Coefficients of a fit on all rows, per standard deviation of the feature; () for trees.
    box_shape : tuple of int
        (band, y, x) to reshape ``coef`` to where the features are pixels of the core box; else ().
    roc : tuple of (false positive rate, true positive rate)
        The curve, from (0, 0) to (1, 1); () where there is none.
    roc_low, roc_high : tuple of float
        95 % interval over hosts of the true positive rate at each false positive rate of ``roc``.
    fit : dict
        Iterations and gradient of the fits; iterations only for trees.
    worst : tuple of dict
        Rows that the fit tells apart most surely: ``row_id``, ``host_index``, ``theta_e_arcsec``, ``arc_snr``,
        ``margin`` (out-of-fold score of the stamp less its control's).
    findings : tuple of dict
        What a gate without a fit compared: ``check``, ``status``, ``where``, ``value``, ``low``, ``high``,
        ``expected``, ``text``.
    drawn : Drawn or None
        The area in each bootstrap draw of hosts, to pair it with that of another run on the same hosts. Not part of
        :meth:`to_dict`: it is kept beside the results.
    """

    name: str
    recipe: dict[str, Any]
    recipe_hash: str
    threshold: float
    verdict: Verdict
    reason: str
    n_rows: int = 0
    n_hosts: int = 0
    area: Estimate = NOT_MEASURED
    strata: tuple[dict[str, Any], ...] = ()
    controls: dict[str, Any] = field(default_factory=dict)
    coef: tuple[float, ...] = ()
    box_shape: tuple[int, ...] = ()
    roc: tuple[tuple[float, float], ...] = ()
    roc_low: tuple[float, ...] = ()
    roc_high: tuple[float, ...] = ()
    fit: dict[str, Any] = field(default_factory=dict)
    worst: tuple[dict[str, Any], ...] = ()
    findings: tuple[dict[str, Any], ...] = ()
    drawn: Drawn | None = field(default=None, compare=False, repr=False)

    @property
    def fitted(self) -> bool:
        """Whether it is a regression on features; others compare findings and have no area."""
        return "check" not in self.recipe

    def passes(self, accept_explained: bool) -> bool:
        """Whether it counts as passed.

        Parameters
        ----------
        accept_explained : bool
            As ``gate.accept_explained``: count EXPLAINED as passed.

        Returns
        -------
        bool
            False for every verdict but PASS and, if accepted, EXPLAINED.
        """
        return self.verdict is Verdict.PASS or (accept_explained and self.verdict is Verdict.EXPLAINED)

    def decided(self, verdict: Verdict, reason: str, **numbers: Any) -> GateResult:
        """Copy of the result with a verdict, its reason and more numbers.

        Parameters
        ----------
        verdict : Verdict
            The new one.
        reason : str
            The verdict in words.
        **numbers
            Other attributes to replace.

        Returns
        -------
        GateResult
            This one stays as it is.
        """
        return replace(self, verdict=verdict, reason=reason, **numbers)

    def __repr__(self) -> str:
        """One line: name, verdict, area with its interval, rows, reason. Every number: :meth:`to_dict`."""
        area = ""
        if math.isfinite(self.auc):
            area = f", AUC {self.area:.3f}, threshold {self.threshold:g}"
        rows = f", {self.n_rows:,} rows of {self.n_hosts:,} hosts" if self.n_rows else ""
        return f"<GateResult {self.name}: {self.verdict}{area}{rows}. {self.reason}>"

    def _repr_html_(self) -> str:
        """The same as a table, for notebooks."""
        lines = {"verdict": str(self.verdict), "why": self.reason}
        if math.isfinite(self.auc):
            lines["AUC, 95 % interval"] = f"{self.area:.3f}"
            lines["threshold"] = f"{self.threshold:g}"
        if self.n_rows:
            lines["rows, hosts"] = f"{self.n_rows:,}, {self.n_hosts:,}"
        body = "".join(
            f'<tr><th>{escape(k)}</th><td style="text-align: left">{escape(v)}</td></tr>' for k, v in lines.items()
        )
        return f"<table><caption>{escape(self.name)}</caption>{body}</table>"

    @property
    def auc(self) -> float:
        """Area under the ROC curve."""
        return self.area.value

    @property
    def auc_low(self) -> float:
        """Lower end of its interval."""
        return self.area.low

    @property
    def auc_high(self) -> float:
        """Upper end of its interval."""
        return self.area.high

    def with_area(self, area: Estimate) -> GateResult:
        """Return it with another area and interval.

        Parameters
        ----------
        area : Estimate
            Area under the ROC curve.

        Returns
        -------
        GateResult
            This one stays as it is.
        """
        return replace(self, area=Estimate(area.value, area.low, area.high, self.n_hosts))

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types; NaN is None (:mod:`lensflow.stats.codec`)."""
        own = {f.name: getattr(self, f.name) for f in fields(self) if f.name not in _APART}
        tree: dict[str, Any] = codec.encode({**own, **self.area.fields("auc")}, self.name)
        return tree

    @classmethod
    def from_dict(cls, tree: Mapping[str, Any]) -> GateResult:
        """Inverse of :meth:`to_dict`.

        Parameters
        ----------
        tree : mapping
            Plain JSON types.

        Returns
        -------
        GateResult
            Equal to the one that was written.

        Raises
        ------
        GateError
            If keys are missing or unknown; names them.
        """
        area = {"auc", "auc_low", "auc_high"}
        known = {f.name for f in fields(cls)} - _APART | area
        if set(tree) != known:
            raise GateError(f"not a gate result: keys {sorted(set(tree) ^ known)} are missing or unknown")
        values = codec.decode({k: v for k, v in tree.items() if k not in area})
        values["area"] = Estimate.from_fields(tree, "auc", tree["n_hosts"])
        values["verdict"] = Verdict(values["verdict"])
        for name in ("strata", "coef", "box_shape", "roc_low", "roc_high", "worst", "findings"):
            values[name] = tuple(values[name])
        values["roc"] = tuple((float(x), float(y)) for x, y in values["roc"])
        return cls(**values)

    def to_json(self) -> str:
        """Strictly valid JSON; NaN is null."""
        return json.dumps(self.to_dict(), allow_nan=False)

    @classmethod
    def from_json(cls, text: str) -> GateResult:
        """Inverse of :meth:`to_json`.

        Parameters
        ----------
        text : str
            JSON.

        Returns
        -------
        GateResult
            Equal to the one that was written.

        Raises
        ------
        GateError
            If keys are missing or unknown; names them.
        """
        return cls.from_dict(json.loads(text))


def judge(area: Estimate, threshold: float) -> tuple[Verdict, str]:
    """Verdict of an AUC with its interval against a threshold, and its reason."""
    found = f"AUC {area:.3f}"
    if not area.is_measured:
        return Verdict.NOT_TESTABLE, f"{found}: no interval"
    if area.low >= threshold:
        return Verdict.FAIL, f"{found}: the whole interval is at or above {threshold:g}"
    if area.high < threshold:
        return Verdict.PASS, f"{found}: the whole interval is below {threshold:g}"
    return Verdict.INCONCLUSIVE, f"{found}: the interval crosses {threshold:g}; more hosts would decide"


def decide(
    result: GateResult,
    rows: str = "pairs",
    null_done: str = "labels swapped within pairs",
    no_unit: str = "the controls have no noise to scale a known leak by",
    fewest_hosts: int | None = None,
) -> tuple[Verdict, str]:
    """Judge the AUC, unless the controls show that the gate cannot.

    Parameters
    ----------
    result : GateResult
        With ``controls``.
    rows, null_done, no_unit : str
        Words for its rows, for what the null control did, and for why there is no known leak.
    fewest_hosts : int, optional
        Hosts of the class that has fewer, where the classes have hosts of their own.
    """
    verdict, text = judge(result.area, result.threshold)
    null, leak, physics = result.controls["null"], result.controls["positive"], result.controls.get("reference")
    if physics:
        text += (
            f" (noiseless arcs of the renderer read {physics['auc']:.3f}, the excess is "
            f"{Estimate.from_fields(physics, 'excess'):+z.3f})"
        )
    few = result.n_rows < FEW_PAIRS or (fewest_hosts or result.n_hosts) < FEW_HOSTS
    rows = f"{result.n_rows} {rows} of {result.n_hosts} hosts"
    broken = ""
    if not null["holds_half"]:
        broken = (
            f"{null_done} give AUC " + ", ".join(f"{a:.3f}" for a in null["swaps"]) + ", not 0.5 "
            f"(within {null['judged_low']:.3f} to {null['judged_high']:.3f})"
        )
    elif leak["testable"] and not any(t["found"] for t in leak["tried"]):
        largest = leak["tried"][-1]
        broken = f"even a leak of {largest['leak_sigma']:g} sigma is not found (AUC {largest['auc']:.3f})"
    if broken:
        if few:
            return Verdict.NOT_TESTABLE, f"{rows} are too few: {broken}"
        return Verdict.ERROR, f"the gate itself is broken: {broken}"
    if verdict is not Verdict.FAIL and not leak["found"]:
        why = (
            f"a leak of {leak['leak_sigma']:g} sigma would pass with {rows} (the smallest found has "
            f"{leak['smallest_found_sigma']:g})"
            if leak["testable"]
            else no_unit
        )
        return Verdict.NOT_TESTABLE, f"{text}. But {why}: a pass would mean nothing"
    if verdict is not Verdict.FAIL and result.auc_high < 0.5:
        return Verdict.INCONCLUSIVE, (
            f"{text}, and below 0.5: the classes differ in a way that changes from host to host, which this "
            "classifier learns the wrong way round"
        )
    if verdict is Verdict.FAIL:
        explained, why = _explained(result.controls, result.threshold)
        return (Verdict.EXPLAINED if explained else verdict), text + why
    if verdict is Verdict.PASS:
        text += (
            f"; a leak of {leak['leak_sigma']:g} sigma reads {leak['auc']:.3f}, the smallest one that would "
            f"not pass has {leak['smallest_found_sigma']:g}"
        )
        open_share = result.controls.get("share_of_features_open", 1.0)
        if open_share < MOSTLY_OPEN and result.name.partition("_")[0] in CENTRAL:
            return Verdict.NOT_TESTABLE, (
                f"{text}. But stamp and control are the same in {100 * (1 - open_share):.0f} % of the features (a mask "
                "blanks them): a pass would speak for the mask, not for the arcs"
            )
    return verdict, text


def _explained(controls: Mapping[str, Any], threshold: float) -> tuple[bool, str]:
    """Whether arcs alone explain an AUC above the threshold, and the reason.

    Three things must hold: the noiseless arcs read the same area (the excess' interval holds 0); stamps cannot be told
    from control plus noiseless arc; and a leak of one sigma on top of the arcs would have been.
    """
    physics, beyond = controls.get("reference"), controls.get("beyond_arcs")
    if not physics or not beyond:
        return False, ""
    area, excess = Estimate.from_fields(beyond, "auc"), Estimate.from_fields(physics, "excess")
    found = f"AUC {area:.3f}"
    if excess.excludes(0):
        return False, f"; against control plus noiseless arc the stamps read {found}"
    if area.low > 0.5 or area.high >= threshold:
        return False, f"; not by the arcs alone: against control plus noiseless arc the stamps still read {found}"
    leak = beyond["positive"]
    if not leak["found"]:
        missed = f"a leak of {leak['leak_sigma']:g} sigma on top of them would not be found"
        return False, f"; whether by the arcs alone cannot be known: {missed}"
    return True, (
        f". The arcs explain it: against control plus noiseless arc the stamps read {found}, where a leak of "
        f"{leak['smallest_found_sigma']:g} sigma on top would be found"
    )
