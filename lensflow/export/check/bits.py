"""Check ``bits``: does the number format inside the pixels say the class?

Survey files are often quantised: a control's pixels then lie on a lattice and a pixel to which an arc was added does
not. A network can read that, and so can a compressor. The lattice is measured in the outer zone, where no arc is, and
compared with the inner zone of the same image (:mod:`lensflow.measure.pixels.bits_lattice`), after a stretch that the
normalisation applied is undone; offsets and scales do not matter.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lensflow import rng
from lensflow.export.check.parts import Part
from lensflow.export.check.results import CheckResult, CheckVerdict, Measured
from lensflow.export.check.rows import Facts
from lensflow.export.check.statistics import of_areas
from lensflow.measure.pixels import bits_lattice as lattice
from lensflow.stats.estimate import Estimate

NAME = "bits"
# An image is rounded if more than this of its outer pixels lie on one lattice, and short if this many numbers end in 0.
ROUNDED, SHORT = 0.9, 0.25
# Of the pixels of a zone, more than chance puts on a lattice that was fitted to others (0.04), or gives 8 trailing zero
# bits (0.004): an image that has more stands out.
STANDS_OUT = {"lattice": 0.2, "trailing zero bits": 0.05}
_SOFTENING = 10.0
CURE = (
    "the format of the numbers tells the class. Round both classes after the arc is added and before normalisation "
    "(export.quantize: sky/16), and keep both in one type"
)


def measure(part: Part, description: Mapping[str, Any]) -> dict[str, NDArray[Any]]:
    """Shares of pixels by zone, and marks of the whole image."""
    how = description.get("normalisation") or {}
    x = part.x.astype(np.float32)
    clip = _clip(how)
    limited = np.isfinite(x) & (np.abs(x) >= clip) if clip else np.zeros(x.shape, bool)
    plain = _without_halves(x) if (part.dtypes == "float16").any() else x
    shares = lattice.zone_shares(plain, _linear(plain, how, limited))
    _, outer = lattice.zones(x.shape[-1])
    beyond = (np.abs(x) > clip).any(axis=(1, 2, 3)) if clip else np.zeros(len(x), bool)
    return {
        "bits": shares.astype(np.float64),
        "clipped": limited.reshape(*x.shape[:2], -1)[..., outer].mean(axis=(1, 2)),
        "beyond_clip": beyond,
        "short": np.array([_trailing(image, kind) > SHORT for image, kind in zip(x, part.dtypes, strict=True)], float),
    }


def features(shares: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
    """Features of images, the mean over their channels.

    Parameters
    ----------
    shares : ndarray, shape (n, channel, 7)
        As :func:`lensflow.measure.pixels.bits_lattice.zone_shares` gives them.

    Returns
    -------
    dict of ndarray, shape (n,)
        Inner less outer share on the lattice, with trailing zero bits, and of zeros; log2 of the
        step of rounded images, 0 for others.
    """
    with np.errstate(invalid="ignore", divide="ignore"):
        rounded = shares[..., lattice.ON_OUTER] > ROUNDED
        step = np.where(rounded, np.log2(shares[..., lattice.STEP]), 0.0)
    # Channels without a lattice of their own (all pixels alike) have nothing to compare.
    on = np.nan_to_num(shares[..., lattice.ON_INNER] - shares[..., lattice.ON_OUTER])
    trailing = shares[..., lattice.TRAILING_INNER] - shares[..., lattice.TRAILING_OUTER]
    zeros = shares[..., lattice.ZERO_INNER] - shares[..., lattice.ZERO_OUTER]
    of = {"lattice": on, "trailing zero bits": np.nan_to_num(trailing), "zeros": np.nan_to_num(zeros)}
    out = {name: values.mean(axis=1) for name, values in of.items()}
    # Fits of the same pixels differ by rounding.
    out["step of the lattice"] = np.nan_to_num(step).mean(axis=1).round(3)
    return out


def none_stands_out(shares: NDArray[np.float64]) -> tuple[str, ...]:
    """Features in which no image, in no zone and channel, has more than chance gives it.

    Parameters
    ----------
    shares : ndarray, shape (n, channel, 7)
    """
    zones = {"lattice": [lattice.ON_INNER, lattice.ON_OUTER],
             "trailing zero bits": [lattice.TRAILING_INNER, lattice.TRAILING_OUTER]}  # fmt: skip
    # Whoever has no lattice at all (all pixels alike) has NaN.
    return tuple(n for n, z in zones.items() if not (np.nan_to_num(shares[..., z]) > STANDS_OUT[n]).any())


def on_one_lattice(shares: NDArray[np.float64], y: NDArray[np.bool_]) -> bool:
    """Whether both classes are rounded, inner zones too: light alone then decides how many bits a number needs."""
    with np.errstate(invalid="ignore"):
        inner = np.nan_to_num(shares[..., lattice.ON_INNER]).mean(axis=1)
    return bool(inner[y].mean() > ROUNDED and inner[~y].mean() > ROUNDED)


def judge(facts: Facts) -> CheckResult:
    """Judge the area of each feature with host groups."""
    if why := facts.is_one_class():
        return CheckResult(NAME, CheckVerdict.NOT_TESTED, why)
    shares, y = facts.columns["bits"], facts.y
    scores: dict[str, ArrayLike] = {f"AUC of {n}": v for n, v in features(shares).items()}
    if both := on_one_lattice(shares, y):
        del scores["AUC of trailing zero bits"], scores["AUC of zeros"]
    scores["AUC of values at the limit"] = facts.columns["clipped"]
    scores["AUC of short numbers"] = facts.columns["short"]
    beyond = facts.columns["beyond_clip"]
    one_class = int(beyond.sum()) if beyond[y].any() != beyond[~y].any() else 0
    limit = Measured("samples of one class beyond the limit of the other", Estimate(float(one_class)), 0.0,
                     CheckVerdict.FAIL if one_class else CheckVerdict.PASS)  # fmt: skip
    chance = {f"AUC of {n}" for n in none_stands_out(shares)}
    result = of_areas(NAME, facts, scores, CURE, (limit,), by_chance=chance)
    with np.errstate(invalid="ignore"):
        on = np.nan_to_num(shares[..., lattice.ON_INNER]).mean(axis=1)
    words = (
        f"; on the lattice in the middle: {on[y].mean():.3f} of positives' pixels, {on[~y].mean():.3f} of negatives'"
    )
    words += ". Both are rounded, so that bits and zeros follow from the light alone" if both else ""
    return CheckResult(NAME, result.verdict, result.reason + words, result.measured)


def _linear(x: NDArray[np.float32], how: Mapping[str, Any], limited: NDArray[np.bool_]) -> NDArray[np.float64]:
    """The pixels without the stretch, and without those at a limit; NaN outside of the zones, where nobody looks."""
    places = np.concatenate(lattice.zones(x.shape[-1]))
    values = x.reshape(*x.shape[:2], -1)[..., places].astype(np.float64)
    if how.get("kind") == "survey" or (how.get("kind") == "annulus" and how.get("stretch") == "asinh"):
        with np.errstate(over="ignore"):
            values = _SOFTENING * np.sinh(values / _SOFTENING)
    out = np.full((*x.shape[:2], x.shape[2] * x.shape[3]), np.nan)
    out[..., places] = values
    return np.where(limited, np.nan, out.reshape(x.shape))


def _without_halves(x: NDArray[np.float32]) -> NDArray[np.float32]:
    """Images as half precision holds them, with its own steps filled at random.

    Those steps are a lattice of their own, finer where values are small: an arc would be seen by its light alone. Where
    some images are stored so and some are not, the check ``format`` says it. All images are filled alike: a stamp and
    its control, which share their outskirts, go on sharing them, and differ by no draw.
    """
    half = x.astype(np.float16)
    fill = rng.generator(0, "export.check.bits").random(x.shape[1:], np.float32) - np.float32(0.5)
    filled = half.astype(np.float32) + fill * np.spacing(np.abs(half)).astype(np.float32)
    return np.where(half == 0, np.float32(0), filled)  # pixels without data stay 0


def _clip(how: Mapping[str, Any]) -> float:
    """Limit of the values; 0 for none."""
    return float(how["clip"]) if how.get("kind") == "annulus" and how.get("stretch") == "clip" else 0.0


def _trailing(image: NDArray[np.float32], dtype: str) -> float:
    """Share of the numbers, but for zeros, whose last 8 bits are 0 in the type in which they are stored."""
    stored = image[image != 0].astype(dtype) if dtype in ("float16", "float32") else image[image != 0]
    bits = stored.view(np.uint16 if stored.dtype.itemsize == 2 else np.uint32)
    return float((bits & 0xFF == 0).mean()) if bits.size else 0.0
