"""Names and patterns of survey layouts, and their validation."""

from __future__ import annotations

import re

from lensflow.errors import did_you_mean

PLACEHOLDERS = ("root", "brick", "brick3", "product", "band")
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
    lacking = [f"{{{p}}}" for p in ("brick", "product", "band") if f"{{{p}}}" not in layout]
    if lacking:
        return f"the pattern lacks {', '.join(lacking)}: every brick, product and band needs a file of its own"
    if "{root}" in layout and not layout.startswith("{root}"):
        return "{root} must come first; without it the pattern is relative to survey.root"
    return None
