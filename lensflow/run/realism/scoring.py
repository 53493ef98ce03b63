"""A scorer on real lenses and known non-lenses, beside its completeness on injections."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from astropy import units as u
from astropy.coordinates import SkyCoord
from numpy.typing import NDArray

from lensflow import rng, schema
from lensflow.config import RunConfig
from lensflow.errors import ConfigError, RealismError
from lensflow.measure.completeness.set_thresholds import refuse_without_threshold, threshold_table, thresholds
from lensflow.measure.gate.verdicts import GateResult
from lensflow.measure.lens_light import without_light
from lensflow.measure.realism.gap import gap
from lensflow.measure.realism.recall import real_fpr, real_recall
from lensflow.measure.realism.scored import Asked, ScoredInjections, ScoredLenses
from lensflow.measure.scorer.beside import features_of
from lensflow.measure.scorer.scorer import as_it_reads, as_scorer, reads_missing_as_zero
from lensflow.run.completeness.negatives import control_images
from lensflow.run.completeness.scorers import Scorer, find_scorer
from lensflow.run.completeness.step import scored_of
from lensflow.run.execute import Progress, reduce_tasks, silent
from lensflow.run.importable import load
from lensflow.run.realism.features import features_of_cutouts, features_of_pairs
from lensflow.run.realism.pixels import scores_alike
from lensflow.stats.kept_rows import KeptRows
from lensflow.store.open import host_tables, read_head, read_host_block, read_row_ids, stored_regions
from lensflow.store.regions import Regions
from lensflow.store.run_folder import RunFolder

# Injections that real lenses are held against; of more, those with the smallest hash of their row.
MOST_INJECTIONS = 20_000
TRAINED_WITHIN_ARCSEC = 2.0


@dataclass(frozen=True, eq=False)
class OfScorer:
    """Verdicts on a scorer.

    Attributes
    ----------
    gates : tuple of GateResult
        ``real_recall``, ``real_fpr``, ``gap``.
    tables : dict of Dataset
        The same names, ``thresholds`` and ``lenses`` (every scored object, dim lens).
    """

    gates: tuple[GateResult, ...]
    tables: dict[str, xr.Dataset]


def scorer_for(config: RunConfig, scorer: Any) -> Scorer:
    """Find a scorer that can score real stamps, or refuse before any work.

    Raises
    ------
    ConfigError
        If there is none, or it reads a table or what was injected: real lenses have images alone.
    """
    who = find_scorer(scorer, config, str(Path.cwd()))
    if who.kind != "images":
        raise ConfigError(
            f"scorer {who.name}: a {'table of scores' if who.table is not None else 'scorer of what was injected'} "
            "cannot score the stamps of real lenses. Name what scores images (package.module:name, a saved estimator)"
        )
    refuse_without_threshold(config.completeness)
    return who


def judge_scorer(
    config: RunConfig, scorer: Any, real_url: str, lenses: xr.Dataset, progress: Progress = silent
) -> OfScorer:
    """Score every usable real stamp, and judge recall, false positives and the gap to the completeness.

    A stamp of which the survey has no exposure in some band is not scored, and counted: its pixels there are 0, and a
    scorer would take them for light that the lens does not have. The injections of the gap are those with all bands.

    Parameters
    ----------
    config : RunConfig
        ``completeness`` sets the thresholds, on its negatives.
    scorer : str or object
    real_url : str
        Store of the real lenses' cutouts.
    lenses : Dataset, dim host
        Of that store: ``host_id``, ``tier``, ``theta_e_arcsec``, ``confuser``, ``ra_deg``, ``dec_deg``, ``status``.
    progress : callable, optional

    Returns
    -------
    OfScorer
    """
    who, here = scorer_for(config, scorer), str(Path.cwd())
    scored = scored_of(config, scorer, progress)
    taus = thresholds(config.completeness, scored.negatives.score)
    call = load(who.what, here) if isinstance(who.what, str) else who.what
    usable = lenses["status"].values != schema.Status.FAILED
    seen, known = _trained_on(call, lenses, who.name)
    whole = lenses["covered"].values.all(axis=1)
    lacking = _absent_bands(lenses["covered"].values[usable & ~seen & ~whole], config.bands)
    rows = np.flatnonzero(usable & ~seen & whole)
    if not rows.size:
        raise RealismError(
            f"{real_url}: no real lens can be scored: {int((~usable).sum())} have no stamp, "
            f"{int((usable & seen).sum())} were trained on, {sum(lacking.values())} lack a band"
        )
    score = _scores(config, real_url, rows, who, here, progress)
    features = features_of_cutouts(real_url, rows, progress, rounded_as=config)
    limit = config.realism.min_arc_snr
    some = lenses.isel(host=rows)
    at = config.reference_band
    read, n_hosts = host_tables(real_url)
    psf = read(0, n_hosts)["psfsize_arcsec"].values[rows, at].astype(np.float64)
    of_lenses = ScoredLenses(
        some["host_id"].values.astype(str), some["tier"].values.astype(str), features["arc_snr"].values >= limit, score,
        np.stack([some["theta_e_arcsec"].values.astype(np.float64), features["arc_mag"].values, psf], axis=1),
        some["confuser"].values.astype(str),
    )  # fmt: skip
    injections = _injections(config, scored.rows, limit, at, progress)
    asked = Asked(
        who.name, who.source or "", int((usable & seen).sum()), known, scored.negatives.what, lacking,
        {"split": config.completeness.split, "min_arc_snr": limit, "covariates": ["theta_e", "arc_mag", "psfsize"]},
    )  # fmt: skip
    judged = {
        "real_recall": real_recall(of_lenses, taus, asked, config.realism, config.seed),
        "real_fpr": real_fpr(of_lenses, taus, asked, config.realism, config.seed),
        "gap": gap(of_lenses, injections, taus, asked, config.realism, config.seed),
    }
    every = xr.Dataset({
        "lens_id": ("lens", of_lenses.lens_id), "tier": ("lens", of_lenses.tier), "score": ("lens", score),
        "visible": ("lens", of_lenses.visible), "real_row": ("lens", rows),
        "arc_snr": ("lens", features["arc_snr"].values), "confuser": ("lens", of_lenses.confuser),
    })  # fmt: skip
    tables = {name: table for name, (_, table) in judged.items()}
    tables |= {"thresholds": threshold_table(taus, len(scored.negatives.score), scored.negatives.what), "lenses": every}
    return OfScorer(tuple(gate for gate, _ in judged.values()), tables)


def _absent_bands(covered: NDArray[np.bool_], bands: Sequence[str]) -> dict[str, int]:
    """Bands that stamps lack, joined by commas -> stamps."""
    names = [", ".join(b for b, has in zip(bands, row, strict=True) if not has) for row in covered]
    return {name: names.count(name) for name in sorted(set(names))}


def _injections(config: RunConfig, rows: xr.Dataset, limit: float, band: int, progress: Progress) -> ScoredInjections:
    """Visible injections of the split in all bands, with their scores and what real lenses are matched by."""
    score = rows["score"].values
    whole = np.isfinite(rows["psfsize_arcsec"].values).all(axis=1)
    use = np.flatnonzero(~rows["is_control"].values.astype(bool) & np.isfinite(score) & whole)
    if use.size > MOST_INJECTIONS:
        key = rng.uniform(config.seed, rows["row_id"].values[use], "realism.gap")[:, 0]
        use = np.sort(use[np.argsort(key, kind="stable")[:MOST_INJECTIONS]])
    ids = read_row_ids(RunFolder.of(config).manifest)
    order = np.argsort(ids, kind="stable")
    stored = order[np.searchsorted(ids[order], rows["row_id"].values[use])]
    features = features_of_pairs(config, stored, progress)
    seen = features["arc_snr"].values >= limit
    covariates = np.stack([rows["theta_e_arcsec"].values[use], features["arc_mag"].values,
                           rows["psfsize_arcsec"].values[use, band]], axis=1).astype(np.float64)  # fmt: skip
    return ScoredInjections(score[use][seen], rows["host_index"].values[use][seen], covariates[seen])


def _trained_on(call: Any, lenses: xr.Dataset, name: str) -> tuple[NDArray[np.bool_], bool]:
    """Lenses within 2 arcsec of a place that the scorer says it was trained on, and whether it says anything."""
    places = getattr(call, "trained_on", None)
    if places is None:
        return np.zeros(lenses.sizes["host"], dtype=bool), False
    found = np.asarray(places, dtype=np.float64)
    if found.ndim != 2 or found.shape[1] != 2 or not np.isfinite(found).all():
        raise RealismError(
            f"scorer {name}: trained_on must be finite RA and Dec in degrees, shape (n, 2), not {found.shape}"
        )
    own = SkyCoord(lenses["ra_deg"].values * u.deg, lenses["dec_deg"].values * u.deg)
    if not len(found):
        return np.zeros(lenses.sizes["host"], dtype=bool), True
    _, apart, _ = own.match_to_catalog_sky(SkyCoord(found[:, 0] * u.deg, found[:, 1] * u.deg))
    return np.asarray(apart.arcsec <= TRAINED_WITHIN_ARCSEC), True


def _scores(
    config: RunConfig, url: str, rows: NDArray[np.int64], who: Scorer, here: str, progress: Progress
) -> NDArray[np.float64]:
    regions = stored_regions(url, "cutouts")
    some = np.unique(rows // regions.rows).tolist()
    kept: KeptRows = reduce_tasks(_Task(config, url, regions, rows, who.what, here), some, KeptRows.concat, "score",
                                  progress)  # fmt: skip
    found = kept.rows
    order = np.argsort(found["row"].values)
    assert (found["row"].values[order] == rows).all()
    return np.asarray(found["score"].values[order])


class _Task:
    """Read one region of real stamps and score some of them as controls are scored."""

    def __init__(self, config: RunConfig, url: str, regions: Regions, rows: NDArray[np.int64], scorer: Any, here: str):
        self.config, self.url, self.regions, self.rows = config, url, regions, rows
        self.scorer, self.here = scorer, here

    def __call__(self, index: int) -> KeptRows:
        region = self.regions[index]
        wanted = self.rows[(self.rows >= region.start) & (self.rows < region.stop)]
        first, stop = int(wanted[0]), int(wanted[-1]) + 1
        block = read_host_block(self.url, first, stop)
        names = read_head(self.url, "cutouts", slice(first, stop), ("host_id",))["host_id"].values
        images, of = control_images(block, names, self.config)[wanted - first], block.isel(host=wanted - first)
        scorer = load(self.scorer, self.here) if isinstance(self.scorer, str) else self.scorer
        # As the run's own images are handed to the scorer.
        if (light := self.config.scorer.lens_light) != "kept":
            images = without_light(images, light, of["x_center"].values, of["y_center"].values, of["invvar"].values > 0)
        if reads_missing_as_zero(scorer):
            images = as_it_reads(images, of["invvar"].values > 0)
        name = str(self.scorer) if isinstance(self.scorer, str) else type(self.scorer).__name__
        beside = features_of(scorer, of, name)
        scores = scores_alike(as_scorer(scorer, name), images, names[wanted - first], name, beside)
        return KeptRows(xr.Dataset({"score": ("sample", scores), "row": ("sample", wanted)}))
