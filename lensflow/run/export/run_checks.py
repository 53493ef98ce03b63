"""Check an export: read it once, judge it ten times, write ``export_check.json``."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from lensflow._version import __version__
from lensflow.config.place import Place
from lensflow.errors import ExportError
from lensflow.export.check.parts import ExportReader
from lensflow.export.check.readers import open_export
from lensflow.export.check.registry import CHECKS
from lensflow.export.check.results import ExportCheck
from lensflow.export.check.rows import gather
from lensflow.export.formats.folder import run_of, settings_of
from lensflow.stats import codec
from lensflow.store import paths

RESULT = "export_check.json"
VERSION = 1


def check_export(out: str | Path, run: str | Path | None = None, *, write: bool = True, seed: int = 0) -> ExportCheck:
    """Check that an export says the class of a sample by nothing but its pixels.

    Reads what was written as a stranger would, a part at a time. Only ``roundtrip`` asks the run (and an export of
    format zarr, which holds no pixels of its own).

    Parameters
    ----------
    out : str or path
        Folder or URL of an export.
    run : str or path, optional
        Folder of the run, where it is not at the place that ``export.json`` names.
    write : bool
        Write ``export_check.json`` into the export.
    seed : int
        Of bootstraps and of the samples drawn for ``roundtrip``.

    Returns
    -------
    ExportCheck
        Results by name, and the verdict of all.

    Raises
    ------
    ExportError
        If there is no export, or it cannot be read; names file and sample.

    Examples
    --------
    >>> found = lf.check_export("exports/dr9")  # doctest: +SKIP
    >>> found.verdict, found["bits"].reason  # doctest: +SKIP
    """
    place = str(out) if isinstance(out, Place) else Place(str(out))
    begun = time.perf_counter()
    opened: dict[str, Any] = {}

    def view(split: str) -> Any:
        if split not in opened:
            opened[split] = _open_view(str(run or run_of(reader.description, place)), reader.description, split, place)
        return opened[split]

    reader = open_export(place, view)
    found = check_reader(reader, view, seed, str(place))
    found.facts["seconds"] = round(time.perf_counter() - begun, 1)
    if write:
        paths.write_json(paths.join(place, RESULT), to_json(found))
    return found


def check_reader(reader: ExportReader, view: Callable[[str], Any], seed: int = 0, name: str = "export") -> ExportCheck:
    """Check what a reader gives.

    Parameters
    ----------
    reader : ExportReader
    view : callable
        Opens the run's view of a split, or raises ExportError saying why it cannot.
    seed : int
    name : str
        Of the export, for people.

    Returns
    -------
    ExportCheck
    """
    facts = gather(reader, [c.measure for c in CHECKS if c.measure], view, seed)
    results = tuple(c.judge(facts) for c in CHECKS)
    about = {k: reader.description.get(k, "") for k in ("format", "view")}
    n_hosts = len(set(facts.host.tolist()))
    return ExportCheck(name, results, len(facts), n_hosts, {**about, "files": len(reader.files)})


def to_json(found: ExportCheck) -> dict[str, Any]:
    """Content of ``export_check.json``: strict JSON, a NaN is null."""
    tree: dict[str, Any] = codec.encode({"lensflow_export_check": VERSION, "lensflow": __version__, **found.to_dict()})
    return tree


def _open_view(place: str, description: dict[str, Any], split: str, out: str) -> Any:
    from lensflow.run.export.open_view import open_view

    if not place:
        raise ExportError("export.json names no run. Give its folder: --run RUN")
    if not paths.list_names(place):
        raise ExportError(f"no run at {place}. If it has moved, give its folder: --run RUN")
    why = "check of an export that holds the test split" if split == "test" else None
    return open_view(place, split=split, unseal_test=why, **settings_of(description, out))
