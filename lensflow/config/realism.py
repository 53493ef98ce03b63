"""Settings of the comparison with real lenses: which of them count, how hosts are matched, and what must hold."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, field_validator

from lensflow.config.base import Fraction, Positive, Section
from lensflow.config.place import INPUT

# Lists of galaxy clusters, proposals and lensed quasars that compilations hold as lenses.
EXCLUDED_REFERENCES = (
    "Lopes 2004",
    "Moustakas 2012",
    "Gonzalez 2001",
    "Gioia 1990",
    "Böhringer 2000",
    "Böhringer 2004",
    "Gladders 2005",
)


class RealismConfig(Section):
    """Injections compared with real lenses on matched hosts (``lensflow realism``), and a scorer's recall of these."""

    table: Annotated[str | None, INPUT] = Field(
        None, description="table of real lenses and non-lenses (docs/realism.md); --real names another"
    )
    columns: dict[str, str] = Field(
        {}, description="normalised name -> column of the table, where its header is no known one"
    )
    catalogue: Annotated[str | None, INPUT] = Field(
        None,
        description="table with fluxes and sizes of the real lenses' galaxies (tractor, sweep), read as survey.targets "
        "is: the second matching, on the catalogue's values, needs it",
    )
    exclude_references: tuple[str, ...] = Field(
        EXCLUDED_REFERENCES, description="author and year of lists that hold no galaxy-scale lenses: left out, counted"
    )
    tiers: tuple[Literal["A", "B"], ...] = Field(
        ("A", "B"), min_length=1, description="tiers of lenses that are compared; C never is"
    )
    accept_other_road: bool = Field(
        False, description="carry on with stamps that were not cut as the hosts were: numbers, but no verdict"
    )
    max_road_sd: Positive = Field(
        0.5, description="standardised difference of noise, sky or scale above which stamps are of another road"
    )
    hosts_per_lens: int = Field(4, ge=1, description="hosts that each real lens is matched with, none used twice")
    caliper_sd: Positive = Field(
        0.25, description="farthest host: standard deviations of the logit of the propensity score (Austin 2011)"
    )
    max_balance_sd: Positive = Field(
        0.1, description="largest standardised difference of a host covariate after matching; above it: INCONCLUSIVE"
    )
    injections: Literal["run", "matched"] = Field(
        "run",
        description="run: rows that the matched hosts have in this run; matched: new rows whose theta_E and magnitude "
        "follow the real lenses",
    )
    min_arc_snr: float = Field(
        5.0, ge=0, description="visibility cut in r, the same on both sides: fainter ones are compared only in rates"
    )
    c: Positive = Field(1.0, description="inverse L2 strength of the logistic regression")
    folds: int = Field(5, ge=2, description="folds of matched sets")
    bootstrap: int = Field(1000, ge=50, description="draws of matched sets for intervals")
    permutations: int = Field(1999, ge=99, description="relabellings within matched sets for p-values")
    min_sets: int = Field(30, ge=10, description="matched sets below which there is no verdict")
    max_auc: float = Field(
        0.65, gt=0.5, lt=1, description="PASS if the interval of the readable features' AUC lies below it"
    )
    encoder: str | None = Field(
        None,
        description="module:callable, images (n, band, y, x) -> (n, d) floats: its features are compared too, advisory",
    )
    required: bool = Field(False, description="certify needs PASS; an export with purpose deploy always does")
    min_real_recall: Fraction = Field(
        0.5, description="of a scorer on tier A: PASS if the lower end of the interval lies above it"
    )
    max_real_fpr: Fraction = Field(
        0.05, description="of a scorer on known non-lenses: PASS if the upper end of the interval lies below it"
    )
    max_gap: Fraction = Field(
        0.2, description="completeness of injections less recall of real lenses: FAIL beyond it, half of it excluded"
    )

    @field_validator("encoder")
    @classmethod
    def _is_a_callable(cls, value: str | None) -> str | None:
        if value is not None and ":" not in value:
            raise ValueError(f"no encoder {value!r}: package.module:callable")
        return value
