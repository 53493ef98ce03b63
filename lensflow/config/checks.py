"""Settings of the diagnostics and the gates."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise
from typing import Literal, NamedTuple, Self

from pydantic import Field, field_validator, model_validator

from lensflow.config.base import Positive, Section
from lensflow.errors import did_you_mean


class DiagnosticsConfig(Section):
    """One pass over the pairs."""

    theta_e_edges: tuple[float, ...] = Field((0.0, 0.75, 1.0, 1.5, 2.0, 5.0), description="strata, arcsec")
    n_rings: int = Field(30, ge=5, description="1-pixel rings of the radial profile")
    bootstrap: int = Field(400, ge=50, description="host-bootstrap draws for intervals")
    also: tuple[str, ...] = Field(
        (),
        description="further measurements (package.module:NAME) with their judges, importable here and on the workers: "
        "computed in the same pass and shown with the others; an alarm of one fails the check `diagnostics`",
    )

    @field_validator("theta_e_edges")
    @classmethod
    def _edges_rise(cls, value: tuple[float, ...]) -> tuple[float, ...]:
        if len(value) < 2 or value[0] < 0 or any(b <= a for a, b in pairwise(value)):
            raise ValueError("at least two edges in rising order, none below 0")
        return value


# Recipes of gates are named <kind>_<band or all>[_<view>][+<estimator>]: core_all, core_r_robust, core_all+trees.
GATE_KINDS = {
    "core": "pixels of the core box",
    "annulus": "means of 8 x 8 pixel squares entirely at r >= 20 pix",
    "ring": "means over 24 sectors of the outermost complete 3-pixel ring of the stamp",
    "edge": "means of 8-pixel segments of the stamp's 2-pixel border",
    "corners": "means of 2 x 2 pixel squares in the four 8 x 8 corners",
    "stamp": "means of 8 x 8 pixel squares of the whole stamp",
    "brightness": "mean over r < 5 pix, summed over bands: one number",
    "colour": "differences between bands of asinh(mean over r < 5 pix / sky sigma)",
    "profile": "means over 1-pixel rings to 25 pix",
    "azimuth": "means over 12 sectors of 2 <= r < 10 pix, minus the mean of all 12",
    "power": "log10 of the power spectrum, mean over rings of spatial frequency",
    "noise": "log10 of pixel scatter and of scatter between neighbours at r >= 20 pix (1.4826 MAD)",
    "metadata": "position, flags, and by band PSF width, rounding step and the control's sky scatter of each row: "
    "injections against the dataset's own control rows, not against the control of each",
    "host": "unlensed pixels of hosts (rings, 4 x 4 pixel squares of the middle, shape, size, colour, neighbours): "
    "hosts of injections against hosts of controls",
}
# Kinds that compare the dataset's own injections and controls.
UNPAIRED = ("metadata", "host")
# Must also pass if controls have their own hosts (plan.controls: disjoint).
HOST_GATES = ("host_all", "host_all+trees")
GATE_VIEWS = {
    "raw": "pixels as stored, nMgy/pixel",
    "robust": "each stamp and band minus its own median at r >= 20 pix, divided by 1.4826 MAD there",
    "asinh": "asinh of the robust view",
    "radial": "each stamp and band minus the medians of its 1-pixel rings about the target, nMgy/pixel",
    "smooth": "each stamp and band minus elliptical Gaussians fitted to it, nMgy/pixel (11 ms a stamp)",
}
GATE_ESTIMATORS = {
    "linear": "logistic regression, the default: sees differences in the mean",
    "trees": "gradient-boosted trees: also see differences in scatter and in combinations, and take minutes",
}
# Kinds that have one view only.
RAW_ONLY = ("noise", "power", "metadata", "host")


# Gates that need no fit, by name.
GATE_CHECKS = {
    "splits": "no host, sky cell, source or shared pixel is in two splits, over all rows",
    "balance": "injections and controls agree in every column that could affect a network",
    "localisation": "the light added to a row is at the same radius as its rendered arc",
    "visibility": "the arcs can be seen: enough of them above the noise, and not too faint compared with their hosts",
    "priors": "the manifest agrees with a second draw of its plan: distributions, correlations, arcs, row ids",
    "diagnostics": "no other diagnostic raises an alarm",
}


# Run and required whenever injection.core_mask_radius_pix is set.
MASK_EDGE = "mask_edge"


class RecipeName(NamedTuple):
    """Parts of a recipe's name; ``band`` is a band or ``all``."""

    kind: str
    band: str
    view: str
    estimator: str


def parse_recipe(name: str) -> RecipeName:
    """Parts of a recipe's name.

    Raises
    ------
    ValueError
        If the name is not valid.
    """
    features, plus, estimator = name.partition("+")
    estimator = estimator if plus else "linear"
    if estimator not in GATE_ESTIMATORS:
        raise ValueError(
            f"{name!r}: no estimator {estimator!r}.{did_you_mean(estimator, GATE_ESTIMATORS)} One of "
            f"{_listed(GATE_ESTIMATORS)}"
        )
    if plus and estimator == "linear":
        raise ValueError(f"{name!r}: linear is the default, name the gate {features}")
    parts = features.split("_")
    view = parts.pop() if len(parts) > 2 and parts[-1] in GATE_VIEWS else "raw"
    kind, band = parts[0], "_".join(parts[1:])
    if kind not in GATE_KINDS:
        raise ValueError(
            f"{name!r}: no gate of kind {kind!r}.{did_you_mean(kind, GATE_KINDS)} One of {_listed(GATE_KINDS)}"
        )
    if not band:
        raise ValueError(
            f"{name!r}: name a band or all, as in {kind}_all, and then a view if any ({_listed(GATE_VIEWS)})"
        )
    if view != "raw" and kind in RAW_ONLY:
        raise ValueError(f"{name!r}: {kind} gates have the raw view only")
    if kind == "metadata" and estimator != "linear":
        raise ValueError(f"{name!r}: metadata gates are linear")
    return RecipeName(kind, band, view, estimator)


def _listed(names: Iterable[str]) -> str:
    return ", ".join(names)


class GateConfig(Section):
    """Gates: can a classifier distinguish stamps from their own controls by these features alone?"""

    recipes: tuple[str, ...] = Field(
        ("core_r", "core_all"),
        min_length=1,
        description="gates that must pass (with a mask on the arcs' cores also mask_edge: can the mask be seen? If "
        f"controls have their own hosts also {' and '.join(HOST_GATES)}, unless named under advisory), each "
        "<kind>_<band or all>[_<view>][+<estimator>]; core_r uses the first band if there is no r. Kinds: "
        + "; ".join(f"{k}: {v}" for k, v in GATE_KINDS.items())
        + ". Views: "
        + "; ".join(f"{k}: {v}" for k, v in GATE_VIEWS.items())
        + ". Estimators: "
        + "; ".join(f"{k}: {v}" for k, v in GATE_ESTIMATORS.items()),
    )
    checks: tuple[str, ...] = Field(
        tuple(GATE_CHECKS),
        description="gates without a fit that must pass as well. "
        + "; ".join(f"{k}: {v}" for k, v in GATE_CHECKS.items()),
    )
    advisory: tuple[str, ...] = Field(
        (), description="further gates, measured and reported but not required to pass, such as core_all+trees"
    )
    core_box_pix: int = Field(10, ge=1, description="side of the core box")
    max_auc: float = Field(0.65, gt=0.5, le=1, description="a gate passes below this AUC; 0.5 is chance")
    max_auc_of: dict[str, float] = Field({}, description="other thresholds for individual gates, by name")
    required: bool = Field(True, description="lensflow run exits with an error unless all of recipes and checks pass")
    accept_explained: bool = Field(
        False,
        description="count a gate as passed if the arcs alone explain its AUC above the threshold (verdict EXPLAINED)",
    )
    folds: int = Field(5, ge=2, description="cross-validation folds, by host")
    c: Positive = Field(1.0, description="inverse L2 strength of the logistic regression")
    bootstrap: int = Field(400, ge=50, description="host-bootstrap draws for the interval")
    max_pairs: int = Field(20_000, ge=10, description="pairs used; all rows of a drawn host are used")

    @field_validator("recipes", "advisory")
    @classmethod
    def _recipes_parse(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for name in value:
            parse_recipe(name)
        return value

    @field_validator("checks")
    @classmethod
    def _checks_are_known(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for name in value:
            if name not in GATE_CHECKS:
                raise ValueError(f"no check {name!r}.{did_you_mean(name, GATE_CHECKS)} One of {_listed(GATE_CHECKS)}")
        if len(set(value)) < len(value):
            raise ValueError("a check is named twice")
        return value

    @model_validator(mode="after")
    def _names_agree(self) -> GateConfig:
        twice = sorted({n for n in self.every if self.every.count(n) > 1})
        if twice:
            raise ValueError(f"named twice in recipes and advisory: {', '.join(twice)}")
        for name, threshold in self.max_auc_of.items():
            if name not in (*self.every, MASK_EDGE):
                raise ValueError(f"max_auc_of: no gate {name!r} is run.{did_you_mean(name, self.every)}")
            if not 0.5 < threshold <= 1:
                raise ValueError(f"max_auc_of.{name}: an AUC above 0.5 (chance) and at most 1, not {threshold:g}")
        return self

    @property
    def unpaired_kinds(self) -> tuple[str, ...]:
        """Kinds among its gates that compare the dataset's own injections and controls."""
        kinds = {parse_recipe(name).kind for name in self.every}
        return tuple(k for k in UNPAIRED if k in kinds)

    @property
    def every(self) -> tuple[str, ...]:
        """Names of all gates with a fit, the required ones first."""
        return (*self.recipes, *self.advisory)

    def threshold_of(self, name: str) -> float:
        """AUC below which a gate passes."""
        return self.max_auc_of.get(name, self.max_auc)


class ScorerConfig(Section):
    """Evaluation of a trained lens finder, or any other scorer, on finished pairs (``lensflow score``)."""

    split: Literal["train", "val", "test"] = Field(
        "val", description="rows to score; test is sealed and needs a reason, train can prove nothing"
    )
    min_auroc: float = Field(
        0.85, ge=0.5, lt=1, description="synthetic_auroc passes if the whole interval of the AUROC is above it"
    )
    max_core_drop_pct: float = Field(
        10.0,
        gt=0,
        le=50,
        description="core_drop passes if the AUROC's loss without the core, in % of the AUROC, is below",
    )
    core_radius_pix: Positive = Field(
        5.0, description="radius of the core that is filled with local background, in both stamps and controls"
    )
    lens_light: Literal["kept", "radial", "smooth"] = Field(
        "kept",
        description="light of the lens galaxy in the images that scorers get, here and in a completeness: kept; radial "
        "or smooth: taken off stamps and controls alike (docs/lens-light.md)",
    )
    bootstrap: int = Field(400, ge=50, description="host-bootstrap draws for the intervals")
    max_pairs: int = Field(20_000, ge=10, description="injections scored; all rows of a drawn host are used")
    required: tuple[str, ...] = Field(
        (),
        description="scorers (package.module:name) that certify scores again, and whose synthetic_auroc and core_drop "
        "must pass for a certificate of PASS; needs split: val",
    )

    @model_validator(mode="after")
    def _only_val_can_be_certified(self) -> Self:
        if self.required and self.split != "val":
            why = "is sealed, and certify does not open it" if self.split == "test" else "can prove nothing"
            raise ValueError(f"scorer.required needs scorer.split: val; {self.split} {why}")
        return self
