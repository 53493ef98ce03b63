"""zarr: no copy of pixels, an index over the run's own stores in the order of an export."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from lensflow.errors import ExportError
from lensflow.export.formats.columns import arrow_table, values_of
from lensflow.export.formats.folder import FileRecord, Folder
from lensflow.export.formats.order import Group, keys_of
from lensflow.export.formats.writer import Planned, Settings, View, Writer

INDEX_TABLE = "index.parquet"


class ZarrIndex(Writer):
    """``index.parquet``: samples, their unit of the view, and their order."""

    name = "zarr"

    def check(self, views: Mapping[str, View], settings: Settings) -> None:
        """Refuse another number format: the pixels are the run's."""
        if settings.dtype != "float32":
            raise ExportError(
                "--format zarr reads the run's own float32 pixels. For float16 choose npy, parquet or webdataset."
            )

    def groups(self, view: View, split: str, settings: Settings) -> list[Group]:
        """No task: nothing is copied."""
        return []

    def finish(
        self,
        folder: Folder,
        planned: Sequence[Planned],
        written: Sequence[FileRecord],
        head: Mapping[str, str],
        settings: Settings,
    ) -> list[FileRecord]:
        """Write the index."""
        every = [Planned(p.split, p.view, super(ZarrIndex, self).groups(p.view, p.split, settings)) for p in planned]
        return [*written, index_of(folder, every, self, head, settings)]


def index_of(
    folder: Folder,
    planned: Sequence[Planned],
    writer: Writer,
    head: Mapping[str, str],
    settings: Settings,
) -> FileRecord:
    """Write a table of all samples in the order of the export.

    Parameters
    ----------
    folder : Folder
    planned : sequence of Planned
        Splits, in order.
    writer : Writer
    head : mapping of str
    settings : Settings

    Returns
    -------
    FileRecord
    """
    tables = []
    for split, view, groups in planned:
        total = view.samples.sizes["sample"]
        shards = sorted(
            ((s, rows) for g in groups for s, rows in writer.samples_of(g, view.samples, settings)),
            key=lambda part: part[0].number,
        )
        for shard, rows in shards:
            table = arrow_table(values_of(view.samples, rows, keys_of(shard, total)), head)
            more = {
                "split": pa.array([split] * len(rows), pa.string()),
                "unit": pa.array(view.samples["unit"].values[rows].astype(np.int32)),
            }
            for name, values in more.items():
                table = table.append_column(name, values)
            tables.append(table)
    joined = pa.concat_tables(tables)
    return folder.add(
        INDEX_TABLE,
        lambda to: pq.write_table(joined, to, compression="zstd", use_dictionary=False, row_group_size=65_536),
        rows=joined.num_rows,
        positives=int(np.sum(joined["y"].to_numpy() > 0)),
    )
