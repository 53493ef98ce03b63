"""Settings of a table of galaxies that sources are drawn from: magnitudes, size, redshift of one galaxy together."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from lensflow.config.base import Fraction, Positive, Section
from lensflow.config.place import INPUT

# Name of the table that is built from published distributions.
PUBLISHED = "published"


class SourceTableConfig(Section):
    """Galaxies, one a row, as they are observed: every source is one of them, with all that it says together."""

    table: Annotated[str, INPUT] = Field(
        description="CSV, ECSV, FITS or parquet with a magnitude (mag_r, AB) or flux (flux_r_nmgy) in every band, "
        "reff_arcsec (half-light radius, major axis) and z; optional: id, weight (relative number of such galaxies), "
        "q, n. Above the Galaxy's dust; units that the table states are converted, others refused. published: a table "
        "built from the relations of docs/population.md"
    )
    columns: dict[str, str] = Field(
        {}, description="our name -> the table's: {mag_r: HSC_r, reff_arcsec: FLUX_RADIUS, z: zphot}"
    )
    wavelengths_nm: dict[str, Positive] = Field(
        {},
        description="bands of the table that are not DECam's ugrizY: name -> effective wavelength ({F814W: 806}); "
        "magnitudes in the run's bands are then interpolated between the table's",
    )
    redshift: Literal["own", "plan"] = Field(
        "own",
        description="own: the galaxy stays at its redshift, and a lens chooses among those behind it by its "
        "cross-section, (D_ls/D_s)^2; plan: it is moved to a redshift drawn from plan.src_z, with distance modulus, "
        "K-correction from its own magnitudes, and angular-diameter distance; no evolution",
    )
    shape: Literal["plan", "table"] = Field(
        "plan", description="axis ratio and Sersic index: plan.src_q and src_n, or the table's columns q and n"
    )
    no_galaxy: Literal["error", "drop"] = Field(
        "error",
        description="for rows that no galaxy fits (own: too few behind the lens; plan: bands outside the observed "
        "wavelengths, nothing is extrapolated): stop, or leave the row out (counted)",
    )
    min_galaxies: int = Field(
        100, ge=2, description="tables with fewer usable galaxies, or fewer behind a lens, are no prior"
    )
    max_excluded: Fraction = Field(
        0.5, description="tables of which more rows are unusable (missing values, sentinels, ...) are refused"
    )

    @property
    def is_published(self) -> bool:
        """Whether it is the table built from published distributions, not a file."""
        return str(self.table) == PUBLISHED

    @model_validator(mode="after")
    def _published_table_is_whole(self) -> SourceTableConfig:
        if self.is_published and (self.redshift, self.shape, self.columns, self.wavelengths_nm) != (
            "own", "plan", {}, {},
        ):  # fmt: skip
            raise ValueError(
                f"table: {PUBLISHED} has the run's bands, its own redshifts and no shapes: columns, wavelengths_nm, "
                "redshift and shape are for tables of yours"
            )
        return self
