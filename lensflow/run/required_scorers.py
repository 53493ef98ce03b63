"""Lens finders whose gates are part of a run's certificate (``scorer.required``)."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from lensflow.config import RunConfig
from lensflow.measure.gate import GateResult
from lensflow.measure.scorer.gates import AUROC, CORE_DROP
from lensflow.run.execute import Progress, silent
from lensflow.run.importable import source_of
from lensflow.run.score import judged, results_of, score_step


def required_gates(config: RunConfig) -> tuple[str, ...]:
    """Names, in a certificate, of the gates that the scorers of ``scorer.required`` must pass."""
    return tuple(scorer_gate(gate, scorer) for scorer in config.scorer.required for gate in (AUROC, CORE_DROP))


def score_required(config: RunConfig, progress: Progress = silent, *, keep: bool = True) -> list[GateResult]:
    """Score the pairs again with every required scorer, under the names of :func:`required_gates`.

    Parameters
    ----------
    config : RunConfig
    progress : callable, optional
    keep : bool
        Replace what is stored of these scorers.

    Raises
    ------
    ConfigError, GateError, StoreError
        As :func:`lensflow.run.score.score_step`.
    """
    out = []
    for scorer in config.scorer.required:
        if keep:
            found = score_step(config, scorer, progress, again=True)
        else:
            here = str(Path.cwd())
            found = judged(config, scorer, here, source_of(scorer, here), progress)
        out += [replace(g, name=scorer_gate(g.name, scorer)) for g in found]
    return out


def scorer_files(config: RunConfig) -> dict[str, str]:
    """Files with the results of the required scorers within the summaries, and the scorer of each."""
    return {f"scorers/{results_of(config, scorer).rpartition('/')[2]}": scorer for scorer in config.scorer.required}


def scorer_gate(gate: str, scorer: str) -> str:
    """Name of a scorer's gate in a certificate, which may hold several scorers."""
    return f"{gate} of {scorer}"
