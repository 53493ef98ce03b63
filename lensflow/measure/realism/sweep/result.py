"""What a sweep found: one value per arm, with its proof, its numbers and its gates; kept as JSON."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from lensflow.measure.completeness.paired import holm
from lensflow.measure.gate.verdicts import GateResult
from lensflow.stats import codec
from lensflow.stats.estimate import NOT_MEASURED, Estimate

_PARTS = ("proof", "numbers", "gates")


@dataclass(frozen=True, eq=False)
class ArmResult:
    """One arm against the reference.

    Attributes
    ----------
    label : str
    values : mapping
        Setting -> value.
    folder : str
        Of its run.
    differs : tuple of str
        Every setting in which its config differs from the reference's, as flat keys.
    n_rows, n_rendered : int
        Rows, and those whose arc was rendered for this arm.
    proof : Dataset
        Every array compared: :meth:`lensflow.measure.realism.sweep.proof.Proof.result`.
    numbers : Dataset or None
        :func:`lensflow.measure.realism.sweep.numbers.against_reference`; None without a scorer.
    gates : Dataset or None
        :func:`gates_table`; None where they were not run, or no pixel changes.
    realism : Estimate
        AUC of the readable features against real lenses; NaN where it was not measured.
    realism_change : Estimate
        Less that of the reference, paired by real lens where both have the same ones.
    against : str
        Label of the arm that the proof is against: the reference, or of two crossed factors the arm with the first of
        them changed.
    """

    label: str
    values: Mapping[str, Any]
    folder: str
    differs: tuple[str, ...]
    n_rows: int
    n_rendered: int
    proof: xr.Dataset
    numbers: xr.Dataset | None = None
    gates: xr.Dataset | None = None
    realism: Estimate = NOT_MEASURED
    against: str = ""
    realism_change: Estimate = NOT_MEASURED

    def to_json(self) -> dict[str, Any]:
        """As plain JSON types."""
        plain = {k: getattr(self, k) for k in ("label", "n_rows", "n_rendered", "against")}
        plain |= {"values": dict(self.values), "folder": str(self.folder), "differs": list(self.differs)}
        parts = {k: codec.encode(v) for k in _PARTS if (v := getattr(self, k)) is not None}
        of_real = {k: codec.encode(getattr(self, k).fields()) for k in ("realism", "realism_change")}
        return {**plain, **parts, **of_real}

    @classmethod
    def from_json(cls, tree: Mapping[str, Any]) -> ArmResult:
        """Read what :meth:`to_json` gave."""
        parts: dict[str, Any] = {k: codec.dataset(tree[k]) if k in tree else None for k in _PARTS}
        plain = {k: tree[k] for k in ("label", "values", "folder", "n_rows", "n_rendered", "against")}
        realism, change = (Estimate.from_fields(tree[k]) for k in ("realism", "realism_change"))
        return cls(**plain, **parts, differs=tuple(tree["differs"]), realism=realism, realism_change=change)


@dataclass(frozen=True)
class Line:
    """One line of a sweep's table.

    Attributes
    ----------
    factor, title, reference, value : str
        Setting, what it is in words, and its values in the reference and in the arm.
    recovered : (float, float)
        Shares in the reference and in the arm; NaN without a scorer.
    difference, score_difference : Estimate
    gained, lost : int
    p_holm : float
        Corrected for the number of arms of the sweep.
    gates : str
        Verdicts that changed, in words.
    n_rendered : int
    realism : Estimate
        AUC of the arm against real lenses; NaN where it was not measured.
    realism_change : Estimate
        Less that of the reference, paired by real lens where both have the same ones.
    """

    factor: str
    title: str
    reference: str
    value: str
    recovered: tuple[float, float]
    difference: Estimate
    score_difference: Estimate
    gained: int
    lost: int
    p_holm: float
    gates: str
    n_rendered: int
    realism: Estimate = NOT_MEASURED
    realism_change: Estimate = NOT_MEASURED


@dataclass(frozen=True, eq=False)
class SweepResult:
    """A finished sweep.

    Attributes
    ----------
    name : str
        The settings that change, joined by ``+``; ``none`` for the null arm alone.
    titles : tuple of str
        The factors in words.
    run : str
        Folder of the run that was swept.
    reference : str
        Label of the reference.
    arms : tuple of ArmResult
        Without the reference.
    null : ArmResult
        The reference made once more: bit-equal, or there is no result.
    scorer, split : str
        Empty without a scorer.
    thresholds : tuple of str
        In words.
    interaction : Dataset or None
        Of two factors.
    realism : Estimate
        Of the reference.
    notes : tuple of str
        Strata that were left out, and why.
    """

    name: str
    titles: tuple[str, ...]
    run: str
    reference: str
    arms: tuple[ArmResult, ...]
    null: ArmResult
    scorer: str = ""
    split: str = ""
    thresholds: tuple[str, ...] = ()
    interaction: xr.Dataset | None = None
    realism: Estimate = NOT_MEASURED
    notes: tuple[str, ...] = ()

    def __repr__(self) -> str:
        """One line per arm: difference of the recovered share with its interval over hosts, and its p."""
        of = f", {self.scorer}, split {self.split}" if self.scorer else ", no scorer"
        out = [f"<Sweep of {self.name} against {self.reference}{of}: {len(self.arms)} arms, null arm bit-equal>"]
        for line in self.lines():
            known = math.isfinite(line.difference.value)
            counted = f"{line.difference:+z.3f}, p {line.p_holm:.2g} (Holm)" if known else "not counted"
            out.append(f"  {line.value}: {counted}; gates {line.gates or 'not run'}")
        return "\n".join(out)

    def to_json(self) -> dict[str, Any]:
        """As plain JSON types."""
        texts = {k: list(getattr(self, k)) for k in ("titles", "thresholds", "notes")}
        plain = {k: str(getattr(self, k)) for k in ("name", "run", "reference", "scorer", "split")}
        crossed = {} if self.interaction is None else {"interaction": codec.encode(self.interaction)}
        arms = {"arms": [a.to_json() for a in self.arms], "null": self.null.to_json()}
        return {**plain, **texts, **arms, **crossed, "realism": codec.encode(self.realism.fields())}

    @classmethod
    def from_json(cls, tree: Mapping[str, Any]) -> SweepResult:
        """Read what :meth:`to_json` gave.

        Parameters
        ----------
        tree : mapping
            Plain JSON types.

        Returns
        -------
        SweepResult
            The same to the bit.
        """
        texts: dict[str, Any] = {k: tuple(tree[k]) for k in ("titles", "thresholds", "notes")}
        plain = {k: tree[k] for k in ("name", "run", "reference", "scorer", "split")}
        return cls(
            **plain, **texts,
            arms=tuple(ArmResult.from_json(a) for a in tree["arms"]),
            null=ArmResult.from_json(tree["null"]),
            interaction=codec.dataset(tree["interaction"]) if "interaction" in tree else None,
            realism=Estimate.from_fields(tree["realism"]),
        )  # fmt: skip

    def lines(self, threshold: int = 0) -> list[Line]:
        """One line per arm, the largest difference first; arms without numbers come last.

        Parameters
        ----------
        threshold : int
            Number of the threshold.

        Returns
        -------
        list of Line
            Factor, values, difference and its interval, gained and lost rows, p, gates.
        """
        p = [math.nan if a.numbers is None else float(_all(a.numbers, threshold)["p"]) for a in self.arms]
        found = [_line(self, a, float(q), threshold) for a, q in zip(self.arms, holm(p), strict=True)]
        return sorted(found, key=lambda x: (math.isnan(x.difference.value), -_or_zero(x.difference.value)))


def gates_table(
    reference: Sequence[GateResult], arm: Sequence[GateResult], correlation: Mapping[str, float] | None = None
) -> xr.Dataset:
    """Gates of two arms, and the change of their areas.

    Parameters
    ----------
    reference, arm : sequence of GateResult
    correlation : mapping of float, optional
        Gate -> correlation of both areas over draws of the same hosts. Gates that are not in it are taken as
        independent, and the interval of their change is wider than it need be.

    Returns
    -------
    Dataset
        Over ``gate``: verdict_reference, verdict_arm; auc_reference, auc_arm and change with intervals (NaN for gates
        without a fit); ``paired``: whether the change is that of the same hosts.
    """
    sides = [{g.name: g for g in side} for side in (reference, arm)]
    names = list(dict.fromkeys([*sides[0], *sides[1]]))
    dims = ["gate"]
    data: dict[str, Any] = {}
    areas: list[list[Estimate]] = []
    for side, of in zip(("reference", "arm"), sides, strict=True):
        verdicts = [str(of[n].verdict) if n in of else "" for n in names]
        data[f"verdict_{side}"] = (dims, np.array(verdicts, dtype=str))
        areas.append([of[n].area if n in of else NOT_MEASURED for n in names])
    known = correlation or {}
    data["paired"] = (dims, np.array([n in known for n in names], dtype=bool))
    change = [b.less(a, known.get(n, 0.0)) for n, a, b in zip(names, *areas, strict=True)]
    for name, every in (("auc_reference", areas[0]), ("auc_arm", areas[1]), ("change", change)):
        for end in (name, f"{name}_low", f"{name}_high"):
            data[end] = (dims, np.array([e.fields(name)[end] for e in every], dtype=np.float64))
    return xr.Dataset(data, coords={"gate": np.array(names, dtype=str)})


def verdict_changes(gates: xr.Dataset | None) -> Iterator[str]:
    """Gates whose verdict is another in the arm, in words."""
    if gates is not None:
        for name, was, now in zip(
            gates["gate"].values, gates["verdict_reference"].values, gates["verdict_arm"].values, strict=True
        ):
            if was != now:
                yield f"{name}: {was or 'not run'} to {now or 'not run'}"


def _all(numbers: xr.Dataset, threshold: int) -> xr.Dataset:
    return numbers.isel(threshold=threshold, stratum=0)


def _line(sweep: SweepResult, arm: ArmResult, p_holm: float, threshold: int) -> Line:
    changed = list(verdict_changes(arm.gates))
    title = " and ".join(sweep.titles)
    words = "; ".join(changed) if changed else "same" if arm.gates is not None else ""
    if arm.numbers is None:
        nothing = (math.nan, math.nan)
        return Line(
            sweep.name, title, sweep.reference, arm.label, nothing, NOT_MEASURED, NOT_MEASURED, 0, 0, math.nan, words,
            arm.n_rendered, arm.realism, arm.realism_change,
        )  # fmt: skip
    one = _all(arm.numbers, threshold)
    shares = (float(one["recovered_reference"]), float(one["recovered_arm"]))
    return Line(
        sweep.name, title, sweep.reference, arm.label, shares, Estimate.in_dataset(one, "difference"),
        Estimate.in_dataset(one, "score_difference"), int(one["gained"]), int(one["lost"]), p_holm, words,
        arm.n_rendered, arm.realism, arm.realism_change,
    )  # fmt: skip


def _or_zero(value: float) -> float:
    return 0.0 if math.isnan(value) else value
