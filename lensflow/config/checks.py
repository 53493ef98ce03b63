"""Settings of the diagnostics and the gates."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from lensflow.config.base import Fraction, Positive, Section


class DiagnosticsConfig(Section):
    """One pass over the pairs."""

    theta_e_edges: tuple[float, ...] = Field((0.0, 0.75, 1.0, 1.5, 2.0, 5.0), description="strata, arcsec")
    n_rings: int = Field(30, ge=5, description="1-pixel rings of the radial profile")
    bootstrap: int = Field(400, ge=50, description="host-bootstrap draws for intervals")


class GateConfig(Section):
    """The core logistic-regression gate."""

    bands: tuple[Literal["r", "all"], ...] = Field(("r", "all"), description="which bands' pixels are the features")
    core_box_pix: int = Field(10, ge=1, description="side of the core box")
    max_auc: Fraction = Field(0.65, description="the gate passes below this AUC")
    required: bool = Field(True, description="lensflow run exits with an error unless the gate passes")
    folds: int = Field(5, ge=2, description="cross-validation folds, by host")
    c: Positive = Field(1.0, description="inverse L2 strength of the logistic regression")
    bootstrap: int = Field(400, ge=50, description="host-bootstrap draws for the interval")
    max_pairs: int = Field(20_000, ge=10, description="pairs used; hosts are drawn whole")
