"""How verdicts look: the one table of their colours, signs and words, for pages, figures, tables and the terminal."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class VerdictStyle:
    """Look of one verdict.

    Attributes
    ----------
    colour, dark : str
        On a light page and in figures, and on a dark page.
    sign : str
        In addition to the colour, for colour-blind readers.
    cell : str
        Style of a table's cell, of :data:`lensflow.show.table.STYLES`.
    words : str
        In a sentence, after a number: ``2 failed``.
    headline : str
        Of a whole run with it.
    rank : int
        The larger the worse: what a summary of several is named after.
    """

    colour: str
    dark: str
    sign: str
    cell: str
    words: str
    headline: str
    rank: int


# Amber is for the arcs' own light alone, red for what is wrong, grey for what nobody knows yet.
VERDICT_STYLES = {
    "PASS": VerdictStyle("#1a7f4b", "#3fae76", "✓", "good", "passed", "Passed", 0),
    "EXPLAINED": VerdictStyle("#a86a00", "#e0a030", "≈", "warn", "explained by the arcs", "Explained by the arcs", 1),
    "NOT_TESTABLE": VerdictStyle("#5b6b7c", "#93a5b8", "–", "open", "not testable", "Not decided", 2),
    "NOT_TESTED": VerdictStyle("#5b6b7c", "#93a5b8", "–", "open", "not tested", "Not decided", 2),
    "INCONCLUSIVE": VerdictStyle("#5b6b7c", "#93a5b8", "?", "open", "inconclusive", "Not decided", 3),
    "ERROR": VerdictStyle("#7a3fa0", "#bb8ad8", "!", "bad", "broken", "Broken", 4),
    "FAIL": VerdictStyle("#b8322a", "#f0786d", "✕", "bad", "failed", "Failed", 5),
}
# Of results that are no verdict: there is none, or it only measures.
NO_VERDICT = VerdictStyle("#5b6b7c", "#93a5b8", "·", "faint", "without a verdict", "No verdict", 0)


def verdict_style(name: object) -> VerdictStyle:
    """Look of a verdict; that of no verdict for any other word."""
    return VERDICT_STYLES.get(str(name), NO_VERDICT)


def css_class(name: object) -> str:
    """Class of a verdict on a page."""
    known = str(name) if str(name) in VERDICT_STYLES else "NONE"
    return "v-" + known.lower().replace("_", "-")


def stylesheet() -> str:
    """Rules that give each class of a verdict its colour, light and dark."""
    styles = {css_class(k): v for k, v in [*VERDICT_STYLES.items(), ("NONE", NO_VERDICT)]}
    light = "".join(f".{k} {{ --verdict: {s.colour}; }} " for k, s in styles.items())
    dark = "".join(f".{k} {{ --verdict: {s.dark}; --on-verdict: #16191c; }} " for k, s in styles.items())
    return f"{light}\n@media screen and (prefers-color-scheme: dark) {{ {dark}}}"
