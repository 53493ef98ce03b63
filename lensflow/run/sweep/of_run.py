"""A sweep in a notebook: of a run by its path, opened, or by its config."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lensflow.config import RunConfig
from lensflow.measure.realism.sweep.result import SweepResult
from lensflow.run.completeness.settings import with_options
from lensflow.run.execute import Progress, silent
from lensflow.run.open_run import Run, open_run
from lensflow.run.sweep.step import sweep_step


def sweep(
    run: str | Path | Run | RunConfig,
    factors: str | Sequence[str] | Mapping[str, Sequence[Any]],
    scorer: Any = None,
    *,
    interaction: bool = False,
    fpr: float | Sequence[float] | None = None,
    value: float | None = None,
    split: str | None = None,
    gates: bool = True,
    unseal_test: str | None = None,
    progress: Progress = silent,
) -> SweepResult:
    """Change exactly one factor of a run, prove that nothing else changed, and say what that moves.

    The run is cut and planned once. Each arm is an ordinary run below ``sweeps`` in its folder, with the same rows,
    hosts and random numbers; those that change noise or rounding alone read stored arcs and render nothing. Before any
    number every array that is declared equal is compared by hash over all rows. A call that was stopped continues.

    Parameters
    ----------
    run : str, path, Run or RunConfig
        Folder of a run, or a config: what of it is not cut and planned yet is done first.
    factors : str, sequence of str, or mapping
        ``"injection.noise=true,false"`` or ``{"injection.noise": [True, False]}``; the first value is the reference,
        one alone is compared with the run's own. ``"none"``: the null arm alone.
    scorer : str or object, optional
        As for :func:`lensflow.completeness`; by default ``completeness.scorer``. Without any nothing is counted.
    interaction : bool
        Cross two factors of two values each.
    fpr : float or sequence of float, optional
        False-positive rates that set each arm's threshold; replaces ``completeness.threshold``.
    value : float, optional
        Score from which on a row is recovered; replaces ``completeness.threshold``.
    split : {"val", "test"}, optional
        Replaces ``completeness.split``.
    gates : bool
        Whether the gates of every arm are run.
    unseal_test : str, optional
        Why the test split is opened; logged beside every arm's store.
    progress : callable, optional
        Called with stage, tasks done and tasks in all.

    Returns
    -------
    SweepResult
        One value per arm: proof, numbers in all strata, gates; ``lines()`` has one line each.

    Raises
    ------
    ConfigError
        If a factor is unknown (names the nearest), or two are given without ``interaction``.
    RealismError
        If an arm differs in more than its factor, or the null arm from the reference.

    Examples
    --------
    >>> found = lf.sweep("runs/dr9", "injection.noise=true,false", "my_models:finder", fpr=1e-2)
    >>> found.arms[0].numbers["difference"].sel(threshold=0)
    """
    config = run if isinstance(run, RunConfig) else (run if isinstance(run, Run) else open_run(run)).config
    config = with_options(config, fpr=fpr, value=value, split=split)
    return sweep_step(config, factors, scorer, progress, crossed=interaction, gates=gates, unseal_test=unseal_test)
