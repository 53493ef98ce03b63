"""Small files in the layouts of HSC, DES, KiDS, Euclid and Rubin: their names, HDUs and cards, a few galaxies on noise.

What the layouts rest on is in docs/your-survey.md. The galaxies have the same flux in every survey, in nanomaggies, so
that whatever a survey's unit is, cutouts must show the same.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from astropy.io import fits
from astropy.wcs import WCS

SIZE = 220
POSITIONS = [(60.3, 50.2), (150.0, 70.6), (80.4, 150.9), (150.5, 150.1)]
FLUX_NMGY = {"g": 4.0, "r": 20.0, "i": 30.0, "z": 38.0}
SIGMA_NMGY = 0.004
# Blotch of pixels that are masked, by name or number, in one band of every survey.
BAD = np.s_[16:24, 40:60]
WITHOUT_DATA = np.s_[:12, :]
HSC_PLANES = {"BAD": 0, "SAT": 1, "INTRP": 2, "CR": 3, "EDGE": 4, "DETECTED": 5, "NO_DATA": 8, "CROSSTALK": 10}


@dataclass(frozen=True)
class Survey:
    """How a survey is written: pixel scale, zero point, bands, and what writes one band of a brick."""

    name: str
    scale_arcsec: float
    zero_point: float
    bands: str
    brick: str
    write: Callable[[Path, str, Planes], None]


@dataclass(frozen=True)
class Planes:
    """Pixels of one band: image and sigma in the survey's unit, bad pixels, WCS."""

    image: np.ndarray
    sigma: np.ndarray
    bad: np.ndarray
    no_data: np.ndarray
    header: fits.Header


def _pipeline(path: Path, planes: Planes, numbers: dict[str, int], unit: str, primary: dict[str, float]) -> None:
    """IMAGE, MASK and VARIANCE of the pipeline of HSC and Rubin; NaN where there are no data."""
    path.parent.mkdir(parents=True)
    empty = planes.no_data
    mask = np.where(planes.bad, 1 << numbers["BAD"], 0) | np.where(empty, 1 << numbers["NO_DATA"], 0)
    mask |= 1 << numbers["DETECTED"]  # of no consequence
    first = fits.PrimaryHDU()
    first.header.update(primary)
    hdus = [fits.ImageHDU(np.where(empty, np.nan, planes.image).astype("f4"), planes.header, name="IMAGE"),
            fits.ImageHDU(mask.astype("i4"), planes.header, name="MASK"),
            fits.ImageHDU(np.where(empty, np.inf, planes.sigma**2).astype("f4"), planes.header, name="VARIANCE"),
    ]  # fmt: skip
    if unit:
        hdus[0].header["BUNIT"], hdus[2].header["BUNIT"] = unit, f"{unit}2"
    for plane, number in numbers.items():
        hdus[1].header[f"{'HIERARCH ' if len(plane) > 5 else ''}MP_{plane}"] = number
    fits.HDUList([first, *hdus]).writeto(path)


def _hsc(root: Path, band: str, planes: Planes) -> None:
    name = f"HSC-{band.upper()}"
    path = root / name / "9813" / "4,4" / f"calexp-{name}-9813-4,4.fits"
    # Planes are numbered by each file for itself.
    numbers = HSC_PLANES if band != "i" else {**HSC_PLANES, "BAD": 3, "CR": 0}
    _pipeline(path, planes, numbers, "", {"FLUXMAG0": 63095734448.0194})


def _lsst(root: Path, band: str, planes: Planes) -> None:
    path = root / "5063" / "14" / band / f"deep_coadd_5063_14_{band}.fits"
    _pipeline(path, planes, {"BAD": 0, "SAT": 1, "EDGE": 4, "DETECTED": 5, "NO_DATA": 8}, "nJy", {})


def _des(root: Path, band: str, planes: Planes) -> None:
    tile = "DES0347-5540"
    path = root / tile / f"{tile}_r4907p01_{band}.fits.fz"
    path.parent.mkdir(parents=True, exist_ok=True)
    header = planes.header.copy()
    header["MAGZERO"] = 30.0
    weight = np.where(planes.no_data | planes.bad, 0, planes.sigma**-2.0)
    made = [("SCI", planes.image.astype("f4")), ("MSK", planes.bad.astype("i2")), ("WGT", weight.astype("f4"))]
    hdus = [
        fits.CompImageHDU(data, header, name=name, compression_type="RICE_1", quantize_level=16 if name == "SCI" else 0)
        if name != "WGT" else fits.CompImageHDU(data, header, name=name, compression_type="GZIP_1", quantize_level=0)
        for name, data in made
    ]  # fmt: skip
    fits.HDUList([fits.PrimaryHDU(), *hdus]).writeto(path)


def _kids(root: Path, band: str, planes: Planes) -> None:
    weight = np.where(planes.no_data, 0, planes.sigma**-2.0)
    for kind, data in (("sci", planes.image.astype("f4")), ("wei", weight.astype("f4")),
                       ("msk", (planes.bad * 4).astype("i4"))):  # fmt: skip
        fits.PrimaryHDU(data, planes.header).writeto(root / f"KiDS_DR4.0_140.0_0.5_{band}_{kind}.fits")


def _euclid(root: Path, band: str, planes: Planes) -> None:
    folder = root / "MER" / "102018211" / "VIS"
    folder.mkdir(parents=True)
    header = planes.header.copy()
    header["MAGZERO"] = 24.6
    rms = np.where(planes.no_data, 0, planes.sigma)
    for kind, data in (("BGSUB-MOSAIC-VIS", planes.image.astype("f4")), ("MOSAIC-VIS-RMS", rms.astype("f4")),
                       ("MOSAIC-VIS-FLAG", planes.bad.astype("i4"))):  # fmt: skip
        name = f"EUC_MER_{kind}_TILE102018211-ACBD03_20241018T142710.276838Z_00.00.fits"
        fits.PrimaryHDU(data, header if "BGSUB" in kind else planes.header).writeto(folder / name)


SURVEYS = {
    s.name: s
    for s in (
        Survey("hsc", 0.168, 27.0, "griz", "9813-4,4", _hsc),
        Survey("des", 0.263, 30.0, "griz", "DES0347-5540_r4907p01", _des),
        Survey("kids", 0.2, 0.0, "gri", "140.0_0.5", _kids),
        Survey("euclid", 0.1, 24.6, "r", "102018211", _euclid),
        Survey("lsst", 0.2, 31.4, "griz", "5063-14", _lsst),
    )
}


def wcs_of(survey: Survey) -> WCS:
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = ["RA---TAN", "DEC--TAN"]
    wcs.wcs.crval = [150.1, 2.2]
    wcs.wcs.crpix = [SIZE / 2 + 0.5] * 2
    wcs.wcs.cd = np.diag([-survey.scale_arcsec / 3600, survey.scale_arcsec / 3600])
    return wcs


def planes_of(survey: Survey, band: str) -> Planes:
    """A band of the made sky, in the survey's unit: 1 nMgy is 10^(0.4 (zero point - 22.5)) of them."""
    unit = 10 ** (0.4 * (survey.zero_point - 22.5))
    rng = np.random.default_rng(sum(map(ord, survey.name + band)))
    image = rng.normal(0, SIGMA_NMGY, (SIZE, SIZE))
    y, x = np.mgrid[:SIZE, :SIZE]
    width = 0.7 / survey.scale_arcsec
    for px, py in POSITIONS:
        image += FLUX_NMGY[band] * np.exp(-0.5 * ((x - px) ** 2 + (y - py) ** 2) / width**2) / (2 * np.pi * width**2)
    bad, no_data = np.zeros((2, SIZE, SIZE), bool)
    bad[BAD], no_data[WITHOUT_DATA] = band in "ir" if survey.bands == "r" else band == "i", True
    return Planes(image * unit, np.full(image.shape, SIGMA_NMGY * unit), bad, no_data, wcs_of(survey).to_header())


def write_survey(survey: Survey, root: Path) -> Path:
    """Write the files below ``root``, and a table of the galaxies beside it; return the table."""
    root.mkdir(parents=True, exist_ok=True)
    for band in survey.bands:
        survey.write(root, band, planes_of(survey, band))
    table = root.parent / "hosts.csv"
    rows = ["host_id,ra,dec,brickname,z_lens," + ",".join(f"psfsize_{b}_arcsec" for b in survey.bands)]
    seeing = {"euclid": 0.16}.get(survey.name, 0.7)
    for k, (x, y) in enumerate(POSITIONS):
        ra, dec = wcs_of(survey).pixel_to_world_values(x, y)
        rows.append(f'h{k},{float(ra):.8f},{float(dec):.8f},"{survey.brick}",0.5' + f",{seeing}" * len(survey.bands))
    table.write_text("\n".join(rows) + "\n")
    return table
