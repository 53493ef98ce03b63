"""What an export says of real lenses: the verdict of the comparison, or that none was made."""

from __future__ import annotations

from typing import Any

from lensflow.config import RunConfig
from lensflow.errors import ExportError
from lensflow.measure.gate.verdicts import Verdict
from lensflow.measure.realism.verdict import HONEST, decided_again
from lensflow.run.identity import pairs_content
from lensflow.run.realism.stored import stored_realism
from lensflow.store.run_folder import RunFolder

NOT_RUN = "NOT_RUN"
# The worst verdict is the export's.
_WORST_FIRST = (Verdict.ERROR, Verdict.FAIL, Verdict.NOT_TESTABLE, Verdict.INCONCLUSIVE, Verdict.PASS)


def realism_of(config: RunConfig) -> dict[str, Any]:
    """Verdict of the injections against real lenses, as ``export.json`` holds it.

    Parameters
    ----------
    config : RunConfig

    Returns
    -------
    dict
        ``verdict`` (of several tables the worst; ``NOT_RUN`` where none was compared with these pixels), ``reason``,
        ``table``, ``limits``: what a pass does not say. A stored PASS counts only with the run's own settings, and if
        it follows from its own numbers.

    Raises
    ------
    StoreError
        If stored results were edited or damaged.
    """
    content = pairs_content(config)
    found: dict[Verdict, tuple[str, str]] = {}
    for stored in stored_realism(config):
        if stored.pairs == content:
            gate = stored.kept.gates[0]
            verdict, reason = gate.verdict, gate.reason
            # A limit that was loosened for one comparison is not this run's: what it lets pass has not passed.
            if verdict is Verdict.PASS and (other := stored.other_settings(config)):
                named = ", ".join(f"realism.{k}" for k in other)
                verdict, reason = Verdict.NOT_TESTABLE, f"compared with other settings than the run's ({named})"
            elif (
                verdict is Verdict.PASS and (own := decided_again(gate, stored.kept.tables, config.realism)) != verdict
            ):
                verdict, reason = Verdict.ERROR, f"the stored verdict is PASS, and from its own numbers follows {own}"
            found.setdefault(verdict, (reason, stored.kept.table))
    for verdict in _WORST_FIRST:
        if verdict in found:
            reason, table = found[verdict]
            return {"verdict": str(verdict), "reason": reason, "table": _name(table), "limits": HONEST}
    reason = "the injections were not held against real lenses"
    return {"verdict": NOT_RUN, "reason": reason, "table": "", "limits": HONEST}


def refuse_deployment(config: RunConfig) -> None:
    """Refuse to export for deployment what was not found like real lenses.

    Parameters
    ----------
    config : RunConfig
        Its ``export.purpose``.

    Raises
    ------
    ExportError
        If the purpose is ``deploy`` and the verdict is not PASS.
    """
    if config.export.purpose != "deploy":
        return
    found = realism_of(config)
    if found["verdict"] != Verdict.PASS:
        root = RunFolder.of(config).root
        raise ExportError(
            f"{root}: export.purpose: deploy needs realism PASS, and it is {found['verdict']} ({found['reason']}). "
            f"`lensflow realism {root} --real TABLE` compares with real lenses; purpose: search exports without, and "
            "says so."
        )


def _name(place: str) -> str:
    return place.rstrip("/").rpartition("/")[2]
