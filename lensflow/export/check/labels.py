"""Check ``labels``: no positive is its own control, no control is anything else.

Within the export by the images themselves: a positive must differ from every control of its host, and the controls of
a host must be one image. That these are the run's, and of the kind that they are said to be, is asked by
:mod:`.roundtrip`.
"""

from __future__ import annotations

import numpy as np

from lensflow.export.check.results import CheckResult, CheckVerdict, Measured
from lensflow.export.check.rows import CONTROL, Facts
from lensflow.stats.estimate import Estimate

NAME = "labels"
# Views whose samples are one image each; in others the control is a part of the sample.
OF_IMAGES = ("single", "pairs")


def judge(facts: Facts) -> CheckResult:
    """Judge positives that equal a control of their host, and controls that differ from their host's others."""
    odd = np.flatnonzero(~np.isin(facts.columns["y"], (0, 1)))
    if len(odd):
        k = int(odd[0])
        why = f"{len(odd):,} labels are neither 0 nor 1, the first is {facts.columns['y'][k]} of {facts.name(k)}"
        return CheckResult(NAME, CheckVerdict.FAIL, why, (_count("labels that are neither 0 nor 1", len(odd)),))
    if why := facts.is_one_class():
        return CheckResult(NAME, CheckVerdict.NOT_TESTED, why)
    view = str(facts.description.get("view", "single"))
    if view not in OF_IMAGES:
        return CheckResult(
            NAME, CheckVerdict.NOT_TESTED, f"view {view}: a sample is not one image that could be a control"
        )
    _, image = np.unique(facts.columns["fingerprint"], axis=0, return_inverse=True)
    image, host, y = image.ravel(), facts.host, facts.y
    is_control = (facts.kind == CONTROL) & ~y
    n_images = int(image.max()) + 1
    place = np.unique(host, return_inverse=True)[1].astype(np.int64)
    known = np.unique(place[is_control])
    key = place * n_images + image
    equal = np.flatnonzero(y & np.isin(key, key[is_control]))
    hosts = np.unique(place[is_control])
    kinds = np.unique(np.unique(key[is_control]) // n_images, return_counts=True)[1]
    differing = hosts[kinds > 1]
    tested = int(np.isin(place[y], known).sum())
    reasons = []
    if len(equal):
        reasons.append(f"{len(equal):,} of {int(y.sum()):,} positives equal the control of their host, the first is "
                       f"{facts.name(equal[0])}: they hold no arc")  # fmt: skip
    if len(differing):
        k = int(np.flatnonzero(is_control & (place == differing[0]))[0])
        reasons.append(f"controls of {len(differing):,} hosts are not one image, the first is that of {facts.name(k)}")
    measured = (
        _count("positives that equal their control", len(equal)),
        _count("hosts whose controls differ", len(differing)),
    )
    if reasons:
        return CheckResult(NAME, CheckVerdict.FAIL, "; ".join(reasons), measured)
    if not tested:
        why = "no positive has a control of its host in the export"
        return CheckResult(NAME, CheckVerdict.NOT_TESTED, why, measured)
    text = (
        f"{tested:,} of {int(y.sum()):,} positives differ from their host's control; {int(is_control.sum()):,} controls"
    )
    text += f" of {len(known):,} hosts are one image each"
    return CheckResult(NAME, CheckVerdict.PASS, text, measured)


def _count(name: str, n: int) -> Measured:
    return Measured(name, Estimate(float(n)), 0.0, CheckVerdict.FAIL if n else CheckVerdict.PASS)
