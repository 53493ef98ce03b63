"""Assignment of source images to rows: drawn from the bank, every image in one split only."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lensflow import rng
from lensflow.config import RunConfig, SourcesConfig
from lensflow.errors import ConfigError, ManifestError, did_you_mean
from lensflow.manifest.cosmology import Z_MAX
from lensflow.manifest.moved_images import moved_magnitude, moved_size
from lensflow.manifest.population import i_magnitude
from lensflow.manifest.source_bank import SourceBank
from lensflow.schema import SPLITS, variable
from lensflow.targets import globs
from lensflow.units import mag_of_flux

# Name of a row's image where none fits its redshift: no bank has it, and the row is left out.
NO_IMAGE = "\1"


def open_bank(config: SourcesConfig) -> SourceBank:
    """Open the bank of a config; cached per process while its files do not change, so that they are read once.

    Raises
    ------
    ConfigError
        If no file matches ``images``.
    SurveyError
        If the catalogue or an image cannot be read.
    """
    if config.catalog is not None:
        paths = [config.catalog]
    else:
        assert config.images is not None
        paths = globs.expand(config.images)
        if not paths:
            raise ConfigError(f"plan.sources.images: no file matches {config.images!r}")
    return _open(config, tuple((p, Path(p).stat().st_mtime_ns if Path(p).exists() else 0) for p in paths))


@lru_cache(maxsize=4)
def _open(config: SourcesConfig, files: tuple[tuple[str, int], ...]) -> SourceBank:
    prepare = {"noise": config.noise, "negative": config.negative}
    if config.catalog is not None:
        return SourceBank.from_galsim(config.catalog, **prepare)
    return SourceBank.from_fits([path for path, _ in files], config.pixel_scale_arcsec, **prepare)


def bank_of(config: RunConfig) -> SourceBank | None:
    """Return the bank of a run; None if all its sources are Sersic profiles."""
    return None if config.plan.sources is None else open_bank(config.plan.sources)


def split_of_sources(ids: NDArray[np.str_], fractions: tuple[float, float, float], seed: int) -> NDArray[np.uint8]:
    """Split of every image: in the order of a hash of their names, divided at the requested fractions.

    Parameters
    ----------
    ids : ndarray of str, shape (source,)
    fractions : tuple of float
        Shares of train, val and test, which sum to 1.
    seed : int

    Returns
    -------
    ndarray of uint8, shape (source,)
        0 train, 1 val, 2 test. The same for any order of ``ids``.
    """
    keys = rng.uniform(seed, rng.hash_ids(ids), "manifest.source_split")[:, 0]
    place = np.empty(len(ids))
    place[np.lexsort((ids, keys))] = np.arange(len(ids)) + 0.5
    return np.searchsorted(np.cumsum(fractions)[:-1] * len(ids), place).astype(np.uint8)


def draw_source_ids(
    config: SourcesConfig,
    ids: NDArray[np.str_],
    fractions: tuple[float, float, float],
    row_id: NDArray[np.uint64],
    split: NDArray[np.uint8],
    seed: int,
) -> NDArray[np.str_]:
    """Image of every row, uniformly from those of its split; "" for rows with a Sersic source.

    Parameters
    ----------
    config : SourcesConfig
    ids : ndarray of str, shape (source,)
        The bank's, 32 characters at most.
    fractions : tuple of float
        Shares of the splits.
    row_id, split : ndarray, shape (sample,)
        Of injections.
    seed : int

    Raises
    ------
    ManifestError
        If a split has rows but no image.
    """
    order = np.sort(ids)
    home = split_of_sources(order, fractions, seed)
    with_image, u = image_numbers(config, row_id, seed)
    out = np.zeros(len(row_id), dtype="U32")
    for code, name in enumerate(SPLITS):
        rows = with_image & (split == code)
        own = order[home == code]
        if rows.any() and not own.size:
            raise ManifestError(
                f"plan.sources: none of the {len(ids)} images falls into the split {name!r}, which has {rows.sum()} "
                "rows to fill. An image serves one split only: give more images, or set that split's fraction to 0."
            )
        if own.size:
            out[rows] = own[(u[rows] * own.size).astype(np.int64)]
    return out


def image_numbers(
    config: SourcesConfig, row_id: NDArray[np.uint64], seed: int
) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
    """Whether the source of every row is an image, and the uniform number that chooses it."""
    u = rng.uniform(seed, row_id, "src_id", 2)
    return u[:, 0] < config.share, u[:, 1]


def redshifts_of(bank: SourceBank, src_id: NDArray[np.str_]) -> NDArray[np.float64]:
    """Redshift of every row's image; NaN for rows without one.

    Raises
    ------
    ManifestError
        If an image has none; names it.
    """
    names, place = np.unique(src_id, return_inverse=True)
    z = np.array([bank.entries[str(n)].redshift if str(n) in bank.entries else np.nan for n in names])
    bad = np.array([str(n) in bank.entries for n in names]) & ~((z > 0) & (z <= Z_MAX / 2))
    if bad.any():
        first = int(np.argmax(bad))
        raise ManifestError(
            f"image source {str(names[first])!r}: its redshift is {z[first]:g}, and {int(bad.sum()) - 1} other(s) have "
            f"none in (0, {Z_MAX / 2:g}]. plan.sources.redshift needs one of each image: ZPHOT of a catalogue,"
            " REDSHIFT of an image's header. Leave such images out, or choose redshift: plan."
        )
    return z[place]


def native_sizes(bank: SourceBank, src_id: NDArray[np.str_]) -> NDArray[np.float64]:
    """Half-light radius of every row's image at its native scale, arcsec; NaN for rows without one.

    Reads every requested image once.
    """
    names, place = np.unique(src_id, return_inverse=True)
    radius = [bank.get(str(name)).half_light_radius_arcsec if name else np.nan for name in names]
    return np.array(radius)[place]


def native_magnitudes(bank: SourceBank, src_id: NDArray[np.str_], zero_point: float | None) -> NDArray[np.float64]:
    """Magnitude of every row's image; NaN for rows without one.

    Parameters
    ----------
    bank : SourceBank
    src_id : ndarray of str, shape (n,)
    zero_point : float or None
        Of the images' counts; None: the catalogue's MAG.

    Raises
    ------
    ManifestError
        If a row's image has no magnitude; names it.
    """
    names, place = np.unique(src_id, return_inverse=True)
    out = np.full(len(names), np.nan)
    for k, name in enumerate(str(n) for n in names):
        if not name:
            continue
        if zero_point is None:
            out[k] = bank.entries[name].magnitude
        else:
            out[k] = mag_of_flux(bank.get(name).native_flux, zero_point)
        if not np.isfinite(out[k]):
            where = "no MAG in its catalogue" if zero_point is None else "no positive flux"
            raise ManifestError(
                f"image source {name!r} has no magnitude ({where}), which plan.sources.magnitude: native asks for. "
                "Give it one, leave it out, or choose magnitude: prior."
            )
    return out[place]


def with_images(
    drawn: dict[str, NDArray],
    config: RunConfig,
    sources: SourceBank | None,
    row_id: NDArray[np.uint64],
    split: NDArray[np.uint8],
    given: Mapping[str, NDArray] | None = None,
    chosen: NDArray[np.str_] | None = None,
) -> dict[str, NDArray]:
    """Add ``src_id`` and the columns that follow from it to a block of injections.

    An image has no Sersic index and axis ratio (NaN); its size is its own, unless the plan's is asked for or a user's
    table gives one (``given``: its columns), and so is its magnitude where ``plan.sources.magnitude`` is native and
    the table gives no flux. Where the table gives ``src_id``, those images are the sources, and rows with an empty one
    have a Sersic source; so for ``chosen`` ones, which went by redshift. With ``plan.sources.redshift: moved``, an
    image's own size and magnitude are those that it would have at ``src_z``.

    Raises
    ------
    ManifestError
        If the table names an image that does not exist.
    """
    settings, given = config.plan.sources, given or {}
    named = given.get("src_id")
    if named is not None and settings is None and (named != "").any():
        raise ManifestError(
            f"plan.table: src_id names the image {named[np.argmax(named != '')]!s}, but plan.sources names no images. "
            "Give plan.sources, or put src_id into plan.table_ignore."
        )
    if settings is None:
        return {**drawn, "src_id": np.zeros(len(row_id), dtype="U32")}
    bank = sources or open_bank(settings)
    lost = np.zeros(len(row_id), bool)
    if chosen is not None:
        lost = chosen == NO_IMAGE
        src_id = np.where(lost, "", chosen)
    elif named is not None:
        src_id = _known(named, bank)
    else:
        src_id = draw_source_ids(settings, np.array(bank.ids), config.splits.fractions, row_id, split, config.seed)
    own: dict[str, Any] = {"src_n": np.nan, "src_q": np.nan}
    z = redshifts_of(bank, src_id) if settings.redshift == "moved" else None
    if settings.size == "native" and "src_reff_arcsec" not in given:
        own["src_reff_arcsec"] = native_sizes(bank, src_id)
        if z is not None:
            own["src_reff_arcsec"] = moved_size(own["src_reff_arcsec"], z, drawn["src_z"])
    if settings.magnitude == "native" and "src_flux_nmgy" not in given:
        above_dust = drawn["src_flux_nmgy"] / drawn["mw_transmission"]
        drawn_mag = i_magnitude(above_dust, config.bands, config.reference_band)
        wanted = native_magnitudes(bank, src_id, settings.zero_point)
        if z is not None:
            wanted = moved_magnitude(wanted, z, drawn["src_z"], mag_of_flux(above_dust), config.bands)
        factor = np.where(src_id != "", 10 ** (-0.4 * (wanted - drawn_mag)), 1.0)
        drawn = {**drawn, "src_flux_nmgy": drawn["src_flux_nmgy"] * factor[:, None]}
    out = {**drawn, **{k: np.where(src_id != "", v, drawn[k]) for k, v in own.items()}}
    return {**out, "src_id": np.where(lost, NO_IMAGE, src_id)}


def _known(src_id: NDArray[np.str_], bank: SourceBank) -> NDArray[np.str_]:
    """Return a table's images as stored, if the bank has them all."""
    ids = [str(i) for i in bank.ids]
    unknown = ~np.isin(src_id, ["", *ids])
    if unknown.any():
        first = str(src_id[np.argmax(unknown)])
        raise ManifestError(
            f"plan.table: src_id {first!r} is none of the {len(ids)} images of plan.sources "
            f"({', '.join(ids[:3])}, ...).{did_you_mean(first, ids)} {int(unknown.sum()) - 1} other row(s) alike."
        )
    stored = np.dtype(variable("manifest", "src_id").dtype)
    if stored.itemsize and src_id.dtype.itemsize > stored.itemsize and (np.strings.str_len(src_id) * 4 >
                                                                        stored.itemsize).any():  # fmt: skip
        raise ManifestError(f"plan.table: names of images may have {stored.itemsize // 4} characters")
    return src_id.astype(stored) if stored.itemsize else src_id
