"""The features, once: name, unit, definition; and why one may lack."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntFlag

# The arc zone, beyond the inner half of the PSF; arcsec.
ZONE_OUTER_ARCSEC = 4.0
ZONE_INNER_PSF = 0.5
# Pixels of an arc: above this many sky sigma, joined by their edges in groups of at least this many.
ARC_SIGMA, ARC_PIXELS = 1.5, 4
KNOT_SIGMA = 3.0
SECTORS, SECTOR_SIGMA = 24, 2.0
OPPOSITE_DEG = 60.0
HIGH_K_PER_PIXEL = 0.2
# Widths of the Gaussians that the brightest knot is smoothed by, psfsize; see ``peak_shape``.
PEAK_WIDTHS = (0.5, 0.7, 1.0, 1.4, 2.0)
# Share of the zone that must have data.
MOST_MISSING = 0.2


class Note(IntFlag):
    """Why features of a stamp are NaN, or what an arc's mask lacks; bits combine."""

    NO_REFERENCE = 1
    NO_SKY = 2
    ZONE_MISSING = 4
    NO_ARC = 8
    NO_G = 16
    NO_Z = 32
    NO_COLOUR_GR = 64
    NO_COLOUR_RZ = 128
    NO_CORE = 256
    NO_TEXTURE = 512
    NO_PEAK = 1024


# In words, for tables.
NOTES: dict[Note, str] = {
    Note.NO_REFERENCE: "the reference band is absent (no PSF, or no data)",
    Note.NO_SKY: "no scatter of the sky away from the target: a constant stamp, or one without sky",
    Note.ZONE_MISSING: "more than a fifth of the arc zone lacks data or lies off the stamp",
    Note.NO_ARC: "no group of pixels that could be an arc",
    Note.NO_G: "g is absent",
    Note.NO_Z: "z is absent",
    Note.NO_COLOUR_GR: "the arc's pixels lack data in g, or have no light there",
    Note.NO_COLOUR_RZ: "the arc's pixels lack data in z, or have no light there",
    Note.NO_CORE: "no pixel with data within half a PSF of the target",
    Note.NO_TEXTURE: "the arc's pixels are without any gradient or power",
    Note.NO_PEAK: "the arc's brightest pixel is no peak: smoothing makes it no fainter",
}
# Without these nothing of a stamp is measured.
FATAL = Note.NO_REFERENCE | Note.NO_SKY | Note.ZONE_MISSING


@dataclass(frozen=True)
class Feature:
    """One feature.

    Attributes
    ----------
    name, units, meaning : str
    lacks : Note
        Bits beside ``FATAL`` that leave it NaN.
    """

    name: str
    units: str
    meaning: str
    lacks: Note


_ARC, _ALWAYS = Note.NO_ARC, Note(0)
FEATURES = (
    Feature("arc_snr", "1", "residual over the arc's pixels, over sqrt(sum of 1/invvar); 0 without an arc", _ALWAYS),
    Feature("arc_mag", "mag", "magnitude of the arc's pixels", _ARC),
    Feature("arc_gr", "mag", "g - r of the arc's pixels", _ARC | Note.NO_G | Note.NO_COLOUR_GR),
    Feature("arc_rz", "mag", "r - z of the arc's pixels", _ARC | Note.NO_Z | Note.NO_COLOUR_RZ),
    Feature("arc_mu", "mag/arcsec^2", "surface brightness that a tenth of the arc's pixels exceed", _ARC),
    Feature("arc_radius", "arcsec", "flux-weighted mean distance of the arc's pixels from the target", _ARC),
    Feature("arc_fill", "1", "share of 24 sectors of the arc zone with residual light above 2 sigma", _ALWAYS),
    Feature(
        "counter",
        "1",
        "share of the arc's flux within 60 degrees of the direction opposite to its brightest group",
        _ARC,
    ),
    Feature(
        "tangential",
        "1",
        "(J_t - J_r)/(J_t + J_r) of the structure tensor over one psfsize, flux-weighted: J_t of structures along the "
        "tangent (gradients along the radius), J_r of radial ones",
        _ARC | Note.NO_TEXTURE,
    ),
    Feature("knots", "1", "local maxima above 3 sky sigma per group of the arc's pixels; 0 without an arc", _ALWAYS),
    Feature(
        "high_k",
        "1",
        "share of the power of the arc's pixels, all others 0, above 0.2 cycles/pixel",
        _ARC | Note.NO_TEXTURE,
    ),
    Feature(
        "colour_scatter",
        "mag",
        "flux-weighted rms of g - r over the arc's pixels about its mean; the noise's part is taken off the square, "
        "and a square below 0 gives a negative value",
        _ARC | Note.NO_G | Note.NO_COLOUR_GR,
    ),
    Feature(
        "local_var",
        "1",
        "mean square of the arc's pixels about the residual smoothed over one psfsize, over that of the invvar's noise",
        _ARC,
    ),
    Feature(
        "core_excess", "1", "residual within half a psfsize over sqrt(sum of 1/invvar) there", Note.NO_CORE
    ),
    Feature(
        "peak_shape",
        "1",
        "how the arc's brightest knot falls off: (d1 - 2 d3 + d4)/(d2 + d3 + d4), d the steps of its light "
        "smoothed over 0.5, 0.7, 1, 1.4 and 2 psfsize; larger with a sharp middle and wide wings",
        _ARC | Note.NO_PEAK,
    ),
)  # fmt: skip
NAMES = tuple(f.name for f in FEATURES)
