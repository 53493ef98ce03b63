"""Whose scores: an import path, a table of scores, or a scorer that reads what was injected."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from lensflow import schema
from lensflow.config import RunConfig
from lensflow.config.place import Place, of_inputs
from lensflow.errors import ConfigError, GateError, did_you_mean
from lensflow.measure.completeness.truth import TRUTH
from lensflow.measure.scorer.scorer import as_scorer, numbers_of
from lensflow.run.completeness.files import located, own_name
from lensflow.run.execute import Progress, reduce_tasks
from lensflow.run.importable import FILES, SCORER_EXAMPLE, load, source_of
from lensflow.run.score import refuse_other_images, scores_of
from lensflow.run.score_table import ScoreTable, is_table, row_scores
from lensflow.stats.kept_rows import KeptRows
from lensflow.store.open import read_head, read_pairs_block, stored_regions
from lensflow.store.regions import Regions
from lensflow.store.run_folder import RunFolder

IMAGES = {"blue_ring": SCORER_EXAMPLE}
Kind = Literal["images", "table", "truth"]


@dataclass(frozen=True, eq=False)
class Scorer:
    """A scorer that was found.

    Attributes
    ----------
    name : str
        As it was given.
    kind : str
        ``images``, ``table`` or ``truth``.
    source : str or None
        Fingerprint of its code, or of the table; None if it cannot be computed.
    what : str or object
        Import path, file or object that scores images; function of rows; :class:`ScoreTable`.
    note : str
        What it says of itself.
    """

    name: str
    kind: Kind
    source: str | None
    what: Any
    note: str = ""

    @property
    def table(self) -> ScoreTable | None:
        """Its table, if it is one."""
        return self.what if isinstance(self.what, ScoreTable) else None


def find_scorer(scorer: Any, config: RunConfig, folder: str) -> Scorer:
    """Find a scorer, before any work.

    Parameters
    ----------
    scorer : str or object
        ``package.module:name`` or a file of joblib; a file of scores; ``blue_ring``, ``snr_matched`` or ``snr_peak``;
        in Python also the object that scores, or a table of scores in memory. What reads what was injected has an
        attribute ``kind`` that is ``"truth"``, or ``completeness.kind`` says so.
    config : RunConfig
    folder : str
        Where modules are looked for after Python's own places.

    Returns
    -------
    Scorer

    Raises
    ------
    ConfigError
        If there is no such scorer.
    CompletenessError
        If it is a table that cannot be read.
    GateError
        If the object cannot score.
    """
    truth = config.completeness.kind == "truth"
    scorer = located(config, scorer) if isinstance(scorer, str) else scorer
    if is_table(scorer):
        table = row_scores(Place(scorer, of_inputs(config.storage)) if isinstance(scorer, str) else scorer)
        # With its path, so that tables of one name in two folders keep results of their own.
        return Scorer(
            own_name(config, table.name), "truth" if truth or table.is_truth else "table", table.digest, table
        )
    if not isinstance(scorer, str):
        truth = truth or getattr(scorer, "kind", "") == "truth"
        name = f"{getattr(scorer, '__module__', '')}:{getattr(scorer, '__name__', type(scorer).__name__)}"
        return Scorer(name, "truth" if truth else "images", None, scorer if truth else _checked(scorer, name))
    if scorer in TRUTH:
        return Scorer(scorer, "truth", "lensflow", TRUTH[scorer])
    path = IMAGES.get(scorer, scorer)
    if ":" not in path and not path.endswith(FILES):
        known = [*IMAGES, *TRUTH]
        raise ConfigError(
            f"scorer {scorer!r}: no package.module:name (as in {SCORER_EXAMPLE}), nor a file ({', '.join(FILES)}), "
            f"nor a table of scores (parquet, CSV, FITS), nor one of {', '.join(known)}.{did_you_mean(scorer, known)}"
        )
    found = load(path, folder)
    note = str(getattr(found, "note", ""))
    if (light := config.scorer.lens_light) != "kept":
        note = " ".join(filter(None, (note, f"It got images without the light of their lenses ({light}).")))
    if truth or getattr(found, "kind", "") == "truth":
        return Scorer(own_name(config, scorer), "truth", source_of(path, folder), found, note)
    as_scorer(found, path)
    refuse_other_images(config, found)
    return Scorer(own_name(config, scorer), "images", source_of(path, folder), path, note)


def _checked(scorer: Any, name: str) -> Any:
    as_scorer(scorer, name)
    return scorer


def image_scores(
    config: RunConfig, scorer: Scorer, folder: str, progress: Progress, most_regions: int | None = None
) -> xr.Dataset:
    """Score every injection of ``completeness.split`` and its hosts' controls, region by region.

    Parameters
    ----------
    config : RunConfig
    scorer : Scorer
        Of images.
    folder : str
    progress : callable
    most_regions : int, optional
        Only those of so many regions.

    Returns
    -------
    Dataset
        As :func:`lensflow.measure.scorer.scorer.score_block`, without the filled cores.
    """
    # Every host of the split: a completeness of some of them would be that of their choice.
    every = config.scorer.model_copy(update={"split": config.completeness.split, "max_pairs": sys.maxsize})
    scored = config.model_copy(update={"scorer": every})
    return scores_of(scored, scorer.what, folder, progress, filled=False, most_regions=most_regions)


def truth_scores(config: RunConfig, scorer: Scorer, rows: xr.Dataset, progress: Progress) -> NDArray[np.float64]:
    """Score injections by what is known of them.

    Parameters
    ----------
    config : RunConfig
    scorer : Scorer
        That reads what was injected. A user's gets blocks of injection rows: the manifest's columns, metrics, flags and
        ``arc``, the noiseless arc (sample, band, y, x), nMgy/pixel; it returns one number per row.
    rows : Dataset
        Rows of the split, controls among them, with their metrics.
    progress : callable

    Returns
    -------
    ndarray of float64, shape (n,)
        NaN for controls.

    Raises
    ------
    GateError
        If the scorer fails, or does not return one number per row.
    """
    injected = ~rows["is_control"].values.astype(bool)
    out = np.full(len(injected), np.nan)
    if not injected.any():
        return out
    if scorer.name in TRUTH:
        out[injected] = TRUTH[scorer.name](rows.isel(sample=np.flatnonzero(injected)))
        return out
    folder = RunFolder.of(config)
    regions = stored_regions(folder.pairs, "pairs")
    of_split = read_head(folder.manifest, "manifest", names=("split", "is_control"))
    wanted = (of_split["split"].values == schema.SPLITS.index(config.completeness.split)) & ~of_split[
        "is_control"
    ].values
    some = np.unique(np.flatnonzero(wanted) // regions.rows).tolist()
    task = _TruthTask(config, regions, scorer.what, scorer.name)
    kept: KeptRows = reduce_tasks(task, some, KeptRows.concat, "score", progress)
    order = np.argsort(kept.rows["row_id"].values)
    ids = kept.rows["row_id"].values[order]
    out[injected] = kept.rows["score"].values[order][np.searchsorted(ids, rows["row_id"].values[injected])]
    return out


class _TruthTask:
    """Read one region and score its injections by what is known of them."""

    def __init__(self, config: RunConfig, regions: Regions, call: Callable[[xr.Dataset], Any], name: str):
        self.config, self.regions, self.call, self.name = config, regions, call, name

    def __call__(self, index: int) -> KeptRows:
        run = RunFolder.of(self.config)
        pairs = read_pairs_block(run.pairs, run.manifest, run.cutouts, self.regions[index])
        split = schema.SPLITS.index(self.config.completeness.split)
        block = pairs.isel(sample=~pairs["is_control"].values & (pairs["split"].values == split))
        ids = block["row_id"].values.astype(np.uint64)
        try:
            scores = numbers_of(self.call(block.drop_vars(["stamp", "ctrl"])))
        except Exception as error:  # a scorer may raise any error; its own message says what to do
            raise GateError(f"{self.name}: failed on {len(ids)} rows: {type(error).__name__}: {error}") from error
        if scores.shape != ids.shape:
            raise GateError(f"{self.name}: must return one score per row, shape {ids.shape}, not {scores.shape}")
        return KeptRows(xr.Dataset({"row_id": ("sample", ids), "score": ("sample", scores)}))
