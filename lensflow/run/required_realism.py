"""The comparison with real lenses as part of a run's certificate: ``realism.required``."""

from __future__ import annotations

from lensflow.config import RunConfig
from lensflow.errors import ConfigError
from lensflow.measure.gate import GateResult
from lensflow.measure.realism.verdict import NAME
from lensflow.run.execute import Progress, silent
from lensflow.run.realism.files import results_of
from lensflow.run.realism.step import realism_step


def realism_gates(config: RunConfig) -> tuple[str, ...]:
    """Name of the verdict in a certificate; none where it is not required.

    Raises
    ------
    ConfigError
        If it is required and no table of real lenses is named: a certificate must not pass over it.
    """
    return (NAME,) if _table(config) is not None else ()


def realism_files(config: RunConfig) -> tuple[str, ...]:
    """File with the results within the summaries; none where it is not required."""
    table = _table(config)
    return () if table is None else (f"realism/{results_of(config, table).rpartition('/')[2]}",)


def realism_required(config: RunConfig, progress: Progress = silent, *, keep: bool = True) -> list[GateResult]:
    """Compare again, whatever is stored.

    Parameters
    ----------
    config : RunConfig
    progress : callable, optional
    keep : bool
        Replace what is stored.

    Raises
    ------
    ConfigError, TargetError, RealismError, StoreError
        As :func:`lensflow.run.realism.step.realism_step`.
    """
    if _table(config) is None:
        return []
    return [realism_step(config, None, None, progress, again=True, keep=keep).gate]


def _table(config: RunConfig) -> str | None:
    if not config.realism.required:
        return None
    if config.realism.table is None:
        raise ConfigError(
            "realism.required: with which real lenses? Name their table in realism.table, or leave realism.required out"
        )
    return config.realism.table
