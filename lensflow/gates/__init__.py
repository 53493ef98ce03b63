"""Gates: can anything but the arc tell stamps from controls?"""

from lensflow.gates.core import core_gate
from lensflow.gates.features import FeatureBlock, core_block
from lensflow.gates.machine import choose_hosts
from lensflow.gates.verdicts import GateResult, Verdict

__all__ = ["FeatureBlock", "GateResult", "Verdict", "choose_hosts", "core_block", "core_gate"]
