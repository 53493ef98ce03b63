"""Images without an arc, and their scores: the hosts of the injections, all hosts of the split, or real non-lenses."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from lensflow import rng, schema
from lensflow.config import RunConfig
from lensflow.errors import CompletenessError
from lensflow.injection.rounding import round_pixels, rounding_steps
from lensflow.manifest.draw_galaxies import galaxy_draw
from lensflow.manifest.hosts import eligible_hosts
from lensflow.manifest.table import InjectionTable, read_injection_table
from lensflow.measure.completeness.counts import match_scores
from lensflow.measure.completeness.summary import Negatives
from lensflow.measure.lens_light import without_light
from lensflow.measure.scorer.beside import features_of
from lensflow.measure.scorer.scorer import as_it_reads, as_scorer, reads_missing_as_zero, score_images
from lensflow.run.completeness.scorers import Scorer
from lensflow.run.execute import Progress, reduce_tasks
from lensflow.run.identity import cutouts_content
from lensflow.run.importable import load
from lensflow.run.score_table import ScoreTable, host_scores
from lensflow.stats.kept_rows import KeptRows, first_of_host
from lensflow.store import paths
from lensflow.store.open import host_tables, read_attrs, read_head, read_host_block, stored_regions
from lensflow.store.regions import Regions
from lensflow.store.run_folder import RunFolder

CONTROLS, CUTOUTS = "controls", "cutouts"
OWN = "the split's own hosts without arcs, each once"
NONE = Negatives(np.empty(0), np.empty(0, np.int64), "none")


def negatives_source(config: RunConfig) -> str:
    """Fingerprint of what the negatives are made of, beside the pairs: the table, or the cutouts."""
    which = config.completeness.negatives
    if which == CONTROLS:
        return ""
    return cutouts_content(config) if which == CUTOUTS else paths.content(which)


def needs_threshold_of_negatives(config: RunConfig) -> bool:
    """Whether a threshold is set by negatives: a given score is not."""
    c = config.completeness
    every = [t for t in (c.threshold, *(w.at for w in c.require)) if t is not None]
    return any(t.value is None for t in every)


def negatives_of(
    config: RunConfig, scorer: Scorer, scores: xr.Dataset | None, rows: xr.Dataset, folder: str, progress: Progress
) -> Negatives:
    """Scores of the images that ``completeness.negatives`` names.

    Parameters
    ----------
    config : RunConfig
    scorer : Scorer
    scores : Dataset or None
        Of images, with the hosts' controls; None for tables and truth.
    rows : Dataset
        Rows of the split, controls among them.
    folder : str
        Where modules are looked for after Python's own places.
    progress : callable

    Returns
    -------
    Negatives

    Raises
    ------
    CompletenessError
        If the scorer cannot score them, a table of them has hosts of the train split, or of the sealed one.
    """
    which = config.completeness.negatives
    if which not in (CONTROLS, CUTOUTS):
        table = host_scores(which)
        _refuse_other_scorer(table, scorer)
        return _of_table(table, config)
    if scores is not None:
        own = Negatives(scores["ctrl"].values, scores["ctrl_host"].values, OWN)
        return own if which == CONTROLS else _with_other_hosts(own, config, scorer, folder, progress)
    if which == CONTROLS and scorer.table is not None and scorer.table.is_store:
        # A training keeps the scores of the hosts' controls with those of the rows.
        return _of_table(host_scores(scorer.table.name), config)
    found = None if scorer.table is None else _controls_in(scorer.table, rows)
    if found is not None and which == CONTROLS:
        return found
    if needs_threshold_of_negatives(config):
        what = "reads what was injected, and gives no score" if scorer.table is None else "is a table without scores"
        raise CompletenessError(
            f"{scorer.name}: {what} to {which} (completeness.negatives), and a false-positive rate needs them. Name a "
            "table with host_id and score (completeness.negatives, --negatives), or set completeness.threshold.value"
        )
    return NONE


def _controls_in(table: ScoreTable, rows: xr.Dataset) -> Negatives | None:
    """Control rows of the split's hosts that a table of row scores has, one per host; None where it has none."""
    control = np.flatnonzero(rows["is_control"].values.astype(bool))
    ids, host = rows["row_id"].values[control].astype(np.uint64), rows["host_index"].values[control]
    first = first_of_host(host, ids)
    ids, host = ids[first], host[first]
    if not np.isin(ids, table.ids).any():
        return None
    try:
        score, has = match_scores(ids, table.ids, table.score, np.union1d(ids, table.ids))
    except CompletenessError as error:
        raise CompletenessError(f"{table.name}: of the control rows that are negatives, {error}") from error
    return Negatives(score[has], host[has].astype(np.int64), "control rows of the split in the table, one per host")


def _refuse_other_scorer(table: ScoreTable, scorer: Scorer) -> None:
    """A threshold set on the scores of another scorer means nothing; tables that lensflow wrote say whose they are."""
    made = scorer.table.made if scorer.table is not None else {"source": scorer.source or ""}
    if table.made and made and table.made.get("source") != made.get("source"):
        raise CompletenessError(
            f"{table.name}: scores of {table.made.get('scorer')!r} ({table.made.get('source')}), not of "
            f"{scorer.name!r} ({made.get('source')}): score the negatives with the same scorer"
        )


def _of_table(table: ScoreTable, config: RunConfig) -> Negatives:
    head = read_head(RunFolder.of(config).cutouts, "cutouts", names=("host_id", "split"))
    known, split = head["host_id"].values.astype(str), head["split"].values
    order = np.argsort(known)
    at = np.minimum(np.searchsorted(known[order], table.ids), len(known) - 1)
    is_host = known[order][at] == table.ids
    of_split = np.where(is_host, split[order][at].astype(np.int64), -1)
    for name in ("train", "test"):
        bad = of_split == schema.SPLITS.index(name)
        if bad.any() and name != config.completeness.split:
            why = "a model has seen them" if name == "train" else "they are sealed"
            raise CompletenessError(
                f"{table.name}: {int(bad.sum()):,} negatives are hosts of the {name} split, and {why}: "
                f"{', '.join(table.ids[bad][:3])}. Leave them out"
            )
    # Hosts of the run keep their number, so that a draw takes them with their injections; others get numbers above.
    host = np.where(is_host, order[at], len(known) + np.arange(len(at)))
    shared = f", {int(is_host.sum()):,} of them hosts of this run" if is_host.any() else ""
    return Negatives(table.score, host.astype(np.int64), f"a table of scores ({table.name}){shared}")


def _with_other_hosts(own: Negatives, config: RunConfig, scorer: Scorer, folder: str, progress: Progress) -> Negatives:
    wanted = np.setdiff1d(usable_hosts(config), own.host)
    if wanted.size:
        regions = stored_regions(RunFolder.of(config).cutouts, "cutouts")
        task = _CutoutTask(config, regions, wanted, scorer.what, folder)
        some = np.unique(wanted // regions.rows).tolist()
        kept: KeptRows = reduce_tasks(task, some, KeptRows.concat, "score", progress)
        more = kept.rows
        score, host = np.concatenate([own.score, more["score"].values]), np.concatenate([own.host, more["host"].values])
        order = np.argsort(host, kind="stable")
        own = Negatives(score[order], host[order], "")
    what = f"all usable hosts of the split without arcs, each once; {wanted.size:,} of them have no injection"
    return Negatives(own.score, own.host, what)


def usable_hosts(config: RunConfig) -> NDArray[np.int64]:
    """Hosts of ``completeness.split`` that can carry an arc, whether the plan gave them one or not; sorted."""
    folder = RunFolder.of(config)
    read, n_hosts = host_tables(folder.cutouts)
    hosts = read(0, n_hosts).assign_attrs(read_attrs(folder.cutouts, "cutouts"))
    table: InjectionTable | None = None
    if config.plan.table is not None:
        table = read_injection_table(
            config.plan.table, config.bands, config.plan.table_ignore, config.survey.missing_values
        )
    galaxies = galaxy_draw(config)
    farthest = None if galaxies is None else galaxies.farthest_lens_z
    usable = eligible_hosts(hosts, config, table, farthest).usable
    return np.flatnonzero(usable & (hosts["split"].values == schema.SPLITS.index(config.completeness.split)))


class _CutoutTask:
    """Read one region of cutouts and score some of its hosts, as their controls would be."""

    def __init__(self, config: RunConfig, regions: Regions, hosts: NDArray[np.int64], scorer: Any, folder: str):
        self.config, self.regions, self.hosts, self.scorer, self.folder = config, regions, hosts, scorer, folder

    def __call__(self, index: int) -> KeptRows:
        region = self.regions[index]
        wanted = self.hosts[(self.hosts >= region.start) & (self.hosts < region.stop)]
        cutouts = RunFolder.of(self.config).cutouts
        first, stop = int(wanted[0]), int(wanted[-1]) + 1
        block = read_host_block(cutouts, first, stop)
        names = read_head(cutouts, "cutouts", slice(first, stop), ("host_id",))["host_id"].values
        scorer = load(self.scorer, self.folder) if isinstance(self.scorer, str) else self.scorer
        images = control_images(block, names, self.config)[wanted - first]
        of = block.isel(host=wanted - first)
        if (light := self.config.scorer.lens_light) != "kept":
            x, y = (of[name].values for name in ("x_center", "y_center"))
            images = without_light(images, light, x, y, of["invvar"].values > 0)
        if reads_missing_as_zero(scorer):
            images = as_it_reads(images, of["invvar"].values > 0)
        name = str(self.scorer)
        scores = score_images(as_scorer(scorer, name), images, features=features_of(scorer, of, name))
        return KeptRows(xr.Dataset({"score": ("sample", scores), "host": ("sample", wanted)}))


def control_images(hosts: xr.Dataset, host_id: NDArray[Any], config: RunConfig) -> NDArray[np.float32]:
    """Images of hosts as a control of each is: rounded as ``store.quantize`` says, with the key of its first control.

    Parameters
    ----------
    hosts : Dataset
        With ``image`` and ``invvar`` (host, band, y, x).
    host_id : ndarray of str, shape (host,)
    config : RunConfig

    Returns
    -------
    ndarray of float32, shape (host, band, y, x)
    """
    image = hosts["image"].values
    if not config.store.stamp_steps_per_sigma:
        return image
    keys = rng.mix_ids(rng.hash_ids(host_id), np.ones(len(host_id), np.uint64))
    step, _ = rounding_steps(hosts["invvar"].values, np.arange(len(image)), config.store)
    return round_pixels(image, step, keys, config.seed)
