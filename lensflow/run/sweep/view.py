"""What a scorer sees in an arm that changes its view: stamps normalised as the arm's ``export.normalisation`` says."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lensflow import schema
from lensflow.config import RunConfig
from lensflow.errors import ConfigError
from lensflow.export.normalisation import Normalisation
from lensflow.measure.scorer.beside import arguments, needs_features
from lensflow.measure.scorer.scorer import as_scorer
from lensflow.run.completeness.scorers import find_scorer
from lensflow.run.execute import Progress
from lensflow.run.export.constants import fitted
from lensflow.run.importable import load
from lensflow.store import objects
from lensflow.store.open import read_head
from lensflow.store.run_folder import RunFolder
from lensflow.training.scorer import TrainedScorer


@dataclass(frozen=True, eq=False, repr=False)
class Viewed:
    """A scorer that sees normalised stamps.

    Attributes
    ----------
    scorer : str or object
        Import path, file, or what scores. A network of ``lensflow train`` sees them in place of its own
        normalisation; others in place of nMgy/pixel.
    folder : str
        Where modules are looked for.
    normalisation : Normalisation
    """

    scorer: Any
    folder: str
    normalisation: Normalisation

    def __repr__(self) -> str:
        """Scorer and what it sees."""
        return f"{self.scorer} on stamps normalised by {self.normalisation.kind}"

    @property
    def _found(self) -> Any:
        return _loaded(self.scorer, self.folder) if isinstance(self.scorer, str) else self.scorer

    @property
    def needs_features(self) -> tuple[str, ...]:
        """What the scorer takes beside the images: the view changes only these."""
        return needs_features(self._found, str(self.scorer))

    def __call__(self, images: NDArray[Any], features: NDArray[np.float64] | None = None) -> NDArray[np.float64]:
        """Score images, shape (n, band, y, x), nMgy/pixel; a pixel without data is 0 or NaN."""
        found = self._found
        if isinstance(found, TrainedScorer):
            about = replace(found.about, normalisation=self.normalisation.to_json())
            return replace(found, about=about)(images, features)
        valid = np.isfinite(images) & (images != 0)
        seen = self.normalisation.apply(images.astype(np.float32), valid)
        return np.asarray(as_scorer(found, str(self.scorer))(seen, *arguments(features)))


@lru_cache(maxsize=4)
def _loaded(path: str, folder: str) -> Any:
    return load(path, folder)


def viewed(config: RunConfig, scorer: Any, folder: str, progress: Progress) -> Viewed:
    """Make a scorer see a run's stamps as an arm's ``export.normalisation`` says.

    Parameters
    ----------
    config : RunConfig
        The arm's.
    scorer : str or object
        Of images.
    folder : str
    progress : callable

    Returns
    -------
    Viewed
        Constants that come from controls are those of the run's train hosts, as for an export.

    Raises
    ------
    ConfigError
        If it scores no images.
    """
    who = find_scorer(scorer, config, folder)
    if who.kind != "images":
        raise ConfigError(
            f"sweep factor export.normalisation: {who.name} scores no images (it is of kind {who.kind}), so no view of "
            "them changes what it sees. Name a scorer of images"
        )
    head = read_head(RunFolder.of(config).manifest, "manifest", names=("host_index", "split", "is_control"))
    train = (head["split"].values == schema.SPLITS.index("train")) & ~head["is_control"].values
    hosts = np.unique(head["host_index"].values[train])
    stamps: Any = objects.open_group(RunFolder.of(config).pairs)["stamp"]
    return Viewed(who.what, folder, fitted(config, hosts, int(stamps.shape[-1]), progress))
