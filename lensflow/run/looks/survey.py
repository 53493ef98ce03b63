"""Checks of the hosts: their table, the survey's files, a few trial cutouts."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from lensflow.fits.transport import TransportError
from lensflow.run.looks.base import Finding, Level, Seen
from lensflow.schema import Status, reason_names
from lensflow.survey.bricks import open_brick
from lensflow.survey.contradictions import contradictions
from lensflow.survey.layout import BAND_PRODUCTS, Layout
from lensflow.survey.photometry import with_measurements

# Without these files no stamp has pixels; without the others the run continues, and flags its assumptions.
_NEEDED = ("image", "invvar")
_WITHOUT = {
    "psfsize": "Hosts without it take their PSF from the catalogue or r; survey.psfsize_arcsec assumes one.",
    "nexp": "Coverage is then judged by invvar.",
    "maskbits": "Masks are then taken as 0.",
}


def target_table(seen: Seen) -> Iterator[Finding]:
    """Read the targets (or the stamps) as the run will."""
    survey = seen.config.survey
    if seen.stamps is not None:
        n, side = seen.stamps.sizes["host"], survey.stamp_size
        yield Finding("targets", Level.OK, f"{n:,} stamps of {side} x {side} pixels in {len(seen.config.bands)} bands")
    targets = seen.targets
    if targets is None:
        return
    n = targets.sizes["host"]
    if n == 0:
        yield Finding("targets", Level.FAIL, f"{survey.targets}: no host is left", "See its counts.")
        return
    bricks = np.unique(targets["brickname"].values).size
    read, removed, merged = (targets.attrs[k] for k in ("n_read", "n_removed", "n_duplicates"))
    note = f"{n:,} hosts in {bricks:,} bricks ({read:,} rows read, {removed:,} cut, {merged:,} duplicates merged)"
    yield Finding("targets", Level.OK, note)


def brick_files(seen: Seen) -> Iterator[Finding]:
    """Look for the files of a sample of bricks, open each, and report by product."""
    layout, targets = seen.layout, seen.targets
    if layout is None or targets is None or not seen.bricks:
        return
    every = np.unique(targets["brickname"].values).size
    yield Finding("survey", Level.OK, f"looking at {len(seen.bricks)} of {every:,} bricks below {layout.root}")
    # The PSF's size comes with its image: a map of sizes is not read.
    products = [p for p in BAND_PRODUCTS if not (p == "psfsize" and seen.config.survey.psf_images)]
    looked = {
        (p, b): [_look_at(layout, brick, p, b) for brick in seen.bricks]
        for p in (*products, "maskbits")
        for b in layout.bands_of(p, seen.config.bands)
    }
    problems = {product: [problem for problem, _ in found if problem] for product, found in looked.items()}
    slower = {product: [why for _, why in found if why] for product, found in looked.items()}
    for product in (*products, "maskbits"):
        by_band = {b: lines for (p, b), lines in problems.items() if p == product}
        nowhere = all(len(lines) == len(seen.bricks) for lines in by_band.values())
        if nowhere and product not in _NEEDED and len(by_band) > 1:
            first = next(iter(by_band.values()))[0]
            what = f"{product}: in none of the {len(seen.bricks)} bricks, in no band; {first}"
            # A survey without exposure counts is in order; one without PSF sizes needs some from elsewhere.
            level = Level.OK if product == "nexp" else Level.WARN
            yield Finding("survey", level, what, _WITHOUT[product])
            continue
        for band, lines in by_band.items():
            yield _product(product, band, len(seen.bricks), lines, slower[product, band])


def _product(product: str, band: str, n: int, problems: list[str], slower: list[str]) -> Finding:
    name = f"{product}-{band}" if band else product
    if not problems:
        note = f"; {len(slower)} of them through astropy, right but slower ({slower[0]})" if slower else ""
        return Finding("survey", Level.OK, f"{name}: readable in all {n}{note}")
    what = f"{name}: readable in {n - len(problems)} of {n}; {problems[0]}"
    if product in _NEEDED and len(problems) == n:
        return Finding("survey", Level.FAIL, what, "Are survey.root and survey.layout right? Is the band there?")
    return Finding("survey", Level.WARN, what, _WITHOUT.get(product, "Hosts there lack the band."))


def _look_at(layout: Layout, brick: str, product: str, band: str) -> tuple[str, str]:
    """Why a file cannot be used, and why astropy must read it; empty if not."""
    try:
        with open_brick(layout, brick, (band,) if band else (), (product,)) as opened:
            return str(opened.problem(product, band) or ""), opened.through_astropy(product, band)
    except TransportError as error:
        return str(error), ""


def trial_cut(seen: Seen) -> Iterator[Finding]:
    """Cut a few hosts, in memory, through the code of the run."""
    block, bands = seen.trial, seen.config.bands
    if block is None:
        return
    for i, name in enumerate(block["host_id"].values):
        status = Status(int(block["status"].values[i]))
        of_bands = [r for k, b in enumerate(bands) for r in reason_names(int(block["band_reasons"].values[i, k]), b)]
        reasons = ", ".join(of_bands or reason_names(int(block["reasons"].values[i])))
        if status == Status.OK:
            yield Finding("trial cut", Level.OK, f"host {name}: usable" + (f"; noted {reasons}" if reasons else ""))
        else:
            what = f"host {name}: {status.name}" + (f" ({reasons})" if reasons else "")
            yield Finding("trial cut", Level.WARN, what, "docs/cutouts.md lists the reasons.")
    for line in block.attrs.get("messages", []):
        yield Finding("trial cut", Level.WARN, line)
    # A trial has few hosts: each of them counts.
    lines = contradictions(with_measurements(block), least_hosts=1)
    for line in lines:
        yield Finding("units", Level.WARN, line, "docs/cutouts.md: Units and zero points.")
    if not lines and block["covered"].values.any():  # without a pixel there is nothing to contradict
        yield Finding("units", Level.OK, "pixels, weights, depths and catalogue do not contradict each other")
