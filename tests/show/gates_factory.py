"""Gate results as they come back from a run's JSON, without a run."""

import json

from lensflow.measure.gate import GateResult, Verdict
from lensflow.stats.estimate import Estimate


def check(name: str, verdict: Verdict, reason: str, *found: tuple[str, str, float | None, float | None]) -> GateResult:
    """Gate without a fit; ``found``: compared, status, value, expected."""
    findings = tuple(
        {"diagnostic": name, "check": what, "status": status, "where": "r", "value": value, "low": None, "high": None,
         "expected": expected, "text": f"about {what}", "units": "pixel"}
        for what, status, value, expected in found
    )  # fmt: skip
    made = GateResult(name, {"check": "all is well"}, "hash", float("nan"), verdict, reason, 2100, 350)
    return GateResult.from_dict({**json.loads(made.to_json()), "findings": list(findings)})


def fitted(name: str, verdict: Verdict, auc: float) -> GateResult:
    """Gate with an area and its interval."""
    recipe = {"features": "means", "bands": ["r"]}
    return GateResult(
        name, recipe, "hash", 0.65, verdict, "as measured", 2100, 350, Estimate(auc, auc - 0.02, auc + 0.02)
    )


ONE_OF_EACH = (
    fitted("core_r", Verdict.FAIL, 0.85),
    check("splits", Verdict.PASS, "381 hosts in one split each", ("hosts", "OK", 381.0, None)),
    check(
        "balance", Verdict.FAIL, "means differ", ("means", "ALARM", 0.5, 0.0), ("missing", "NOT_TESTED", None, None)
    ),
    check("localisation", Verdict.NOT_TESTABLE, "the diagnostic was not run."),
)  # fmt: skip
