"""Every format by its name."""

from __future__ import annotations

from lensflow.errors import ExportError, did_you_mean
from lensflow.export.formats.hats import Hats
from lensflow.export.formats.npy import Npy
from lensflow.export.formats.parquet import Parquet
from lensflow.export.formats.tar import WebDataset
from lensflow.export.formats.writer import Writer
from lensflow.export.formats.zarr_index import ZarrIndex

FORMATS: dict[str, type[Writer]] = {w.name: w for w in (ZarrIndex, Npy, Parquet, WebDataset, Hats)}


def writer_of(name: str) -> Writer:
    """Writer of a format.

    Parameters
    ----------
    name : {"zarr", "npy", "parquet", "webdataset", "hats"}

    Raises
    ------
    ExportError
        If there is no such format.
    """
    if name not in FORMATS:
        raise ExportError(f"{name!r} is no format.{did_you_mean(name, FORMATS)} There are {', '.join(FORMATS)}")
    return FORMATS[name]()
