"""Settings of the completeness as a run takes them: another threshold, and what cannot be carried out is refused."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from pydantic import ValidationError

from lensflow.config import RunConfig
from lensflow.config.base import first_problem
from lensflow.config.completeness import CompletenessConfig
from lensflow.config.place import of_inputs, with_places
from lensflow.errors import CompletenessError, ConfigError


def with_options(
    config: RunConfig,
    *,
    fpr: float | Sequence[float] | None = None,
    value: float | None = None,
    split: str | None = None,
    negatives: str | None = None,
    truth: bool = False,
) -> RunConfig:
    """Config with other settings of the completeness; None and nothing keep its own.

    Parameters
    ----------
    config : RunConfig
    fpr, value : optional
        False-positive rates, or a score: they replace ``completeness.threshold``.
    split, negatives : str, optional
    truth : bool
        Whether the scorer reads what was injected.

    Returns
    -------
    RunConfig

    Raises
    ------
    ConfigError
        If a setting is none, or two exclude each other.
    """
    rates: list[Any] = [] if fpr is None else np.atleast_1d(np.asarray(fpr)).tolist()
    if fpr is not None and not rates:
        raise ConfigError("completeness.threshold.fpr: no rate is given; leave it out for the run's own threshold")
    change: dict[str, Any] = {"split": split, "negatives": negatives, "kind": "truth" if truth else None}
    if rates or value is not None:
        change["threshold"] = {**({"fpr": rates} if rates else {}), **({} if value is None else {"value": value})}
    change = {k: v for k, v in change.items() if v is not None}
    if not change:
        return config
    try:
        section = with_places(config.completeness.replaced_by(change), of_inputs(config.storage))
    except ValidationError as error:
        raise ConfigError(f"completeness.{first_problem(error)}") from error
    return config.model_copy(update={"completeness": section})


def refuse_contradictions(config: CompletenessConfig) -> None:
    """Refuse settings that exclude each other.

    Raises
    ------
    ConfigError, CompletenessError
    """
    if config.require and config.weights == "area":
        raise ConfigError(
            "completeness.require: every host counts once in what is judged, and with weights: area that is not the "
            "average that is shown. An average over the sky is not judged: of its untested share nothing is known, so "
            "it has no interval that a requirement could lie above. Set weights: hosts, or require nothing"
        )
    if config.split == "train":
        raise CompletenessError("completeness.split: train can prove nothing, and its hosts set no threshold; use val")
