"""Tasks of cutting: one region by itself, and a strip of sky whose hosts stand in several regions."""

from __future__ import annotations

from functools import cached_property

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from lensflow import schema
from lensflow.config import RunConfig
from lensflow.errors import StoreError
from lensflow.run.cut_parts import Part, Parts
from lensflow.run.execute import Stopwatch, peak_rss_mb
from lensflow.run.sources import bricks_along_sky, survey_layout
from lensflow.run.strips import Strips
from lensflow.schema import Reason, Status
from lensflow.store import objects, receipts, writing
from lensflow.store.open import read_head
from lensflow.store.receipts import Receipt
from lensflow.store.regions import Region, Regions
from lensflow.store.run_folder import RunFolder
from lensflow.survey.ahead import bricks_ahead
from lensflow.survey.bricks import Brick
from lensflow.survey.contradictions import contradictions
from lensflow.survey.cutouts import HostBlock, cut_block
from lensflow.survey.photometry import with_measurements
from lensflow.survey.stamps import read_stamps


def write_hosts(
    folder: RunFolder, block: xr.Dataset, region: Region, stamp: str, watch: Stopwatch, guard: objects.Guard
) -> Receipt:
    """Write one region of hosts, and its receipt last."""
    written = writing.write_region(block, folder.cutouts, "cutouts", region, guard)
    watch.lap("write")
    receipt = Receipt(
        region=region.index,
        start=region.start,
        stop=region.stop,
        fingerprint=stamp,
        checksums=written["checksums"],
        counts=count_hosts(block) | count_bytes(block),
        seconds=watch.seconds,
        bytes=written["bytes"],
        objects=written["objects"],
        messages=list(block.attrs.get("messages", [])),
        peak_rss_mb=peak_rss_mb(),
    )
    return receipts.write_receipt(folder.receipts("cutouts"), receipt)


class CutTask:
    """Cut one region of hosts and write it; a class, so that Dask ships the config once per task, pickled."""

    def __init__(
        self,
        config: RunConfig,
        stamp: str,
        regions: Regions,
        psf_band_ratio: dict[str, float],
        guard: objects.Guard = objects.unguarded,
        folder: RunFolder | None = None,
    ):
        self.config, self.stamp, self.regions, self.psf_band_ratio = config, stamp, regions, psf_band_ratio
        self.guard, self.folder = guard, folder or RunFolder.of(config)

    def __call__(self, index: int) -> Receipt:
        """Do region ``index``: read, cut, measure, write, and the receipt last."""
        watch, region = Stopwatch(), self.regions[index]
        block = self.block(region, watch)
        return write_hosts(self.folder, block, region, self.stamp, watch, self.guard)

    def block(self, region: Region, watch: Stopwatch) -> xr.Dataset:
        """Cut a region's hosts; nothing is written."""
        config = self.config
        head = read_head(self.folder.cutouts, "cutouts", region.slice)
        watch.lap("read targets")
        if config.survey.stamps is not None:
            every = read_stamps(config.survey.stamps, config.bands, config.survey)
            where = {name: i for i, name in enumerate(every["host_id"].values)}
            block = every.isel(host=[where[name] for name in head["host_id"].values])
        else:
            block = cut_block(head, survey_layout(config), config.bands, config.survey, self.psf_band_ratio)
        watch.lap("read and decompress")
        return self.measured(block)

    def measured(self, block: xr.Dataset) -> xr.Dataset:
        """Cutouts of a region with what is measured on them."""
        block = with_measurements(block, self.config.survey.host_shapes)
        block.attrs["messages"] = [*block.attrs.get("messages", []), *contradictions(block)]
        return block

    def finished(self, region: Region) -> Receipt | None:
        """Receipt of a region that is finished already."""
        found = receipts.read_receipt(self.folder.receipts("cutouts"), region.index)
        if found is None or receipts.without_receipt({region.index: found}, [region], self.stamp):
            return None
        return found


class StripTask:
    """Cut the hosts of a strip of sky: each of its bricks is opened once, and every region that is whole is written.

    Parameters
    ----------
    cut : CutTask
    strips : Strips
    parts : Parts
        Where parts of regions that other strips share are left for them.
    """

    def __init__(self, cut: CutTask, strips: Strips, parts: Parts):
        self.cut, self.strips, self.parts = cut, strips, parts

    def __call__(self, index: int) -> tuple[Receipt, ...]:
        """Do strip ``index``; return the receipts of regions that are finished by it."""
        cut, done, pieces = self.cut, list[Receipt](), list[_Piece]()
        for number in self.strips.regions_of(index):
            region = cut.regions[number]
            # A worker may have died after some regions of the strip.
            if (receipt := cut.finished(region)) is not None:
                done.append(receipt)
            else:
                pieces.append(_Piece(cut, region, self.strips.rows_of(index, number)))
        for brick in bricks_ahead(survey_layout(cut.config), _positions(pieces), cut.config.bands, cut.config.survey):
            for piece in pieces.copy():
                if piece.read(brick) and piece.is_whole:
                    pieces.remove(piece)
                    done.append(self._finish(piece.region, piece.taken(), piece.watch))
        while pieces:
            done += self._hand_over(index, pieces.pop(0))
        return tuple(done)

    def _hand_over(self, strip: int, piece: _Piece) -> list[Receipt]:
        """Leave a part of a region; or, where all others are there, join them and write the region."""
        region, watch, part = piece.region, piece.watch, Part.of(piece.rows, piece.taken())
        watch.restart()
        strips = self.strips.strips_of(region.index)
        others = set(strips) - {strip}
        if not others <= set(self.parts.strips(region.index)):
            self.parts.write(region.index, strip, part)
            # Of tasks that end at the same time each has left its part before it looks: one at least sees all.
            if not others <= set(self.parts.strips(region.index)):
                return []
        block = HostBlock(piece.whole_head, self.cut.config.bands, self.cut.config.survey)
        for one in strips:
            found = part if one == strip else self.parts.read(region.index, one)
            if found is None:
                return self._finished_elsewhere(region)
            found.add_to(block)
        del part, found  # before the region is measured, which takes memory too
        watch.lap("join")
        receipt = self._finish(region, block, watch)
        self.parts.remove(region.index)
        return [receipt]

    def _finish(self, region: Region, block: HostBlock, watch: Stopwatch) -> Receipt:
        cut = self.cut
        watch.restart()
        cutouts = cut.measured(block.result(survey_layout(cut.config), cut.psf_band_ratio))
        watch.lap("measure")
        return write_hosts(cut.folder, cutouts, region, cut.stamp, watch, cut.guard)

    def _finished_elsewhere(self, region: Region) -> list[Receipt]:
        """Nothing, if another task has joined the parts of a region; it hands on the receipt."""
        if self.cut.finished(region) is None:
            raise StoreError(
                f"{self.cut.folder.cutouts}: parts of region {region.index} are gone, and it is not finished. Run the "
                "same command again: it cuts this region again."
            )
        return []


class _Piece:
    """The hosts of a region that a strip has."""

    def __init__(self, cut: CutTask, region: Region, rows: NDArray[np.int64]):
        self.watch = Stopwatch()
        self.region, self.rows, self._cut = region, rows, cut
        self.whole_head = read_head(cut.folder.cutouts, "cutouts", region.slice)
        self.head = self.whole_head.isel(host=rows)
        self.bricks = self.head["brickname"].values.astype(str)
        self._block: HostBlock | None = None
        self._n_read = 0
        self.watch.lap("read targets")

    @property
    def is_whole(self) -> bool:
        """Whether all hosts of the region were read."""
        return self._n_read == self.region.size

    def read(self, brick: Brick) -> int:
        """Read its hosts of a brick; return their number."""
        if brick.name not in self._names:
            return 0
        self.watch.restart()
        if self._block is None:  # not before: it takes memory
            self._block = HostBlock(self.head, self._cut.config.bands, self._cut.config.survey)
        number = self._block.read(brick)
        self._n_read += number
        self.watch.lap("read and decompress")
        return number

    @cached_property
    def _names(self) -> set[str]:
        return set(self.bricks.tolist())

    def taken(self) -> HostBlock:
        """What was read; the piece no longer holds it."""
        assert self._block is not None
        block, self._block = self._block, None
        return block


def _positions(pieces: list[_Piece]) -> dict[str, tuple[NDArray[np.float64], NDArray[np.float64]]]:
    """Positions of hosts by brick, bricks along the sky."""
    if not pieces:
        return {}
    name, ra, dec, cell = (
        np.concatenate([p.head[n].values for p in pieces]) for n in ("brickname", "ra_deg", "dec_deg", "cell")
    )
    rank = bricks_along_sky(name, cell)
    order = np.argsort(rank, kind="stable")
    groups = np.split(order, np.flatnonzero(np.diff(rank[order])) + 1)
    return {str(name[rows[0]]): (ra[rows], dec[rows]) for rows in groups}


def count_hosts(block: xr.Dataset) -> dict[str, int]:
    """Hosts by status and by reason (with the band's name), for receipts and summaries."""
    status = block["status"].values
    counts = {"hosts": len(status), **{f"status: {s.name}": int((status == s).sum()) for s in Status}}
    for k, band in enumerate(block["band"].values):
        for reason in Reason:
            if reason & schema.BAND_REASONS:
                number = int((block["band_reasons"].values[:, k] & int(reason) > 0).sum())
                counts.update({f"reason: {reason.name}_{band}": number} if number else {})
    of_host = block["reasons"].values & ~np.bitwise_or.reduce(block["band_reasons"].values, axis=1)
    for reason in Reason:
        number = int((of_host & int(reason) > 0).sum())
        counts.update({f"reason: {reason.name}": number} if number else {})
    shapes = block["host_shape_source"].values
    counts.update({f"shape: {s.name}": int((shapes == s).sum()) for s in schema.HostShape if (shapes == s).any()})
    return counts


def count_bytes(block: xr.Dataset) -> dict[str, int]:
    """Files opened, bytes read and the size of those files, for receipts; empty if no file was read."""
    names = {
        "n_files_opened": "files: opened",
        "n_through_astropy": "files: read by astropy",
        "bytes_read": "files: bytes read",
        "bytes_whole": "files: bytes whole",
    }
    return {name: int(block.attrs[key]) for key, name in names.items() if key in block.attrs}
