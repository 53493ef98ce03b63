"""Rows and columns of a table of galaxies that cannot be used, and why."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from lensflow.config import Range
from lensflow.errors import ManifestError
from lensflow.manifest.cosmology import Z_MAX
from lensflow.targets.columns import Columns
from lensflow.units import nmgy_of_mag

Floats = NDArray[np.float64]

_SETTING = "plan.source_table"
# Values beyond these are no magnitudes: 99, -99, 99.9 stand for missing ones in many catalogues.
_SENTINEL_MAG = 90.0
_MAG_RANGE = (5.0, 40.0)
_REFF_MAX_ARCSEC = 30.0
_N_RANGE = (0.3, 8.0)
# A column without a unit is believed if its middle can be what it is called.
_MIDDLE_MAG, _MIDDLE_REFF_ARCSEC = (10.0, 35.0), (1e-3, 5.0)


def photometry(columns: Columns, band: str) -> str:
    """Name of the column that a band's light is read from: the magnitude where both are there."""
    return f"mag_{band}" if f"mag_{band}" in columns else f"flux_{band}_nmgy"


def refuse_other_quantities(path: str, columns: Columns, arrays: Mapping[str, NDArray], used: Sequence[str]) -> None:
    """Refuse columns that cannot be what they are called: fluxes as magnitudes, magnitudes as fluxes, pixels.

    Raises
    ------
    ManifestError
        Naming the column, its middle value and what it may be.
    """

    def middle(values: Floats) -> float:
        good = values[np.isfinite(values) & (np.abs(values) < _SENTINEL_MAG)]
        return float(np.median(good)) if good.size else np.nan

    for k, b in enumerate(used):
        m = middle(arrays["mag"][:, k])
        if np.isfinite(m) and not _MIDDLE_MAG[0] <= m <= _MIDDLE_MAG[1]:
            name = columns.where[photometry(columns, b)][0]
            raise ManifestError(
                f"{path}: {name}: the middle of its values is {m:.3g} as AB magnitudes. Are they fluxes, or in another "
                f"unit? Fluxes in nMgy are called flux_{b}_nmgy ({_SETTING}.columns)."
            )
        name = photometry(columns, b)
        if name.startswith("flux_"):
            flux = nmgy_of_mag(arrays["mag"][:, k])
            good = flux[np.isfinite(flux)]
            # Fluxes of galaxies differ by factors of ten; magnitudes of the same galaxies lie between 15 and 32.
            if good.size >= 20 and good.min() > 15 and good.max() < 32:
                raise ManifestError(
                    f"{path}: {columns.where[name][0]}: all values lie between 15 and 32: they look like magnitudes. "
                    f"Call them mag_{b} ({_SETTING}.columns)."
                )
    size = arrays["reff_arcsec"]
    m = middle(size[size > 0]) if len(size) else np.nan
    if np.isfinite(m) and not _MIDDLE_REFF_ARCSEC[0] <= m <= _MIDDLE_REFF_ARCSEC[1]:
        raise ManifestError(
            f"{path}: {columns.where['reff_arcsec'][0]}: the middle of its values is {m:.3g} arcsec. Are they pixels "
            "or kpc? State the unit, or convert the column."
        )


def problems(
    arrays: Mapping[str, NDArray], used: Sequence[str], wanted_nm: Sequence[float], known: Mapping[str, float],
    bands: Sequence[str], mag_range: Range | None,
) -> Iterator[tuple[str, NDArray[np.bool_]]]:  # fmt: skip
    """Reason and the rows that it excludes; where a row has several, the first counts."""
    mag, size = arrays["mag"], arrays["reff_arcsec"]
    for k, b in enumerate(used):
        m = mag[:, k]
        yield f"MAG_SENTINEL_{b}", np.abs(m) >= _SENTINEL_MAG
        yield f"NOT_DETECTED_{b}", arrays["not_detected"][:, k]
        yield f"NO_MAG_{b}", ~np.isfinite(m)
        yield f"IMPLAUSIBLE_MAG_{b}", (m < _MAG_RANGE[0]) | (m > _MAG_RANGE[1])
    yield "NO_SIZE", ~np.isfinite(size)
    yield "SIZE_NOT_POSITIVE", size <= 0
    yield "IMPLAUSIBLE_SIZE", size > _REFF_MAX_ARCSEC
    if "z" in arrays:
        yield "NO_REDSHIFT", ~np.isfinite(arrays["z"])
        yield "REDSHIFT_NOT_POSITIVE", arrays["z"] <= 0
        yield "IMPLAUSIBLE_REDSHIFT", arrays["z"] > Z_MAX / 2
    if "q" in arrays:
        yield "NO_AXIS_RATIO", ~((arrays["q"] > 0) & (arrays["q"] <= 1))
    if "n" in arrays:
        yield "NO_SERSIC_INDEX", ~((arrays["n"] >= _N_RANGE[0]) & (arrays["n"] <= _N_RANGE[1]))
    if "weight" in arrays:
        w = arrays["weight"]
        yield "BAD_WEIGHT", ~(np.isfinite(w) & (w >= 0))
        yield "WEIGHT_ZERO", w == 0
    if arrays["has_id"]:
        yield "NO_ID", arrays["id"] == ""
        yield from _duplicates(arrays)
    if mag_range is not None:
        # At the galaxy's own redshift, on the lines between its bands.
        at = wanted_nm[list(bands).index("r")] if "r" in bands else wanted_nm[0]
        nm = np.array([known[b] for b in used])
        r = np.array([np.interp(np.log(at), np.log(nm), m) for m in mag]) if len(mag) else np.empty(0)
        yield "OUTSIDE_SRC_MAG_RANGE", ~((r >= mag_range.min) & (r <= mag_range.max))


def _duplicates(arrays: Mapping[str, NDArray]) -> Iterator[tuple[str, NDArray[np.bool_]]]:
    """Rows of an id that is there already: a copy of its first row, or an id of two galaxies, all of which go."""
    names, first, of, count = np.unique(arrays["id"], return_index=True, return_inverse=True, return_counts=True)
    numbers = [v for k, v in arrays.items() if k in ("mag", "reff_arcsec", "z", "q", "n", "weight")]
    table = np.column_stack([v if v.ndim > 1 else v[:, None] for v in numbers])
    same = ((table == table[first[of]]) | (np.isnan(table) & np.isnan(table[first[of]]))).all(axis=1)
    several = np.zeros(len(names), bool)
    np.logical_or.at(several, of, ~same)
    yield "ID_OF_TWO_GALAXIES", several[of]
    yield "DUPLICATE", (count[of] > 1) & (np.arange(len(of)) != first[of])
