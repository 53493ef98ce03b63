"""Tasks of cutting: one region by itself, and a strip of sky whose hosts stand in several regions."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
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

# Hosts of a brick that are read together, in regions' worth of them: what they take in memory beside their own regions
# is less than what a region takes when it is measured and written.
READ_REGIONS = 2


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
    n_apart : int
        Of the last strips all parts are left for :class:`JoinTask`: else whoever ends last would join them all, and the
        other workers wait.
    """

    def __init__(self, cut: CutTask, strips: Strips, parts: Parts, n_apart: int = 0):
        self.cut, self.strips, self.parts, self.n_apart = cut, strips, parts, n_apart

    def __call__(self, index: int) -> tuple[Receipt, ...]:
        """Do strip ``index``; return the receipts of regions that are finished by it."""
        cut, done, todo = self.cut, list[Receipt](), list[Region]()
        for region in (cut.regions[number] for number in self.strips.regions_of(index)):
            # A worker may have died after some regions of the strip.
            if (receipt := cut.finished(region)) is not None:
                done.append(receipt)
            else:
                todo.append(region)
        pieces = [
            _Piece(cut, region, self.strips.rows_of(index, region.index), head)
            for region, head in zip(todo, _heads(cut, todo), strict=True)
        ]
        for brick in bricks_ahead(survey_layout(cut.config), _positions(pieces), cut.config.bands, cut.config.survey):
            for some in _together([p for p in pieces if p.has(brick)], brick, READ_REGIONS * cut.regions.rows):
                _read(brick, some)
                for piece in [p for p in some if p.is_whole]:
                    pieces.remove(piece)
                    done.append(_finish(cut, piece.region, piece.taken(), piece.watch))
        while pieces:
            done += self._hand_over(index, pieces.pop(0))
        return tuple(done)

    def _hand_over(self, strip: int, piece: _Piece) -> list[Receipt]:
        """Leave a part of a region; or, where all others are there, join them and write the region."""
        region, watch, part = piece.region, piece.watch, Part.of(piece.rows, piece.taken())
        watch.restart()
        strips = self.strips.strips_of(region.index)
        if strip >= len(self.strips) - self.n_apart:
            self.parts.write(region.index, strip, part)
            return []
        others = set(strips) - {strip}
        if not others <= set(self.parts.strips(region.index)):
            self.parts.write(region.index, strip, part)
            # Of tasks that end at the same time each has left its part before it looks: one at least sees all.
            if not others <= set(self.parts.strips(region.index)):
                return []
        own = {strip: part}  # taken out of it, the part is held by nobody while the region is measured
        del part
        found = (own.pop(one) if one in own else self.parts.read(region.index, one) for one in strips)
        receipt = _joined(self.cut, region, piece.whole_head, found, watch)
        if receipt is None:
            return _finished_elsewhere(self.cut, region)
        self.parts.remove(region.index)
        return [receipt]


class JoinTask:
    """Join the parts of a region that the last strips left, and write it.

    Parameters
    ----------
    strips : StripTask
    """

    def __init__(self, strips: StripTask):
        self.strips = strips

    def __call__(self, index: int) -> tuple[Receipt, ...]:
        """Do region ``index``, the receipt last.

        Raises
        ------
        StoreError
            If a part is gone, or is not what was left.
        """
        cut, parts, watch = self.strips.cut, self.strips.parts, Stopwatch()
        region = cut.regions[index]
        if (finished := cut.finished(region)) is not None:  # by a worker that died afterwards
            return (finished,)
        head = read_head(cut.folder.cutouts, "cutouts", region.slice)
        watch.lap("read targets")
        found = (parts.read(index, strip) for strip in self.strips.strips.strips_of(index))
        receipt = _joined(cut, region, head, found, watch)
        if receipt is None:
            return tuple(_finished_elsewhere(cut, region))
        parts.remove(index)
        return (receipt,)


def _joined(
    cut: CutTask, region: Region, head: xr.Dataset, found: Iterable[Part | None], watch: Stopwatch
) -> Receipt | None:
    """Write a region of some parts; None if one of them is gone."""
    block = HostBlock(head, cut.config.bands, cut.config.survey)
    for part in found:
        if part is None:
            return None
        part.add_to(block)
        del part  # it takes memory, as the region does when it is measured
    watch.lap("join")
    return _finish(cut, region, block, watch)


def _finish(cut: CutTask, region: Region, block: HostBlock, watch: Stopwatch) -> Receipt:
    watch.restart()
    cutouts = cut.measured(block.result(survey_layout(cut.config), cut.psf_band_ratio))
    watch.lap("measure")
    return write_hosts(cut.folder, cutouts, region, cut.stamp, watch, cut.guard)


def _finished_elsewhere(cut: CutTask, region: Region) -> list[Receipt]:
    """Nothing, if another task has joined the parts of a region; it hands on the receipt."""
    if cut.finished(region) is None:
        raise StoreError(
            f"{cut.folder.cutouts}: parts of region {region.index} are gone, and it is not finished. Run the "
            "same command again: it cuts this region again."
        )
    return []


def _heads(cut: CutTask, regions: Sequence[Region]) -> list[xr.Dataset]:
    """Tables of regions, those of neighbours read together."""
    out = list[xr.Dataset]()
    for _, some in itertools.groupby(enumerate(regions), lambda item: item[1].index - item[0]):
        near = [region for _, region in some]
        head = read_head(cut.folder.cutouts, "cutouts", slice(near[0].start, near[-1].stop))
        out += [head.isel(host=slice(r.start - near[0].start, r.stop - near[0].start)) for r in near]
    return out


def _together(pieces: Sequence[_Piece], brick: Brick, most: int) -> Iterator[list[_Piece]]:
    """Pieces whose hosts of a brick are read together: at most so many hosts, which take memory twice."""
    some, n_hosts = list[_Piece](), 0
    for piece in pieces:
        n = int((piece.bricks == brick.name).sum())
        if some and n_hosts + n > most:
            yield some
            some, n_hosts = [], 0
        some.append(piece)
        n_hosts += n
    if some:
        yield some


def _read(brick: Brick, pieces: Sequence[_Piece]) -> None:
    """Read hosts of a brick into their pieces; a tile that several pieces have hosts on is decoded once."""
    first = pieces[0]
    first.watch.restart()
    if len(pieces) == 1:
        first.add(first.block.read(brick))
    else:
        places = [np.flatnonzero(p.bricks == brick.name) for p in pieces]
        heads = [p.head.isel(host=at) for p, at in zip(pieces, places, strict=True)]
        block = first.empty(xr.concat(heads, "host", data_vars="minimal", coords="minimal", compat="override"))
        block.read(brick)
        start = 0
        for piece, at in zip(pieces, places, strict=True):
            Part.of(at, block, slice(start, start + len(at))).add_to(piece.block)
            piece.add(len(at))
            start += len(at)
            block.spent = dict.fromkeys(block.spent, 0)  # what it took is in the receipt of one region alone
    first.watch.lap("read and decompress")


class _Piece:
    """The hosts of a region that a strip has."""

    def __init__(self, cut: CutTask, region: Region, rows: NDArray[np.int64], whole_head: xr.Dataset):
        self.watch = Stopwatch()
        self.region, self.rows, self._cut = region, rows, cut
        self.whole_head = whole_head
        self.head = self.whole_head.isel(host=rows)
        self.bricks = self.head["brickname"].values.astype(str)
        self._block: HostBlock | None = None
        self._n_read = 0
        self.watch.lap("read targets")

    @property
    def is_whole(self) -> bool:
        """Whether all hosts of the region were read."""
        return self._n_read == self.region.size

    @property
    def block(self) -> HostBlock:
        """Its hosts; not made before they are needed, for it takes memory."""
        if self._block is None:
            self._block = self.empty(self.head)
        return self._block

    def empty(self, head: xr.Dataset) -> HostBlock:
        """A block of hosts of which nothing was read."""
        return HostBlock(head, self._cut.config.bands, self._cut.config.survey)

    def has(self, brick: Brick) -> bool:
        """Whether it has hosts of a brick."""
        return brick.name in self._names

    def add(self, number: int) -> None:
        """Count hosts that were read."""
        self._n_read += number

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
