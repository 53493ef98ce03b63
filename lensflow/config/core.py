"""Settings for handling the core, and the valid names of handlings."""

from __future__ import annotations

import re

from pydantic import Field, field_validator, model_validator

from lensflow.config.base import Positive, Section
from lensflow.config.checks import UNPAIRED, parse_recipe
from lensflow.errors import did_you_mean

MASKS = {
    "mask": "arc set to 0 at r < {r} pix",
    "taper": "arc set to 0 at r <= {r} pix, rising as a cosine to 1 over {w} pix",
    "tanh": "arc times (1 + tanh((r - {r} pix) / {w} pix)) / 2, which is 1/2 at {r} pix and nowhere 0",
    "blank": "stamp and control set to 0 at r < {r} pix, as at a network's input",
}
NEGATIVES = {
    "matched": "controls of other hosts with the nearest core brightness and colour",
    "blob": "own control plus a point source with the arc's core flux",
    "shuffled": "own control plus the arc with its pixels shuffled within 1-pixel rings",
    "rotated": "own control plus the arc rotated by 180 degrees about the target",
    "moved": "own control plus the arc moved off the target",
}
# Experiments: their images are unrealistic, or still lenses. They explain a gate; nobody trains on them.
EXPERIMENTS = ("shuffled", "rotated", "moved")
_PART = re.compile(r"(mask|taper|tanh|blank|theta_e)_(\d+(?:\.\d+)?)")


def parse_handling(name: str) -> dict[str, str | float]:
    """Parts of a handling's name: ``mask`` and ``radius_pix``, ``theta_e_min_arcsec``, ``negatives``, where named.

    A name is one or more parts joined by ``+``: ``none``, ``mask_5``, ``taper_5+theta_e_1``, ``matched``. Radii are in
    pixels, theta_E in arcsec.

    Raises
    ------
    ValueError
        If a part is unknown, or two parts are of one kind.
    """
    found: dict[str, str | float] = {}
    parts = name.split("+")
    for part in parts:
        hit = _PART.fullmatch(part)
        if hit and hit[1] == "theta_e":
            new: dict[str, str | float] = {"theta_e_min_arcsec": float(hit[2])}
        elif hit:
            new = {"mask": hit[1], "radius_pix": float(hit[2])}
        elif part in NEGATIVES:
            new = {"negatives": part}
        elif part == "none" and len(parts) == 1:
            new = {}
        else:
            known = ["none", *(f"{m}_R" for m in MASKS), "theta_e_T", *NEGATIVES]
            raise ValueError(
                f"{name!r}: no such part {part!r}.{did_you_mean(part, known)} A name is one of {', '.join(known)} "
                "(R in pixels, T in arcsec), or several joined by +"
            )
        if found.keys() & new.keys():
            raise ValueError(f"{name!r}: two parts of one kind")
        found |= new
    return found


class CoreConfig(Section):
    """Handlings of the core that ``lensflow tune-core`` tries: each is measured, none is applied to stored pairs."""

    handlings: tuple[str, ...] = Field(
        (
            "none",
            "mask_5",
            "mask_7",
            "tanh_5",
            "taper_5",
            "blank_5",
            "theta_e_1",
            "theta_e_1.5",
            "blob",
            "matched",
            "shuffled",
            "rotated",
            "moved",
        ),
        min_length=1,
        description="handlings to try, each of one or more parts joined by +: "
        + "; ".join(f"{k}_R: {v}" for k, v in MASKS.items()).replace("{r}", "R").replace("{w} pix", "taper_width_pix")
        + "; theta_e_T: injections with theta_E < T arcsec left out; "
        + "; ".join(f"{k}: {v}" for k, v in NEGATIVES.items())
        + "; none: pairs as they are. "
        + ", ".join(EXPERIMENTS)
        + " are experiments, never recommended",
    )
    gates: tuple[str, ...] = Field(
        ("core_all", "core_r", "annulus_all", "edge_all"),
        min_length=1,
        description="gates that a handling must pass, named as in gate.recipes; thresholds and folds are those of "
        "gate. A mask on the arcs must pass mask_edge too, and none with a hard edge is ever recommended",
    )
    taper_width_pix: Positive = Field(2.0, description="width of tapered masks")
    reported_share: float = Field(
        0.5, gt=0, lt=1, description="fraction of hosts held out: the choice is tested on them"
    )
    max_pairs: int = Field(
        4_000, ge=10, description="pairs used; all rows of a drawn host are used, never those of the test split"
    )

    @field_validator("handlings")
    @classmethod
    def _handlings_parse(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for name in value:
            parse_handling(name)
        return value

    @field_validator("gates")
    @classmethod
    def _gates_parse(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for name in value:
            if parse_recipe(name).kind in UNPAIRED:
                raise ValueError(f"{name!r}: no handling of the core changes a row's metadata; name it in gate.recipes")
        return value

    @model_validator(mode="after")
    def _each_once(self) -> CoreConfig:
        for names in (self.handlings, self.gates):
            twice = sorted({n for n in names if names.count(n) > 1})
            if twice:
                raise ValueError(f"named twice: {', '.join(twice)}")
        return self
