"""Settings of the manifest: what is injected where."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, ValidationInfo, field_validator, model_validator

from lensflow.config.base import Axis, Fraction, Positive, Range, Section, refuse_outside
from lensflow.config.components import BulgeConfig, KnotsConfig, most_share
from lensflow.config.place import INPUT
from lensflow.config.presets import Colours, Priors
from lensflow.config.source_table import SourceTableConfig

# Legacy Surveys, DECam ugrizY: https://www.legacysurvey.org/dr10/catalogs/ (Galactic extinction coefficients).
_EXTINCTION = {"u": 3.995, "g": 3.214, "r": 2.165, "i": 1.592, "z": 1.211, "Y": 1.064}
# Former names of the presets.
_OLD_PRESETS = {"sota": "historic", "small": "historic_small", "medium": "historic_medium", "full": "historic_full"}

# Setting -> allowed interval: low, high, whether the ends are included.
_LIMITS: dict[str, tuple[float, float, bool, bool]] = {
    "theta_e_arcsec": (0, 30, False, True),
    "dmag": (-5, 15, True, True),
    "src_reff_arcsec": (0, 30, False, True),
    "lens_e": (0, 0.9, True, True),
    "shear": (0, 1, True, False),
    "lens_gamma": (1, 3, False, False),
    "src_n": (0.3, 8, True, True),
    "src_q": (0, 1, False, True),
    "src_z": (0, 20, False, True),
    "src_mag_range": (10, 40, True, True),
}


class SourcesConfig(Section):
    """Images of galaxies as sources instead of Sersic profiles: exactly one of ``catalog`` and ``images``."""

    catalog: str | None = Field(
        None, description="real-galaxy catalogue of GalSim; its image files are in the same folder"
    )
    images: str | None = Field(None, description="FITS images, one source each: a glob pattern (sources/*.fits)")
    pixel_scale_arcsec: Positive | None = Field(None, description="pixel size of the images; default: their headers'")
    share: Fraction = Field(
        1.0, description="fraction of the injections with an image; the others have a Sersic source"
    )
    size: Literal["native", "prior"] = Field(
        "native", description="half-light radius: the image's own, or the plan's src_reff_arcsec"
    )
    magnitude: Literal["prior", "native"] = Field(
        "prior",
        description="brightness: the plan's priors (an image is a shape), or the image's own magnitude in i (F814W): "
        "MAG of the catalogue, or its counts with zero_point. Colours are the plan's either way",
    )
    redshift: Literal["plan", "own", "moved"] = Field(
        "plan",
        description="plan: the redshift of an image is not used; own: it is the source's, and a lens takes an image "
        "behind it by its cross-section, (D_ls/D_s)^2; moved: the image's own size (size: native) and magnitude "
        "(magnitude: native) are those that it would have at the plan's source redshift, K-corrected with the plan's "
        "colours. ZPHOT of the catalogue or of its catalogue of fits, REDSHIFT of an image's header",
    )
    no_image: Literal["error", "drop"] = Field(
        "error", description="for rows that no image's redshift fits: stop, or leave the row out (counted)"
    )
    zero_point: float | None = Field(
        None, description="AB zero point of the images' counts, for magnitude: native; null: MAG of the catalogue"
    )
    noise: Literal["smooth", "keep"] = Field("smooth", description="remove the images' noise, or keep it")
    negative: Literal["clip", "keep"] = Field("clip", description="pixels below 0: set to 0, or keep")

    @model_validator(mode="after")
    def _one_kind(self) -> SourcesConfig:
        if (self.catalog is None) == (self.images is None):
            raise ValueError("give exactly one of catalog and images")
        if self.magnitude == "native" and self.images is not None and self.zero_point is None:
            raise ValueError("magnitude: native of images needs their zero_point (a catalogue has MAG)")
        if self.zero_point is not None and self.magnitude == "prior":
            raise ValueError("zero_point is for magnitude: native; with magnitude: prior it would do nothing")
        if self.redshift == "moved" and (self.size, self.magnitude) == ("prior", "prior"):
            raise ValueError("redshift: moved changes the images' own size and magnitude; the plan's are used for both")
        return self


# Settings that a run may raise after it was made: each only adds rows.
EXTENDABLE = ("injections_per_host", "replicates", "controls_per_host", "limit_hosts")
# Column of a file of tags that says of which plan its rows are; never one of a manifest.
TAG_PLAN = "of_plan"


class PlanConfig(Section):
    """What is injected where; docs/population.md gives the relations of ``preset: realistic``.

    A parameter is one number, a list of equally likely values or a range ``{min, max, distribution: uniform or log}``;
    a given one replaces the preset's.
    """

    design: Literal["random", "low_discrepancy", "grid", "table"] = Field(
        "random",
        description="random: injections_per_host independent rows per host (1 = one configuration per host); "
        "low_discrepancy: the same number, spread evenly over the priors within each host; grid: every "
        "configuration for every host; table: the rows of your table",
    )
    preset: str = Field(
        "realistic",
        description="source of the settings that are null, by the name of a preset (below); realistic: published "
        "relations of faint sources and elliptical lenses (docs/population.md)",
    )
    injections_per_host: int = Field(6, ge=1, description="rows per host (random and low_discrepancy)")
    replicates: int = Field(
        1,
        ge=1,
        description="number of times that a configuration of the grid, or a row of the table, is drawn for its host",
    )
    controls: Literal["paired", "disjoint"] = Field(
        "paired", description="controls on the hosts of the injections, or on hosts without injection"
    )
    controls_per_host: int = Field(1, ge=0, description="control rows per host (disjoint: per control host)")
    control_share: Fraction = Field(0.5, description="fraction of hosts that are control hosts, for controls: disjoint")
    table: Annotated[str | None, INPUT] = Field(
        None,
        description="design: table; CSV, ECSV, FITS or parquet with host_id and any columns of the manifest "
        "(src_flux_nmgy_r and so on); missing ones are drawn from the priors",
    )
    table_ignore: tuple[str, ...] = Field((), description="columns of the table to ignore")
    limit_hosts: int | None = Field(
        None, ge=1, description="plan only for the first N hosts of the cutouts; the others are not read"
    )

    lens_model: Literal["SIS", "SIE", "EPL"] = Field("SIE", description="SIS is round: lens_q is 1")
    theta_e_arcsec: Axis | None = Field(None, description="Einstein radius; replaces the preset's")
    theta_e_min_arcsec: float = Field(
        0.0,
        ge=0,
        description="minimum Einstein radius: priors begin here; computed or tabled rows below are left out",
    )
    theta_e_from: Literal["prior", "sigma_v", "host"] | None = Field(
        None,
        description="prior: draw theta_E; sigma_v: compute it from the targets' sigma_v_km_s and z_lens and from the "
        "source's redshift; host: the same, with the Faber-Jackson relation of the host's r magnitude for hosts "
        "without sigma_v, and a redshift from r for those without z_lens. Null: host with preset: realistic where "
        "theta_e_arcsec is not given, else prior",
    )
    src_z: Axis | None = Field(
        None,
        description="redshift of the sources, for theta_e_from: sigma_v and host; null: 1 to 3 with the historic "
        "presets, the lensed part of the counts' n(z) with realistic",
    )
    lens_e: Axis | None = Field(None, description="lens ellipticity (1-q)/(1+q); replaces the preset's")
    lens_shape: Literal["random", "host_light"] = Field(
        "random",
        description="lens_e and a random angle, or the axis ratio and angle of the host's light, corrected for the "
        "PSF: the catalogue's (shape_e1, shape_e2), else measured by survey.host_shapes",
    )
    lens_shape_scatter_q: float = Field(0.0, ge=0, le=1, description="normal scatter of lens_q around the light's")
    lens_shape_scatter_rad: float = Field(0.0, ge=0, le=3.2, description="normal scatter of the angle, rad")
    host_lacks: Literal["error", "prior", "skip"] = Field(
        "error",
        description="for hosts without the values that theta_e_from or lens_shape needs: stop, draw from the prior, or "
        "leave the host out (counted)",
    )
    lens_gamma: Axis = Field(Range(min=1.8, max=2.2), description="slopes for lens_model: EPL")
    shear: Axis | None = Field(None, description="external shear; replaces the preset's")

    src_reff_arcsec: Axis | None = Field(None, description="half-light radius; replaces the preset's")
    src_n: Axis = Field((1.0,), description="Sersic index of the sources")
    src_q: Axis = Field(Range(min=0.5, max=1.0), description="axis ratio of the sources")
    src_offset: Literal["disc", "square", "ring"] = Field(
        "disc",
        description="source position: area-uniform in a disc of radius src_offset_max x theta_E, in a ring between "
        "src_offset_min and src_offset_max x theta_E, or in a square of half side src_offset_max arcsec",
    )
    src_offset_max: Positive = Field(0.8, description="radius in theta_E (disc, ring) or half side in arcsec (square)")
    src_offset_min: float = Field(0.0, ge=0, description="inner radius of the ring in theta_E")
    src_min_images: int = Field(
        1,
        ge=1,
        le=4,
        description="number of images that the source's centre must have: 2 = inside the cut, 4 = inside the caustic; "
        "the position stays area-uniform over the part of src_offset's region that has them",
    )
    src_position_tries: int = Field(
        64, ge=1, le=10_000, description="maximum number of positions drawn to meet src_min_images"
    )
    src_position_fails: Literal["error", "drop"] = Field(
        "error", description="for rows where none of them does: stop, or leave the row out (counted)"
    )
    dmag: Axis | None = Field(None, description="source magnitude minus the host's; replaces the preset's values")
    src_mag: Literal["lens_plus_dmag", "apparent"] | None = Field(
        None,
        description="r magnitude before lensing: the host's plus dmag, or drawn from src_mag_range; null: apparent "
        "with preset: realistic where dmag is not given, else lens_plus_dmag",
    )
    src_mag_range: Range | None = Field(
        None,
        description="r magnitudes for src_mag: apparent; null: 23 to 25.5 with preset: realistic (fainter sources make "
        "arcs beyond r = 24, which surveys from the ground do not show), else 23 to 26",
    )
    src_mag_slope: float | None = Field(
        None,
        ge=-2,
        le=2,
        description="slope of the number counts over src_mag_range, dex per magnitude; 0: flat; null: 0.3 with preset: "
        "realistic, else 0",
    )
    src_mag_shift: float = Field(
        0.0,
        ge=-10,
        le=10,
        description="magnitudes added to every source after all else is drawn, for sweeps: sizes, colours and "
        "redshifts stay those of the drawn magnitude, so that brightness alone changes (docs/sweep.md)",
    )
    colours: str | None = Field(
        None,
        description="uv_slope: star-forming galaxies, a power law in wavelength (any of u g r i z Y); v3, measured: "
        "normal priors of g-r and r-z (presets, below); null: the preset's, uv_slope with realistic",
    )
    source_table: SourceTableConfig | None = Field(
        None,
        description="a table of galaxies, its path or the settings below: magnitudes, colours, size and redshift of "
        "every source are those of one of them. Null: the preset's (published with legacy_surveys); without, they are "
        "drawn from the settings above",
    )
    src_bulge: BulgeConfig | None = Field(
        None, description="a bulge in every Sersic source, redder than its disc; {} for the defaults; null: none"
    )
    src_knots: KnotsConfig | None = Field(
        None,
        description="knots of star formation in every Sersic source, bluer than its disc; {} and null as above",
    )
    sources: SourcesConfig | None = Field(None, description="images as sources; without, all are Sersic profiles")
    psf_model: Literal["moffat", "gaussian", "kernel"] = Field(
        "moffat", description="a profile with the host's psfsize, or the host's own PSF image (cutouts' psf_kernel)"
    )

    psf_beta: Annotated[float, Field(ge=2)] = Field(
        2.6, description="Moffat beta; 2.6 fits the coadd PSFs of DR9 best in all three bands (docs/decisions/0009)"
    )
    psf_width_factor: Positive = Field(
        1.0,
        description="FWHM of the profile that is applied to the arcs, times this, for sweeps: the hosts keep their "
        "own (docs/sweep.md)",
    )
    psfsize_is: Literal["noise_equivalent", "fwhm"] = Field(
        "noise_equivalent",
        description="meaning of the survey's psfsize: the FWHM of the Gaussian with the PSF's noise-equivalent area, "
        "as in the Legacy Surveys (a Moffat of beta 2.6 has a FWHM of 0.733 times that), or the FWHM of the profile "
        "itself, such as a seeing measured on stars",
    )
    extinction: Literal["host", "none"] = Field(
        "host",
        description="Galactic extinction of the arcs, from the host's E(B-V) if the catalogue has it, else none. The "
        "factor is stored (mw_transmission). Fluxes of plan.table are taken as observed",
    )
    extinction_mag_per_ebv: dict[str, Annotated[float, Field(ge=0)]] = Field(
        default_factory=lambda: dict(_EXTINCTION),
        description="A / E(B-V) per band for the E(B-V) of Schlegel, Finkbeiner & Davis 1998; the default is that of "
        "the Legacy Surveys for DECam (https://www.legacysurvey.org/dr10/catalogs, the same in DR9: a source of 7000 K "
        "at airmass 1.3)",
    )
    include_partial: bool = Field(
        False, description="plan for hosts whose status is PARTIAL because pixels are missing"
    )
    max_rows: int = Field(
        2_000_000, ge=1, description="larger plans are refused; more than 20 million rows need a confirmation"
    )

    @field_validator("source_table", mode="before")
    @classmethod
    def _path_alone(cls, value: object) -> object:
        return {"table": value} if isinstance(value, str) else value

    @field_validator("preset", mode="before")
    @classmethod
    def _known_preset(cls, value: object) -> object:
        return Priors.check(_OLD_PRESETS.get(value, value) if isinstance(value, str) else value)

    @field_validator("colours")
    @classmethod
    def _known_colours(cls, value: str | None) -> str | None:
        return value if value is None else Colours.check(value)

    @field_validator(*_LIMITS)
    @classmethod
    def _inside(cls, value: tuple[float, ...] | Range | None, info: ValidationInfo) -> tuple[float, ...] | Range | None:
        refuse_outside(value, *_LIMITS[str(info.field_name)])
        return value

    @model_validator(mode="after")
    def _preset_brings_its_galaxies(self) -> PlanConfig:
        table = Priors.named(self.preset).source_table
        if table is not None and self.source_table is None:
            object.__setattr__(self, "source_table", SourceTableConfig(table=table))
        return self

    @model_validator(mode="after")
    def _fits_together(self) -> PlanConfig:
        if (self.design == "table") != (self.table is not None):
            raise ValueError("table is needed with design: table, and only there")
        priors = self.priors
        if self.design == "grid" and (missing := priors.not_listed()):
            if isinstance(getattr(self, missing[0]), Range):
                raise ValueError(f"design: grid crosses lists; {missing[0]} is a range. Give a list, or another design")
            listed = [name for name in Priors.names() if not Priors.named(name).not_listed()]
            raise ValueError(
                f"design: grid crosses lists of values; preset: {self.preset} has none for {missing[0]}. Choose one of "
                f"the presets {', '.join(listed)}, or give lists of {', '.join(missing)}"
            )
        if priors.src_mag == "lens_plus_dmag" and priors.dmag is None:
            raise ValueError(f"src_mag: lens_plus_dmag needs dmag; preset: {self.preset} has none")
        if self.sources is not None and self.sources.redshift != "plan":
            if priors.theta_e_from == "prior":
                raise ValueError(
                    f"sources.redshift: {self.sources.redshift} needs theta_E that follows from redshifts; choose "
                    "theta_e_from: host or sigma_v"
                )
            if self.sources.redshift == "own" and self.src_z is not None:
                raise ValueError("src_z: with sources.redshift: own the images bring theirs. Leave one of the two out")
            if self.design == "table":
                raise ValueError("sources.redshift: the rows of design: table say themselves what their sources are")
        if (self.src_offset == "ring") != (self.src_offset_min > 0) or self.src_offset_min > self.src_offset_max:
            raise ValueError("src_offset: ring, and only it, needs 0 < src_offset_min <= src_offset_max")
        if (most := most_share(self.src_bulge, self.src_knots)) > 1:
            raise ValueError(f"src_bulge.share and src_knots.share may add up to {most:g} of a source; 1 is all of it")
        if self.psf_width_factor != 1 and self.psf_model == "kernel":
            raise ValueError("psf_width_factor widens a profile; a measured PSF image (psf_model: kernel) has none")
        if self.controls == "disjoint" and self.controls_per_host == 0:
            raise ValueError("controls: disjoint needs controls_per_host >= 1, or a control host has no row")
        if self.src_min_images > 1 and self.lens_model == "EPL":
            raise ValueError("src_min_images counts the images of SIS and SIE lenses; not with lens_model: EPL")
        if self.src_min_images > 2 and self.lens_model == "SIS" and self.shear in ((0.0,), (0,)):
            raise ValueError("an SIS without shear has no caustic of four images; src_min_images: 2, or another lens")
        return self

    @model_validator(mode="after")
    def _table_of_sources_fits(self) -> PlanConfig:
        table = self.source_table
        if table is None:
            return self
        twice: dict[str, str | float | None] = {
            "src_reff_arcsec": None,
            "dmag": None,
            "colours": None,
            "src_mag_slope": None,
        }
        if table.is_published:  # built from these
            twice |= {"colours": "uv_slope", "src_mag_slope": self.src_mag_slope}
        if given := [name for name, may in twice.items() if getattr(self, name) not in (None, may)]:
            raise ValueError(
                f"{given[0]}: the galaxies of source_table ({table.table}) bring theirs. Leave one of the two out; "
                "preset: realistic has no table"
            )
        if self.src_mag == "lens_plus_dmag":
            raise ValueError("src_mag: lens_plus_dmag: the galaxies of source_table have magnitudes. Leave one out")
        if self.design in ("grid", "table"):
            raise ValueError(f"source_table draws galaxies; design: {self.design} says what the sources are itself")
        if self.sources is not None and (self.sources.size, self.sources.magnitude) != ("prior", "prior"):
            raise ValueError(
                "source_table with images: the images are shapes; say so with sources.size: prior, sources.magnitude: "
                "prior, or give images that bring all of it without source_table"
            )
        if table.redshift == "own" and self.src_z is not None:
            raise ValueError("src_z: with source_table.redshift: own the galaxies bring theirs; choose redshift: plan")
        if table.redshift == "plan":
            if self.priors.src_z is None:
                raise ValueError("source_table.redshift: plan needs src_z: the redshifts that galaxies are moved to")
            if self.priors.theta_e_from == "prior":
                raise ValueError(
                    "source_table.redshift: plan moves galaxies to the redshift that theta_E is computed for; with "
                    "theta_e_from: prior there is none. Choose theta_e_from: host or sigma_v, or redshift: own"
                )
            if self.src_mag_range is not None:
                raise ValueError(
                    "src_mag_range: limits the magnitudes that galaxies of source_table have in it; with redshift: "
                    "plan they are seen with others. Limit the table, or choose redshift: own"
                )
        return self

    @property
    def priors(self) -> Priors:
        """The priors of the plan: its own settings, or the preset's if they are null.

        A theta_E or dmag set in the plan is drawn, even if the preset would compute theta_E or draw magnitudes.

        Raises
        ------
        ValueError
            If every theta_E is below ``theta_e_min_arcsec``.
        """
        own = {name: value for name in Priors.model_fields if (value := getattr(self, name)) is not None}
        if self.source_table is not None:
            own["source_table"] = str(self.source_table.table)
        if self.theta_e_arcsec is not None:
            own.setdefault("theta_e_from", "prior")
        if self.dmag is not None:
            own.setdefault("src_mag", "lens_plus_dmag")
        if self.lens_model == "SIS":
            own["lens_e"] = (0.0,)
        preset = Priors.named(self.preset)
        if self.source_table is not None:
            own |= {"src_mag": "apparent", "dmag": None, "src_reff_arcsec": None}
            if self.source_table.redshift == "own":
                own["src_z"] = None
        prior = own.get("theta_e_arcsec", preset.theta_e_arcsec)
        own["theta_e_arcsec"] = _from_minimum(prior, self.theta_e_min_arcsec)
        return preset.model_copy(update=own)


def _from_minimum(theta_e_arcsec: tuple[float, ...] | Range, least: float) -> tuple[float, ...] | Range:
    if isinstance(theta_e_arcsec, Range):
        largest = theta_e_arcsec.max
        if largest > least:
            return theta_e_arcsec.model_copy(update={"min": max(theta_e_arcsec.min, least)})
    else:
        largest = max(theta_e_arcsec)
        if largest >= least:
            return tuple(v for v in theta_e_arcsec if v >= least)
    raise ValueError(
        f"theta_e_min_arcsec is {least:g}, but theta_e_arcsec ends at {largest:g}. Lower the one or give larger values "
        "of the other"
    )
