"""Did real stamps come by the same road as the run's? Noise, sky, scale and rounding, before anything is compared.

Stamps from a viewer or from other coadds are resampled, rounded or cut otherwise, and a classifier reads that and not
the lenses.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass, replace

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from scipy.stats import ttest_ind

from lensflow import rng
from lensflow.lensing.noise_correlation import noise_autocorrelation
from lensflow.measure.pixels.bits_lattice import ON_OUTER, zone_shares
from lensflow.schema import Status

Floats = NDArray[np.float64]

# Stamps of each side: a difference of half a standard deviation is then seven standard errors.
STAMPS = 400
MAX_SD = 0.5
# A difference counts if chance makes it this rarely (Welch): of ten stamps half a standard deviation is chance.
SURE = 0.01
# A pixel scale is the same to this share of it: a stamp's edge then moves by less than a pixel's third.
SAME_SCALE = 0.01
LEAST_STAMPS = 2
# What is measured on each stamp, and what it means.
MEASURED = {
    "lag_1": "autocorrelation of the sky's noise at one pixel",
    "sky_sigma": "sky sigma over that expected from invvar",
    "zeros": "share of pixels with data that are exactly 0",
    "not_finite": "share of pixels that are not finite",
    "on_lattice": "share of the outskirts' pixels on one lattice: rounding of the file",
}


@dataclass(frozen=True, eq=False)
class RoadCheck:
    """Whether two sets of stamps are of one road.

    Attributes
    ----------
    table : Dataset
        Dim check: ``real``, ``run`` (means), ``difference`` [standard deviations], ``ok``, ``meaning``.
    reason : str
        Why they are not, for people; empty if they are.
    n_real, n_run : int
        Stamps that were measured.
    """

    table: xr.Dataset
    reason: str
    n_real: int
    n_run: int

    @property
    def is_same(self) -> bool:
        """Whether nothing tells their roads apart."""
        return not self.reason


def some_rows(names: NDArray, status: NDArray[np.uint8], count: int = STAMPS) -> NDArray[np.int64]:
    """Rows to measure: those with data, chosen by the hash of their names, in order."""
    worth = np.flatnonzero(status != Status.FAILED)
    if len(worth) > count:
        worth = np.sort(worth[np.argsort(rng.hash_ids(names[worth]), kind="stable")[:count]])
    return worth


def road_of_stamps(cutouts: xr.Dataset) -> xr.Dataset:
    """Measure what tells roads apart, on every stamp.

    Parameters
    ----------
    cutouts : Dataset
        Dims host, band, y, x, in memory: image [nMgy/pixel], invvar [nMgy^-2].

    Returns
    -------
    Dataset with dims host, band
        The names of ``MEASURED``; NaN where a band has no data or too little blank sky.
    """
    image, invvar = cutouts["image"].values, cutouts["invvar"].values
    n, bands = image.shape[:2]
    found = {name: np.full((n, bands), np.nan) for name in MEASURED}
    data: NDArray[np.bool_] = invvar > 0
    some = np.asarray(data.any(axis=(2, 3)))
    finite: NDArray[np.bool_] = np.isfinite(image)
    for i in range(n):
        if not some[i].any():
            continue
        noise = noise_autocorrelation(np.where(finite[i], image[i], 0), valid=data[i] & finite[i], max_lag=1)
        found["lag_1"][i] = (noise.rho[:, 1, 2] + noise.rho[:, 2, 1]) / 2
        for b in np.flatnonzero(some[i]).tolist():
            found["sky_sigma"][i, b] = noise.sigma[b] * np.sqrt(np.median(invvar[i, b][data[i, b]]))
    with np.errstate(invalid="ignore", divide="ignore"):
        found["zeros"] = ((image == 0) & data).sum(axis=(2, 3)) / data.sum(axis=(2, 3))
        found["not_finite"] = np.where(some, (~finite).mean(axis=(2, 3)), np.nan)
    for first in range(0, n, 128):
        part = np.where(finite[first : first + 128], image[first : first + 128], 0).astype(np.float32)
        found["on_lattice"][first : first + 128] = zone_shares(part)[..., ON_OUTER]
    return xr.Dataset({name: (("host", "band"), np.asarray(v, np.float64)) for name, v in found.items()},
                      coords={"band": cutouts["band"].values})  # fmt: skip


def same_road(real: xr.Dataset, run: xr.Dataset, max_sd: float = MAX_SD) -> RoadCheck:
    """Compare stamps of real lenses with cutouts of the run, as they are stored.

    Parameters
    ----------
    real, run : Dataset
        Cutouts: image, invvar, status, host_id; attrs ``pixel_scale_arcsec``. Of more than 400, 400 are taken by hash.
    max_sd : float
        Standardised difference from which a road is another: ``realism.max_road_sd``.

    Returns
    -------
    RoadCheck
    """
    sides = []
    for side in (real, run):
        rows = some_rows(side["host_id"].values, side["status"].values)
        sides.append(road_of_stamps(side[["image", "invvar"]].isel(host=rows).load()))
    plain = [_About(float(s.attrs["pixel_scale_arcsec"]), tuple(map(str, s["band"].values)), str(s["image"].dtype),
                    s["image"].shape[-1]) for s in (real, run)]  # fmt: skip
    return compared(sides[0], sides[1], plain[0], plain[1], max_sd)


def with_rounding(
    road: RoadCheck, real: NDArray[np.float32], pairs: NDArray[np.float32], max_sd: float = MAX_SD
) -> RoadCheck:
    """Add to a check of roads whether the pixels that are compared in the end are rounded alike.

    Stored cutouts may be of one road, and yet only one side rounded on its way to features, encoders and scorers
    (``store.quantize``): a lattice tells the sides apart, whatever the arcs are.

    Parameters
    ----------
    road : RoadCheck
        Of the stored cutouts.
    real, pairs : ndarray, shape (n, band, y, x)
        Real stamps and stamps of the pairs, as they are handed on [nMgy/pixel]; only their outskirts are looked at.
    max_sd : float

    Returns
    -------
    RoadCheck
        With the check ``rounding``.
    """
    mine, theirs = (_of_stamp(np.asarray(zone_shares(np.nan_to_num(np.asarray(side, np.float32)))[..., ON_OUTER],
                                         np.float64)) for side in (real, pairs))  # fmt: skip
    difference, sure = _standardised(mine, theirs)
    ok, meaning = not (abs(difference) > max_sd and sure), "share of the outskirts' pixels on one lattice, as compared"
    row = xr.Dataset(
        {"real": ("check", [_mean(mine)]), "run": ("check", [_mean(theirs)]), "difference": ("check", [difference]),
         "ok": ("check", [ok]), "meaning": ("check", [meaning])},
        coords={"check": ["rounding"]},
    )  # fmt: skip
    reason = road.reason
    if not ok:
        fault = (f"{meaning}: {_mean(mine):.3g}, the run's pairs have {_mean(theirs):.3g} "
                 f"({_shown(difference)} sd apart, {max_sd:g} allowed)")  # fmt: skip
        reason = f"{reason}; {fault}" if reason else f"{_OTHER_ROAD}: {fault}"
    return replace(road, table=xr.concat([road.table, row], "check", combine_attrs="override"), reason=reason)


_OTHER_ROAD = "real stamps are not of the run's road"


@dataclass(frozen=True)
class _About:
    pixel_scale_arcsec: float
    bands: tuple[str, ...]
    dtype: str
    size: int


def compared(real: xr.Dataset, run: xr.Dataset, of_real: _About, of_run: _About, max_sd: float = MAX_SD) -> RoadCheck:
    """Judge what :func:`road_of_stamps` measured on both sides."""
    rows, faults = [], []
    for name, a, b, same in (
        ("bands", ", ".join(of_real.bands), ", ".join(of_run.bands), of_real.bands == of_run.bands),
        ("dtype", of_real.dtype, of_run.dtype, of_real.dtype == of_run.dtype),
        ("stamp size", f"{of_real.size} pix", f"{of_run.size} pix", of_real.size == of_run.size),
    ):
        if not same:
            faults.append((np.inf, f"{name}: {a}, the run has {b}"))
    scale = abs(of_real.pixel_scale_arcsec / of_run.pixel_scale_arcsec - 1)
    if scale > SAME_SCALE:
        faults.append((np.inf, f"pixel scale: {of_real.pixel_scale_arcsec:g} arcsec, the run has "
                       f"{of_run.pixel_scale_arcsec:g}"))  # fmt: skip
    for name, meaning in MEASURED.items():
        mine, theirs = (_of_stamp(side[name].values) for side in (real, run))
        difference, sure = _standardised(mine, theirs)
        ok = not (abs(difference) > max_sd and sure)
        rows.append((name, _mean(mine), _mean(theirs), difference, ok, meaning))
        if not ok:
            faults.append((abs(difference), f"{meaning}: {_mean(mine):.3g}, the run has {_mean(theirs):.3g} "
                           f"({_shown(difference)} sd apart, {max_sd:g} allowed)"))  # fmt: skip
    n_real, n_run = real.sizes["host"], run.sizes["host"]
    measured = [min(np.isfinite(_of_stamp(side["lag_1"].values)).sum() for side in (real, run))]
    if min(measured) < LEAST_STAMPS and not faults:
        faults.append((np.inf, f"too few stamps have blank sky to tell ({n_real} real, {n_run} of the run)"))
    table = xr.Dataset(
        {
            "real": ("check", [r[1] for r in rows]),
            "run": ("check", [r[2] for r in rows]),
            "difference": ("check", [r[3] for r in rows], {"units": "sd"}),
            "ok": ("check", [r[4] for r in rows]),
            "meaning": ("check", [r[5] for r in rows]),
        },
        coords={"check": [r[0] for r in rows]},
    )
    faults.sort(key=lambda f: -f[0])
    reason = "; ".join(text for _, text in faults)
    return RoadCheck(table, f"{_OTHER_ROAD}: {reason}" if reason else "", n_real, n_run)


def _of_stamp(values: Floats) -> Floats:
    """Mean of each stamp's bands; NaN where no band has a value."""
    known = np.isfinite(values)
    with np.errstate(invalid="ignore"):
        return np.asarray(np.where(known, values, 0).sum(axis=1) / known.sum(axis=1))


def _mean(values: Floats) -> float:
    known = values[np.isfinite(values)]
    return float(known.mean()) if known.size else float("nan")


def _standardised(real: Floats, run: Floats) -> tuple[float, bool]:
    """Difference in pooled standard deviations, and whether it is beyond chance; infinite where nothing varies."""
    a, b = real[np.isfinite(real)], run[np.isfinite(run)]
    if len(a) < LEAST_STAMPS or len(b) < LEAST_STAMPS:
        return 0.0, False
    gap = a.mean() - b.mean()
    sd = np.sqrt((a.var(ddof=1) + b.var(ddof=1)) / 2)
    if sd <= 1e-12 * max(abs(a.mean()), abs(b.mean()), 1e-300) or sd == 0:
        return (
            (0.0, False)
            if abs(gap) <= 1e-9 * max(abs(a.mean()), abs(b.mean()), 1e-9)
            else (np.sign(gap) * np.inf, True)
        )
    with warnings.catch_warnings(action="ignore"):  # one side may hardly vary
        chance = ttest_ind(a, b, equal_var=False).pvalue
    return float(gap / sd), bool(chance < SURE)


def _shown(difference: float) -> str:
    return "infinitely many" if np.isinf(difference) else f"{abs(difference):.2f}"
