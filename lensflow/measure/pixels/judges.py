"""Judges of the diagnostics: each number with its expected value and status.

The rule is one for all: a statistic is an alarm if its expected value lies further away than twice the half-width of
its 95 % interval (more with few hosts, :func:`~lensflow.measure.pixels.judging.alarm_widths`: a chance of 9e-5, so that
a hundred statistics of a sound run are rarely one alarm) and by more than a tolerance that matters.
What must be exact is an alarm as soon as it is not.
Class balance has a rule of its own (:mod:`lensflow.measure.pixels.balance_judge`); what is exactly known is judged in
:mod:`lensflow.measure.pixels.judges_exact`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import xarray as xr

from lensflow.measure.pixels import deflection_check as bends
from lensflow.measure.pixels import psf_check as impulses
from lensflow.measure.pixels.judging import Finding, Status, against, exact, not_tested, untested, within
from lensflow.stats.estimate import Estimate

# Beyond these the number matters, with any interval.
SHIFT_PIX, FLUX_SHARE, SKY_MAG, LEAKAGE_PCT = 0.02, 0.02, 0.3, 1.0
# Of the arcs' own brightest ring: pedestals below this share of it are not worth an alarm.
PROFILE_SHARE = 0.01
LOCALISED_SHARE = 0.95
# Share of rows that may seem to be moved.
ROWS_MOVED = 0.01
LOCALISATION = "light lies where the arc does"
# Where fewer than half of the arcs can be told from noise by one who knows their shape, or no pixel of most arcs stands
# out, or arcs are that much fainter than their hosts, a pass of a gate means nothing. Real arcs of such surveys have
# peak SNRs of 2 to 20, and 0.02 to 0.3 of their lens's light.
LEAST_SEEN_SHARE, LEAST_PEAK_SNR, LEAST_OVER_HOST = 0.5, 1.0, 0.002


def annulus(ds: xr.Dataset) -> Iterator[Finding]:
    """Judge pedestals, and that nothing changed where no arc is."""
    # A pedestal matters if it is more than a hundredth of the light that arcs bring to the core.
    floor = 0.01 * abs(ds["core_mean"]).fillna(0)
    for region, where, tolerance in (("annulus", "r >= 20 pix", 0.1 * floor), ("core", "r < 5 pix", floor)):
        one = ds.rename({f"{region}_residual_mean": f"{region}_residual"})
        yield against("annulus", f"pedestal at {where}", one, f"{region}_residual", tolerance=tolerance)
    yield exact("annulus", "every pixel is a number", ds["n_nonfinite"], int(ds["n_injections"]) > 0)
    yield exact("annulus", "exact where no arc is", ds["n_touched"], bool((ds["n_rows"] > 0).any()))
    yield exact("annulus", "control rows are their host", ds["n_controls_changed"], int(ds["n_controls"]) > 0)


def regression(ds: xr.Dataset) -> Iterator[Finding]:
    """Judge slopes against those of the arcs themselves."""
    yield against(
        "regression", "slopes beside the arcs'", ds, "slope_excess",
        tolerance=0.02 * abs(ds["slope_expected"]).fillna(0),
    )  # fmt: skip


def stratified(ds: xr.Dataset) -> Iterator[Finding]:
    """Judge the core's excess against that of the arcs, by theta_E."""
    yield against("stratified", "leakage beside the arcs'", ds, "leakage_pct_excess", tolerance=LEAKAGE_PCT)


def radial_profile(ds: xr.Dataset) -> Iterator[Finding]:
    """Judge every ring against the arcs'."""
    every = ds.isel(stratum=0)
    floor = PROFILE_SHARE * abs(every["profile_expected"]).max("ring").fillna(0)
    yield against("radial_profile", "every ring beside the arcs'", every, "residual", tolerance=floor)


def alignment(ds: xr.Dataset) -> Iterator[Finding]:
    """Judge that stamps are aligned with their controls, and light with the arcs."""
    put = float(ds.attrs["injected_shift_pix"])
    sees = bool((ds["injected_found_low"] > 0).all())
    found = against("alignment", "stamp against control", ds, "shift", tolerance=SHIFT_PIX)
    if found.status is Status.OK and not sees:
        found = replace(
            found, status=Status.NOT_TESTED, text=f"a shift of {put:g} pix put in would not be seen: {found.text}"
        )
    yield found
    yield against("alignment", "single rows stay where they are", ds, "rows_moved", tolerance=ROWS_MOVED)
    worse = ds["core_rms_ratio"]
    n_bad = (worse <= 1).astype(int).assign_attrs(long_name=str(worse.attrs["long_name"]))
    yield exact("alignment", "core after moving the control", n_bad, bool(worse.notnull().any()))
    share = Estimate.in_dataset(ds.drop_vars("n_hosts"), "localised_share")
    status = Status.NOT_TESTED if np.isnan(share.high) else Status.OK if share.high >= LOCALISED_SHARE else Status.ALARM
    text = f"{ds['localised_share'].attrs['long_name']}; at least {LOCALISED_SHARE:g}"
    yield Finding("alignment", LOCALISATION, status, "", share, 1.0, text)


def core_pixels(ds: xr.Dataset) -> Iterator[Finding]:
    """Judge the central pixels, each separately."""
    floor = 0.01 * abs(ds["difference"]).max(("dy", "dx")).fillna(0)
    yield against("core_pixels", "every middle pixel beside the arcs'", ds, "residual", tolerance=floor)


def flux(ds: xr.Dataset) -> Iterator[Finding]:
    """Judge the added light."""
    yield against("flux", "flux added over flux declared", ds, "closure", 1.0, FLUX_SHARE)
    yield against("flux", "flux added over flux magnified", ds, "magnified", 0.985, 0.015 + FLUX_SHARE)
    yield against("flux", "slope on theta_E", ds, "slope_excess", 0.0, 0.05)
    yield exact("flux", "no light in bands without data", ds["n_filled"])
    found = exact("flux", "no light on pixels without data", ds["n_dark"], int(ds["n_rows"].sum()) > 0)
    if found.status is Status.OK and int(ds["n_unknown"]):
        why = f"{int(ds['n_unknown'])} rows do not say which pixels have data (has_data, of open_pairs and inject)"
        found = replace(found, status=Status.NOT_TESTED, text=why)
    yield found


def visibility(ds: xr.Dataset) -> Iterator[Finding]:
    """Judge whether the arcs can be seen at all."""
    yield _at_least("visibility", "arcs that can be seen", ds, "seen_share", LEAST_SEEN_SHARE)
    yield _at_least("visibility", "arcs' brightest pixels", ds, "peak_median", LEAST_PEAK_SNR)
    yield _at_least("visibility", "arc beside its host", ds, "arc_over_host_median", LEAST_OVER_HOST)


def _at_least(diagnostic: str, check: str, ds: xr.Dataset, name: str, least: float) -> Finding:
    """Judge a number that must not be small: an alarm where its whole interval is."""
    found = Estimate.in_dataset(ds, name)
    text = f"{ds[name].attrs['long_name']}; at least {least:g}"
    if np.isnan(found.high):
        return not_tested(diagnostic, check, f"too few rows or hosts: {text}")
    status = Status.ALARM if found.high < least else Status.OK
    if status is Status.OK and found.low < least:
        status, text = Status.NOT_TESTED, f"{found}: more hosts would decide; {text}"
    return Finding(diagnostic, check, status, "", found, least, text)


def noise(ds: xr.Dataset) -> Iterator[Finding]:
    """Judge the arcs' noise against the declared gain."""
    if ds.attrs["declared"] == "no noise":
        rms = ds["noise_rms_over_unit"].fillna(0)
        yield exact("noise", "none was asked for", (rms > 1e-4).astype(int).assign_attrs(rms.attrs))
        return
    yield against("noise", "sky that the noise implies", ds, "sky_mag", ds["sky_mag_declared"], SKY_MAG)


def psf(ds: xr.Dataset) -> Iterator[Finding]:
    """Judge images of impulses."""
    if skipped := untested("psf", ds):
        yield skipped
        return
    words = {
        "image_error": "image of an impulse", "flux": "unit flux", "centroid_pix": "centroid", "width": "width",
        "linearity": "linear in flux", "wrap_round": "nothing wraps round", "clipped": "whole within its image",
    }  # fmt: skip
    for name, text in words.items():
        yield within("psf", text, ds[name], impulses.LIMITS[name])


def deflection(ds: xr.Dataset) -> Iterator[Finding]:
    """Judge cases with a known answer."""
    place = (ds["place"] - ds["place_expected"]).fillna(np.inf).assign_attrs(ds["place"].attrs)
    flux = (ds["flux"] / ds["flux_expected"] - 1).assign_attrs(ds["flux"].attrs)
    yield within("deflection", "place of an image", place, bends.PLACE_LIMIT_ARCSEC)
    yield within("deflection", "magnification of an image", flux, bends.FLUX_LIMIT)
    yield within("deflection", "area inside the critical curve", (ds["area"] - 1).assign_attrs(ds["area"].attrs),
                 bends.AREA_LIMIT)  # fmt: skip
    yield within("deflection", "an SIS bends by theta_E", ds["sis_deflection"], bends.DEFLECTION_LIMIT)
