"""Check ``roundtrip``: samples drawn from the export equal the run's, through the same view, bit for bit."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lensflow import rng
from lensflow.config.export import NEGATIVE_KINDS
from lensflow.errors import LensflowError
from lensflow.export.check.parts import Part
from lensflow.export.check.results import CheckResult, CheckVerdict, Measured
from lensflow.export.check.rows import POSITIVE, Facts, fingerprints
from lensflow.stats.estimate import Estimate

NAME = "roundtrip"
N_SAMPLES = 256
# Columns that must be the run's, too.
COLUMNS = ("y", "negative_kind", "row_id", "host_index", "weight")
_KINDS = (*NEGATIVE_KINDS, POSITIVE)


def measure(part: Part, description: Mapping[str, Any]) -> dict[str, NDArray[Any]]:
    """Type in which each image is stored; its pixels are known by their fingerprint (:mod:`.duplicates`)."""
    return {"dtype": part.dtypes.astype("<U8")}


def judge(facts: Facts) -> CheckResult:
    """Judge drawn samples: pixels, label, row, host and weight must be the run's.

    A sample that is stored in another type than the run's single precision is compared after the same conversion.
    """
    ids = facts.columns["sample_id"]
    drawn = np.argsort(rng.uniform(facts.seed, ids.astype(np.uint64), "export.check.roundtrip")[:, 0], kind="stable")
    drawn = drawn[:N_SAMPLES]
    bad: list[tuple[int, str]] = []
    try:
        for split in np.unique(facts.columns["split"][drawn]):
            bad += _compared(facts, facts.run(str(split)), drawn[facts.columns["split"][drawn] == split])
    except LensflowError as error:
        return CheckResult(NAME, CheckVerdict.NOT_TESTED, f"the run cannot be read: {error}")
    verdict = CheckVerdict.FAIL if bad else CheckVerdict.PASS
    measured = (Measured("drawn samples that differ", Estimate(float(len(bad))), 0.0, verdict),)
    if bad:
        k, what = bad[0]
        text = f"{len(bad):,} of {len(drawn):,} samples drawn are not the run's, the first is {facts.name(k)}: {what}"
        return CheckResult(NAME, verdict, text, measured)
    return CheckResult(NAME, verdict, f"{len(drawn):,} samples drawn are the run's, bit for bit", measured)


def _compared(facts: Facts, view: Any, drawn: NDArray[np.int64]) -> list[tuple[int, str]]:
    """Those of the drawn samples that differ from the view's, and how."""
    samples = view.samples
    known = samples["sample_id"].values
    order = np.argsort(known, kind="stable")
    ids = facts.columns["sample_id"][drawn].astype(known.dtype)
    at = order[np.minimum(np.searchsorted(known[order], ids), len(known) - 1)] if len(known) else np.zeros(0, np.int64)
    here = known[at] == ids if len(known) else np.zeros(len(drawn), bool)
    bad = [(int(k), "the run's view has no such sample") for k in drawn[~here]]
    drawn, at = drawn[here], at[here]
    unit = samples["unit"].values
    for one in np.unique(unit[at]):
        of_unit = np.flatnonzero(unit == one)
        read = view.read(int(one))
        x = read["x"]
        for k, row in zip(drawn[unit[at] == one], at[unit[at] == one], strict=True):
            image = x[int(np.searchsorted(of_unit, row))][None]
            dtype = str(facts.columns["dtype"][k])
            if not np.array_equal(fingerprints(image.astype(dtype))[0], facts.columns["fingerprint"][k]):
                bad.append((int(k), "its pixels differ"))
                continue
            for name in COLUMNS:
                if name not in facts.columns or name not in samples:
                    continue
                mine, theirs = facts.columns[name][k], samples[name].values[row]
                if name == "negative_kind":
                    theirs = _KINDS[int(theirs)] if np.issubdtype(type(theirs), np.integer) else theirs
                both_missing = mine != mine and theirs != theirs
                if mine != theirs and not both_missing:
                    bad.append((int(k), f"{name} is {mine} in the export and {theirs} in the run"))
                    break
    return bad
