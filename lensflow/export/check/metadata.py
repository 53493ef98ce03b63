"""Check ``metadata``: the metadata gate on the columns that are exported as features."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from lensflow.config import GateConfig
from lensflow.export.check.results import CheckResult, CheckVerdict, Measured
from lensflow.export.check.rows import Facts
from lensflow.measure.gate.recipes import Recipe
from lensflow.measure.gate.verdicts import GateResult, Verdict
from lensflow.measure.metadata.metadata_gate import metadata_gate
from lensflow.measure.metadata.rows import MetadataRows, rows_of
from lensflow.measure.metadata.shares import bits_of
from lensflow.stats.estimate import Estimate

NAME = "metadata"
# Columns that say what a sample is or where it comes from: no features.
NO_FEATURES = ("key", "y", "weight", "negative_kind", "sample_id", "row_id", "pair_id", "host_id", "host_index",
               "split", "unit", "row", "file", "is_clean", "theta_e_arcsec", "snr", "stratum", "object_id")  # fmt: skip


def feature_names(facts: Facts, written: tuple[str, ...]) -> tuple[str, ...]:
    """Columns that are features: those that ``export.json`` declares, else all numbers but ``NO_FEATURES``.

    Parameters
    ----------
    facts : Facts
    written : tuple of str
        Columns of the export's table.
    """
    declared = facts.description.get("features")
    if declared is not None:
        return tuple(n for n in declared if n in written)
    return tuple(n for n in written if n not in NO_FEATURES and facts.columns[n].dtype.kind in "biuf")


def judge(facts: Facts, config: GateConfig | None = None) -> CheckResult:
    """Judge the columns as the gate ``metadata_all`` does.

    Of a kind of negatives whose weight on each host is in one proportion to that of the positives there, columns that
    are the same for all samples of a host say nothing: the area is 0.5 by proof. Of other kinds the gate is fitted.
    The area of all is the mean over kinds by weight, which is what a network meets; a kind of which there are too few
    to fit counts with all that it could be.
    """
    if why := facts.is_one_class():
        return CheckResult(NAME, CheckVerdict.NOT_TESTED, why)
    names = feature_names(facts, facts.written)
    if not names:
        return CheckResult(NAME, CheckVerdict.NOT_TESTED, "no column is exported as a feature")
    total, low, high, words = 0.0, 0.0, 0.0, []
    settings = config or GateConfig()
    for kind in by_kind(facts, names, settings):
        found, share = kind.area, kind.share
        if not found.is_measured:
            return CheckResult(NAME, CheckVerdict.INCONCLUSIVE, f"{', '.join(names)}: {kind.name}: {kind.reason}")
        total, low, high = total + share * found.value, low + share * found.low, high + share * found.high
        words.append(f"{kind.name} ({share:.0%} of the weight): {kind.reason}")
    limit = settings.threshold_of("metadata_all")
    area = Estimate(total, low, high, len(np.unique(facts.host)))
    verdict = CheckVerdict.FAIL if low > limit else CheckVerdict.PASS if high <= limit else CheckVerdict.INCONCLUSIVE
    reason = f"{', '.join(names)}: AUC {area:.3f}; {'; '.join(words)}"
    reason += ". More hosts would decide" if verdict is CheckVerdict.INCONCLUSIVE else ""
    return CheckResult(NAME, verdict, reason, (Measured("AUC of the metadata", area, limit, verdict),))


class OfKind(NamedTuple):
    """What features say of one kind of negatives.

    Attributes
    ----------
    name : str
    share : float
        Of the negatives' weight.
    area : Estimate
        Against the positives: 0.5 by proof, all that it could be (0 to 1) where there are too few, not measured where
        the gate is an error.
    reason : str
    """

    name: str
    share: float
    area: Estimate
    reason: str


def by_kind(facts: Facts, names: tuple[str, ...], config: GateConfig) -> list[OfKind]:
    """Hold every kind of negatives against the positives by columns that are features.

    Parameters
    ----------
    facts : Facts
        Of both classes.
    names : tuple of str
        Columns.
    config : GateConfig

    Returns
    -------
    list of OfKind
    """
    values = np.stack([facts.columns[n].astype(np.float64) for n in names], axis=1)
    weight, kinds = facts.weight, facts.kind
    every, out = float(weight[~facts.y].sum()), []
    for name in np.unique(kinds[~facts.y]).tolist():
        negative = ~facts.y & (kinds == name)
        if _is_balanced(facts, values, negative):
            found, text = Estimate(0.5, 0.5, 0.5), "0.5 by proof: on every host in the proportion of its positives"
        else:
            gate = _gate(facts, names, values, facts.y | negative, config)
            found, text = gate.area, f"{gate.area:.3f}" if gate.area.is_measured else gate.reason
            if not found.is_measured and gate.verdict is Verdict.NOT_TESTABLE:
                found = Estimate(0.5, 0.0, 1.0)
        out.append(OfKind(name, float(weight[negative].sum()) / every, found, text))
    return out


def _gate(
    facts: Facts, names: tuple[str, ...], values: NDArray[np.float64], some: NDArray[np.bool_], config: GateConfig
) -> GateResult:
    """The gate on some samples, each counted once."""
    split = np.unique(facts.columns["split"], return_inverse=True)[1]
    host = np.unique(facts.host, return_inverse=True)[1]
    rows = rows_of([(n, "") for n in names], values[some], host[some], ~facts.y[some], split[some])
    return metadata_gate(MetadataRows.of(rows), Recipe("metadata_all", NAME, "raw", ()), config, (), facts.seed)


def _is_balanced(facts: Facts, values: NDArray[np.float64], negative: NDArray[np.bool_]) -> bool:
    """Whether columns are one per host, and this kind's weight there is in one proportion to the positives'."""
    some = facts.y | negative
    _, host = np.unique(facts.host[some], return_inverse=True)
    first = np.unique(host, return_index=True)[1]
    if not (bits_of(values[some]) == bits_of(values[some][first])[host]).all():
        return False
    of = [np.bincount(host, weights=np.where(c[some], facts.weight[some], 0.0)) for c in (facts.y, negative)]
    ratio = of[1].sum() / of[0].sum() if of[0].sum() > 0 else 0.0
    return bool(ratio > 0 and np.allclose(of[1], ratio * of[0], rtol=1e-4, atol=1e-9))
