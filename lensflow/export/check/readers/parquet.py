"""Reader of parquet exports, a row group at a time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from lensflow.export.check.parts import Part
from lensflow.export.check.readers.common import Listed, columns_of, images_of, texts


class ParquetReader(Listed):
    """``data/SPLIT-00000-of-00012.parquet``: a column ``x`` of flat images."""

    def __init__(self, out: str, description: Mapping[str, Any]):
        super().__init__(out, description, ".parquet")

    def parts(self) -> Iterator[Part]:
        """Row groups of all files."""
        for k, file in enumerate(self.files):
            first = 0
            with self.open(file.name) as source:
                parquet = pq.ParquetFile(source)
                for g in range(parquet.num_row_groups):
                    table = parquet.read_row_group(g)
                    yield self._part(k, first, table, parquet.metadata.row_group(g))
                    first += table.num_rows
            self.require(file.name, first)

    def pixels(self, table: pa.Table, name: str) -> NDArray[Any]:
        """Images of a table."""
        x = table["x"].combine_chunks()
        flat = (x.chunk(0) if isinstance(x, pa.ChunkedArray) else x).flatten().to_numpy(zero_copy_only=False)
        return images_of(flat, table.num_rows, self.shape, name)

    def plain(self, table: pa.Table) -> pa.Table:
        """The other columns, under the names that all formats have."""
        return table.drop_columns(["x"])

    def _part(self, k: int, first: int, table: pa.Table, group: Any) -> Part:
        n, file = table.num_rows, self.files[k]
        x = self.pixels(table, file.name)
        columns = columns_of(self.plain(table), file.split)
        chunks = [group.column(c) for c in range(group.num_columns)]
        stored = sorted({f"{c.path_in_schema}: {c.physical_type} {c.compression} {c.encodings}" for c in chunks})
        size = sum(c.total_compressed_size for c in chunks) / n
        return Part(
            k, np.arange(first, first + n), x, np.full(n, str(x.dtype)), columns, texts(n, columns),
            (f"{x.dtype}{list(x.shape[1:])}; " + "; ".join(stored),), np.zeros(n, np.int64), np.full(n, size), {},
            single=False,
        )  # fmt: skip
