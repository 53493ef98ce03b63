"""Gates: can anything but the arc distinguish stamps from controls?"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lensflow.measure.gate.features import Features, feature_rows
    from lensflow.measure.gate.logistic import LogisticRegression
    from lensflow.measure.gate.machine import choose_hosts, chosen_hosts
    from lensflow.measure.gate.verdicts import GateResult, Verdict

# Name -> module, imported at first use: who takes rows for the gates, or reads verdicts, needs no scikit-learn.
_MODULES = {
    "Features": "features",
    "GateResult": "verdicts",
    "LogisticRegression": "logistic",
    "Verdict": "verdicts",
    "choose_hosts": "machine",
    "chosen_hosts": "machine",
    "feature_rows": "features",
}

__all__ = [
    "Features",
    "GateResult",
    "LogisticRegression",
    "Verdict",
    "choose_hosts",
    "chosen_hosts",
    "feature_rows",
]


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
