"""Publish the injections of a scored split beside its completeness; tell whether a published set is of these rows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import xarray as xr

from lensflow.config import RunConfig
from lensflow.config.completeness import default_axes
from lensflow.measure.completeness.population.injected_prior import InjectedPrior
from lensflow.measure.completeness.population.injection_set import about_of
from lensflow.measure.completeness.population.publish import Contents, write_injection_set
from lensflow.run.completeness.scorers import Scorer


@dataclass(frozen=True, eq=False)
class Injections:
    """Where a scorer's injections are published, and what they were made from.

    Attributes
    ----------
    url : str
        Of the parquet file.
    who : Scorer
    content : str
        Fingerprint of the pairs.
    key : str
        Of the settings and pixels that the results belong to.
    made_from : mapping
        Fingerprints of scorer and negatives, and the scorer's kind.
    """

    url: str
    who: Scorer
    content: str
    key: str
    made_from: Mapping[str, str]

    def is_current(self) -> bool:
        """Whether the file there is of these pairs, settings, scorer and negatives."""
        about = about_of(self.url)
        return about is not None and self._identity().items() <= about.items()

    def publish(
        self, scored: xr.Dataset, prior: InjectedPrior, found: Mapping[str, xr.Dataset], config: RunConfig
    ) -> None:
        """Write the file.

        Parameters
        ----------
        scored : Dataset
            Rows of the split with their scores.
        prior : InjectedPrior
        found : mapping of Dataset
            Tables of the completeness, with thresholds.
        config : RunConfig
        """
        axes = config.completeness.axes or default_axes(prior.reference_band)
        thresholds, verdict = found["thresholds"], found["funnel"].attrs
        about = {
            "scorer": self.who.name, "split": config.completeness.split, **self._identity(), "seed": config.seed,
            "scorer_note": self.who.note, "negatives_are": str(thresholds.attrs["negatives"]),
            **{k: str(verdict[k]) for k in ("verdict", "reason")},
        }  # fmt: skip
        taus, rates = (thresholds[k].values.tolist() for k in ("tau", "rate_wanted"))
        write_injection_set(Contents(scored, prior, taus, rates, axes, about), self.url)

    def _identity(self) -> dict[str, str]:
        return {**self.made_from, "pairs": self.content, "key": self.key}
