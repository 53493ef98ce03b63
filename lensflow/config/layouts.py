"""Names and patterns of survey layouts, and their validation."""

from __future__ import annotations

import re
from typing import Literal

from lensflow.errors import did_you_mean

# What the files of the product invvar hold.
Weights = Literal["invvar", "variance", "rms"]
PLACEHOLDERS = ("root", "brick", "brick3", "tile", "tract", "patch", "product", "band")
BAND_PRODUCTS = ("image", "invvar", "psfsize", "nexp")
PRODUCTS = (*BAND_PRODUCTS, "maskbits")
PSF_IMAGE = "psf"
# Products that a file with all of a band's planes holds: the others need files of their own.
PLANES = ("image", "invvar", "maskbits")
PATTERNS = {
    "legacysurvey": "{root}/coadd/{brick3}/{brick}/legacysurvey-{brick}-{product}-{band}.fits.fz",
    "flat": "{root}/legacysurvey-{brick}-{product}-{band}.fits.fz",
}


def pattern_problem(layout: str) -> str | None:
    """Return what is wrong with a layout's name or pattern and how to fix it; None if it is valid."""
    if layout in PATTERNS:
        return None
    if "{" not in layout:
        return (
            f"no layout {layout!r}.{did_you_mean(layout, PATTERNS)} Known: {', '.join(PATTERNS)}, or a pattern such as "
            f"{PATTERNS['flat']}"
        )
    for name in re.findall(r"\{([^{}]*)\}", layout):
        if name not in PLACEHOLDERS:
            known = ", ".join("{" + p + "}" for p in PLACEHOLDERS)
            return f"no placeholder {{{name}}}.{did_you_mean(name, PLACEHOLDERS)} Known: {known}"
    if "{" in re.sub(r"\{[^{}]*\}", "", layout) or "}" in re.sub(r"\{[^{}]*\}", "", layout):
        return "unmatched brace; a placeholder is written {brick}"
    lacking = [f"{{{p}}}" for p in ("brick", "band") if f"{{{p}}}" not in layout]
    if "{tract}" in layout and "{patch}" in layout:
        lacking = [p for p in lacking if p != "{brick}"]
    if lacking:
        return (
            f"the pattern lacks {', '.join(lacking)}: every brick and band needs a file of its own (and every product, "
            "unless one file holds them all, in HDUs with names)"
        )
    if "{root}" in layout and not layout.startswith("{root}"):
        return "{root} must come first; without it the pattern is relative to survey.root"
    return None


def one_file(layout: str) -> bool:
    """Whether a file holds all planes of a band (image, weights, mask), in HDUs that EXTNAME names."""
    return layout not in PATTERNS and "{product}" not in layout
