"""Settings of hosts: their source, cutouts and splits."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from lensflow.config.base import Fraction, Positive, Section
from lensflow.config.layouts import PRODUCTS, PSF_IMAGE, Weights, one_file, pattern_problem
from lensflow.config.place import INPUT
from lensflow.config.presets import MaskBits, Selection, SplitRule
from lensflow.errors import did_you_mean

# AB magnitude of one unit of the images, or the header card that holds it.
ZeroPoint = float | str
# Bands of a synthetic survey.
SYNTHETIC_BANDS = ("g", "r", "z")
MaskBitNumber = Annotated[int, Field(ge=0, le=30)]
# Bits 0 to 16 of a mask have shares of their own in the cutouts.
MOST_PLANES = 17
# A plane of a mask whose number is in a card MP_<name>, as HSC's and Rubin's pipeline writes it.
MaskPlane = Annotated[str, Field(pattern=r"^[A-Z][A-Z0-9_]*$")]


class SyntheticConfig(Section):
    """A synthetic survey in the real layout: see :mod:`lensflow.survey.synthetic.bricks`."""

    n_bricks: int = Field(4, ge=1, description="bricks to write")
    brick_size_pix: int = Field(1200, ge=200, le=3600, description="side of a brick in pixels")
    hosts_per_brick: int = Field(100, ge=1, description="LRG-like hosts in each brick")
    bricks_without_g: int = Field(1, ge=0, description="number of bricks without g exposure")


class StampsConfig(Section):
    """Hosts given as stamps without WCS, weights or PSF."""

    files: Annotated[dict[str, str], INPUT] = Field(
        description="band -> FITS cube (host, y, x), or one stamp (y, x), in nMgy/pixel or as survey.zero_point says; "
        "the same file for all bands if its planes are bands (BANDS, as written by the Legacy Surveys viewer)"
    )
    hosts: Annotated[str | None, INPUT] = Field(
        None,
        description="table with one row per stamp, in the cube's order: host_id, ra_deg, dec_deg, z_lens, "
        "sigma_v_km_s, fluxes, as targets have them (survey.columns maps them too)",
    )
    pixel_scale_arcsec: Positive = Field(description="pixel scale of the cubes")
    x_center: float | None = Field(None, description="target's pixel in the cube, x; default: the middle")
    y_center: float | None = Field(None, description="target's pixel in the cube, y; default: the middle")
    psfsize_arcsec: dict[str, Positive] = Field(
        default_factory=dict, description="assumed PSF size per band (flagged as assumed); not needed with psf_files"
    )
    psf_files: Annotated[dict[str, str], INPUT] = Field(
        default_factory=dict,
        description="band -> FITS file with the PSF images: one (y, x) for all stamps, or a cube (host, y, x)",
    )


class BrickCutsConfig(Section):
    """Cuts on the observing conditions at a target; enabled by naming the section (``brick_cuts: {}``)."""

    table: Annotated[str | None, INPUT] = Field(
        None,
        description="survey-bricks table (brickname, ebv, psfsize_r, psfdepth_r); without one, columns of the targets",
    )
    max_ebv: float | None = Field(0.12, description="maximum E(B-V), mag; null: no cut")
    max_psfsize_r_arcsec: float | None = Field(1.6, description="maximum PSF size in r; null: no cut")
    min_psfdepth_r_mag: float | None = Field(23.6, description="minimum 5-sigma point-source depth in r; null: no cut")


class SurveyConfig(Section):
    """Source of the pixels: exactly one of ``root``, ``stamps`` and ``synthetic``."""

    root: Annotated[str | None, INPUT] = Field(None, description="survey folder, any fsspec URL")
    layout: str = Field(
        "legacysurvey",
        description="file names: legacysurvey, flat, or a pattern such as {root}/{brick}/{product}-{band}.fits.fz; "
        "without {product} one file holds image, weights and mask of a band, in HDUs that EXTNAME names "
        "(docs/your-survey.md)",
    )
    band_names: dict[str, str] = Field(
        default_factory=dict, description="band -> its name in the pattern, where that is another: {g: HSC-G}"
    )
    product_names: dict[str, str] = Field(
        default_factory=dict,
        description="product -> its name in the pattern, where that is another: {image: sci, invvar: wei}",
    )
    weights: Weights = Field(
        "invvar",
        description="what the files (or HDUs) of the product invvar hold: inverse variances, variances (HSC, LSST) or "
        "standard deviations (Euclid); the others are inverted, values of 0 are no data",
    )
    masks_by_band: bool = Field(
        False, description="every band has a mask of its own (true by itself where one file holds all planes of a band)"
    )
    access: Literal["auto", "ranges", "whole"] = Field(
        "auto", description="how remote files are read: byte ranges of the needed tiles, whole, or the faster one"
    )
    targets: Annotated[str | tuple[str, ...] | None, INPUT] = Field(
        None,
        description="target table, CSV, ECSV, FITS, parquet or VOTable: a URL, a glob, or a list of them; required "
        "with root, unless lf.cut(config, targets=...) gets a table in memory",
    )
    columns: dict[str, str] = Field(default_factory=dict, description="lensflow name -> column of the table")
    missing_values: tuple[float | str, ...] = Field(
        (),
        description="values of tables that mean missing, such as -99, besides the usual words (-, N/A, nan, None, "
        "null)",
    )
    selection: str | None = Field(
        None,
        description="LRG selection (raw magnitudes in r, z, W1; no TYPE PSF) by the name of a preset (below); default: "
        "every row is a host",
    )
    brick_cuts: BrickCutsConfig | None = Field(None, description="cuts on extinction, seeing and depth; default: none")
    fraction: Fraction = Field(
        1.0,
        gt=0,
        description="fraction of hosts to use, chosen by a hash of their names: a smaller fraction is a subset",
    )
    stamps: StampsConfig | None = Field(None, description="stamps without WCS instead of bricks")
    synthetic: SyntheticConfig | None = Field(None, description="write and use a synthetic survey")
    stamp_size: int = Field(64, ge=8, le=1024, description="stamp size in pixels")
    zero_point: ZeroPoint | dict[str, ZeroPoint] | None = Field(
        None,
        description="AB magnitude of 1 unit of the images, or the header card that holds it (MAGZERO, FLUXMAG0), for "
        "all bands or by band; images and weights are converted to nanomaggies. Default: the file's BUNIT "
        "(nanomaggies, maggies, janskys), or nanomaggies if it has none; any other unit or zero point is refused",
    )
    mask_bits: str | tuple[MaskBitNumber, ...] | tuple[MaskPlane, ...] = Field(
        "default",
        description="bits that make a pixel bad: default (NPRIMARY, BRIGHT, BAILOUT, MEDIUM, and SATUR, ALLMASK of the "
        "bands in use), the name of a preset (below), their numbers, or names of planes that the mask's header numbers "
        "(MP_BAD = 0 ...: [BAD, SAT, NO_DATA]); with band_names, product_names, masks_by_band, weights or a pattern "
        "without {product}, default is refused: those are the Legacy Surveys' bits",
    )
    host_shapes: bool = Field(
        False,
        description="measure the axis ratio and angle of hosts without shape_e1, shape_e2 in the catalogue (10 ms "
        "each): plan.lens_shape: host_light needs one of the two",
    )
    psf_images: bool = Field(False, description="keep each host's coadd PSF image (psf_kernel) and take its size")
    psf_image_size: int = Field(63, ge=11, le=255, description="side of psf_kernel in pixels, odd")
    psf_ratio_bricks: int = Field(
        64,
        ge=0,
        description="bricks whose PSF maps are read first, to measure each band's PSF size relative to r; 0: "
        "use theory",
    )
    min_coverage_frac: Fraction = Field(
        0.99, description="a stamp with a smaller fraction of pixels with data is PARTIAL"
    )
    psfsize_arcsec: dict[str, Positive] = Field(
        default_factory=dict, description="band -> PSF size assumed (and flagged) if the survey has no map at all"
    )
    failure_budget: Fraction = Field(
        0.01,
        description="fraction of hosts that may fail before the run stops; in any run 3 hosts may (at most half of "
        "them), and half of the hosts of a synthetic survey, which has intended failures; 0: none",
    )

    @field_validator("layout")
    @classmethod
    def _known_layout(cls, value: str) -> str:
        problem = pattern_problem(value)
        if problem is not None:
            raise ValueError(problem)
        return value

    @field_validator("selection")
    @classmethod
    def _known_selection(cls, value: str | None) -> str | None:
        return value if value is None else Selection.check(value)

    @field_validator("mask_bits")
    @classmethod
    def _known_mask_bits(cls, value: str | tuple[int | str, ...]) -> str | tuple[int | str, ...]:
        if not isinstance(value, str) and len(set(value)) != len(value):
            raise ValueError(f"one is named twice: {', '.join(map(str, value))}")
        if not isinstance(value, str) and len(value) > MOST_PLANES and isinstance(value[0], str):
            raise ValueError(f"at most {MOST_PLANES} planes can be kept apart")
        return MaskBits.check(value)

    @field_validator("product_names")
    @classmethod
    def _known_products(cls, value: dict[str, str]) -> dict[str, str]:
        known = (*PRODUCTS, PSF_IMAGE)
        for name in value:
            if name not in known:
                raise ValueError(f"no product {name!r}.{did_you_mean(name, known)} Known: {', '.join(known)}")
        return value

    @model_validator(mode="after")
    def _own_layouts_have_own_masks(self) -> SurveyConfig:
        if self.is_foreign and isinstance(self.mask_bits, str):
            raise ValueError(
                f"mask_bits: {self.mask_bits} are bits of the Legacy Surveys' masks, and these files are another "
                "survey's. Name its planes ([BAD, SAT, NO_DATA] where the mask's header has cards MP_BAD ...), give "
                "the numbers of its bits, or [] to use no mask"
            )
        if one_file(self.layout) and self.psf_images:
            raise ValueError("psf_images: a pattern without {product} has no files of PSF images; use psfsize_arcsec")
        return self

    @property
    def is_foreign(self) -> bool:
        """Whether the files are named or filled as the Legacy Surveys' are not."""
        own = self.band_names or self.product_names or self.masks_by_band or self.weights != "invvar"
        return bool(own or self.mask_planes) or one_file(self.layout)

    @property
    def mask_planes(self) -> tuple[str, ...]:
        """Planes of masks that number them in their headers; () where bits have numbers."""
        return () if isinstance(self.mask_bits, str) else tuple(b for b in self.mask_bits if isinstance(b, str))

    @property
    def reads_masks(self) -> bool:
        """Whether masks are read: not those of another survey of which no bit is bad."""
        return bool(self.mask_bits) or not self.is_foreign

    @field_validator("zero_point")
    @classmethod
    def _zero_points_can_be(cls, value: Any) -> Any:
        for one in value.values() if isinstance(value, dict) else [value]:
            if isinstance(one, float) and not abs(one) <= 60:
                raise ValueError(f"{one:g} is no zero point, in AB magnitudes")
            if isinstance(one, str) and not 1 <= len(one.strip()) <= 8:
                raise ValueError(f"{one!r} is no header card: those have at most 8 characters")
        return value

    @field_validator("psf_image_size")
    @classmethod
    def _odd(cls, value: int) -> int:
        if value % 2 == 0:
            raise ValueError("a PSF image has its centre on a pixel: an odd number is needed")
        return value

    @model_validator(mode="after")
    def _one_source(self) -> SurveyConfig:
        given = [n for n in ("root", "stamps", "synthetic") if getattr(self, n) is not None]
        if len(given) != 1:
            raise ValueError(f"give exactly one of root, stamps, synthetic (given: {', '.join(given) or 'none'})")
        return self


class SplitsConfig(Section):
    """Train / val / test by sky cell."""

    fractions: tuple[Fraction, Fraction, Fraction] = Field((0.7, 0.15, 0.15), description="train, val, test")
    rule: str = Field(
        "balanced",
        description="balanced: cells are assigned so that host counts match the fractions; a preset (below): the plain "
        "hash of the cell, which misses the fractions if cells are uneven",
    )
    cells: Literal["sky", "region"] = Field(
        "sky", description="units that are never divided: HEALPix cells, or the targets' column `region`"
    )
    nside: int = Field(1024, ge=1, description="HEALPix nside of the sky cells (power of two; 1024 is 3.4')")
    guard_arcsec: float | None = Field(
        None, ge=0, description="minimum distance of hosts of different splits; default: a stamp's diagonal; 0: none"
    )

    @field_validator("rule")
    @classmethod
    def _known_rule(cls, value: str) -> str:
        return str(SplitRule.check(value))

    @model_validator(mode="after")
    def _sums_to_one(self) -> SplitsConfig:
        if abs(sum(self.fractions) - 1) > 1e-9:
            raise ValueError(f"fractions must sum to 1, not {sum(self.fractions):g}")
        if self.nside & (self.nside - 1):
            raise ValueError(f"nside must be a power of two, not {self.nside}")
        return self
