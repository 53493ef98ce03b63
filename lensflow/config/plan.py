"""Settings of the manifest: what is injected where."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from lensflow.config.base import Fraction, Positive, Section


class SourcesConfig(Section):
    """Images of galaxies as sources, in place of Sersic profiles: exactly one of ``catalog`` and ``images``."""

    catalog: str | None = Field(None, description="real-galaxy catalogue of GalSim; its image files lie beside it")
    images: str | None = Field(None, description="FITS images, one source each: a glob pattern (sources/*.fits)")
    pixel_scale_arcsec: Positive | None = Field(None, description="pixel size of the images; default: their headers'")
    share: Fraction = Field(1.0, description="share of the injections with an image; the others have a Sersic source")
    size: Literal["native", "prior"] = Field(
        "native", description="half-light radius: the image's own, or the plan's src_reff_arcsec"
    )
    noise: Literal["smooth", "keep"] = Field("smooth", description="take the images' noise away, or leave them be")
    negative: Literal["clip", "keep"] = Field("clip", description="pixels below 0: set to 0, or left")

    @model_validator(mode="after")
    def _one_kind(self) -> SourcesConfig:
        if (self.catalog is None) == (self.images is None):
            raise ValueError("give exactly one of catalog and images")
        return self


class PlanConfig(Section):
    """What is injected where: see spec/physics for the meaning of each parameter."""

    design: Literal["random", "grid"] = Field("random", description="one random configuration a row, or all of them")
    preset: Literal["small", "medium", "full", "sota"] = Field("sota", description="grid of parameter values")
    injections_per_host: int = Field(6, ge=1, description="rows per host (random design)")
    controls_per_host: int = Field(1, ge=0, description="control rows per host")
    lens_model: Literal["SIS", "SIE", "EPL"] = Field("SIE", description="SIS ignores the ellipticity of the grid")
    lens_gamma: tuple[Positive, Positive] = Field(
        (1.8, 2.2), description="range of slopes for lens_model: EPL, uniform"
    )
    lens_shape: Literal["random"] = Field("random", description="angle of the lens; its ellipticity is the grid's")
    theta_e_arcsec: tuple[Positive, ...] | None = Field(None, description="replaces the preset's values")
    src_reff_arcsec: tuple[Positive, ...] | None = Field(None, description="replaces the preset's values")
    src_n: Annotated[float, Field(ge=0.3, le=8)] = Field(1.0, description="Sersic index of the sources")
    src_q: tuple[Fraction, Fraction] = Field((0.5, 1.0), description="range of source axis ratios, uniform")
    src_offset: Literal["disc", "square"] = Field(
        "disc", description="source position: area-uniform in src_offset_max x theta_E, or a square of that many arcsec"
    )
    src_offset_max: Positive = Field(0.8, description="radius in theta_E (disc) or half side in arcsec (square)")
    src_mag: Literal["lens_plus_dmag", "apparent"] = Field(
        "lens_plus_dmag", description="r magnitude: the host's plus the grid's dmag, or drawn from src_mag_range"
    )
    src_mag_range: tuple[float, float] = Field((23.0, 26.0), description="r magnitudes for src_mag: apparent")
    colours: Literal["v3", "measured"] = Field("v3", description="prior of the source's g-r and r-z")
    sources: SourcesConfig | None = Field(None, description="images as sources; without, all are Sersic profiles")
    psf_model: Literal["moffat", "gaussian", "kernel"] = Field(
        "moffat", description="profile given the host's psfsize, or the host's own PSF image (cutouts' psf_kernel)"
    )
    psf_beta: Annotated[float, Field(gt=1)] = Field(3.5, description="Moffat beta")
    include_partial: bool = Field(
        False, description="plan for hosts whose status is PARTIAL because pixels are missing"
    )
    max_rows: int = Field(2_000_000, ge=1, description="a larger plan is refused")

    @field_validator("src_q", "src_mag_range", "lens_gamma")
    @classmethod
    def _ordered(cls, value: tuple[float, float]) -> tuple[float, float]:
        if value[0] > value[1]:
            raise ValueError(f"the range must be in rising order, not {value}")
        return value
