"""Gates: can anything but the arc tell stamps from controls?"""

from lensflow.measure.gate.features import FeatureBlock, Numbers, feature_block
from lensflow.measure.gate.gate import run_gate, run_gates
from lensflow.measure.gate.logistic import LogisticRegression
from lensflow.measure.gate.machine import choose_hosts
from lensflow.measure.gate.verdicts import GateResult, Verdict
from lensflow.measure.metadata.checks import findings_of, run_checks
from lensflow.measure.metadata.hosts import join_unpaired, unpaired_rows
from lensflow.measure.metadata.rows import MetadataRows

__all__ = [
    "FeatureBlock",
    "GateResult",
    "LogisticRegression",
    "MetadataRows",
    "Numbers",
    "Verdict",
    "choose_hosts",
    "feature_block",
    "findings_of",
    "join_unpaired",
    "run_checks",
    "run_gate",
    "run_gates",
    "unpaired_rows",
]
