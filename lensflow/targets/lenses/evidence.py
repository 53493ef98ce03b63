"""What grades, kinds and references say about a row: its tier, and why it is left out."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from functools import lru_cache

# What lists hold that are left out by default (realism.exclude_references), and how others cite them.
EXCLUDED_REFERENCES = {
    "Lopes 2004": "galaxy clusters",
    "Moustakas 2012": "objects of a proposal",
    "Gonzalez 2001": "galaxy clusters",
    "Gioia 1990": "X-ray sources",
    "B\u00f6hringer 2000": "X-ray clusters",
    "B\u00f6hringer 2004": "X-ray clusters",
    "Gladders 2005": "galaxy clusters",
}
_IDENTIFIERS = {
    "Lopes 2004": "10.1086/423038",
    "Moustakas 2012": "2012hst..prop12833M",
    "Gonzalez 2001": "astro-ph/0106055",
    "Gioia 1990": "10.1086/191426",
    "B\u00f6hringer 2000": "astro-ph/0003219",
    "B\u00f6hringer 2004": "astro-ph/0405546",
    "Gladders 2005": "0411075",
}
# Lists of lensed quasars: points beside their lens, not arcs.
LENSED_QUASARS = ("ast.cam.ac.uk/lensedquasars",)
# Samples whose lenses have both redshifts or space imaging, where the table says that it is sure of the row.
CONFIRMED_REFERENCES = {
    "0805.1931": "SLACS, Bolton 2008: spectra and HST imaging",
    "0911.2471": "SLACS, Auger 2009: spectra and HST imaging",
    "1112.3683": "BELLS, Brownstein 2012: spectra and HST imaging",
    "1104.5663": "SWELLS, Treu 2011: spectra and HST imaging",
    "1307.4759": "SL2S, Sonnenfeld 2013: spectra of lens and source",
    "1307.4764": "SL2S, Sonnenfeld 2013: spectra of lens and source",
    "1302.2663": "CASSOWARY, Stark 2013: spectra of lens and source",
    "2205.05307": "AGEL, Tran 2022: spectroscopic confirmation",
    "1509.07649": "Cao 2015: SLACS, BELLS, LSD and SL2S, with both redshifts",
    "1805.08640": "Leaf 2018: SLACS, BELLS, LSD and SL2S, with both redshifts",
    "ucsb.edu/~tt/LSD": "LSD: spectra and HST imaging",
}
# Mean grades of inspectors, 0 to 3: A above 2.5, B from 1.5.
GRADE_A, GRADE_B, MOST_GRADE = 2.5, 1.5, 3.0
_LETTERS = {"a+": "B", "a": "B", "a-": "B", "b+": "B", "b": "B", "b-": "B", "c+": "C", "c": "C", "c-": "C", "d": "C",
            "confident": "B", "confirmed": "B", "probable": "C", "possible": "C", "candidate": "C",
            "x": "N", "n": "N", "non-lens": "N", "nonlens": "N", "not a lens": "N"}  # fmt: skip
_SURE = ("confident", "confirmed")
_KIND_WORDS = {
    "galaxy": ("galaxy", "gal", "gal-gal", "galaxy-galaxy", "galaxy-scale", "g"),
    "group": ("group", "grp", "grp-gal", "group-galaxy", "group-scale"),
    "cluster": ("cluster", "clus", "clust", "clust-gal", "cluster-galaxy", "cluster-scale", "bcg"),
}
_KINDS = {word: kind for kind, words in _KIND_WORDS.items() for word in words}
_CONFUSERS = {"spiral": "spiral", "ring": "ring", "ring galaxy": "ring", "merger": "merger", "merging": "merger",
              "edge-on": "edge-on", "edge on": "edge-on", "edgeon": "edge-on", "artefact": "artefact",
              "artifact": "artefact"}  # fmt: skip
_TRUTH = {"true": 1, "t": 1, "yes": 1, "y": 1, "1": 1, "1.0": 1, "lens": 1,
          "false": 0, "f": 0, "no": 0, "n": 0, "0": 0, "0.0": 0, "non-lens": 0, "nonlens": 0,
          "": -1, "unknown": -1, "-1": -1, "?": -1, "candidate": -1, "nan": -1}  # fmt: skip


def references_of(text: str) -> list[str]:
    """Single references of a text that joins them by ``|``, or web addresses by blanks; each once, in order."""
    parts = (p.strip() for p in re.split(r"\||\s+(?=https?://)", text))
    return list(dict.fromkeys(p for p in parts if p))


def cites(reference: str, texts: Sequence[str]) -> str:
    """Return the first of some texts that a single reference cites; empty if none.

    A text is part of a reference (``10.1086/423038``), or author and year (``Lopes 2004``), which stand in it one after
    the other: ``Lopes et al. (2004) - doi:...``. Case and accents do not count.
    """
    folded = _folded(reference)
    return next((t for t in texts if any(p.search(folded) for p in _patterns(t))), "")


@lru_cache(maxsize=256)
def _patterns(text: str) -> tuple[re.Pattern[str], ...]:
    parts = [re.escape(_folded(t)) for t in (text, _IDENTIFIERS.get(text, text))]
    if by := re.fullmatch(r"(.*\D)\s+(\d{4})", text):
        parts.append(rf"\b{re.escape(_folded(by[1]))}\b[^|]{{0,20}}?\b{by[2]}\b")
    return tuple(re.compile(p) for p in parts)


@lru_cache(maxsize=4096)
def _folded(text: str) -> str:
    """Lower case without accents, Unicode's or TeX's (B\\"ohringer)."""
    plain = re.sub(r"\\[\"'`^~]\{?(\w)\}?", r"\1", text)
    return "".join(c for c in unicodedata.normalize("NFKD", plain) if not unicodedata.combining(c)).casefold()


def tier_of_grade(grade: str) -> str | None:
    """Tier of a grade: A and B of a search are tier B, others C; "" for no grade, None for an unknown one.

    Numbers are means of inspectors from 0 to 3 (HOLISMOKES, DES): above 2.5 is an A, from 1.5 a B.
    """
    word = grade.strip().casefold().removeprefix("grade").strip()
    if word in ("", "-", "nan", "none"):
        return ""
    if word in _LETTERS:
        return _LETTERS[word]
    try:
        number = float(word)
    except ValueError:
        return None
    if not 0 <= number <= MOST_GRADE:
        return None
    return "B" if number >= GRADE_B else "C"


def is_sure(grade: str) -> bool:
    """Whether the grade says that the table's makers are sure: confident, confirmed, A or above 2.5."""
    word = grade.strip().casefold().removeprefix("grade").strip()
    if word in _SURE or word in ("a+", "a"):
        return True
    try:
        return GRADE_A < float(word) <= MOST_GRADE
    except ValueError:
        return False


def kind_of(text: str) -> str:
    """Kind of a lens from its text: galaxy, group, cluster, quasar (as a source), or unknown."""
    word = text.strip().casefold()
    if re.search(r"qso|quasar|agn", word):
        return "quasar"
    return _KINDS.get(word, "unknown")


def confuser_of(text: str) -> str:
    """Kind of a non-lens from its text; empty if it is none of those that are told apart."""
    return _CONFUSERS.get(text.strip().casefold(), "")


def truth_of(text: str) -> int | None:
    """1, 0 or -1 (unknown) from a text; None if it is something else."""
    return _TRUTH.get(text.strip().casefold())
