"""Cutting of stamps that come as files: these are read once a run, and regions are measured and written one by one."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import xarray as xr

from lensflow.config import RunConfig
from lensflow.errors import StoreError
from lensflow.run.cut_parts import Part, Parts
from lensflow.run.cut_task import CutTask, write_hosts
from lensflow.run.execute import Stopwatch
from lensflow.store.open import read_head
from lensflow.store.receipts import Receipt
from lensflow.store.regions import Region
from lensflow.store.writing import WRITES
from lensflow.survey.messages import Messages
from lensflow.survey.stamps import read_stamps

# What the files cost is in the receipt of one region alone.
_COSTS = ("seconds_io", "bytes_read", "n_files_opened")


class GivenStamps:
    """Stamps of a config, in the memory of the client from the first use until they are left for the tasks.

    Parameters
    ----------
    config : RunConfig
        With ``survey.stamps``.
    """

    def __init__(self, config: RunConfig):
        self._config, self._messages = config, Messages()
        self._block: xr.Dataset | None = None

    @property
    def block(self) -> xr.Dataset:
        """All stamps, as :func:`lensflow.survey.stamps.read_stamps` reads them.

        Raises
        ------
        SurveyError
        """
        if self._block is None:
            stamps = self._config.survey.stamps
            assert stamps is not None
            self._block = read_stamps(stamps, self._config.bands, self._config.survey, self._messages)
        return self._block

    def leave(self, task: CutTask, todo: Sequence[Region], parts: Parts) -> None:
        """Leave each region's stamps where its task finds them, and forget them."""
        if not todo:
            return
        names = read_head(task.folder.cutouts, "cutouts", names=("host_id",))["host_id"].values.astype(str)
        every = self.block
        where = {name: i for i, name in enumerate(every["host_id"].values.astype(str).tolist())}

        def one(region: Region) -> None:
            mine = names[region.slice].tolist()
            costs = {} if region == todo[0] else dict.fromkeys(_COSTS, 0)
            told = {"messages": self._messages.among(mine).lines(), **costs}
            block = every.isel(host=[where[name] for name in mine]).assign_attrs(told)
            parts.write(region.index, 0, _part_of(block))

        with ThreadPoolExecutor(WRITES) as pool:
            list(pool.map(one, todo))
        self._block = None


class StampTask:
    """Measure the stamps that were left for a region, and write it.

    Parameters
    ----------
    cut : CutTask
    parts : Parts
        Where they were left.
    """

    def __init__(self, cut: CutTask, parts: Parts):
        self.cut, self.parts = cut, parts

    def __call__(self, index: int) -> Receipt:
        """Do region ``index``, the receipt last.

        Raises
        ------
        StoreError
            If the stamps are not there, or are not what was left.
        """
        cut, watch = self.cut, Stopwatch()
        region = cut.regions[index]
        if (finished := cut.finished(region)) is not None:  # by a worker that died afterwards
            return finished
        part = self.parts.read(index, 0)
        if part is None:
            raise StoreError(
                f"{cut.folder.cutouts}: the stamps of region {index} are gone from {self.parts.folder}. Run the same "
                "command again: it reads them again."
            )
        block = _block_of(part)
        del part
        watch.lap("read and decompress")
        receipt = write_hosts(cut.folder, cut.measured(block), region, cut.stamp, watch, cut.guard)
        self.parts.remove(index)
        return receipt


def _part_of(block: xr.Dataset) -> Part:
    arrays = {str(n): v.values.astype(str) if v.dtype.kind in "OT" else v.values for n, v in block.variables.items()}
    dims = {str(n): list(v.dims) for n, v in block.variables.items()}
    return Part(np.arange(block.sizes["host"]), arrays, {"dims": dims, "attrs": block.attrs})


def _block_of(part: Part) -> xr.Dataset:
    dims = part.about["dims"]
    block = xr.Dataset({n: (dims[n], values) for n, values in part.arrays.items()}, attrs=part.about["attrs"])
    return block.set_coords([n for n in block.variables if n == "band"])
