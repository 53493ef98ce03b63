"""Settings of the completeness: what is counted in which bins, at which threshold, and what is required of it."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from functools import cache
from itertools import pairwise
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Discriminator, Field, PrivateAttr, Tag, field_validator, model_validator

from lensflow.config.base import Fraction, Positive, Section
from lensflow.config.place import INPUT
from lensflow.errors import did_you_mean

MAX_CELLS = 20_000_000
# Short names for what is made of them: magnitudes, PSF and depth of one band; ratios; places.
DERIVED_BANDED = ("src_mag", "host_mag", "psfsize", "psfdepth", "theta_e_over_psfsize", "theta_e_over_fwhm")
DERIVED = ("host_colour", "resolution", "resolution_fwhm", "brick")
# What a run or a scorer makes of the noisy stamp.
MEASURED = ("score", "scores", "recovered", "is_recovered", "completeness", "stamp", "arc")

# Quartiles of the survey's brick table (DR9 and DR10 south), so that bins are the same in every run.
PSFSIZE_EDGES_ARCSEC = (0.754, 1.218, 1.301, 1.411, 1.600)
PSFDEPTH_EDGES_MAG = (23.60, 24.21, 24.46, 25.07, 26.84)
# Upper edges included: 0.2 lies with the clean rows.
FRACTION_EDGES = (0.0, 0.05, 0.2, 1.0)
UPPER_INCLUDED = ("bad_pixel_frac", "wise_brightmask_frac")


@cache
def fixed_variables() -> tuple[frozenset[str], frozenset[str]]:
    """Variables that are fixed before noise is drawn and anything is scored: single ones, and those of each band.

    Returns
    -------
    (frozenset, frozenset)
    """
    from lensflow import schema  # it brings xarray, and the command's help needs none

    groups = (
        *(schema.MANIFEST, schema.COMPONENTS, schema.CUTOUTS, schema.TARGETS, schema.METRICS),
        *(schema.COMPONENT_METRICS, schema.ROUNDING, schema.FLAGS),
    )
    every = [v for group in groups for v in group]
    single = {v.name for v in every if v.dims in (("sample",), ("host",))} - {"row_id", "host_index"}
    banded = {v.name for v in every if v.dims in (("sample", "band"), ("host", "band"))}
    return frozenset(single | {*DERIVED}), frozenset(banded | {*DERIVED_BANDED})


def band_of(name: str) -> str | None:
    """Band that a variable's name ends in, None where it has none.

    Parameters
    ----------
    name : str
        A variable that is fixed before noise and scoring: ``theta_e_arcsec``, ``psfsize_r``.

    Returns
    -------
    str or None

    Raises
    ------
    ValueError
        If it is not such a variable: a bin made of anything measured later is filled differently by every run.
    """
    single, banded = fixed_variables()
    if name in single:
        return None
    ends = [base for base in banded if name.startswith(f"{base}_") and len(name) > len(base) + 1]
    if ends:
        return name[len(max(ends, key=len)) + 1 :]
    if name in MEASURED:
        raise ValueError(
            f"{name!r} is measured after noise or scoring; a bin made of it is filled differently by every run"
        )
    if name in banded:
        raise ValueError(f"{name!r} is one number per band: name it with its band, {name}_r")
    raise ValueError(
        f"{name!r} is no variable of manifest, host or noiseless arc, and a bin made of what is measured after noise "
        f"or scoring is filled differently by every run.{did_you_mean(name, single | banded)}"
    )


def check_edges(variable: str, edges: Collection[float]) -> None:
    """Refuse edges that are no edges.

    Parameters
    ----------
    variable : str
        For the message.
    edges : collection of float

    Raises
    ------
    ValueError
        If there are fewer than two, or they do not rise, or one is not finite.
    """
    if len(edges) < 2 or not all(map(math.isfinite, edges)) or any(b <= a for a, b in pairwise(edges)):
        raise ValueError(f"{variable}: at least two finite edges in rising order, not {[*edges]}")


class AxisConfig(Section):
    """One axis of the selection function."""

    variable: str = Field(description="fixed before noise and scoring: of manifest, host or noiseless arc")
    edges: tuple[float, ...] = Field(description="rising; the lower edge belongs to its bin")

    @model_validator(mode="after")
    def _is_an_axis(self) -> Self:
        band_of(self.variable)
        check_edges(self.variable, self.edges)
        return self


class QuantilesConfig(Section):
    """Edges taken from the hosts of the run (hosts, not rows)."""

    quantiles: int = Field(ge=2, le=100, description="bins with equal numbers of hosts")


def _stratum_kind(value: Any) -> str:
    if isinstance(value, str):
        return "<word>"
    return "<quantiles>" if isinstance(value, Mapping | QuantilesConfig) else "<edges>"


Stratum = Annotated[
    Annotated[tuple[float, ...], Tag("<edges>")]
    | Annotated[QuantilesConfig, Tag("<quantiles>")]
    | Annotated[Literal["plan", "each"], Tag("<word>")],
    Discriminator(_stratum_kind),
]


def _listed(value: Any) -> Any:
    return (value,) if isinstance(value, int | float) and not isinstance(value, bool) else value


Rates = Annotated[tuple[float, ...], Field(min_length=1), BeforeValidator(_listed)]


class CompletenessThresholdConfig(Section):
    """Score from which on a row is recovered: exactly one of the three."""

    value: float | None = Field(None, description="the score itself; equal ones are recovered")
    fpr: Rates | None = Field(None, description="false-positive rates on the negatives, one or more, each in (0, 1)")
    false_positives: int | None = Field(None, ge=0, description="number of negatives that may be recovered")

    @model_validator(mode="after")
    def _is_one(self) -> Self:
        if sum(v is not None for v in (self.value, self.fpr, self.false_positives)) != 1:
            raise ValueError("give exactly one of value, fpr, false_positives")
        for rate in self.fpr or ():
            if not 0 < rate < 1:
                raise ValueError(f"fpr: a rate lies between 0 and 1, not {rate:g}")
        if self.fpr is not None and len(set(self.fpr)) < len(self.fpr):
            raise ValueError("fpr: a rate is named twice")
        return self


class RequireConfig(Section):
    """A completeness that a run must reach."""

    where: dict[str, tuple[float, float]] = Field({}, description="variable -> [from, to): the rows that count")
    min: Fraction = Field(description="PASS if the whole interval lies above, FAIL if none of it does")
    at: CompletenessThresholdConfig | None = Field(None, description="threshold; null: completeness.threshold")

    @model_validator(mode="after")
    def _ranges(self) -> Self:
        for name, ends in self.where.items():
            band_of(name)
            check_edges(name, ends)
        return self


class SkyConfig(Section):
    """What false positives per square degree and purity need to know of the sky; nothing of it is assumed."""

    parents_per_deg2: Positive | None = Field(None, description="density of the galaxies that are scored, deg^-2")
    parents: int | None = Field(None, ge=1, description="or their number, together with area_deg2")
    area_deg2: Positive | None = Field(None, description="area that holds these parents, deg^2")
    lenses_per_deg2: Positive | None = Field(None, description="density of lenses of the stated population, deg^-2")
    population: str | None = Field(None, description="which lenses lenses_per_deg2 counts, in words")

    @model_validator(mode="after")
    def _one_density(self) -> Self:
        if self.parents_per_deg2 is not None and self.parents is not None:
            raise ValueError("give parents_per_deg2, or parents and area_deg2, not both")
        if self.parents is not None and self.area_deg2 is None:
            raise ValueError("parents needs area_deg2: a number is a density only with its area")
        if (self.lenses_per_deg2 is None) != (self.population is None):
            raise ValueError("lenses_per_deg2 and population go together: a rate is that of a stated population")
        return self

    @property
    def parent_density(self) -> float | None:
        """Galaxies that are scored, deg^-2; None where it is not given."""
        if self.parents is not None and self.area_deg2 is not None:
            return self.parents / self.area_deg2
        return self.parents_per_deg2


class CompletenessConfig(Section):
    """Completeness and selection function (``lensflow completeness``): what a scorer recovers of what was injected."""

    split: Literal["train", "val", "test"] = Field(
        "val", description="rows that are counted; test is sealed and needs a reason, train can prove nothing"
    )
    kind: Literal["images", "truth"] = Field(
        "images",
        description="what the scorer, or whoever made a table of scores, reads: images, or truth (what was injected). "
        "Truth is detectability by definition, and no gate passes on it",
    )
    scorer: str | None = Field(
        None,
        description="scorer that certify judges `require` on: package.module:name, or a table that `lensflow score` "
        "wrote",
    )
    axes: tuple[AxisConfig, ...] | None = Field(
        None,
        min_length=1,
        description="axes of the selection function, each {variable, edges}; null: theta_e_arcsec x src_mag x psfsize "
        "x psfdepth, the last three in r (the first band where there is no r)",
    )
    strata: dict[str, Stratum] | None = Field(
        None,
        description="variable -> edges, {quantiles: N} (of hosts), plan (values of its list, or 6 equal ranges) or "
        "each (one bin a name: split, region, brick). Only what is fixed before noise and scoring. null: psfsize, "
        "psfdepth, bad_pixel_frac, wise_brightmask_frac, and plan for theta_e_arcsec, src_mag, src_reff_arcsec, "
        "magnification, host_mag and host_colour",
    )
    interval: Literal["host", "wilson_ignores_hosts", "jeffreys_ignores_hosts"] = Field(
        "host", description="interval that is shown and judged; all three are stored. By row they are too narrow"
    )
    min_hosts: int = Field(10, ge=2, description="a cell with fewer hosts is marked few, and is no support")
    min_rows: int = Field(20, ge=1, description="a cell with fewer rows is marked few, and is no support")
    threshold: CompletenessThresholdConfig | None = Field(
        None, description="null: the scorer has to bring one; a completeness without threshold does not exist"
    )
    negatives: Annotated[str, INPUT] = Field(
        "controls",
        min_length=1,
        description="images without arc that set the false-positive rate: controls (the split's hosts, each once), "
        "cutouts (all usable hosts of the split), or a table of scores of real non-lenses (parquet, CSV)",
    )
    weights: Literal["hosts", "area"] = Field(
        "hosts",
        description="area: also the completeness averaged over the sky: hosts count as the area of their cell of PSF "
        "size and depth in the survey's table of bricks. All other tables count every host once",
    )
    brick_table: Annotated[str | None, INPUT] = Field(
        None,
        description="the survey's table of bricks for weights: area (brickname, psfsize_r, psfdepth_r, and area_deg2 "
        "or ra1, ra2, dec1, dec2 or, for the Legacy Surveys' bricks, ra, dec); null: survey.brick_cuts.table",
    )
    bootstrap: int = Field(400, ge=50, description="draws of hosts for completeness at a rate, ROC and smooth model")
    require: tuple[RequireConfig, ...] = Field(
        (), description="completeness that must be reached, each {where: {variable: [from, to]}, min, at}"
    )
    require_data_gates: bool = Field(
        True, description="without passed gates the completeness is that of a leak: NOT_TESTABLE"
    )
    sky: SkyConfig = SkyConfig()
    populations: Annotated[tuple[str, ...], INPUT] = Field(
        (),
        description="other populations of lenses, a YAML file each (docs/another-population.md): what the scorer "
        "recovers of them, by row where the plan's densities are known, else by cell",
    )

    # The run's own section, where a command's options have replaced some of it.
    _of_run: CompletenessConfig | None = PrivateAttr(None)

    @field_validator("axes")
    @classmethod
    def _table_is_not_too_large(cls, value: tuple[AxisConfig, ...] | None) -> tuple[AxisConfig, ...] | None:
        names = [a.variable for a in value or ()]
        twice = sorted({n for n in names if names.count(n) > 1})
        if twice:
            raise ValueError(f"an axis is named twice: {', '.join(twice)}")
        bins = [len(a.edges) - 1 for a in value or ()]
        if math.prod(bins) > MAX_CELLS:
            raise ValueError(
                f"{' x '.join(map(str, bins))} = {math.prod(bins):,} cells ({', '.join(names)}), at most "
                f"{MAX_CELLS:,}: use fewer bins or axes"
            )
        return value

    @field_validator("strata")
    @classmethod
    def _strata_are_fixed_before_scoring(cls, value: dict[str, Stratum] | None) -> dict[str, Stratum] | None:
        for name, stratum in (value or {}).items():
            band_of(name)
            if isinstance(stratum, tuple):
                check_edges(name, stratum)
        return value

    @model_validator(mode="after")
    def _can_be_required(self) -> Self:
        for k, wanted in enumerate(self.require):
            if wanted.at is None and self.threshold is None:
                raise ValueError(f"require.{k}: name a threshold (at), or set completeness.threshold")
        if self.require and self.split != "val":
            why = "is sealed, and certify does not open it" if self.split == "test" else "can prove nothing"
            raise ValueError(f"require needs split: val; {self.split} {why}")
        return self

    @property
    def variables(self) -> dict[str, str]:
        """Every variable that a bin is made of, and the setting that names it."""
        found = {a.variable: "axes" for a in self.axes or ()}
        found |= dict.fromkeys(self.strata or {}, "strata")
        return found | {name: "require" for wanted in self.require for name in wanted.where}

    def replaced_by(self, options: Mapping[str, Any]) -> Self:
        """Return the section with a command's options in place of its own settings; it remembers what is its own.

        Parameters
        ----------
        options : mapping
            Setting -> value.

        Raises
        ------
        ValidationError
            If a setting is none, or two exclude each other.
        """
        found = type(self).model_validate({**self.model_dump(), **options})
        found._of_run = self._of_run or self
        return found

    @property
    def own(self) -> CompletenessConfig:
        """The run's own section: this one without what a command's options have replaced."""
        return self._of_run or self

    @property
    def options(self) -> dict[str, str]:
        """Of a run with this section's own settings: what options have put in their place, as names of files say it.

        Returns
        -------
        dict
            Setting -> value in words of letters that file names take; empty where the settings are the run's own.
        """
        return {} if self._of_run is None else self.options_against(self._of_run)

    def options_against(self, own: CompletenessConfig) -> dict[str, str]:
        """:attr:`options`, against the section of a run."""
        found = {}
        if self.threshold is not None and self.threshold != own.threshold:
            # Every digit: two rates must not share a name.
            ((name, value),) = ((k, v) for k, v in self.threshold if v is not None)
            found["threshold"] = "-".join([name, *(map(repr, value) if isinstance(value, tuple) else [repr(value)])])
        if self.negatives != own.negatives:
            found["negatives"] = str(self.negatives)
        if self.kind != own.kind:
            found["kind"] = self.kind
        return found

    def check_bands(self, bands: Collection[str]) -> None:
        """Refuse variables of bands that a run does not have.

        Parameters
        ----------
        bands : collection of str
            The run's.

        Raises
        ------
        ValueError
            Naming the first such variable.
        """
        for name, setting in self.variables.items():
            band = band_of(name)
            if band is not None and band not in bands:
                raise ValueError(f"completeness.{setting}: {name!r} needs band {band!r}; there are {', '.join(bands)}")


def default_axes(band: str) -> tuple[AxisConfig, ...]:
    """Axes of the selection function where a config names none.

    Parameters
    ----------
    band : str
        That magnitudes refer to.

    Returns
    -------
    tuple of AxisConfig
    """
    return (
        AxisConfig(variable="theta_e_arcsec", edges=(0.5, 0.75, 1.0, 1.25, 1.5, 2.0, 2.5, 3.0)),
        AxisConfig(variable=f"src_mag_{band}", edges=(22.0, 23.0, 23.5, 24.0, 24.5, 25.0, 26.0)),
        AxisConfig(variable=f"psfsize_{band}", edges=PSFSIZE_EDGES_ARCSEC),
        AxisConfig(variable=f"psfdepth_{band}", edges=PSFDEPTH_EDGES_MAG),
    )


def default_strata(band: str) -> dict[str, Stratum]:
    """Strata where a config names none.

    Parameters
    ----------
    band : str
        That magnitudes refer to.

    Returns
    -------
    dict
        Variable -> edges, or ``plan``.
    """
    fixed: dict[str, Stratum] = {
        f"psfsize_{band}": PSFSIZE_EDGES_ARCSEC,
        f"psfdepth_{band}": PSFDEPTH_EDGES_MAG,
        **dict.fromkeys(UPPER_INCLUDED, FRACTION_EDGES),
    }
    planned = ("theta_e_arcsec", f"src_mag_{band}", "src_reff_arcsec", "magnification", f"host_mag_{band}")
    return fixed | dict.fromkeys((*planned, "host_colour"), "plan")
