"""Readers of exports, one for each format: they know its library and ``export.json``, and nothing of the run."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from lensflow.config.export import FORMATS
from lensflow.errors import ExportError, StoreError, did_you_mean
from lensflow.export.check.parts import ExportReader
from lensflow.export.formats.folder import INDEX
from lensflow.store import paths

NEEDED = ("format", "shape", "files")


def open_export(out: str, run: Callable[[str], Any]) -> ExportReader:
    """Open an export for reading.

    Parameters
    ----------
    out : str
        Path or URL of its folder.
    run : callable
        Opens the run's view of a split: the format ``zarr`` holds no pixels of its own.

    Returns
    -------
    ExportReader

    Raises
    ------
    ExportError
        If there is no export, or its ``export.json`` lacks what a reader needs.
    """
    from lensflow.export.check.readers.npy import NpyReader
    from lensflow.export.check.readers.parquet import ParquetReader
    from lensflow.export.check.readers.tar import TarReader
    from lensflow.export.check.readers.zarr_index import IndexReader

    place = paths.join(out, INDEX)
    try:
        description = paths.read_json(place)
    except StoreError as error:
        raise ExportError(f"{out}: no export that is finished ({error})") from error
    missing = [n for n in NEEDED if n not in description] if isinstance(description, dict) else list(NEEDED)
    if missing:
        raise ExportError(f"{place}: has no {', '.join(missing)}: not the record of an export. Export the run again.")
    name = description["format"]
    if name == "zarr":
        return IndexReader(out, description, run)
    if name == "hats":
        from lensflow.export.check.readers.hats import HatsReader

        return HatsReader(out, description)
    if name == "parquet":
        return ParquetReader(out, description)
    if name == "npy":
        return NpyReader(out, description)
    if name == "webdataset":
        return TarReader(out, description)
    raise ExportError(f"{place}: format {name!r} cannot be checked.{did_you_mean(str(name), FORMATS)}")
