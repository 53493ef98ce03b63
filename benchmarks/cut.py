"""Cutting stamps from a full-size brick: lensflow beside plain loops with other readers, and bytes over a network.

Everything runs on one pinned core, in turn, on the same 60 hosts of a synthetic brick of 3600 x 3600 pixels (RICE
100 x 100 tiles): three bands of image, invvar, nexp and psfsize, and maskbits. Seconds are the processor's: the files
lie in the page cache, so on an idle machine the clock shows the same. ``python benchmarks/cut.py [FOLDER]``
keeps the brick in FOLDER, where the next run finds it. fitsio takes part where it is installed.
"""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from collections.abc import Callable
from typing import Annotated, Any

import fsspec
import numpy as np
import typer
import xarray as xr
from astropy.io import fits
from astropy.table import Table as FitsTable
from astropy.wcs import WCS
from rich.console import Console
from rich.table import Table

from lensflow import geometry
from lensflow.config import SurveyConfig, SyntheticConfig
from lensflow.survey.cutouts import cut_block
from lensflow.survey.layout import Layout
from lensflow.survey.synthetic import bricks as synthetic

try:
    import fitsio
except ImportError:
    fitsio = None

BANDS, SIZE, HOSTS = "grz", 64, 60
Stamps = dict[str, np.ndarray]


def main(
    folder: Annotated[str | None, typer.Argument(help="where the brick is written and found again")] = None,
    repeat: Annotated[int, typer.Option(help="times each reader runs; the median counts")] = 7,
) -> None:
    """Cut stamps from a full-size brick: lensflow beside plain loops with other readers, and bytes over a network."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    with tempfile.TemporaryDirectory() as temporary:
        root = folder or temporary
        config = SyntheticConfig(n_bricks=1, brick_size_pix=3600, hosts_per_brick=HOSTS, bricks_without_g=0)
        table = FitsTable.read(synthetic.write_survey(root, config))
        targets = xr.Dataset({n: ("host", np.asarray(table[n]).astype(str if n in ("host_id", "brickname") else float))
                              for n in ("host_id", "ra_deg", "dec_deg", "brickname")})  # fmt: skip
        compare(Layout(root), targets, repeat)
        over_a_network(Layout(root), targets)


def compare(layout: Layout, targets: xr.Dataset, repeat: int) -> None:
    survey = SurveyConfig(root=layout.root, targets="unused", stamp_size=SIZE)
    readers: dict[str, Callable[[], Any]] = {
        "lensflow": lambda: cut_block(targets, layout, BANDS, survey),
        "astropy, section": lambda: plain(layout, targets, _astropy_section),
        "astropy, whole files": lambda: plain(layout, targets, _astropy_whole),
    }
    if fitsio is not None:
        readers["fitsio, slices"] = lambda: plain(layout, targets, _fitsio)
    seconds: dict[str, list[float]] = {name: [] for name in readers}
    results = {name: read() for name, read in readers.items()}  # warms the page cache, compiles
    for _ in range(repeat):
        for name, read in readers.items():
            if name == "astropy, whole files" and len(seconds[name]) == 3:
                continue
            start = time.process_time()
            read()
            seconds[name].append(time.process_time() - start)
    ours = results["lensflow"]
    for name, other in results.items():
        if name != "lensflow":
            check(ours, other, name)
    median = {name: statistics.median(s) for name, s in seconds.items()}
    out = Table(title=f"{HOSTS} hosts of one brick, {SIZE} x {SIZE} pixels, 13 files, one core", title_justify="left")
    for column in ("reader", "stamps/s", "ms a brick", "lensflow is faster by"):
        out.add_column(column, justify="left" if column == "reader" else "right")
    for name, s in median.items():
        out.add_row(name, f"{HOSTS / s:,.0f}", f"{1000 * s:.0f}", f"{s / median['lensflow']:.1f}")
    console = Console()
    console.print(out)
    moved, whole = ours.attrs["bytes_read"], ours.attrs["bytes_whole"]
    console.print(
        f"bytes read {moved / 1e6:.1f} MB of {whole / 1e6:.1f} MB ({moved / whole:.1%}), {moved / HOSTS / 1e3:.0f} kB "
        f"a host; pixels equal bit for bit"
    )


def over_a_network(layout: Layout, targets: xr.Dataset) -> None:
    """Bytes that a host costs when the brick lies in an object store (here: fsspec's in memory), by access rule."""
    remote = "memory://lensflow-benchmark"
    fs = fsspec.filesystem("memory")
    fs.put(layout.root, remote, recursive=True)
    out = Table(title="kB moved a host from an object store", title_justify="left")
    for column in ("hosts of the brick", "ranges", "auto", "whole"):
        out.add_column(column, justify="right")
    for n in (1, 11, HOSTS):
        cells = []
        for access in ("ranges", "auto", "whole"):
            survey = SurveyConfig(root=remote, targets="unused", stamp_size=SIZE, access=access)
            block = cut_block(targets.isel(host=slice(0, n)), Layout(remote), BANDS, survey)
            cells.append(f"{block.attrs['bytes_read'] / n / 1e3:,.0f}")
        out.add_row(str(n), *cells)
    Console().print(out)


def plain(layout: Layout, targets: xr.Dataset, read: Callable[..., Stamps]) -> Stamps:
    """The loop that one writes first: every file opened once, then host by host."""
    brick = str(targets["brickname"].values[0])
    with fits.open(layout.path(brick, "image", "r")) as hdus:
        wcs = WCS(hdus[1].header)
    x, y = wcs.wcs_world2pix(targets["ra_deg"].values, targets["dec_deg"].values, 0)
    out: Stamps = {}
    for product, size in (("image", SIZE), ("invvar", SIZE), ("nexp", 1), ("psfsize", 1)):
        for band in BANDS:
            out[product + band] = read(layout.path(brick, product, band), x, y, size)
    out["maskbits"] = read(layout.path(brick, "maskbits"), x, y, SIZE)
    return out


def _cut(pixels: Any, shape: tuple[int, int], x: np.ndarray, y: np.ndarray, size: int) -> np.ndarray:
    stamps = []
    for px, py in zip(x, y, strict=True):
        x0, y0 = int(geometry.stamp_corner(px, size)), int(geometry.stamp_corner(py, size))
        a, b, c, d = max(y0, 0), min(y0 + size, shape[0]), max(x0, 0), min(x0 + size, shape[1])
        part = pixels[a:b, c:d]
        stamp = np.zeros((size, size), part.dtype)
        stamp[a - y0 : b - y0, c - x0 : d - x0] = part
        stamps.append(stamp)
    return np.array(stamps)


def _astropy_section(path: str, x: np.ndarray, y: np.ndarray, size: int) -> np.ndarray:
    with fits.open(path) as hdus:
        return _cut(hdus[1].section, hdus[1].shape, x, y, size)


def _astropy_whole(path: str, x: np.ndarray, y: np.ndarray, size: int) -> np.ndarray:
    with fits.open(path) as hdus:
        return _cut(hdus[1].data, hdus[1].shape, x, y, size)


def _fitsio(path: str, x: np.ndarray, y: np.ndarray, size: int) -> np.ndarray:
    with fitsio.FITS(path) as hdus:
        return _cut(hdus[1], tuple(hdus[1].get_dims()), x, y, size)


def check(ours: xr.Dataset, other: Stamps, name: str) -> None:
    """Refuse to compare readers that do not agree bit for bit."""
    for b, band in enumerate(BANDS):
        for product in ("image", "invvar"):
            same = np.array_equal(ours[product].values[:, b], other[product + band])
            assert same, f"{name}: {product} {band} differs"
        assert np.array_equal(ours["nexp"].values[:, b], other["nexp" + band][:, 0, 0]), f"{name}: nexp {band} differs"
    inside = ours["maskbits"].values[:, 16:48, 16:48] == other["maskbits"][:, 16:48, 16:48]
    assert inside.mean() > 0.99, f"{name}: maskbits differ"


if __name__ == "__main__":
    typer.run(main)
