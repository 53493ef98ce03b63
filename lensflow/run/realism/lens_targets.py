"""Real lenses as targets of a run: those in its footprint, with cell and split by the run's own rule."""

from __future__ import annotations

from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from lensflow import rng, schema
from lensflow.config import RunConfig
from lensflow.config.realism import EXCLUDED_REFERENCES
from lensflow.errors import TargetError
from lensflow.run.sources import stamp_diagonal_arcsec, survey_layout
from lensflow.sky import nearest, unit_vectors
from lensflow.store import paths
from lensflow.targets.brick_names import brick_names
from lensflow.targets.lenses import read_lenses
from lensflow.targets.splits import assign_splits, sky_cells

SAME_OBJECT_ARCSEC = 2.0
# A survey with other bricks than the Legacy Surveys': those of the run's hosts this near are tried.
NEAR_HOST_DEG = 0.3
# A brick's height: beyond the run's declinations by more, no brick of its hosts is near.
MARGIN_DEG = 0.25
DECLINATION = "declination outside that of the run's hosts"
NO_BRICK = "outside the survey's bricks"
A_HOST = "also a host of the run"
OTHER_SPLIT = "shares pixels with a training host of another split"


def lenses_for(config: RunConfig, table: str) -> xr.Dataset:
    """Read a table of real lenses as a run's comparison does: with its columns and excluded references.

    Parameters
    ----------
    config : RunConfig
        Its section ``realism``.
    table : str

    Returns
    -------
    Dataset
        As :func:`lensflow.targets.lenses.read_lenses`; errors as there.
    """
    given = config.realism.exclude_references
    # Nobody meant the default's references to be in the table: only others are missed.
    excluded = None if given == EXCLUDED_REFERENCES else given
    return read_lenses(table, config.realism.columns or None, exclude_references=excluded)


def lens_targets(
    config: RunConfig, lenses: xr.Dataset, hosts: xr.Dataset, pixel_scale_arcsec: float, *, have_stamps: bool = False
) -> tuple[xr.Dataset, dict[str, int], list[str]]:
    """Choose the lenses that can be cut, and give them bricks, cells and splits.

    Parameters
    ----------
    config : RunConfig
        The run's own.
    lenses : Dataset
        Dim lens, as ``read_lenses``; further variables of ``schema.TARGETS`` on it (fluxes on lens and band) are kept.
    hosts : Dataset
        Dim host: host_id, ra_deg, dec_deg, brickname, cell, split of the run.
    pixel_scale_arcsec : float
    have_stamps : bool
        They need no brick of the run's survey.

    Returns
    -------
    targets : Dataset
        Dim host, in the store's order; ``host_id`` is the lens's name.
    dropped : dict
        Reason -> lenses.
    hosts_dropped : list of str
        Names of the run's hosts that are real lenses.

    Raises
    ------
    TargetError
        If none is left, with the counts; if the run's hosts have no positions.
    """
    ra, dec = lenses["ra_deg"].values, lenses["dec_deg"].values
    host_ra, host_dec = hosts["ra_deg"].values, hosts["dec_deg"].values
    if not np.isfinite(host_ra).any():
        raise TargetError("real lenses: the run's hosts are stamps without positions; real lenses cannot be cut alike.")
    reason = np.full(len(ra), "", object)
    near, far = nearest(ra, dec, host_ra, host_dec)
    brick = np.full(len(ra), "", object)
    if not have_stamps:
        low, high = np.nanmin(host_dec) - MARGIN_DEG, np.nanmax(host_dec) + MARGIN_DEG
        reason[(dec < low) | (dec > high)] = DECLINATION
        rows = np.flatnonzero(reason == "")
        brick[rows] = _bricks(config, ra[rows], dec[rows], hosts["brickname"].values.astype(str)[near[rows]], far[rows])
        reason[(reason == "") & (brick == "")] = NO_BRICK
    same = (reason == "") & (far <= SAME_OBJECT_ARCSEC / 3600)
    reason[same] = A_HOST
    cell = sky_cells(ra, dec, lenses["lens_id"].values, config.splits.nside)
    if config.splits.cells == "region":  # a lens has no region of its own: that of the nearest host
        cell, split = hosts["cell"].values[near], hosts["split"].values[near]
    else:
        split = _splits(config, cell, hosts)
    diagonal = stamp_diagonal_arcsec(config, pixel_scale_arcsec) / 3600
    train = hosts["split"].values == schema.SPLITS.index("train")
    if train.any():
        _, to_train = nearest(ra, dec, host_ra[train], host_dec[train])
        reason[(reason == "") & (to_train < diagonal) & (split != schema.SPLITS.index("train"))] = OTHER_SPLIT
    left_out = Counter(str(r) for r in reason if r)
    dropped = dict(sorted(left_out.items()))
    keep = np.flatnonzero(reason == "")
    if not keep.size:
        why = ", ".join(f"{n:,} {r}" for r, n in dropped.items())
        raise TargetError(
            f"real lenses: none of {len(ra):,} can be cut from this run's survey ({why}). Give another table."
        )
    # Every host within 2": two hosts of a run can be as near as that.
    twice = np.unique(np.concatenate([np.zeros(0, np.int64), *_within(ra[same], dec[same], host_ra, host_dec)]))
    hosts_dropped = [str(h) for h in hosts["host_id"].values[twice]]
    return _targets(config, lenses.isel(lens=keep), brick[keep], cell[keep], split[keep]), dropped, hosts_dropped


def _within(
    ra: NDArray[np.float64], dec: NDArray[np.float64], host_ra: NDArray[np.float64], host_dec: NDArray[np.float64]
) -> list[NDArray[np.int64]]:
    known = np.flatnonzero(np.isfinite(host_ra) & np.isfinite(host_dec))
    tree = cKDTree(unit_vectors(host_ra[known], host_dec[known]))
    chord = 2 * np.sin(np.deg2rad(SAME_OBJECT_ARCSEC / 3600) / 2)
    return [known[np.array(found, np.int64)] for found in tree.query_ball_point(unit_vectors(ra, dec), chord)]


def _bricks(
    config: RunConfig,
    ra: NDArray[np.float64],
    dec: NDArray[np.float64],
    of_nearest: NDArray[np.str_],
    far_deg: NDArray[np.float64],
) -> NDArray[np.object_]:
    """Name of a brick of the survey for each position; empty where there is none."""
    if not len(ra):
        return np.empty(0, object)
    named = brick_names(ra, dec).astype(str)
    exists = _existing(config, sorted({*named.tolist(), *of_nearest.tolist()}))
    nearby = np.where((far_deg < NEAR_HOST_DEG) & np.isin(of_nearest, sorted(exists)), of_nearest, "")
    return np.where(np.isin(named, sorted(exists)), named, nearby).astype(object)


def _existing(config: RunConfig, bricks: list[str]) -> set[str]:
    """Bricks with an image in any band."""
    layout = survey_layout(config)

    def has_image(brick: str) -> bool:
        return any(paths.exists(layout.path(brick, "image", band)) for band in config.bands)

    with ThreadPoolExecutor(32) as pool:
        return {b for b, found in zip(bricks, pool.map(has_image, bricks), strict=True) if found}


def _splits(config: RunConfig, cell: NDArray[np.int64], hosts: xr.Dataset) -> NDArray[np.uint8]:
    """Split of each lens: that of its cell's hosts; of a cell without hosts by the rule, or by a hash of the cell.

    The balanced rule deals cells by the number of their hosts, and a cell without any changes nothing that was dealt.
    """
    used = hosts["split"].values != schema.GUARD
    cells, first = np.unique(hosts["cell"].values[used], return_index=True)
    known = dict(zip(cells.tolist(), hosts["split"].values[used][first].tolist(), strict=True))
    if config.splits.rule != "balanced":
        by_rule = assign_splits(cell, config.splits, config.seed)
    else:
        at = rng.uniform(config.seed, cell.astype(np.uint64), "splits of real lenses")[:, 0]
        by_rule = np.searchsorted(np.cumsum(config.splits.fractions)[:2], at, side="right").astype(np.uint8)
    return np.array([known.get(c, s) for c, s in zip(cell.tolist(), by_rule.tolist(), strict=True)], np.uint8)


def _targets(
    config: RunConfig,
    lenses: xr.Dataset,
    brick: NDArray[np.object_],
    cell: NDArray[np.int64],
    split: NDArray[np.uint8],
) -> xr.Dataset:
    n = lenses.sizes["lens"]
    arrays = {
        "host_id": lenses["lens_id"].values.astype(str),
        "ra_deg": lenses["ra_deg"].values,
        "dec_deg": lenses["dec_deg"].values,
        "brickname": brick.astype(str),
        "flux_nmgy": np.full((n, len(config.bands)), np.nan),
    }
    for v in schema.TARGETS:
        if v.name in lenses and v.name not in ("host_id", "ra_deg", "dec_deg", "brickname", "region"):
            arrays[v.name] = lenses[v.name].values
    targets = schema.dataset("targets", arrays, {"band": list(config.bands)})
    order = np.lexsort((arrays["host_id"], cell, arrays["brickname"], split))
    assigned = targets.assign(
        cell=("host", cell, schema.variable("cutouts", "cell").attrs),
        split=("host", split, schema.variable("cutouts", "split").attrs),
    )
    return assigned.isel(host=order)
