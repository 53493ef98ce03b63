"""The steps of a run: each reads what the one before wrote, does its part on Dask, and can resume."""

from lensflow.steps.certify import certify_step, check_step
from lensflow.steps.cut import cut_step, freeze_cutouts
from lensflow.steps.inject import inject, inject_step
from lensflow.steps.measure import diagnose_step, gate_step, measure_step
from lensflow.steps.plan import freeze_manifest, plan_step
from lensflow.steps.report import report_step
from lensflow.steps.run import RunResults, run
from lensflow.steps.run_folder import RunFolder

__all__ = [
    "RunFolder",
    "RunResults",
    "certify_step",
    "check_step",
    "cut_step",
    "diagnose_step",
    "freeze_cutouts",
    "freeze_manifest",
    "gate_step",
    "inject",
    "inject_step",
    "measure_step",
    "plan_step",
    "report_step",
    "run",
]
