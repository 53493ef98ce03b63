"""Findings of the exact checks: recomputed stamps, arcs rendered again, signs and formats of numbers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import xarray as xr

from lensflow.measure.pixels.bits_rounded import LINE_ALARM, PATTERNS
from lensflow.measure.pixels.judging import Finding, Status, against, exact, not_tested, place_of, untested, within
from lensflow.measure.pixels.rendering import CHANCE, FAULTY_SHARE, SAMPLE
from lensflow.stats.estimate import Estimate

# Alarm if fair coins give the result with a smaller probability than this, for all positions together.
CHANCE_ALARM = 1e-4
# A sum of floats is exactly 0 by chance once in some ten million pixels.
DEAD_PIXELS = 10
# Of the pixels, on a lattice in stamps and not in controls, or the other way round. Chance puts 4 % on any lattice.
LATTICE_SHARE = 0.005


def recompute(ds: xr.Dataset) -> Iterator[Finding]:
    """Judge recomputed stamps."""
    check = "stamps are host + arc + noise"
    if why := str(ds.attrs["why"]):
        yield not_tested("recompute", check, why)
        return
    found = exact("recompute", check, ds["n_differing"], int(ds["n_rows"]) > 0)
    if found.status is Status.ALARM:
        pixels = ", ".join(f"{int(n):,} in {b}" for b, n in zip(ds["band"].values, ds["n_pixels"].values, strict=True))
        found = replace(found, where=str(ds.attrs["worst"]), text=f"{found.text}; pixels that differ: {pixels}")
    yield found


def bits(ds: xr.Dataset) -> Iterator[Finding]:
    """Judge signs of residuals and formats of numbers."""
    looked, rounded = int(ds["n_looked"].sum()), int(ds["n_rounded"].sum())
    why = f"{rounded:,} rows and bands are rounded, their residuals are steps" if rounded else "no arc"
    yield exact("bits", "formats of the numbers", ds["n_format"], looked + int(ds["n_format"].sum()) > 0)
    dead = (ds["n_dead"] - DEAD_PIXELS).clip(0).assign_attrs(ds["n_dead"].attrs)
    yield exact("bits", "dead pixels", dead, looked > 0)
    rounded_patterns = ds.isel(pattern=[str(p) in PATTERNS for p in ds["pattern"].values])
    if rounded:
        yield from _patterns(rounded_patterns, f"alarm below {CHANCE_ALARM:g}")
        yield within("bits", "a second lattice below the rounding", ds["second_lattice"], LINE_ALARM, 1.0)
    if not int(ds["n_coins"].sum()):
        yield not_tested("bits", "signs of the residual", f"no sign was counted: {why if not looked else 'no noise'}")
        return
    of_band = ", ".join(f"{v:.2g} in {b}" for b, v in zip(ds["band"].values, ds["smallest_nmgy"].values, strict=True))
    power = f"alarm below {CHANCE_ALARM:g}; a pattern of {of_band} nMgy/pixel in every row would be seen"
    p = ds["contrast_p"]
    worst = int(np.argmin(p.values))
    status = Status.ALARM if float(p.values.ravel()[worst]) < CHANCE_ALARM else Status.OK
    z = float(ds["contrast_z"].values.ravel()[worst])
    text = f"{ds['contrast_z'].attrs['long_name']}; chance {float(p.values.ravel()[worst]):.2g} ({power})"
    yield Finding("bits", "signs beside the host's light", status, place_of(p, worst), Estimate(z), 0.0, text)
    yield from _patterns(ds.isel(pattern=[str(p) not in PATTERNS for p in ds["pattern"].values]), power)


def _patterns(ds: xr.Dataset, power: str) -> Iterator[Finding]:
    """Judge the largest of each map."""
    for name in ds["pattern"].values:
        one = ds.sel(pattern=name)
        b = int(np.argmin(one["pattern_p"].values))
        chance = float(one["pattern_p"][b])
        status = Status.ALARM if chance < CHANCE_ALARM else Status.OK
        where = f"{ds['band'].values[b]}, {one['pattern_where'].values[b]}"
        text = f"{one['pattern_p'].attrs['long_name']} ({power})"
        yield Finding("bits", f"pattern {name}", status, where, Estimate(chance), 1.0, text)


def lattice(ds: xr.Dataset) -> Iterator[Finding]:
    """Judge the shares of pixels on the lattice, stamps beside their controls."""
    for name, check in (("inner_difference", "in the middle"), ("outer_difference", "in the outskirts")):
        check = f"stamps lie on their controls' lattice {check}"
        if not int(ds["n_rows"].sum()):
            yield not_tested("lattice", check, "no injection")
            continue
        found = against("lattice", check, ds, name, tolerance=LATTICE_SHARE)
        of_band = zip(ds["band"].values, ds["rounded_share"].values, strict=True)
        shares = ", ".join(f"{v:.0%} in {b}" for b, v in of_band)
        yield replace(found, text=f"{found.text}; controls that are rounded: {shares}")


def sharpness(ds: xr.Dataset) -> Iterator[Finding]:
    """Judge light finer than the PSF."""
    if skipped := untested("sharpness", ds):
        yield skipped
        return
    b = int(np.nanargmax(ds["over_limit"].values))
    value = float(ds["over_limit"][b])
    where = f"{ds['band'].values[b]}, {ds['where'].values[b]}"
    text = f"{ds['over_limit'].attrs['long_name']} ({float(ds['limit_share'][b]):.2g} of its flux in a checkerboard)"
    status = Status.ALARM if value > 1 else Status.OK
    yield Finding("sharpness", "arcs are no finer than their PSF", status, where, Estimate(value), 0.0, text, "1", 1.0)


def rendering(ds: xr.Dataset) -> Iterator[Finding]:
    """Judge arcs that were rendered again."""
    if skipped := untested("rendering", ds):
        yield skipped
        return
    done, of_all = int(ds["n_rendered"]), int(ds["n_injections"])
    sample = f"all {of_all:,} rows" if done >= of_all else f"{done:,} of {of_all:,} rows, chosen by hash"
    if done >= SAMPLE:
        sample += f"; a fault in {100 * FAULTY_SHARE:g} % of the rows is among them with a chance of {100 * CHANCE:g} %"
    for name, check in (("error", "stored arcs rendered again"), ("flux_error", "their flux")):
        yield _rendered_again(ds, name, check, sample)
    limit = np.maximum(ds["reference_own_error"], float(ds.attrs["reference_accuracy"]))
    text = "error against the slow reference over the larger of its own and " + f"{ds.attrs['reference_accuracy']:g}"
    yield within(
        "rendering", "beside the slow reference", (ds["reference_error"] / limit).assign_attrs(long_name=text), 1
    )


def _rendered_again(ds: xr.Dataset, name: str, check: str, sample: str) -> Finding:
    """Judge errors of rendered rows, each against its own tolerance."""
    excess = (ds[name] / ds["tolerance"]).values
    if np.isnan(excess).all():
        why = "sources are images, which are not given here" if int(ds.attrs["n_images"]) else "no row"
        return not_tested("rendering", check, f"no row was rendered again: {why}")
    worst = int(np.nanargmax(excess))
    row, band = np.unravel_index(worst, excess.shape)
    beyond = int(ds["n_beyond"])
    text = f"{ds[name].attrs['long_name']}; {sample}; {beyond:,} of these beyond the tolerance"
    status = Status.ALARM if excess[row, band] > 1 else Status.OK
    where = f"row_id {ds['row_id'].values[row]}, {ds['band'].values[band]}"
    value, allowed = float(ds[name].values[row, band]), float(ds["tolerance"].values[row])
    return Finding("rendering", check, status, where, Estimate(value), 0.0, text, "1", allowed)
