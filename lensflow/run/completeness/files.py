"""Where the completeness of a scorer is kept in a run's folder."""

from __future__ import annotations

import re
from collections.abc import Mapping

from lensflow.config import RunConfig, fingerprint
from lensflow.store import paths
from lensflow.store.run_folder import RunFolder

# File systems take 255 bytes; the split and the ending follow.
_MOST, _MOST_OF_OPTIONS = 150, 60


def own_name(config: RunConfig, scorer: str) -> str:
    """Name of a scorer: a file in the run's own folder is named from there, so that a run may be moved.

    Parameters
    ----------
    config : RunConfig
    scorer : str
        As given.

    Returns
    -------
    str
    """
    root = RunFolder.of(config).root
    if paths.is_local(scorer) and paths.is_local(root):
        file, folder = paths.local_path(scorer).absolute(), paths.local_path(root).absolute()
        return file.relative_to(folder).as_posix() if file.is_relative_to(folder) else scorer
    return scorer.removeprefix(f"{root}/")


def located(config: RunConfig, scorer: str) -> str:
    """Path of a file that is named from the run's own folder, where there is no such file here.

    Parameters
    ----------
    config : RunConfig
    scorer : str
        Any scorer's name.

    Returns
    -------
    str
        As given where it is no file of the run.
    """
    of_run = RunFolder.of(config).path(scorer)
    is_here = not paths.is_local(scorer) or paths.local_path(scorer).exists()
    return of_run if not is_here and ":" not in scorer and "." in scorer and paths.exists(of_run) else scorer


def results_of(config: RunConfig, scorer: str, ending: str = "json") -> str:
    """URL of the file that keeps the completeness of a scorer: of the run's own settings, or with options in its name.

    Parameters
    ----------
    config : RunConfig
    scorer : str
        Its name; of a table, its path.
    ending : str
        ``json`` for the results, ``zarr`` for the selection function.

    Returns
    -------
    str
    """
    of = config.completeness
    return paths.join(RunFolder.of(config).completeness, f"{_stem(config, scorer)}.{_asked(of.options)}{ending}")


def results_named(config: RunConfig, scorer: str) -> list[str]:
    """Names of all result files of a scorer on ``completeness.split``: the run's own first, then those of options.

    Parameters
    ----------
    config : RunConfig
    scorer : str

    Returns
    -------
    list of str
    """
    stem, every = _stem(config, scorer), paths.list_names(RunFolder.of(config).completeness)
    own = f"{stem}.json"
    return sorted(
        (n for n in every if n == own or (n.startswith(f"{stem}.") and n.endswith(".json"))),
        key=lambda n: (n != own, n),
    )


def _stem(config: RunConfig, scorer: str) -> str:
    name = re.sub(r"[^\w.]+", "-", own_name(config, scorer))
    if len(name.encode()) > _MOST:
        name = f"{name[-60:]}-{fingerprint(scorer)}"
    return f"{name}.{config.completeness.split}"


def _asked(options: Mapping[str, str]) -> str:
    """What options have replaced, for a name: the numbers of another threshold have a file of their own."""
    text = ".".join(re.sub(r"[^\w.-]+", "-", v) if k == "threshold" else _short(v) for k, v in options.items())
    return "" if not text else f"{text if len(text) <= _MOST_OF_OPTIONS else fingerprint(dict(options))}."


def _short(value: str) -> str:
    return value if value.isalpha() else f"negatives-{fingerprint(value)}"
