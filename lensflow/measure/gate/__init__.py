"""Gates: can anything but the arc distinguish stamps from controls?"""

from lensflow.measure.gate.features import Features, feature_rows
from lensflow.measure.gate.logistic import LogisticRegression
from lensflow.measure.gate.machine import choose_hosts, chosen_hosts
from lensflow.measure.gate.verdicts import GateResult, Verdict

__all__ = [
    "Features",
    "GateResult",
    "LogisticRegression",
    "Verdict",
    "choose_hosts",
    "chosen_hosts",
    "feature_rows",
]
