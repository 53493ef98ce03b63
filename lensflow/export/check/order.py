"""Check ``order``: does the place of a sample in the export say its class?"""

from __future__ import annotations

import numpy as np

from lensflow.export.check.results import CheckResult, CheckVerdict, Measured, worst
from lensflow.export.check.rows import Facts
from lensflow.export.check.statistics import (
    MIN_P,
    area,
    association,
    probability,
    rank_test,
    rank_test_by_host,
    runs_test,
)

NAME = "order"


def judge(facts: Facts) -> CheckResult:
    """Judge the order of samples, by all tests together at ``MIN_P`` (Bonferroni).

    Stamps and controls of a host must lie in any order, hosts in any order within a split, and files must hold the
    classes in proportion. Also the ids, whose order or last digit must not know the class.
    """
    if why := facts.is_one_class():
        return CheckResult(NAME, CheckVerdict.NOT_TESTED, why)
    y, host, split = facts.y, facts.host, facts.columns["split"]
    file, row = facts.columns["file"], facts.columns["row"]
    place = np.arange(len(y))
    ids = {n: facts.columns[n].astype(np.uint64) for n in ("sample_id",)}
    tests = {
        "place among all samples, within hosts": rank_test(y, place, host),
        "place among all samples, between hosts": rank_test_by_host(y, place, split, host),
        "place within the file": rank_test_by_host(y, row, file, host),
        "number of the file": rank_test_by_host(y, file, split, host),
        "classes' shares by file": association(y, file, host, split),
        "runs of one class": runs_test(y, file, host, facts.seed),
        **{f"order of {n}, within hosts": rank_test(y, v, host) for n, v in ids.items()},
        **{f"order of {n}, between hosts": rank_test_by_host(y, v, split, host) for n, v in ids.items()},
        **{f"last digit of {n}": association(y, v % np.uint64(10), host, split) for n, v in ids.items()},
    }
    measured = [probability(name, p, len(tests)) for name, p in tests.items()]
    shown = []
    for name, score in (("place", place), ("place within the file", row), ("number of the file", file)):
        found = area(f"AUC of the {name}", y, score, host, np.ones(len(y)), facts.seed).found
        # Judged by the tests above, which need no limit of their own.
        shown.append(Measured(f"AUC of the {name}", found, np.nan, CheckVerdict.PASS))
    lowest = min(measured, key=lambda m: m.found.value)
    verdict = worst(tuple(m.verdict for m in measured))
    if verdict is CheckVerdict.FAIL:
        bad = "; ".join(f"{m.name}: p = {m.found.value:.1g}" for m in measured if m.verdict is CheckVerdict.FAIL)
        reason = f"the place of a sample tells its class: {bad}. Write the samples in an order that a key decides"
    else:
        reason = f"{len(tests)} tests, lowest p = {lowest.found.value:.2g} ({lowest.name}); fails below {MIN_P:g}"
    return CheckResult(NAME, verdict, reason, (*measured, *shown))
