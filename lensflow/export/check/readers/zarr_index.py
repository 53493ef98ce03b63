"""Reader of zarr exports: a table over the run's own stores, whose pixels are read through the run's view."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from lensflow.errors import ExportError
from lensflow.export.check.parts import Part
from lensflow.export.check.readers.common import Listed, columns_of, texts

TABLE = "index.parquet"


class IndexReader(Listed):
    """``index.parquet``."""

    def __init__(self, out: str, description: Mapping[str, Any], run: Callable[[str], Any]):
        super().__init__(out, description, TABLE)
        self.run = run

    def parts(self) -> Iterator[Part]:
        """Samples by unit of the view; their places are those in the table."""
        with self.open(TABLE) as source:
            columns = columns_of(pq.read_table(source))
        self.require(TABLE, len(columns["sample_id"]))
        for split in np.unique(columns["split"]):
            view = self.run(str(split))
            mine = columns["split"] == split
            for unit in np.unique(columns["unit"][mine]):
                rows = np.flatnonzero(mine & (columns["unit"] == unit))
                read = view.read(int(unit))
                ids, wanted = read["sample_id"], columns["sample_id"][rows]
                order = np.argsort(ids, kind="stable")
                at = np.minimum(np.searchsorted(ids[order], wanted), len(order) - 1)
                if not np.array_equal(ids[order][at], wanted):
                    raise ExportError(f"{TABLE}: lists samples in unit {unit} of {split} that the run's view has not")
                x = read["x"][order[at]]
                some = {n: v[rows] for n, v in columns.items()}
                n, header = len(rows), (f"{x.dtype}{list(x.shape[1:])} of the run",)
                yield Part(
                    0, rows, x, np.full(n, str(x.dtype)), some, texts(n, some), header,
                    np.zeros(n, np.int64), np.full(n, np.nan), {}, single=True,
                )  # fmt: skip
