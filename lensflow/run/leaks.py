"""The suite of leaks with the installed code: what detects each, and what a classifier reads of those that pass."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lensflow.config import fingerprint
from lensflow.errors import GateError
from lensflow.measure.zoo.leaks.base import HOSTS, PER_HOST, SEED, SETTINGS, Base, Setting
from lensflow.measure.zoo.leaks.judge import Reading, judge_name
from lensflow.measure.zoo.leaks.kinds import KINDS, Kind
from lensflow.measure.zoo.leaks.required import Required
from lensflow.measure.zoo.leaks.suite import climb, reading_of, settings_of, to_read, with_readings
from lensflow.measure.zoo.leaks.table import LeakTable
from lensflow.run.execute import Progress, run_tasks, silent
from lensflow.store import paths, resume
from lensflow.store.results import keep_results

# Fewer are useless: gates need this many for their folds, and half of them train the judge.
LEAST_HOSTS = 12


def leaks_step(
    hosts: int = HOSTS,
    out: str | None = None,
    progress: Progress = silent,
    *,
    kinds: Sequence[Kind] = KINDS,
    settings: Sequence[Setting] = SETTINGS,
    judge: str = "",
) -> LeakTable:
    """Inject every kind of leak into a sound small run, on its ladder of amplitudes: about ten minutes of work.

    Parameters
    ----------
    hosts : int
        Of the run; each carries 3 injections.
    out : str, optional
        Folder that gets ``leaks.json``.
    progress : callable, optional
    kinds, settings : sequence, optional
        Some of them.
    judge : str
        ``network`` or ``boosted trees``; what is installed without.

    Raises
    ------
    GateError
        If there are too few hosts.
    """
    if hosts < LEAST_HOSTS:
        raise GateError(f"the suite of leaks needs {LEAST_HOSTS} hosts or more, not {hosts}: --hosts {HOSTS}")
    base = Base.make(hosts)
    required = Required(base)
    required.prepare()
    todo: list[tuple[Kind | None, Setting]] = [(None, s) for s in settings]
    todo += [(k, s) for k in kinds for s in settings_of(k, settings)]
    found = dict(run_tasks(_Climb(required, todo), range(len(todo)), "leaks", progress))
    bad = {s.name: list(found[i]) for i, (k, s) in enumerate(todo) if k is None and found[i]}
    rows = [found[i] for i, (k, _) in enumerate(todo) if k is not None]
    wanted = to_read(rows)
    readings = dict(run_tasks(_Read(base, wanted, judge), range(len(wanted)), "judge", progress))
    table = LeakTable(with_readings(rows, readings), judge or judge_name(), hosts, len(base.lit), bad)
    if out is not None:
        keep_results(paths.join(out, "leaks.json"), leaks_key(hosts, table.judge), table.to_dict())
    return table


def leaks_key(hosts: int, judge: str) -> str:
    """Key of a table made by this code."""
    return fingerprint({"hosts": hosts, "per_host": PER_HOST, "seed": SEED, "judge": judge},
                       resume.measuring_code_fingerprint())  # fmt: skip


class _Climb:
    """Find where one kind is detected in one setting; without a kind, what the sound run does not pass."""

    def __init__(self, required: Required, todo: Sequence[tuple[Kind | None, Setting]]):
        self.required, self.todo = required, todo

    def __call__(self, index: int) -> tuple[int, Any]:
        kind, setting = self.todo[index]
        if kind is None:
            return index, self.required.noticed_by(setting, None, 0.0)
        return index, climb(self.required, kind, setting)


class _Read:
    """Let the judge read one leak."""

    def __init__(self, base: Base, wanted: Sequence[tuple[str, float, str]], judge: str):
        self.base, self.wanted, self.judge = base, wanted, judge

    def __call__(self, index: int) -> tuple[tuple[str, float, str], Reading]:
        return self.wanted[index], reading_of(self.base, self.wanted[index], self.judge)
