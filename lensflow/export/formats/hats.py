"""HATS: HEALPix-partitioned parquet in the column layout of Multimodal Universe 1.5, which lsdb opens.

One catalogue per split. Images are in nMgy/pixel as in the run, not normalised: that is what readers of such
catalogues expect, and the constants are in ``export.json``. Partitions are of the sky, so a file holds neighbours.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import xarray as xr
from astropy import units
from astropy_healpix import HEALPix
from numpy.typing import NDArray

from lensflow._version import __version__
from lensflow.errors import ExportError
from lensflow.export.formats.columns import COLUMNS, field_of
from lensflow.export.formats.folder import FileRecord, Folder
from lensflow.export.formats.order import SAMPLES, Group, Shard, keyed
from lensflow.export.formats.writer import Planned, Settings, View, Writer
from lensflow.store import paths
from lensflow.store.open import host_tables, read_hosts

INDEX_ORDER, MAX_ORDER = 29, 10
SPATIAL = "_healpix_29"
# Hosts further apart than this are read apart: a read is contiguous.
_GAP = 64
_BYTES_OF_A_PIXEL = 9  # flux and ivar of 4 bytes, mask of 1


@dataclass(frozen=True)
class Partition(Shard):
    """One HEALPix pixel: a file.

    Attributes
    ----------
    order, pixel : int
        Of the nested scheme.
    """

    order: int = 0
    pixel: int = 0


class Hats(Writer):
    """``SPLIT/dataset/Norder=K/Dir=D/Npix=P.parquet``, with the properties of a catalogue."""

    name = "hats"
    pixels = "raw"
    dtypes = ("float32",)

    def check(self, views: Mapping[str, View], settings: Settings) -> None:
        """Refuse views of other images than one stamp, and a run without its hosts."""
        super().check(views, settings)
        for view in views.values():
            if view.shape[0] != len(view.bands):
                raise ExportError(
                    f"--format hats holds one image per band ({', '.join(view.bands)}), and this view has "
                    f"{view.shape[0]} channels ({', '.join(view.channels)}): choose view single or pairs, without "
                    "valid_channel, or another format."
                )
        if not settings.cutouts:
            raise ExportError("--format hats needs the run's cutouts, for the inverse variance of the images.")

    def groups(self, view: View, split: str, settings: Settings) -> list[Group]:
        """Tasks of a split: one for each partition."""
        at, samples = _index(view.samples), view.samples
        if not len(at):
            raise ExportError(f"split {split}: no samples, so there is nothing to export.")
        most = max(1, int(settings.shard_mb * 1e6 // (_BYTES_OF_A_PIXEL * np.prod(view.shape))))
        parts = _partitions(at, most)
        out, first = [], 0
        for number, (order, pixel) in enumerate(parts):
            inside = at >> np.int64(2 * (INDEX_ORDER - order)) == pixel
            rows = int(inside.sum())
            part = Partition(number, split, number, len(parts), first, rows, order, pixel)
            out.append(Group(split, tuple(int(u) for u in np.unique(samples["unit"].values[inside])), (part,)))
            first += rows
        return out

    def samples_of(
        self, group: Group, samples: xr.Dataset, settings: Settings
    ) -> Iterator[tuple[Shard, NDArray[np.int64]]]:
        """The partition, its samples sorted by position and those of one host by a key."""
        (part,) = group.shards
        assert isinstance(part, Partition)
        at = _index(samples)
        where = np.flatnonzero(at >> np.int64(2 * (INDEX_ORDER - part.order)) == part.pixel)
        order = np.lexsort((keyed(settings.seed, SAMPLES, samples["sample_id"].values[where]), at[where]))
        yield part, where[order]

    def path(self, shard: Shard) -> str:
        """Path of a file below the export."""
        assert isinstance(shard, Partition)
        return f"{shard.split}/dataset/{_below(shard)}"

    def write(
        self, to: Path, shard: Shard, x: NDArray, values: Mapping[str, Any], head: Mapping[str, str], settings: Settings
    ) -> None:
        """Write one partition."""
        table = _table(shard, x, values, head, settings)
        pq.write_table(table, to, compression="zstd", compression_level=3, row_group_size=256)

    def finish(
        self,
        folder: Folder,
        planned: Sequence[Planned],
        written: Sequence[FileRecord],
        head: Mapping[str, str],
        settings: Settings,
    ) -> list[FileRecord]:
        """Write what makes the partitions a catalogue: properties, list of partitions, joint metadata."""
        more: list[FileRecord] = []
        for split, view, groups in planned:
            parts = [s for g in groups for s in g.shards if isinstance(s, Partition)]
            more += _catalogue(folder, split, parts, view, settings)
        return [*written, *more]


def _index(samples: xr.Dataset) -> NDArray[np.int64]:
    pix = HEALPix(nside=2**INDEX_ORDER, order="nested")
    lon, lat = (samples[n].values * units.deg for n in ("ra_deg", "dec_deg"))
    return np.asarray(pix.lonlat_to_healpix(lon, lat), np.int64)


def _partitions(at: NDArray[np.int64], most: int) -> list[tuple[int, int]]:
    """Pixels of the lowest order that hold at most so many samples, in the order of the sky."""
    todo, done = [(0, int(p)) for p in np.unique(at >> np.int64(2 * INDEX_ORDER))], []
    while todo:
        order, pixel = todo.pop()
        inside = at[at >> np.int64(2 * (INDEX_ORDER - order)) == pixel]
        if len(inside) <= most or order == MAX_ORDER:
            done.append((order, pixel))
        else:
            todo += [(order + 1, int(p)) for p in np.unique(inside >> np.int64(2 * (INDEX_ORDER - order - 1)))]
    return sorted(done, key=lambda p: p[1] << (2 * (MAX_ORDER - p[0])))


def _below(part: Partition) -> str:
    return f"Norder={part.order}/Dir={part.pixel // 10_000 * 10_000}/Npix={part.pixel}.parquet"


def _table(
    shard: Shard, flux: NDArray, values: Mapping[str, Any], head: Mapping[str, str], settings: Settings
) -> pa.Table:
    n, _, size, width = flux.shape
    bands = head["lensflow.bands"].split(",")
    index = values["host_index"]
    hosts, of_row = np.unique(index, return_inverse=True)
    found = [_hosts(settings.cutouts, part) for part in np.split(hosts, np.flatnonzero(np.diff(hosts) > _GAP) + 1)]
    ivar, psf_fwhm, ebv = (np.concatenate(some)[of_row] for some in zip(*found, strict=True))
    nested = {
        "band": _lists(np.array(bands * n, dtype=object), (len(bands),), pa.string()),
        "flux": _lists(flux, (len(bands), size, width), pa.float32()),
        "mask": _lists(np.isfinite(flux), (len(bands), size, width), pa.bool_()),
        "ivar": _lists(ivar, (len(bands), size, width), pa.float32()),
        "psf_fwhm": _lists(psf_fwhm, (len(bands),), pa.float32()),
        "scale": _lists(np.full(n * len(bands), settings.pixel_scale_arcsec), (len(bands),), pa.float32()),
    }
    plain = xr.Dataset({k: ("sample", values[k]) for k in ("ra_deg", "dec_deg")})
    out: dict[str, tuple[pa.Field, pa.Array]] = {}

    def add(name: str, array: pa.Array, meaning: str) -> None:
        out[name] = (pa.field(name, array.type, metadata={"meaning": meaning}), array)

    add(SPATIAL, pa.array(_index(plain)), "nested HEALPix index of order 29")
    image = pa.StructArray.from_arrays(list(nested.values()), names=list(nested))
    add(
        "image",
        image,
        "flux in nMgy/pixel; mask true where there is data; ivar of the host in nMgy^-2, without the arc's own shot "
        "noise; psf_fwhm and scale in arcsec",
    )
    add("object_id", pa.array([str(i) for i in values["sample_id"]], pa.string()), "sample_id")
    add("ra", pa.array(values["ra_deg"], pa.float64()), "right ascension, ICRS, deg")
    add("dec", pa.array(values["dec_deg"], pa.float64()), "declination, ICRS, deg")
    add("ebv", pa.array(ebv.astype(np.float32)), "E(B-V) of the catalogue, mag; NaN = none")
    for column in COLUMNS:
        if column.name in values and column.name not in ("key", "ra_deg", "dec_deg"):
            renamed = field_of(column).with_name(f"sim_{column.name}")
            out[renamed.name] = (renamed, pa.array(values[column.name], type=column.arrow))
    add("sim_split", pa.array([shard.split] * n, pa.string()), "split")
    return pa.Table.from_arrays(
        [a for _, a in out.values()], schema=pa.schema([f for f, _ in out.values()], metadata=dict(head))
    )


def _hosts(cutouts: str, hosts: NDArray[np.int64]) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    """Inverse variance, PSF size and E(B-V) of neighbouring hosts: one narrow read."""
    first, stop = int(hosts[0]), int(hosts[-1]) + 1
    tables = host_tables(cutouts)[0](first, stop).isel(host=hosts - first)
    ebv = tables["ebv"].values if "ebv" in tables else np.full(len(hosts), np.nan, np.float32)
    return read_hosts(cutouts, hosts, ("invvar",))["invvar"], tables["psfsize_arcsec"].values, ebv


def _lists(values: NDArray, shape: tuple[int, ...], leaf: pa.DataType) -> pa.Array:
    """Nested lists of one shape, without a Python object for each number."""
    flat = np.ascontiguousarray(values).ravel()
    out = pa.array(flat if flat.dtype == object else flat.astype(leaf.to_pandas_dtype()), type=leaf)
    for length in reversed(shape):
        out = pa.ListArray.from_arrays(np.arange(len(out) // length + 1, dtype=np.int32) * length, out)
    return out


def _catalogue(
    folder: Folder, split: str, parts: Sequence[Partition], view: View, settings: Settings
) -> list[FileRecord]:
    footers = []
    for part in parts:
        fs, place = paths.filesystem(folder.path(split, "dataset", _below(part)))
        with paths.explain_errors(place), fs.open(place, "rb") as file:
            footer = pq.read_metadata(file)
        footer.set_file_path(_below(part))
        footers.append(footer)
    schema = footers[0].schema.to_arrow_schema()
    listed = "Norder,Npix\n" + "".join(
        f"{p.order},{p.pixel}\n" for p in sorted(parts, key=lambda p: (p.order, p.pixel))
    )
    properties = {
        "obs_collection": f"lensflow_{split}",
        "dataproduct_type": "object",
        "hats_nrows": sum(p.rows for p in parts),
        "hats_col_ra": "ra",
        "hats_col_dec": "dec",
        "hats_col_healpix": SPATIAL,
        "hats_col_healpix_order": INDEX_ORDER,
        "hats_npix_suffix": ".parquet",
        "hats_max_rows": max(p.rows for p in parts),
        "hats_order": max(p.order for p in parts),
        "hats_builder": f"lensflow {__version__}",
        "hats_version": "v1.0",
        "obs_description": f"simulated strong lenses and controls, split {split}, layout of Multimodal Universe 1.5",
    }
    text = "#HATS catalog\n" + "".join(f"{k}={v}\n" for k, v in properties.items())

    def joint(to: Path) -> None:
        pq.write_metadata(schema, to, metadata_collector=footers)

    about: dict[str, Any] = {"split": split}
    return [
        folder.add(f"{split}/dataset/_common_metadata", lambda to: pq.write_metadata(schema, to), **about),
        folder.add(f"{split}/dataset/_metadata", joint, **about),
        folder.add(f"{split}/partition_info.csv", lambda to: _write(to, listed), **about),
        *(
            folder.add(f"{split}/{name}", lambda to: _write(to, text), **about)
            for name in ("properties", "hats.properties")
        ),
    ]


def _write(to: Path, text: str) -> None:
    to.write_text(text)
