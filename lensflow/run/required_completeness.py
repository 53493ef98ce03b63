"""Completeness as part of a run's certificate: ``completeness.require``, of the scorer that the config names."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from lensflow.config import RunConfig
from lensflow.errors import ConfigError
from lensflow.measure.completeness.required import GATE
from lensflow.measure.gate import GateResult
from lensflow.run.completeness.files import results_of
from lensflow.run.completeness.step import completeness_step
from lensflow.run.execute import Progress, silent
from lensflow.run.required_scorers import scorer_gate


def completeness_gates(config: RunConfig) -> tuple[str, ...]:
    """Name, in a certificate, of the gate on the completeness; none where nothing is required.

    Raises
    ------
    ConfigError
        If something is required and no scorer is named: a certificate must not pass over it.
    """
    return tuple(scorer_gate(GATE, scorer) for scorer in _scorers(config))


def completeness_files(config: RunConfig) -> dict[str, str]:
    """File with the results within the summaries, and the scorer; none where nothing is required."""
    return {f"completeness/{results_of(config, s).rpartition('/')[2]}": s for s in _scorers(config)}


def selection_files(config: RunConfig) -> tuple[str, ...]:
    """Store of the selection function within the summaries, beside those results."""
    return tuple(f"{name.removesuffix('.json')}.zarr" for name in completeness_files(config))


def completeness_required(
    config: RunConfig, gates: Sequence[GateResult], progress: Progress = silent, *, keep: bool = True
) -> list[GateResult]:
    """Score and judge again, whatever is stored, under the name of :func:`completeness_gates`.

    Parameters
    ----------
    config : RunConfig
    gates : sequence of GateResult
        Of the data, just measured.
    progress : callable, optional
    keep : bool
        Replace what is stored of this scorer.

    Returns
    -------
    list of GateResult

    Raises
    ------
    ConfigError, CompletenessError, StoreError
        As :func:`lensflow.run.completeness.completeness_step`.
    """
    out = []
    for scorer in _scorers(config):
        found = completeness_step(config, scorer, progress, gates=gates, again=True, keep=keep)
        assert found.gate is not None  # something is required
        out.append(replace(found.gate, name=scorer_gate(GATE, scorer)))
    return out


def _scorers(config: RunConfig) -> tuple[str, ...]:
    if not config.completeness.require:
        return ()
    if config.completeness.scorer is None:
        raise ConfigError(
            "completeness.require: of which scorer? Name it in completeness.scorer (package.module:name), or leave "
            "completeness.require out of what is certified"
        )
    return (config.completeness.scorer,)
