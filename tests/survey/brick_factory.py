"""Tiny survey bricks in the real file layout, and target tables for them."""

from __future__ import annotations

import io
from collections.abc import Callable, Collection, Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np
import xarray as xr
from astropy.io import fits
from astropy.wcs import WCS

from lensflow.config import SurveyConfig
from lensflow.survey.layout import Layout

SIZE = 300
BRICK = "0100p050"
PSFSIZE = {"g": 1.4, "r": 1.3, "z": 1.2}
SURVEY = SurveyConfig(root="unused", targets="unused")

Products = dict[tuple[str, str], np.ndarray]


def brick_wcs(ra_deg: float = 10.0, dec_deg: float = 5.0, scale_arcsec: float = 0.262, size: int = SIZE) -> WCS:
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = ["RA---TAN", "DEC--TAN"]
    wcs.wcs.crval = [ra_deg, dec_deg]
    wcs.wcs.crpix = [size / 2 + 0.5] * 2
    wcs.wcs.cd = np.diag([-scale_arcsec / 3600, scale_arcsec / 3600])
    return wcs


def write_brick(
    root: Path,
    brick: str = BRICK,
    bands: Sequence[str] = "grz",
    size: int = SIZE,
    wcs: WCS | None = None,
    edit: Callable[[Products], object] = lambda products: None,
    skip: Collection[tuple[str, str]] = (),
    compression: str = "RICE_1",
    nexp: str = "RICE_1",
) -> Products:
    """Write the files of one brick; return every product as a plain FITS reader sees it.

    ``edit`` changes the arrays, keyed by (product, band), before they are written; ``skip`` leaves files out.
    ``nexp`` is the compression of that product; the survey's own, HCOMPRESS_1, takes three times as long to read.
    """
    header = (brick_wcs(size=size) if wcs is None else wcs).to_header()
    rng = np.random.default_rng(sum(map(ord, brick)))
    products: Products = {("maskbits", ""): np.zeros((size, size), np.int32)}
    for band in bands:
        products["image", band] = rng.normal(0, 0.004, (size, size)).astype(np.float32)
        products["invvar", band] = rng.uniform(5e4, 7e4, (size, size)).astype(np.float32)
        products["nexp", band] = np.full((size, size), 3, np.int16)
        products["psfsize", band] = np.full((size, size), PSFSIZE[band], np.float32)
    edit(products)
    layout, written = Layout(str(root)), {}
    for (product, band), array in products.items():
        if (product, band) in skip:
            continue
        path = Path(layout.path(brick, product, band))
        path.parent.mkdir(parents=True, exist_ok=True)
        kind = nexp if product == "nexp" else compression
        content = _compressed(array.tobytes(), array.dtype.str, array.shape, header.tostring(), kind)
        path.write_bytes(content)
        written[product, band] = _unpacked(content).copy()
    return written


@lru_cache(maxsize=64)
def _compressed(pixels: bytes, dtype: str, shape: tuple[int, ...], header: str, kind: str) -> bytes:
    """File of one product; most of a brick's are those of the last test's brick."""
    array = np.frombuffer(pixels, dtype).reshape(shape)
    floats = {"quantize_method": 2, "dither_seed": 17} if array.dtype.kind == "f" else {}
    cards = fits.Header.fromstring(header)
    hdu = fits.CompImageHDU(array, header=cards, compression_type=kind, tile_shape=(100, 100), **floats)
    file = io.BytesIO()
    fits.HDUList([fits.PrimaryHDU(), hdu]).writeto(file)
    return file.getvalue()


@lru_cache(maxsize=64)
def _unpacked(content: bytes) -> np.ndarray:
    """Pixels as a plain FITS reader sees them."""
    return fits.getdata(io.BytesIO(content), 1)


def targets(
    x: Sequence[float], y: Sequence[float], brick: str | Sequence[str] = BRICK, wcs: WCS | None = None
) -> xr.Dataset:
    """Hosts h0, h1, ... at pixel positions of a brick."""
    ra, dec = (brick_wcs() if wcs is None else wcs).wcs_pix2world(np.asarray(x, float), np.asarray(y, float), 0)
    names = [brick] * len(ra) if isinstance(brick, str) else list(brick)
    columns = {
        "host_id": np.array([f"h{i}" for i in range(len(ra))], dtype=str),
        "ra_deg": ra,
        "dec_deg": dec,
        "brickname": np.array(names, dtype=str),
    }
    return xr.Dataset({name: ("host", values) for name, values in columns.items()})


def file_of(root: Path, product: str, band: str = "", brick: str = BRICK) -> Path:
    return Path(Layout(str(root)).path(brick, product, band))
