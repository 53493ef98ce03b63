"""Check ``duplicates``: no image under two ids, no host in two splits, no two hosts at one place."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from lensflow.export.check.parts import Part
from lensflow.export.check.results import CheckResult, CheckVerdict, Measured
from lensflow.export.check.rows import CONTROL, Facts, fingerprints
from lensflow.stats.estimate import Estimate

NAME = "duplicates"
NEAR_ARCSEC = 2.0


def measure(part: Part, description: Mapping[str, Any]) -> dict[str, NDArray[Any]]:
    """128 bits of each image."""
    return {"fingerprint": fingerprints(part.x)}


def judge(facts: Facts) -> CheckResult:
    """Judge the counts: all must be 0.

    A host's control may be there once for each of its positives. A stamp that equals its host's control belongs to
    the check ``labels``.
    """
    reasons: list[str] = []
    found = {
        "ids given twice": _twice(facts, reasons),
        "images under two ids": _copies(facts, reasons),
        "hosts in two splits": _splits(facts, reasons),
        f"hosts within {NEAR_ARCSEC:g} arcsec of another": _near(facts, reasons),
    }
    measured = tuple(
        Measured(n, Estimate(float(k)), 0.0, CheckVerdict.FAIL if k else CheckVerdict.PASS)
        for n, k in found.items()
        if k is not None
    )
    if reasons:
        return CheckResult(NAME, CheckVerdict.FAIL, "; ".join(reasons), measured)
    n_hosts = len(np.unique(facts.host))
    text = f"{len(facts):,} samples of {n_hosts:,} hosts: every image once, every host in one split"
    reused = _reused(facts)
    text += f" ({reused:,} controls are there again for further positives of their hosts)" if reused else ""
    if "ra_deg" not in facts.columns:
        text += "; positions are not exported, so that hosts within 2 arcsec were not looked for"
    return CheckResult(NAME, CheckVerdict.PASS, text, measured)


def _groups(facts: Facts) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Number of the image of each sample, and how often each is there."""
    _, image, count = np.unique(facts.columns["fingerprint"], axis=0, return_inverse=True, return_counts=True)
    return image.ravel(), count


def _twice(facts: Facts, reasons: list[str]) -> int:
    ids, count = np.unique(facts.columns["sample_id"], return_counts=True)
    bad = ids[count > 1]
    if len(bad):
        reasons.append(f"{len(bad):,} sample_ids are given twice, the first is {int(bad[0])}")
    return len(bad)


def _copies(facts: Facts, reasons: list[str]) -> int:
    image, count = _groups(facts)
    several = np.flatnonzero((count[image] > 1) & ~facts.columns["is_zero"])
    bad: list[tuple[int, int]] = []
    for rows in np.split(several[np.argsort(image[several], kind="stable")],
                         np.flatnonzero(np.diff(np.sort(image[several]))) + 1):  # fmt: skip
        first = rows[:1]
        for k in rows[1:]:
            same_host = facts.host[k] == facts.host[first[0]]
            both_controls = (facts.kind[[k, first[0]]] == CONTROL).all()
            if not same_host or (facts.y[k] == facts.y[first[0]] and not both_controls):
                bad.append((int(first[0]), int(k)))
    if bad:
        a, b = bad[0]
        reasons.append(
            f"{len(bad):,} images are there under another id, the first as {facts.name(a)} and {facts.name(b)}"
        )
    return len(bad)


def _reused(facts: Facts) -> int:
    image, _ = _groups(facts)
    of = facts.kind == CONTROL
    return int(of.sum() - len(np.unique(image[of])))


def _splits(facts: Facts, reasons: list[str]) -> int:
    found: set[str] = set()
    for name in ("host_index", "host_id"):
        if name not in facts.columns:
            continue
        host, split = facts.columns[name], facts.columns["split"]
        some = host >= 0 if host.dtype.kind in "iu" else np.char.str_len(host.astype(str)) > 0
        pairs = {(h, s) for h, s in zip(host[some].tolist(), split[some].tolist(), strict=True)}
        hosts, count = np.unique(np.array([str(h) for h, _ in pairs]), return_counts=True)
        if (count > 1).any():
            found |= {f"{name} {h}" for h in hosts[count > 1]}
    if found:
        first = sorted(found)[0]
        reasons.append(f"{first} is in two splits" + (f", and {len(found) - 1} more like it" if len(found) > 1 else ""))
    return len(found)


def _near(facts: Facts, reasons: list[str]) -> int | None:
    if not {"ra_deg", "dec_deg"} <= facts.columns.keys():
        return None
    _, first = np.unique(facts.host, return_index=True)
    ra, dec = (np.radians(facts.columns[n][first].astype(np.float64)) for n in ("ra_deg", "dec_deg"))
    known = np.isfinite(ra) & np.isfinite(dec)
    first, ra, dec = first[known], ra[known], dec[known]
    if len(first) < 2:
        return 0
    place = np.stack([np.cos(dec) * np.cos(ra), np.cos(dec) * np.sin(ra), np.sin(dec)], axis=1)
    chord = 2 * np.sin(np.radians(NEAR_ARCSEC / 3600) / 2)
    pairs = cKDTree(place).query_pairs(chord, output_type="ndarray")
    if len(pairs):
        a, b = (int(facts.host[first[k]]) for k in pairs[0])
        reasons.append(
            f"{len(pairs):,} pairs of hosts lie within {NEAR_ARCSEC:g} arcsec, the first are hosts {a} and {b}"
        )
    return len(pairs)
