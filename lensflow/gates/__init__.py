"""Gates: can anything but the arc tell stamps from controls?"""

from lensflow.gates.checks import findings_of, run_checks
from lensflow.gates.features import FeatureBlock, Numbers, feature_block
from lensflow.gates.gate import run_gate, run_gates
from lensflow.gates.hosts import join_unpaired, unpaired_rows
from lensflow.gates.logistic import LogisticRegression
from lensflow.gates.machine import choose_hosts
from lensflow.gates.metadata_rows import MetadataRows
from lensflow.gates.verdicts import GateResult, Verdict

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
