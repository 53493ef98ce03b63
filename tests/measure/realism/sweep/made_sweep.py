"""A sweep's result with known numbers, for tests of what is kept and shown."""

from __future__ import annotations

import numpy as np

from lensflow.measure.gate.verdicts import GateResult, Verdict
from lensflow.measure.realism.sweep.numbers import Scored, Stratum, against_reference
from lensflow.measure.realism.sweep.proof import Compared, Proof
from lensflow.measure.realism.sweep.result import ArmResult, SweepResult, gates_table
from lensflow.stats.estimate import Estimate


def gate(verdict: str, auc: float) -> GateResult:
    area = Estimate(auc, auc - 0.05, auc + 0.05, 40)
    return GateResult(
        name="core_all", verdict=Verdict(verdict), recipe={}, recipe_hash="", area=area, threshold=0.65, n_rows=240,
        n_hosts=40, reason="",
    )  # fmt: skip


def proof_of(*differing: str) -> Proof:
    roles = {"theta_e_arcsec": "equal", "src_n": "owned", "arc": "free", "stamp": "free", "ctrl": "equal"}
    return Proof(
        {n: Compared(r, 2**127 + 5, 2**127 + (6 if n in differing else 5), 240, 200 if n in differing else 0)
         for n, r in roles.items()}
    )  # fmt: skip


def made_sweep(name: str = "plan.src_n", effects: tuple[float, ...] = (0.05, 0.4), counted: bool = True) -> SweepResult:
    """Forty hosts of six rows, half of them recovered; an arm for each share of the others that it gains."""
    rng = np.random.default_rng(0)
    hosts = np.repeat(np.arange(40), 6)
    a = np.arange(240) % 2 == 0
    strata = {"src_mag_r": Stratum(["[20, 22)", "[22, 24)"], np.arange(240) % 3 // 2)}
    arms = []
    for k, effect in enumerate(effects):
        b = a | (rng.uniform(size=240) < effect)
        one, other = (Scored(np.atleast_2d(v), v.astype(float), np.ones(240, bool)) for v in (a, b))
        gates = gates_table([gate("PASS", 0.55)], [gate("FAIL" if effect > 0.3 else "PASS", 0.55 + effect)])
        arms.append(
            ArmResult(
                f"{k + 2}", {name: k + 2}, f"runs/x/sweeps/{name}/{k + 2}", (name,), 280, 280,
                proof_of("src_n", "arc", "stamp").result(),
                against_reference(one, other, hosts, strata) if counted else None, gates if counted else None,
            )
        )  # fmt: skip
    null = ArmResult("null-of-1", {name: 1}, "runs/x/null", (), 280, 280, proof_of().result())
    of = {"scorer": "blue_ring", "split": "val", "thresholds": ("false-positive rate 0.1, tau 2.5",)} if counted else {}
    return SweepResult(name, (name,), "runs/x", "1", tuple(arms), null, **of)
