"""The steps of a run: each reads the previous step's output, runs on Dask, and can resume."""

import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lensflow.run.certify import Checked, certify_step, check_step
    from lensflow.run.compare import compare_step
    from lensflow.run.cut import cut_step, freeze_cutouts
    from lensflow.run.doctor import doctor
    from lensflow.run.inject import inject_step
    from lensflow.run.lazy import inject
    from lensflow.run.make_run import RunResults, make_run
    from lensflow.run.materialise import Materialised, materialise_step
    from lensflow.run.measure import diagnose_step, gate_step, measure_step
    from lensflow.run.open_run import Run, open_run
    from lensflow.run.plan import estimate_step, freeze_manifest, plan_step
    from lensflow.run.report import report_step
    from lensflow.run.rerender import rerender
    from lensflow.run.score import score_step, stored_scorers
    from lensflow.run.tune_core import tune_core_step
    from lensflow.run.verify import Verification, verify_step
    from lensflow.run.zoo import zoo_step

# Name -> module, imported at first use: a command with nothing to do need not wait for all of them.
_MODULES = {
    "Checked": "certify",
    "Materialised": "materialise",
    "Run": "open_run",
    "RunResults": "make_run",
    "Verification": "verify",
    "certify_step": "certify",
    "check_step": "certify",
    "compare_step": "compare",
    "cut_step": "cut",
    "diagnose_step": "measure",
    "doctor": "doctor",
    "estimate_step": "plan",
    "freeze_cutouts": "cut",
    "freeze_manifest": "plan",
    "gate_step": "measure",
    "inject": "lazy",
    "inject_step": "inject",
    "make_run": "make_run",
    "materialise_step": "materialise",
    "measure_step": "measure",
    "open_run": "open_run",
    "plan_step": "plan",
    "report_step": "report",
    "rerender": "rerender",
    "score_step": "score",
    "stored_scorers": "score",
    "tune_core_step": "tune_core",
    "verify_step": "verify",
    "zoo_step": "zoo",
}

__all__ = [
    "Checked",
    "Materialised",
    "Run",
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
    "make_run",
    "materialise_step",
    "measure_step",
    "open_run",
    "plan_step",
    "report_step",
    "rerender",
    "score_step",
    "stored_scorers",
    "tune_core_step",
    "verify_step",
    "zoo_step",
]


class _Steps(ModuleType):
    """This package: its names are its functions, imported at their first use.

    The functions doctor, inject, make_run, open_run and rerender have the names of their modules. Importing such a
    module would replace the function by the module; here it does not.
    """

    def __getattr__(self, name: str) -> Any:
        if name not in _MODULES:
            raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")
        value = getattr(import_module(f"{self.__name__}.{_MODULES[name]}"), name)
        self.__dict__[name] = value
        return value

    def __setattr__(self, name: str, value: Any) -> None:
        if not (name in _MODULES and isinstance(value, ModuleType)):
            super().__setattr__(name, value)

    def __dir__(self) -> list[str]:
        return sorted(__all__)


sys.modules[__name__].__class__ = _Steps
