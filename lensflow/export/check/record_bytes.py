"""Check ``bytes``: does what surrounds a sample's pixels (size, name, time, permissions) say its class?"""

from __future__ import annotations

import re

import numpy as np

from lensflow.export.check.results import CheckResult, CheckVerdict, Measured, worst
from lensflow.export.check.rows import Facts
from lensflow.export.check.statistics import MAX_CHANCE_AUC, area, association, probability
from lensflow.stats.estimate import Estimate

NAME = "bytes"
# In a name, between characters that are no letters.
WORDS = ("positive", "negative", "pos", "neg", "lens", "nonlens", "control", "ctrl", "arc", "stamp", "injected",
         "label", "class", "true", "false", "real", "fake", "sim")  # fmt: skip
_WORD = re.compile(rf"(?<![a-z])(?:{'|'.join(WORDS)})s?(?![a-z])", re.IGNORECASE)
_MOST_CHARACTERS = 64


def judge(facts: Facts) -> CheckResult:
    """Judge sizes by their AUC, names by words and by each of their characters, marks by their shares."""
    if why := facts.is_one_class():
        return CheckResult(NAME, CheckVerdict.NOT_TESTED, why)
    reasons: list[str] = []
    measured = [_size(facts, reasons), _words(facts, reasons), _unlisted(facts, reasons), *_by_shares(facts, reasons)]
    verdict = worst(tuple(m.verdict for m in measured))
    if verdict is CheckVerdict.PASS:
        size = measured[0].found
        what = "record" if facts.single else "row group"
        reasons = [
            f"AUC of the {what}'s size {size:.3f}; no name, time or permission knows the class"
            if np.isfinite(size.value)
            else "no pixels are written, so that no size could tell; no name knows the class"
        ]
    return CheckResult(NAME, verdict, "; ".join(reasons), tuple(measured))


def _size(facts: Facts, reasons: list[str]) -> Measured:
    size = facts.columns["record_bytes"]
    if not np.isfinite(size).any():
        return Measured("AUC of the size", Estimate(np.nan), np.nan, CheckVerdict.PASS)
    name = "AUC of the record's size" if facts.single else "AUC of the row group's size per row"
    # The size of a row group is one for hundreds of samples of both classes.
    passes = None if facts.single else MAX_CHANCE_AUC
    found = area(name, facts.y, size, facts.host, np.ones(len(facts)), facts.seed, passes=passes)
    if found.verdict is CheckVerdict.FAIL:
        what, cure = (
            ("record", "store records uncompressed") if facts.single else ("row group", "mix the classes in each")
        )
        reasons.append(f"{what} size tells the class (AUC {found.found.value:.2f}): {cure}")
    elif found.verdict is not CheckVerdict.PASS:
        reasons.append(f"{name} {found.found:.3f}: the interval crosses {found.limit:g}; more samples would decide")
    return found


def _words(facts: Facts, reasons: list[str]) -> Measured:
    """Keys of samples and names of files that hold a class's name."""
    names = [*np.unique(facts.columns["key"]).tolist(), *(f.name for f in facts.files)]
    named = [n for n in names if _WORD.search(n)]
    if named:
        reasons.append(f"{len(named):,} names hold the class, the first is {named[0]!r}: number the samples")
    verdict = CheckVerdict.FAIL if named else CheckVerdict.PASS
    return Measured("names with a class in them", Estimate(float(len(named))), 0.0, verdict)


def _unlisted(facts: Facts, reasons: list[str]) -> Measured:
    """Files of samples that ``export.json`` does not list: who reads the folder by a pattern would read them, too."""
    n = len(facts.unlisted)
    if n:
        reasons.append(f"{n:,} files are not of this export, the first is {facts.unlisted[0]!r}: delete them")
    verdict = CheckVerdict.FAIL if n else CheckVerdict.PASS
    return Measured("files that export.json does not list", Estimate(float(n)), 0.0, verdict)


def _by_shares(facts: Facts, reasons: list[str]) -> list[Measured]:
    """Probability of the classes' shares by each character of the keys, and by each mark."""
    y, host, split = facts.y, facts.host, facts.columns["split"]
    keys = facts.columns["key"].astype(str)
    kinds = {"length of the key": np.char.str_len(keys)}
    width = min(_MOST_CHARACTERS, int(kinds["length of the key"].max(initial=0)))
    letters = keys.astype(f"<U{max(width, 1)}").view("<U1").reshape(len(keys), -1)
    kinds |= {f"character {k + 1} of the key": letters[:, k] for k in range(width)}
    kinds |= {n.removeprefix("mark "): v for n, v in facts.columns.items() if n.startswith("mark ")}
    out = []
    for name, values in kinds.items():
        found = probability(f"classes' shares by {name}", association(y, values, host, split), len(kinds))
        if found.verdict is CheckVerdict.FAIL:
            reasons.append(f"{name} tells the class (p = {found.found.value:.1g}): give both classes the same")
        out.append(found)
    return out
