"""Did the data pass its own gates? The completeness of leaky data is the leak's."""

from __future__ import annotations

from collections.abc import Sequence

from lensflow.config import RunConfig
from lensflow.measure.gate.verdicts import GateResult, Verdict
from lensflow.run.certificate import overall
from lensflow.run.identity import pairs_content, stored_key
from lensflow.store.results import current_results
from lensflow.store.run_folder import RunFolder


def data_gates(config: RunConfig, gates: Sequence[GateResult] | None = None) -> str:
    """Say what is wrong with the required gates of the data.

    Parameters
    ----------
    config : RunConfig
        With ``completeness.require_data_gates`` false nothing is asked of them.
    gates : sequence of GateResult, optional
        Just measured. By default those that are stored of these pixels and settings, by this installation's code.

    Returns
    -------
    str
        Empty if all of them passed.
    """
    if not config.completeness.require_data_gates:
        return ""
    if gates is None:
        folder = RunFolder.of(config)
        stored = current_results(folder.gates, stored_key(config, "gates", pairs_content(config)))
        if stored is None:
            return (
                "the gates of the data were not measured of these pixels and settings by this installation: "
                f"`lensflow gate {folder.root}` does it (completeness.require_data_gates)"
            )
        gates = [GateResult.from_dict(g) for g in stored]
    verdict, reason = overall(gates, config.must_pass, config.gate.accept_explained)
    if verdict is Verdict.PASS:
        return ""
    return f"the data's own gates are {verdict}, so a completeness is the leak's as well: {reason}"
