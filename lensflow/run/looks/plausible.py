"""Plausibility checks: pixel scale, brightness, Einstein radii."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from lensflow.config.base import Range
from lensflow.run.looks.base import Finding, Level, Seen
from lensflow.survey.photometry import with_measurements
from lensflow.units import mag_of_flux

# Wide on purpose: outside them a unit, a zero point or a column is wrong, not the sky unusual.
PIXEL_SCALES_ARCSEC = (0.02, 2.0)
HOST_MAGNITUDES = (10.0, 25.0)


def pixel_scale(seen: Seen) -> Iterator[Finding]:
    """Check that the pixel scale can resolve lenses."""
    scale = seen.pixel_scale_arcsec
    if scale is None:
        return
    low, high = PIXEL_SCALES_ARCSEC
    good = low <= scale <= high
    what = f"{scale:.4g} arcsec a pixel, a stamp is {scale * seen.config.survey.stamp_size:.4g} arcsec wide"
    advice = "" if good else f"Surveys have {low:g} to {high:g}: is it in arcsec, and is the WCS understood?"
    yield Finding("pixel scale", Level.OK if good else Level.WARN, what, advice)


def einstein_radii(seen: Seen) -> Iterator[Finding]:
    """Check that the Einstein radii of the plan fit on the stamp."""
    scale, plan = seen.pixel_scale_arcsec, seen.config.plan
    if scale is None:
        return
    tabled = None if seen.table is None else seen.table.columns.get("theta_e_arcsec")
    if tabled is None and plan.priors.theta_e_from != "prior":
        what = "Einstein radii follow from each host; rows beyond the stamp are marked (theta_e_beyond_stamp)"
        yield Finding("einstein radii", Level.OK, what)
        return
    half = 0.5 * scale * seen.config.survey.stamp_size
    if tabled is not None:
        values = np.asarray(tabled, float)
    else:
        prior = plan.priors.theta_e_arcsec
        values = np.array([prior.min, prior.max] if isinstance(prior, Range) else prior, float)
    what = f"Einstein radii {values.min():.3g} to {values.max():.3g} arcsec, half a stamp is {half:.3g} arcsec"
    advice = "Arcs would be outside the stamp: use a larger survey.stamp_size, or smaller plan.theta_e_arcsec."
    if values.min() >= half:
        yield Finding("einstein radii", Level.FAIL, what, advice)
    elif values.max() > 0.8 * half:
        yield Finding("einstein radii", Level.WARN, what, advice)
    else:
        yield Finding("einstein radii", Level.OK, what)


def brightness(seen: Seen) -> Iterator[Finding]:
    """Compare the light of a few hosts with that of plausible lens galaxies."""
    trial = seen.trial
    if trial is None:
        return
    block = with_measurements(trial)
    k = seen.config.reference_band
    measured = block["aperture_flux_nmgy"].values[:, k].astype(float)
    known = np.isfinite(measured) & (measured > 0)
    if not trial["covered"].values.any():
        return
    if not known.any():
        advice = "Are units, background and pixel scale right? plan.src_mag: apparent needs no flux of the host."
        yield Finding("brightness", Level.WARN, "no host of the trial has a flux above 0 in the aperture", advice)
        return
    magnitude = float(np.median(mag_of_flux(measured[known])))
    what = f"trial hosts have a median {seen.config.bands[k]} magnitude of {magnitude:.1f}"
    low, high = HOST_MAGNITUDES
    advice = "Pixels must be nanomaggies (zero point 22.5): is the survey's zero point another one?"
    if low <= magnitude <= high:
        yield Finding("brightness", Level.OK, what)
    else:
        yield Finding("brightness", Level.WARN, what, advice)
