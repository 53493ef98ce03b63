"""Gates: can anything but the arc tell stamps from controls?"""

from lensflow.gates.core_gate import choose_hosts, core_gate
from lensflow.gates.features import FeatureBlock, concat, core_block
from lensflow.gates.verdicts import GateResult, Verdict

__all__ = ["FeatureBlock", "GateResult", "Verdict", "choose_hosts", "concat", "core_block", "core_gate"]
