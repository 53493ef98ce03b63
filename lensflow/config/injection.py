"""Settings of rendering and adding arcs."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from lensflow.config.base import Positive, Section


class InjectionConfig(Section):
    """How an arc is rendered and added."""

    noise: bool = Field(True, description="add the arc's shot noise")
    gain: Literal["invvar", "exposure"] = Field("invvar", description="where electrons per nMgy come from")
    sky_mag_arcsec2: dict[str, float] = Field(
        default={"g": 22.04, "r": 20.91, "i": 20.0, "z": 18.46}, description="sky brightness for gain: invvar"
    )
    exptime_s: dict[str, Positive] = Field(
        default={"g": 90.0, "r": 90.0, "i": 90.0, "z": 90.0}, description="one exposure, for gain: exposure"
    )
    electrons_per_s_per_nmgy: dict[str, Positive] = Field(
        default={"g": 40.0, "r": 53.0, "i": 45.0, "z": 32.0}, description="throughput, for gain: exposure"
    )
    core_mask_radius_pix: float = Field(
        0.0,
        ge=0,
        description="arcs are masked so near to the lens, after the PSF and before the noise; 0: off",
    )
    core_mask_method: Literal["hard", "taper", "tanh"] = Field(
        "hard",
        description="hard: 0 inside, 1 outside; taper: 0 inside, a half cosine to 1; tanh: 1/2 there, nowhere 0",
    )
    core_mask_width_pix: Positive = Field(2.0, description="width of the taper and of the tanh")
    render_tolerance: Positive = Field(1e-3, description="rows with a larger render_err are flagged")

    @property
    def core_mask(self) -> tuple[float, str, float]:
        """Radius (pixels; 0: off), method and width (pixels) of the mask."""
        return self.core_mask_radius_pix, self.core_mask_method, self.core_mask_width_pix
