"""The steps of a run: each reads what the one before wrote, does its part on Dask, and can resume."""

from lensflow.steps.certify import certify_step, check_step
from lensflow.steps.compare import compare_step
from lensflow.steps.cut import cut_step, freeze_cutouts
from lensflow.steps.doctor import doctor
from lensflow.steps.inject import inject, inject_step
from lensflow.steps.measure import diagnose_step, gate_step, measure_step
from lensflow.steps.plan import estimate_step, freeze_manifest, plan_step
from lensflow.steps.report import report_step
from lensflow.steps.rerender import rerender
from lensflow.steps.run import RunResults, run
from lensflow.steps.run_folder import RunFolder
from lensflow.steps.score import score_step, stored_scorers
from lensflow.steps.tune_core import tune_core_step
from lensflow.steps.verify import Verification, verify_step
from lensflow.steps.zoo import zoo_step

__all__ = [
    "RunFolder",
    "RunResults",
    "Verification",
    "certify_step",
    "check_step",
    "compare_step",
    "cut_step",
    "diagnose_step",
    "doctor",
    "estimate_step",
    "freeze_cutouts",
    "freeze_manifest",
    "gate_step",
    "inject",
    "inject_step",
    "measure_step",
    "plan_step",
    "report_step",
    "rerender",
    "run",
    "score_step",
    "stored_scorers",
    "tune_core_step",
    "verify_step",
    "zoo_step",
]
