"""Names of core handlings: what is done to a pair's core before anything looks at it.

A name is one or more parts joined by ``+``: ``none``, ``mask_5``, ``taper_5+theta_e_1``, ``matched``. Radii are in
pixels, theta_E in arcsec.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from lensflow.errors import GateError, did_you_mean

MASKS = {
    "mask": "arc set to 0 at r < {r:g} pix",
    "taper": "arc set to 0 at r <= {r:g} pix, rising as a cosine to 1 over {w:g} pix",
    "tanh": "arc times (1 + tanh((r - {r:g} pix) / {w:g} pix)) / 2, which is 1/2 at {r:g} pix and nowhere 0",
    "blank": "stamp and control set to 0 at r < {r:g} pix, as a network's input would be",
}
NEGATIVES = {
    "matched": "controls of other hosts whose core brightness and colour are nearest to the stamp's",
    "blob": "own control plus a point source that holds the arc's core flux",
    "shuffled": "own control plus the arc with its pixels shuffled within 1-pixel rings",
    "rotated": "own control plus the arc turned by half a turn about the target",
    "moved": "own control plus the arc moved off the target",
}
# What these leave of a lens is still a lens, or nothing that a sky holds: they explain a gate, nobody trains on them.
EXPERIMENTS = ("shuffled", "rotated", "moved")
WIDTH_PIX = 2.0
_PART = re.compile(r"(mask|taper|tanh|blank|theta_e)_(\d+(?:\.\d+)?)")


@dataclass(frozen=True)
class Handling:
    """One way of handling the core.

    Attributes
    ----------
    name : str
    mask : {"", "mask", "taper", "tanh", "blank"}
        ``blank`` acts on stamp and control, the others on the arc alone.
    radius_pix : float
        About the target; 0 without a mask.
    theta_e_min_arcsec : float
        Injections below it are left out.
    negatives : str
        What the stamps are compared with: "" (their own controls) or one of ``NEGATIVES``.
    """

    name: str
    mask: str = ""
    radius_pix: float = 0.0
    theta_e_min_arcsec: float = 0.0
    negatives: str = ""

    @classmethod
    def parse(cls, name: str) -> Handling:
        """Read a handling's name.

        Raises
        ------
        GateError
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
                raise GateError(
                    f"core handling {name!r}: no such part {part!r}.{did_you_mean(part, known)} A name is one of "
                    f"{', '.join(known)} (R in pixels, T in arcsec), or several joined by +"
                )
            if found.keys() & new.keys():
                raise GateError(f"core handling {name!r}: two parts of one kind")
            found |= new
        return cls(name, **found)  # type: ignore[arg-type]

    @property
    def pixels(self) -> str:
        """The handling without what needs no pixels: handlings that agree in it share their pixels."""
        mask = f"{self.mask}_{self.radius_pix:g}" if self.mask and self.radius_pix > 0 else ""
        made = self.negatives if self.negatives != "matched" else ""
        return "+".join(p for p in (mask, made) if p) or "none"

    @property
    def is_experiment(self) -> bool:
        """Whether it explains a gate rather than making data to train on."""
        return self.negatives in EXPERIMENTS

    def describe(self, width_pix: float = WIDTH_PIX) -> str:
        """Say in words what is done."""
        parts = []
        if self.mask and self.radius_pix > 0:
            parts.append(MASKS[self.mask].format(r=self.radius_pix, w=width_pix))
        if self.theta_e_min_arcsec > 0:
            parts.append(f"injections with theta_E < {self.theta_e_min_arcsec:g} arcsec left out")
        if self.negatives:
            parts.append(NEGATIVES[self.negatives])
        return "; ".join(parts) or "pairs as they are"
