"""Settings of the completeness as a run takes them: another threshold, and what cannot be carried out is refused."""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import ValidationError

from lensflow.config import RunConfig
from lensflow.config.completeness import CompletenessConfig, CompletenessThresholdConfig
from lensflow.errors import CompletenessError, ConfigError

# Settings that are read and not carried out yet. Whoever carries one out takes it off this list.
_NOT_YET = ("negatives", "weights", "interval", "require", "sky")


def with_rates(config: RunConfig, fpr: Sequence[float] | None) -> RunConfig:
    """Config whose threshold is set by other false-positive rates; the same for none."""
    if not fpr:
        return config
    try:
        threshold = CompletenessThresholdConfig(fpr=tuple(fpr))
    except ValidationError as error:
        raise ConfigError(f"--fpr: {error.errors()[0]['msg']}") from error
    return config.model_copy(update={"completeness": config.completeness.model_copy(update={"threshold": threshold})})


def refuse_what_is_not_done(config: CompletenessConfig) -> None:
    """Refuse settings that this version reads and does not carry out: none is passed over.

    Raises
    ------
    ConfigError, CompletenessError
    """
    default = CompletenessConfig()
    for name in _NOT_YET:
        if getattr(config, name) != getattr(default, name):
            raise ConfigError(f"completeness.{name}: not carried out by this version; leave it at its default")
    if config.split == "train":
        raise CompletenessError("completeness.split: train can prove nothing, and its hosts set no threshold; use val")
