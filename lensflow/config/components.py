"""Settings of sources with several components: a bulge in the disc, and knots of star formation."""

from __future__ import annotations

from typing import Any

from pydantic import Field, ValidationInfo, field_validator

from lensflow.config.base import Axis, Positive, Range, Section, refuse_outside

# schema.N_KNOTS; its import brings xarray, which the command's help does not need.
_PLACES = 12


# Setting -> allowed interval: low, high, whether the lower end is included.
_LIMITS: dict[str, tuple[float, float, bool]] = {
    "share": (0, 1, True),
    "reff_ratio": (0, 10, False),
    "n": (0.3, 8, True),
    "q": (0, 1, False),
    "redder_g_r": (-3, 3, True),
    "bluer_g_r": (-3, 3, True),
    "number": (0, _PLACES, True),
}


class _Component(Section):
    """A section whose priors stay in their intervals."""

    @field_validator("*")
    @classmethod
    def _in_its_limits(cls, value: Any, info: ValidationInfo) -> Any:
        if info.field_name in _LIMITS:
            refuse_outside(value, *_LIMITS[info.field_name])
        return value


class BulgeConfig(_Component):
    """A bulge at the centre of the sources' discs: a second Sersic profile with a colour of its own."""

    share: Axis = Field(
        Range(min=0.1, max=0.4), description="share of the source's flux in the reference band; the disc has the rest"
    )
    reff_ratio: Axis = Field(Range(min=0.15, max=0.4), description="half-light radius, over the disc's")
    n: Axis = Field(Range(min=2.0, max=4.0), description="Sersic index")
    q: Axis = Field(Range(min=0.7, max=1.0), description="axis ratio; the major axis is the disc's")
    redder_g_r: Axis = Field(
        Range(min=0.3, max=0.8),
        description="g-r of the bulge minus the disc's, mag; other bands follow on a power law in wavelength",
    )


class KnotsConfig(_Component):
    """Knots of star formation in the sources' discs: round Gaussians, placed as the disc's light is, of one colour."""

    number: Axis = Field(
        Range(min=2, max=8), description=f"knots of a source: whole numbers, at most {_PLACES}; 0 is a source without"
    )
    share: Axis = Field(
        Range(min=0.1, max=0.4), description="share of the source's flux in the reference band, all knots together"
    )
    reff_ratio: Axis = Field(
        Range(min=0.04, max=0.2, distribution="log"),
        description="half-light radius of a knot, each for itself, over the disc's",
    )
    bluer_g_r: Axis = Field(
        Range(min=0.1, max=0.5),
        description="g-r of the disc minus the knots', mag; other bands follow on a power law in wavelength",
    )
    brightness_range: float = Field(
        10.0, ge=1, le=1000, description="knots have fluxes within this factor, dN/dL ~ L^-2; 1: all the same"
    )
    within: Positive = Field(
        2.5, le=10, description="no knot lies further out than this many half-light radii of the disc"
    )

    @field_validator("number")
    @classmethod
    def _is_number(cls, value: tuple[float, ...] | Range) -> tuple[float, ...] | Range:
        if any(v != int(v) for v in ((value.min, value.max) if isinstance(value, Range) else value)):
            raise ValueError("must be whole numbers")
        return value


def most_share(*sections: BulgeConfig | KnotsConfig | None) -> float:
    """Largest share of a source's flux that bulge and knots can have together."""
    shares = [s.share for s in sections if s is not None]
    return sum(v.max if isinstance(v, Range) else max(v) for v in shares)
