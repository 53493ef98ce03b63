"""What a training came to: verdicts, numbers, and where its network is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from html import escape
from typing import Any

import xarray as xr

from lensflow.measure.gate import GateResult, Verdict
from lensflow.measure.scorer.gates import AUROC, CORE_DROP
from lensflow.show.pages import commands
from lensflow.show.training import KeptTraining
from lensflow.training.verdicts import EXPERIENCE, GAP, STRATA, UNEXPLAINED

# Without these nobody should use the network.
BLOCKING = (CORE_DROP, UNEXPLAINED, AUROC, GAP, STRATA)
# With a table of real lenses these too; NOT_TESTABLE (no table, too few) does not stop a training.
REAL_VERDICTS = ("real_lenses", "real_fpr", "gap")


@dataclass(frozen=True, repr=False, eq=False)
class Training:
    """A finished training.

    Attributes
    ----------
    scorer : str
        Path of the network, a scorer for :func:`lensflow.completeness` and ``lensflow score``.
    kept : KeptTraining
        Verdicts, tables and numbers as they are stored.
    path : str
        File that keeps them.
    """

    scorer: str
    kept: KeptTraining
    path: str

    @property
    def gates(self) -> tuple[GateResult, ...]:
        """Verdicts on the network, nulls among them if they were asked for."""
        return self.kept.gates

    @property
    def by_property(self) -> xr.Dataset:
        """AUROC and paired accuracy by SNR, theta_E over PSF size, and host magnitude; dim bin."""
        return self.kept.tables["by_property"]

    @property
    def history(self) -> xr.Dataset:
        """Losses, AUROC on val, learning rate and seconds; dim epoch."""
        return self.kept.tables["history"]

    @property
    def used(self) -> xr.Dataset:
        """Of every gate's view, what the network loses without it; dim view."""
        return self.kept.tables["used"]

    @property
    def numbers(self) -> Mapping[str, Any]:
        """Model, parameters, classes, device, seconds."""
        return self.kept.numbers

    def __getitem__(self, gate: str) -> GateResult:
        """One verdict by its name.

        Parameters
        ----------
        gate : str
            ``synthetic_auroc``, ``core_drop``, ``train_val_gap``, ``arc_free_strata``, ...

        Returns
        -------
        GateResult

        Raises
        ------
        KeyError
            If there is none of this name.
        """
        found = {g.name: g for g in self.gates}
        if gate not in found:
            raise KeyError(f"{gate!r}: the training has {', '.join(found)}")
        return found[gate]

    @property
    def not_passed(self) -> tuple[GateResult, ...]:
        """Blocking verdicts that are not PASS, real lenses that are not found, and nulls that do not hold."""
        return tuple(
            g
            for g in self.gates
            if (g.name in BLOCKING and g.verdict is not Verdict.PASS)
            or (g.name in REAL_VERDICTS and g.verdict not in (Verdict.PASS, Verdict.NOT_TESTABLE))
            or (g.name.startswith("null_") and g.verdict is Verdict.FAIL)
        )

    def __repr__(self) -> str:
        """One line for each verdict."""
        lines = "".join(f"\n  {g.name}: {g.verdict}. {g.reason}" for g in self.gates)
        return f"<Training {self.scorer}>{lines}\n  {EXPERIENCE}"

    def _repr_html_(self) -> str:
        rows = "".join(
            f"<tr><th>{escape(g.name)}</th><td>{escape(str(g.verdict))}</td>"
            f'<td style="text-align: left">{commands(g.reason)}</td></tr>'
            for g in self.gates
        )
        return f"<table><caption>{escape(self.scorer)}</caption>{rows}</table><p>{escape(EXPERIENCE)}.</p>"
