"""Parquet: one row per sample, the image as a fixed-size list.

Not the Arrow extension type fixed_shape_tensor, which ``datasets`` does not read.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from lensflow.export.formats.columns import arrow_table
from lensflow.export.formats.order import Shard
from lensflow.export.formats.writer import Settings, Writer

ROWS_OF_A_GROUP = 256


class Parquet(Writer):
    """``data/SPLIT-00000-of-00012.parquet``."""

    name = "parquet"

    def path(self, shard: Shard) -> str:
        """Path of a file below the export."""
        return f"data/{shard.split}-{shard.number:05d}-of-{shard.of:05d}.parquet"

    def write(
        self, to: Path, shard: Shard, x: NDArray, values: Mapping[str, Any], head: Mapping[str, str], settings: Settings
    ) -> None:
        """Write one file."""
        shape = list(x.shape[1:])
        images = pa.FixedSizeListArray.from_arrays(pa.array(np.ascontiguousarray(x).ravel()), int(np.prod(shape)))
        about = {"shape": json.dumps(shape), "meaning": "image, C order; reshape(-1, *shape)"}
        table = arrow_table(values, head).append_column(pa.field("x", images.type, metadata=about), images)
        # Row groups of one size, in the permuted order: no group and no page is of one class.
        pq.write_table(
            table, to, compression="zstd", compression_level=3, row_group_size=ROWS_OF_A_GROUP,
            use_dictionary=False, write_statistics=[c for c in table.column_names if c != "x"],
        )  # fmt: skip
