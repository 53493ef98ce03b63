"""Handlings of a pair's core."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from lensflow.config.core import EXPERIMENTS, MASKS, NEGATIVES, parse_handling
from lensflow.errors import GateError

WIDTH_PIX = 2.0
# Kind of mask in a name -> the method of lensflow.injection.core.masks.keep_weights.
METHODS = {"mask": "hard", "blank": "hard", "taper": "taper", "tanh": "tanh"}


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
        The stamps' negatives: "" (their own controls) or one of ``NEGATIVES``.
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
        try:
            return cls(name, **parse_handling(name))  # type: ignore[arg-type]
        except ValueError as error:
            raise GateError(f"core handling {error}") from None

    @property
    def pixels(self) -> str:
        """The part of the handling that changes pixels: handlings that agree in it share their pixels."""
        mask = f"{self.mask}_{self.radius_pix:g}" if self.mask and self.radius_pix > 0 else ""
        made = self.negatives if self.negatives != "matched" else ""
        return "+".join(p for p in (mask, made) if p) or "none"

    @property
    def is_experiment(self) -> bool:
        """Whether it explains a gate and is not for training data."""
        return self.negatives in EXPERIMENTS

    @property
    def masks_arcs(self) -> bool:
        """Whether it masks arcs, and so only one class: the mask's edge may then be visible."""
        return self.mask in ("mask", "taper", "tanh") and self.radius_pix > 0

    @property
    def has_hard_edge(self) -> bool:
        """Whether the arcs have a hard circular edge, unlike any real light."""
        return self.masks_arcs and METHODS[self.mask] == "hard"

    @property
    def deletes_light(self) -> bool:
        """Whether it removes light from images, rather than selecting rows or controls."""
        return bool(self.mask) and self.radius_pix > 0

    def describe(self, width_pix: float = WIDTH_PIX) -> str:
        """Describe the handling in words."""
        parts = []
        if self.mask and self.radius_pix > 0:
            parts.append(MASKS[self.mask].format(r=f"{self.radius_pix:g}", w=f"{width_pix:g}"))
        if self.theta_e_min_arcsec > 0:
            parts.append(f"injections with theta_E < {self.theta_e_min_arcsec:g} arcsec left out")
        if self.negatives:
            parts.append(NEGATIVES[self.negatives])
        return "; ".join(parts) or "pairs as they are"

    @property
    def is_all_settings(self) -> bool:
        """Whether it is applied by a run's settings, rather than at training time."""
        return self.mask != "blank" and not self.negatives

    def settings(self, width_pix: float = WIDTH_PIX) -> dict[str, dict[str, Any]]:
        """Settings of a run that apply it, by section of the config; parts without a setting are left out."""
        out: dict[str, dict[str, Any]] = {}
        if self.masks_arcs:
            method = METHODS[self.mask]
            out["injection"] = {"core_mask_radius_pix": self.radius_pix, "core_mask_method": method}
            if method != "hard":
                out["injection"]["core_mask_width_pix"] = width_pix
        if self.theta_e_min_arcsec > 0:
            out["plan"] = {"theta_e_min_arcsec": self.theta_e_min_arcsec}
        return out

    def advice(self, width_pix: float = WIDTH_PIX) -> str:
        """Describe the settings or calls that apply it in a run or in training."""
        parts = []
        if self.mask == "blank":
            parts.append(f"train on lensflow.mask_batch(images, {self.radius_pix:g}) of both classes")
        for section, values in self.settings(width_pix).items():
            said = ", ".join(f"{k}: {v if isinstance(v, str) else format(v, 'g')}" for k, v in values.items())
            parts.append(f"{section}: {{{said}}}")
        if self.negatives == "matched":
            parts.append("negatives paired by lensflow.injection.core.match_controls")
        elif self.negatives:
            parts.append(f"train on lensflow.handle_core(pairs, {self.negatives!r})")
        return "; ".join(parts) or "nothing to set"
