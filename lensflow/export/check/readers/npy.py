"""Reader of npy exports: one array of all images, read a thousand at a time, and a table of their samples."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from lensflow.errors import ExportError
from lensflow.export.check.parts import Part
from lensflow.export.check.readers.common import ROWS_AT_ONCE, Listed, columns_of, texts

IMAGES, TABLE = "x.npy", "index.parquet"


class NpyReader(Listed):
    """``x.npy`` and ``index.parquet``."""

    def __init__(self, out: str, description: Mapping[str, Any]):
        super().__init__(out, description, IMAGES)

    def parts(self) -> Iterator[Part]:
        """Images in their order."""
        with self.open(TABLE) as source:
            table = pq.read_table(source)
        with self.open(IMAGES) as source:
            version = np.lib.format.read_magic(source)
            read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
            shape, fortran, dtype = read(source)
            if fortran or dtype.hasobject or shape[1:] != self.shape:
                raise ExportError(f"{IMAGES}: {dtype} {shape}, which is not {self.shape} for each sample, in C order")
            if shape[0] != table.num_rows:
                raise ExportError(f"{IMAGES}: {shape[0]:,} images, and {TABLE} has {table.num_rows:,} rows")
            self.require(IMAGES, shape[0])
            size = int(np.prod(shape[1:])) * dtype.itemsize
            header = (f"{dtype}{list(shape[1:])}, C order",)
            for first in range(0, shape[0], ROWS_AT_ONCE):
                some = table.slice(first, ROWS_AT_ONCE)
                n = some.num_rows
                content = source.read(n * size)
                if len(content) < n * size:
                    raise ExportError(f"{IMAGES}: ends within image {first + len(content) // size:,}")
                x = np.frombuffer(content, dtype).reshape(n, *shape[1:])
                columns = columns_of(some)
                yield Part(
                    0, np.arange(first, first + n), x, np.full(n, str(dtype)), columns, texts(n, columns), header,
                    np.zeros(n, np.int64), np.full(n, float(size)), {}, single=True,
                )  # fmt: skip
