"""Settings of rendering and adding arcs."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from lensflow.config.base import Positive, Section


class InjectionConfig(Section):
    """How an arc is rendered and added."""

    noise: bool = Field(True, description="add the arc's shot noise")
    gain: Literal["invvar", "exposure"] = Field("invvar", description="source of the gain, electrons per nMgy")
    sky_mag_arcsec2: dict[str, float] = Field(
        default={"g": 22.04, "r": 20.91, "i": 20.0, "z": 18.46}, description="sky brightness for gain: invvar"
    )
    exposure_time_s: dict[str, Positive] | None = Field(
        None, description="length of one exposure of each band (EXPTIME), required for gain: exposure"
    )
    electrons_per_s_per_nmgy: dict[str, Positive] = Field(
        default={"g": 40.0, "r": 53.0, "i": 45.0, "z": 32.0}, description="throughput, for gain: exposure"
    )
    gain_factor: Positive = Field(
        1.0, description="the gain times this, for sweeps: 1e12 leaves next to no shot noise (docs/sweep.md)"
    )
    core_mask_radius_pix: float = Field(
        0.0,
        ge=0,
        description="arcs are masked within this radius of the lens, after the PSF and before the noise; 0: off",
    )
    core_mask_method: Literal["hard", "taper", "tanh"] = Field(
        "hard",
        description="hard: 0 inside, 1 outside; taper: 0 inside, a half cosine to 1; tanh: 1/2 at the radius, nowhere "
        "0",
    )
    core_mask_width_pix: Positive = Field(2.0, description="width of the taper and of the tanh")
    render_tolerance: Positive = Field(1e-3, description="rows with a larger render_err are flagged")

    @model_validator(mode="after")
    def _exposures_are_stated(self) -> InjectionConfig:
        if self.noise and self.gain == "exposure" and not self.exposure_time_s:
            raise ValueError(
                "gain: exposure needs exposure_time_s, seconds of one exposure of each band (EXPTIME in the exposures' "
                "headers), e.g. exposure_time_s: {g: 90, r: 90, z: 90}; or gain: invvar"
            )
        return self

    @property
    def core_mask(self) -> tuple[float, str, float]:
        """Radius (pixels; 0: off), method and width (pixels) of the mask."""
        return self.core_mask_radius_pix, self.core_mask_method, self.core_mask_width_pix
