"""A small survey in the real file layout, from a seed: used by the demo and the tests.

Every brick is a function of (seed, brick) alone, so bricks can be written by as many tasks as there are. The
recipe and how it compares with real data: ``docs/synthetic-survey.md``.
"""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Sequence
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from astropy.io import fits
from astropy.wcs import WCS
from numpy.typing import NDArray
from scipy import special

from lensflow import rng as random
from lensflow.config import SyntheticConfig
from lensflow.errors import SurveyError, did_you_mean
from lensflow.fits.astropy_image import ONE_THREAD, quiet
from lensflow.survey.layout import BAND_PRODUCTS, Layout
from lensflow.survey.synthetic import sky as sky
from lensflow.survey.synthetic.draw import Scene, draw_scene
from lensflow.units import NMGY_MAG

if TYPE_CHECKING:
    from astropy.table import Table  # of the targets, written once: a brick needs none

RECIPE_VERSION = 1
BRICK_HEIGHT_DEG = 0.25
TILE_PIX = 100
CORNER = 0.2  # size of the region without z, as a fraction of a brick's side
TRAIL_HALF_WIDTH_PIX = 4.0

UNITS = {"image": "nanomaggy", "invvar": "1/nanomaggy^2", "psfsize": "arcsec", "nexp": "", "maskbits": ""}
Product = tuple[str, str]


@dataclass(frozen=True)
class SyntheticBrick:
    """One brick of the plan: real Legacy Surveys name and centre, and its missing parts."""

    index: int
    name: str
    ra_deg: float
    dec_deg: float
    has_g: bool
    has_corner_without_z: bool

    @property
    def bands(self) -> tuple[str, ...]:
        """Bands that the brick was observed in."""
        return tuple(b for b in sky.BANDS if b != "g" or self.has_g)


def plan_bricks(config: SyntheticConfig) -> list[SyntheticBrick]:
    """Plan a row of neighbouring bricks on the survey's own grid, from 0591m305 eastwards (then the next row).

    The last ``bricks_without_g`` have no g files; every fourth of the others, from the first, has a corner
    without z exposures.
    """
    bricks: list[SyntheticBrick] = []
    dec, column = -30.5, 204
    while len(bricks) < config.n_bricks:
        columns = 2 * int(np.ceil(180 / BRICK_HEIGHT_DEG * np.cos(np.radians(min(abs(dec - 0.125), abs(dec + 0.125))))))
        if column >= columns:
            dec, column = dec + BRICK_HEIGHT_DEG, 0
            continue
        index = len(bricks)
        ra = (column + 0.5) * 360 / columns
        has_g = index < config.n_bricks - config.bricks_without_g
        name = f"{int(ra * 10):04d}{'p' if dec >= 0 else 'm'}{int(abs(dec) * 10):03d}"
        bricks.append(SyntheticBrick(index, name, ra, dec, has_g, has_g and index % 4 == 0))
        column += 1
    return bricks


def psfsize_arcsec(brick: SyntheticBrick, seed: int) -> dict[str, float]:
    """PSF size at a brick's centre per band.

    Log-normal over bricks and correlated between bands; the common part follows a low-discrepancy sequence
    along the row, so that a few bricks already span the distribution.
    """
    golden = (np.sqrt(5) - 1) / 2
    start = random.uniform(seed, [0], "synthetic psfsize start")[0, 0]
    common = float(special.ndtri((start + brick.index * golden) % 1.0 * 0.998 + 0.001))
    own = random.normal(seed, random.hash_ids([brick.name]), "synthetic psfsize", len(sky.BANDS))[0]
    return {
        band: recipe.psfsize_median_arcsec * float(np.exp(recipe.psfsize_log_scatter * (0.9 * common + 0.436 * z)))
        for (band, recipe), z in zip(sky.RECIPES.items(), own, strict=True)
    }


def brick_header(brick: SyntheticBrick, size: int) -> fits.Header:
    """Header cards that all files of a brick share, its TAN WCS among them."""
    step = sky.PIXEL_SCALE_ARCSEC / 3600
    header = fits.Header()
    header["SURVEY"] = ("lensflow synthetic", "simulated, not a real observation")
    header["BRICKNAM"] = (brick.name, "LegacySurvey brick RRRr[pm]DDd")
    header["BRICKRA"] = (brick.ra_deg, "[deg] Brick center")
    header["BRICKDEC"] = (brick.dec_deg, "[deg] Brick center")
    header["CTYPE1"], header["CTYPE2"] = "RA---TAN", "DEC--TAN"
    header["CRVAL1"], header["CRVAL2"] = brick.ra_deg, brick.dec_deg
    header["CRPIX1"], header["CRPIX2"] = (size + 1) / 2, (size + 1) / 2
    header["CD1_1"], header["CD1_2"], header["CD2_1"], header["CD2_2"] = -step, 0.0, 0.0, step
    header["CUNIT1"], header["CUNIT2"], header["RADESYS"] = "deg", "deg", "ICRS"
    return header


def brick_scene(brick: SyntheticBrick, config: SyntheticConfig, seed: int) -> Scene:
    """Hosts, other galaxies, stars and regions of a brick."""
    corner = int(CORNER * config.brick_size_pix) if brick.has_corner_without_z else 0
    return draw_scene(random.generator(seed, f"synthetic scene {brick.name}"), config, corner)


def brick_targets(brick: SyntheticBrick, config: SyntheticConfig, seed: int) -> Table:
    """Target rows of one brick; ``flux_*`` is the true total flux, NaN where the band was not observed."""
    from astropy.table import Table

    scene = brick_scene(brick, config, seed)
    hosts, corner = scene.hosts, scene.corner_pix
    ra, dec = WCS(brick_header(brick, config.brick_size_pix)).pixel_to_world_values(hosts.x, hosts.y)
    flux = dict(zip(sky.BANDS, hosts.flux_nmgy.T.astype(np.float32), strict=True))
    if not brick.has_g:
        flux["g"][:] = np.nan
    flux["z"][(hosts.x < corner - 0.5) & (hosts.y < corner - 0.5)] = np.nan
    return Table(
        {
            "host_id": [f"{brick.name}-{i:04d}" for i in range(len(hosts))],
            "ra_deg": ra,
            "dec_deg": dec,
            "brickname": [brick.name] * len(hosts),
            **{f"flux_{band}_nmgy": flux[band] for band in sky.BANDS},
            "type": np.where(hosts.sersic_n == 4, "DEV", "SER"),
        }
    )


def brick_arrays(
    brick: SyntheticBrick, config: SyntheticConfig, seed: int, bands: Sequence[str] = sky.BANDS
) -> dict[Product, NDArray[Any]]:
    """Pixels of a brick: {(product, band): array of (size, size)}, band "" for maskbits.

    Of ``bands`` those that the brick was observed in; a band has the same pixels whichever others are wanted.
    """
    size = config.brick_size_pix
    rng = random.generator(seed, f"synthetic pixels {brick.name}")
    scene = brick_scene(brick, config, seed)
    psfsize = [sky.psfsize_map(rng, size, value) for value in psfsize_arcsec(brick, seed).values()]
    images = {b: np.zeros((size, size), np.float32) for b in brick.bands}
    wanted = [b for b in brick.bands if b in bands]
    saturated = {}
    stars, galaxies = scene.stars, scene.hosts + scene.others
    sky.add_stars([images.get(b) for b in sky.BANDS], stars, sky.fwhm_pix(psfsize, stars.x, stars.y))
    for band, image in images.items():
        most = sky.RECIPES[band].saturation_nmgy
        saturated[band] = sky.grown(image > most)
        np.minimum(image, most, out=image)
    places = [images[b] if b in wanted else None for b in sky.BANDS]
    sky.add_galaxies(places, galaxies, sky.fwhm_pix(psfsize, galaxies.x, galaxies.y))

    trail = sky.trail_distance(rng, size)
    trail_band, hole_band = ("r", "z", "r")[brick.index % 3], ("z", "r", brick.bands[0])[brick.index % 3]
    maskbits = sky.star_mask(stars, size)
    arrays: dict[Product, NDArray[Any]] = {}
    for k, (band, recipe) in enumerate(sky.RECIPES.items()):
        # Drawn for every band, so that none changes the next one's.
        nexp = sky.exposure_map(rng, size)
        variance = sky.sky_variance(rng, nexp, recipe.sky_sigma_nmgy)
        noise = sky.unit_noise(rng, size)
        if band not in brick.bands:
            continue
        allmask = saturated[band] | ((trail < TRAIL_HALF_WIDTH_PIX) if band == trail_band else False)
        maskbits[saturated[band]] |= sky.SATUR[band]
        maskbits[allmask] |= sky.ALLMASK[band]
        if band not in wanted:
            continue
        light = images[band]
        if band == trail_band:
            light += (15 * recipe.sky_sigma_nmgy * np.exp(-0.5 * (trail / 1.5) ** 2)).astype(np.float32)
        image, invvar = sky.observed(light, noise, variance, nexp, recipe.gain_e_per_nmgy)
        invvar[allmask], nexp[allmask] = 0, 0  # the image stays, as in a coadd where every exposure is masked
        if band == hole_band:
            psfsize[k][sky.disc_mask(size, *scene.hole)] = 0
        if band == "z":
            c = scene.corner_pix
            for array in (image, invvar, psfsize[k], nexp):
                array[:c, :c] = 0
        arrays |= {("image", band): image, ("invvar", band): invvar}
        arrays |= {("psfsize", band): psfsize[k], ("nexp", band): nexp}
    arrays["maskbits", ""] = maskbits
    return arrays


@dataclass(frozen=True, eq=False)
class PlantedLight:
    """Light that is added to a brick, as a lensed source's.

    Attributes
    ----------
    x_pix, y_pix : int
        Pixel of the brick (from 0) that its first pixel lies on.
    light : dict of ndarray, shape (y, x)
        Band -> nMgy/pixel.
    """

    x_pix: int
    y_pix: int
    light: dict[str, NDArray[np.floating]]


def write_brick(
    root: str,
    brick: SyntheticBrick,
    config: SyntheticConfig,
    bands: Sequence[str],
    seed: int,
    planted: Sequence[PlantedLight] = (),
) -> int:
    """Write the files of one brick below ``root`` and return the bytes written.

    Files appear under their names only when complete. A file that is there, complete and of the same recipe,
    seed and plan is left alone; any other is replaced.

    Parameters
    ----------
    root : str
    brick : SyntheticBrick
    config : SyntheticConfig
    bands : sequence of str
    seed : int
    planted : sequence of PlantedLight, optional
        Added to the images, and to nothing else: lenses of a synthetic sky. What lies outside the brick is cut off.

    Raises
    ------
    SurveyError
        If a band is none of g, r, z.
    """
    _check_bands(bands)
    layout, plain, with_light = Layout(root), _key(config, seed, brick), _key(config, seed, brick, planted)
    wanted: list[Product] = [(p, b) for b in brick.bands if b in bands for p in BAND_PRODUCTS]
    paths = {product: Path(layout.path(brick.name, *product)) for product in [*wanted, ("maskbits", "")]}
    keys = {product: with_light if product[0] == "image" else plain for product in paths}
    missing = {product: path for product, path in paths.items() if not _is_complete(path, keys[product])}
    if not missing:
        return 0
    arrays = brick_arrays(brick, config, seed, tuple(bands))
    for one in planted:
        for band, light in one.light.items():
            if ("image", band) in arrays:
                sky.add_stamp(arrays["image", band], np.asarray(light, dtype=np.float64), one.x_pix, one.y_pix)
    shared = brick_header(brick, config.brick_size_pix)
    written = 0
    for product, path in missing.items():
        with ONE_THREAD:
            hdu = _compressed(arrays[product], _header(shared, *product, keys[product]), *product)
            written += _write_atomically(path, fits.HDUList([fits.PrimaryHDU(), hdu]))
    return written


def _header(shared: fits.Header, product: str, band: str, key: str) -> fits.Header:
    header = shared.copy()
    header["IMTYPE"] = (product, "LegacySurvey image type")
    if band:
        header["FILTER"] = band
    if UNITS[product]:
        header["BUNIT"] = UNITS[product]
    if product == "image":
        header["MAGZERO"] = (NMGY_MAG, "AB magnitude of 1 nanomaggy")
    header["LFKEY"] = (key, "recipe, seed and plan of this file")
    return header


def _compressed(array: NDArray[Any], header: fits.Header, product: str, band: str) -> fits.CompImageHDU:
    tile = (TILE_PIX, TILE_PIX)
    if product == "maskbits":
        return fits.CompImageHDU(array, header, compression_type="RICE_1", tile_shape=tile)
    if product == "nexp":
        # HCOMPRESS needs tiles of four pixels at least; the last ones may be slimmer.
        kind = "RICE_1" if 0 < array.shape[0] % TILE_PIX < 4 else "HCOMPRESS_1"
        return fits.CompImageHDU(array, header, compression_type=kind, tile_shape=tile, hcomp_scale=0)
    # Absolute steps (a negative level). A relative one cannot quantise tiles without noise: they would be stored
    # gzipped, with the time of day in them.
    sigma = sky.RECIPES[band].sky_sigma_nmgy
    step = {"image": sigma / 16, "invvar": 1e-3 / sigma**2, "psfsize": 1e-4}[product]
    digest = hashlib.blake2b(f"{header['LFKEY']}{product}{band}".encode(), digest_size=4).digest()
    dither = 1 + int.from_bytes(digest, "little") % 10_000
    return fits.CompImageHDU(
        array, header, compression_type="RICE_1", tile_shape=tile,
        quantize_level=-step, quantize_method=2, dither_seed=dither,
    )  # fmt: skip


def write_targets(root: str, config: SyntheticConfig, bands: Sequence[str], seed: int) -> str:
    """Write ``{root}/targets.fits``, the hosts of all bricks, and return its path.

    Columns: host_id, ra_deg, dec_deg, brickname, flux_{band}_nmgy for each of ``bands`` (true total flux, NaN
    where the band was not observed), type.
    """
    _check_bands(bands)
    path, key = Path(root) / "targets.fits", _key(config, seed, tuple(bands))
    if not _is_complete(path, key):
        from astropy.table import vstack

        table = vstack([brick_targets(brick, config, seed) for brick in plan_bricks(config)])
        table.remove_columns([f"flux_{b}_nmgy" for b in sky.BANDS if b not in bands])
        hdu = fits.table_to_hdu(table)
        hdu.header["LFKEY"] = key
        _write_atomically(path, fits.HDUList([fits.PrimaryHDU(), hdu]))
    return str(path)


def write_survey(root: str, config: SyntheticConfig, bands: Sequence[str] = sky.BANDS, seed: int = 0) -> str:
    """Write all bricks and the targets, one after another; return the path of the targets."""
    for brick in plan_bricks(config):
        write_brick(root, brick, config, bands, seed)
    return write_targets(root, config, bands, seed)


def _check_bands(bands: Sequence[str]) -> None:
    for band in bands:
        if band not in sky.BANDS:
            raise SurveyError(
                f"synthetic survey: no recipe for band {band!r}; it has {', '.join(sky.BANDS)}."
                f"{did_you_mean(band, sky.BANDS)}"
            )


def _key(
    config: SyntheticConfig,
    seed: int,
    what: SyntheticBrick | tuple[str, ...],
    planted: Sequence[PlantedLight] = (),
) -> str:
    values = what if isinstance(what, tuple) else astuple(what)
    survey = (config.n_bricks, config.bricks_without_g) if isinstance(what, tuple) else ()
    parts = (RECIPE_VERSION, seed, config.brick_size_pix, config.hosts_per_brick, *survey, *values)
    digest = hashlib.blake2b(repr(parts).encode(), digest_size=8)
    for one in planted:
        digest.update(repr((one.x_pix, one.y_pix)).encode())
        for band, light in sorted(one.light.items()):
            digest.update(band.encode() + np.ascontiguousarray(light, dtype=np.float32).tobytes())
    return digest.hexdigest()


def _is_complete(path: Path, key: str) -> bool:
    try:
        # A truncated file, of which astropy warns, is looked at below.
        with quiet(), fits.open(path, disable_image_compression=True) as hdus:
            info = hdus[1].fileinfo()
            return hdus[1].header.get("LFKEY") == key and path.stat().st_size >= info["datLoc"] + info["datSpan"]
    except (OSError, IndexError):
        return False


def _write_atomically(path: Path, hdus: fits.HDUList) -> int:
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{uuid.uuid4().hex}.part")
    try:
        hdus.writeto(part)
        size = part.stat().st_size
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
    return size
