"""Sources of a run's hosts: target tables and bricks, a synthetic survey, or bare stamps."""

from __future__ import annotations

import itertools
import math
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from lensflow import rng, schema
from lensflow.config import RunConfig, SplitsConfig, fingerprint
from lensflow.errors import ConfigError, SurveyError, TargetError
from lensflow.run.execute import Progress, run_tasks
from lensflow.store import create, paths, resume
from lensflow.store.run_folder import RunFolder
from lensflow.survey.bricks import brick_pixel_scale_arcsec
from lensflow.survey.copies import refuse_copies
from lensflow.survey.layout import Layout
from lensflow.survey.stamps import read_stamps
from lensflow.survey.synthetic import bricks as synthetic
from lensflow.targets import read_targets
from lensflow.targets.brick_table import brick_tables, check_computed_bricks
from lensflow.targets.in_memory import Targets
from lensflow.targets.splits import assign_splits, check_splits, guard_band, region_cells, sky_cells, split_counts

_NO_TABLE = (
    "survey.targets is needed with survey.root: a table with ra_deg and dec_deg. A run whose targets were given in "
    "Python is cut by lf.cut(config, targets=table)."
)


def survey_layout(config: RunConfig) -> Layout:
    """Return the location of the run's bricks: the config's survey, or the synthetic one in the run folder."""
    if config.survey.synthetic is not None:
        return Layout(RunFolder.of(config).survey, "legacysurvey")
    return Layout.of(config.survey)


def find_targets(
    config: RunConfig, progress: Progress, table: Targets | None = None, stamps: xr.Dataset | None = None
) -> tuple[xr.Dataset, dict[str, str]]:
    """Targets of a run in the store's order, and fingerprints of every input of the cutting.

    Parameters
    ----------
    config : RunConfig
    progress : callable
    table : Dataset, Table or DataFrame, optional
        In place of ``survey.targets``.
    stamps : Dataset, optional
        Those of ``survey.stamps``, if already read.

    Returns
    -------
    targets : Dataset
        The variables of ``schema.TARGETS``, sky cell and split, sorted by split, brick (along the sky), cell and name.
    inputs : dict

    Raises
    ------
    TargetError, SurveyError
    """
    if config.survey.stamps is not None:
        targets, inputs = _stamp_targets(config, stamps)
    else:
        targets, inputs = _brick_targets(config, progress, table)
    targets = in_store_order(targets, config.splits, config.seed, guard_arcsec(config, targets))
    targets = take_fraction(targets, config.survey.fraction)
    inputs["targets"] = dataset_content(targets)
    return targets, inputs


def count_targets(config: RunConfig, targets: xr.Dataset | None = None) -> int:
    """Targets that a run would cut, before anything is cut or written; those read already need not be read again."""
    survey = config.survey
    if targets is None and survey.synthetic is not None:
        return round(survey.synthetic.n_bricks * survey.synthetic.hosts_per_brick * survey.fraction)
    if targets is None:
        targets = _stamp_targets(config)[0] if survey.stamps is not None else table_targets(config)
    return int(_in_fraction(targets, survey.fraction).sum())


def check_tables(config: RunConfig, table: Targets | None) -> None:
    """Refuse a run of bricks without a table of targets, or with two; and a table for hosts that are not in bricks.

    Raises
    ------
    ConfigError
    """
    survey = config.survey
    if survey.root is not None and (table is None) == (survey.targets is None):
        raise ConfigError(
            _NO_TABLE if table is None else
            f"targets: a table is given, and survey.targets names {survey.targets}. Leave one of them out: the run "
            "folder keeps the config, which should not name a table that was not read."
        )  # fmt: skip
    if survey.root is None and table is not None:
        kind = "survey.stamps" if survey.stamps is not None else "survey.synthetic"
        raise ConfigError(f"targets: {kind} brings its own hosts. Leave targets out, or name bricks in survey.root.")


def table_targets(config: RunConfig, table: str | Targets | None = None) -> xr.Dataset:
    """Targets of a config's tables, or of a given table, selected and cut according to the config.

    Raises
    ------
    ConfigError
        If there is no table.
    """
    survey = config.survey
    path = survey.targets if table is None else table
    if path is None:
        raise ConfigError(_NO_TABLE)
    return read_targets(path, config.bands, survey.columns, survey.selection, survey.brick_cuts, survey.missing_values)


def dataset_content(dataset: xr.Dataset) -> str:
    """Fingerprint of the values of a dataset in memory, including coordinates."""
    names = {*map(str, dataset.data_vars), *({"host_id", "row_id"} & set(map(str, dataset.coords)))}
    if "sample" in dataset.dims:
        names.discard("host_id")  # for rows it is looked up by host_index, not stored
    return fingerprint([(v, create.checksum(_plain(dataset[v].values))) for v in sorted(names)])


def _plain(values: NDArray[Any]) -> NDArray[Any]:
    """Text of Python objects as an array of its own characters: the bytes of the array itself are addresses."""
    return values.astype(np.str_) if values.dtype.kind in "OT" else values


def _brick_tables(targets: xr.Dataset, root: str) -> list[str]:
    # A server is not queried for files that may not exist; names from a column need no check.
    local = not root.startswith(("http://", "https://"))
    return brick_tables(root) if local and targets.attrs.get("computed_bricks") else []


def _brick_targets(config: RunConfig, progress: Progress, given: Targets | None) -> tuple[xr.Dataset, dict[str, str]]:
    survey = config.survey
    if survey.synthetic is not None:
        targets = table_targets(config, _write_synthetic(config, progress))
    else:
        assert survey.root is not None
        if not survey.root.startswith(("http://", "https://")) and not paths.exists(survey.root):
            raise SurveyError(f"survey.root: no such folder: {survey.root}. Where are the survey's bricks?")
        targets = table_targets(config, given)
        if survey.is_foreign and targets.attrs.get("computed_bricks"):
            raise TargetError(
                f"{survey.targets or 'targets'}: no column brickname, and the bricks that would be computed from the "
                "positions are the Legacy Surveys', not this survey's. Add a column that names each host's file as "
                f"survey.layout has it ({survey.layout}): docs/your-survey.md"
            )
        table = next((t for t in _brick_tables(targets, survey.root) if paths.exists(t)), None)
        if table is not None:
            check_computed_bricks(targets, table)
    return targets, {"survey": _survey_fingerprint(config, targets)}


def _write_synthetic(config: RunConfig, progress: Progress) -> str:
    """Write the bricks of the synthetic survey, one task each; complete ones are kept."""
    synthetic_config = config.survey.synthetic
    assert synthetic_config is not None
    root, bricks = RunFolder.of(config).survey, synthetic.plan_bricks(synthetic_config)
    identity = {"config": synthetic_config.model_dump(mode="json"), "bands": list(config.bands), "seed": config.seed}
    note = paths.join(root, "synthetic.json")
    wanted = {"fingerprint": fingerprint(identity, resume.code_fingerprint())}
    if paths.exists(note):
        if paths.read_json(note) != wanted:
            raise SurveyError(
                f"{root}: holds a synthetic survey made with other settings or code. Choose another out, or delete it."
            )
        return paths.join(root, "targets.fits")

    def write(index: int) -> int:
        return synthetic.write_brick(root, bricks[index], synthetic_config, config.bands, config.seed)

    with paths.explain_errors(root), ThreadPoolExecutor(1) as pool:
        # While the workers draw.
        table = pool.submit(synthetic.write_targets, root, synthetic_config, config.bands, config.seed)
        for _ in run_tasks(write, range(len(bricks)), "synthetic survey", progress):
            pass
        path = table.result()
    paths.write_json(note, wanted)
    return path


def _survey_fingerprint(config: RunConfig, targets: xr.Dataset) -> str:
    """Names, sizes and versions of every file that the run can read; and a loud stop when there is none."""
    layout = survey_layout(config)
    if layout.root.startswith(("http://", "https://")):
        return fingerprint(layout.root, layout.kind)  # a web server gives no listing; cutting finds the existing files
    bricks = np.unique(targets["brickname"].values).astype(str)
    folders = sorted({folder for b in bricks for folder in layout.folders(b, config.bands)})
    fs, _ = paths.filesystem(layout.root)

    def entries(place: str) -> list[Any]:
        try:
            return list(fs.ls(paths.filesystem(place)[1], detail=True))
        except FileNotFoundError:
            return []

    listing: list[Any] = []
    with ThreadPoolExecutor(32) as pool:  # 200,000 folders of an object store, one after another, would take hours
        for entry in itertools.chain.from_iterable(pool.map(entries, folders)):
            version = entry.get("ETag") or entry.get("etag") or entry.get("mtime") or entry.get("created")
            listing.append((str(entry["name"]).rsplit("/", 1)[-1], entry.get("size"), str(version)))
    images = {layout.path(b, "image", band).rsplit("/", 1)[-1] for b in bricks for band in config.bands}
    if images.isdisjoint(name for name, _, _ in listing):
        shown = ", ".join(folders[:3]) + (f" and {len(folders) - 3} more" if len(folders) > 3 else "")
        raise SurveyError(
            f"survey.root: none of the targets' {len(folders)} brick folder(s) holds an image; looked in {shown}. "
            f"Is survey.root right, and survey.layout ({layout.kind})?"
        )
    return fingerprint(sorted(listing))


def _stamp_targets(config: RunConfig, block: xr.Dataset | None = None) -> tuple[xr.Dataset, dict[str, str]]:
    stamps = config.survey.stamps
    assert stamps is not None
    block = read_stamps(stamps, config.bands, config.survey) if block is None else block
    refuse_copies(block, block["ra_deg"].values, block["dec_deg"].values, float(stamps.pixel_scale_arcsec))
    # "region" decides splits and is no variable of the cutouts.
    arrays = {v.name: block[v.name].values for v in schema.TARGETS if v.name in block}
    arrays.setdefault("flux_nmgy", np.full((block.sizes["host"], len(config.bands)), np.nan))
    targets = schema.dataset("targets", arrays, {"band": list(config.bands)})
    targets.attrs.update(n_read=block.sizes["host"], n_removed=0, removed={}, n_duplicates=0)
    return targets, {"stamps": create.checksum(block["image"].values)}


def in_store_order(targets: xr.Dataset, splits: SplitsConfig, seed: int, guard: float = 0.0) -> xr.Dataset:
    """Targets with cell and split, sorted by split, brick (along the sky), cell and name: a split is a slice.

    Parameters
    ----------
    targets : Dataset
    splits : SplitsConfig
    seed : int
    guard : float
        Hosts of different splits that lie closer, in arcsec, become the guard band; 0 for none.

    Returns
    -------
    Dataset
        With ``hosts_by_split`` (hosts by split) in the attrs.

    Raises
    ------
    SplitError
        If splits go by region and a host has none.
    """
    ra, dec, names = (targets[n].values for n in ("ra_deg", "dec_deg", "host_id"))
    if splits.cells == "region":
        if "region" not in targets:
            raise TargetError("splits.cells is region, but the targets have no column region. Map it: survey.columns.")
        cells = region_cells(targets["region"].values)
    else:
        cells = sky_cells(ra, dec, names, splits.nside)
    split = guard_band(ra, dec, assign_splits(cells, splits, seed), guard)
    order = np.lexsort((names, cells, bricks_along_sky(targets["brickname"].values, cells), split))
    assigned = targets.drop_vars("region", errors="ignore").assign(
        cell=("host", cells, schema.variable("cutouts", "cell").attrs),
        split=("host", split, schema.variable("cutouts", "split").attrs),
    )
    check_splits(assigned, guard_arcsec=guard)
    return assigned.isel(host=order).assign_attrs(hosts_by_split=split_counts(split))


def guard_arcsec(config: RunConfig, targets: xr.Dataset) -> float:
    """Minimum distance between hosts of different splits: the config's, or a stamp's diagonal.

    Nearer than a diagonal, the corners of two stamps can show the same pixels. 0 for stamps without positions.
    """
    if config.splits.guard_arcsec is not None:
        return config.splits.guard_arcsec
    if config.survey.stamps is not None and not np.isfinite(targets["ra_deg"].values).any():
        return 0.0
    return stamp_diagonal_arcsec(config, pixel_scale_arcsec(config, targets))


def stamp_diagonal_arcsec(config: RunConfig, pixel_scale_arcsec: float) -> float:
    """Distance from which two hosts' stamps share no pixel in any orientation."""
    return math.sqrt(2) * config.survey.stamp_size * pixel_scale_arcsec


def take_fraction(targets: xr.Dataset, fraction: float) -> xr.Dataset:
    """Return a fraction of the hosts, chosen by a hash of their names: independent of order, nested in larger
    fractions.

    Splits are assigned before this, so a host has the same split in a partial run and in the full one.
    """
    if fraction == 1:
        return targets
    keep = _in_fraction(targets, fraction)
    if not keep.any():
        raise TargetError(f"survey.fraction {fraction:g} leaves none of {keep.size} hosts. Raise it.")
    removed = {**targets.attrs["removed"], "not in survey.fraction": int((~keep).sum())}
    kept = targets.isel(host=keep)
    return kept.assign_attrs(
        n_removed=sum(removed.values()), removed=removed, hosts_by_split=split_counts(kept["split"].values)
    )


def _in_fraction(targets: xr.Dataset, fraction: float) -> NDArray[np.bool_]:
    if fraction == 1:
        return np.ones(targets.sizes["host"], bool)
    return np.asarray(rng.hash_ids(targets["host_id"].values) < np.uint64(fraction * 2.0**64))


def bricks_along_sky(brickname: NDArray[np.str_], cells: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the place of each host's brick when bricks are put in the order of their lowest sky cell.

    Cells are smaller than bricks and cut across them. In the order of cells, a brick's hosts would be strewn over
    several regions and its files opened once for each; in the order of bricks they stand together, once per split.
    """
    names, brick = np.unique(brickname, return_inverse=True)
    lowest = np.full(len(names), np.iinfo(np.int64).max)
    np.minimum.at(lowest, brick, cells)
    rank = np.empty(len(names), np.int64)
    rank[np.lexsort((names, lowest))] = np.arange(len(names))
    return np.asarray(rank[brick])


def pixel_scale_arcsec(config: RunConfig, targets: xr.Dataset) -> float:
    """Pixel scale of a run: from the first readable brick's WCS, or the config's for bare stamps."""
    if config.survey.stamps is not None:
        return float(config.survey.stamps.pixel_scale_arcsec)
    errors = []
    for brick in dict.fromkeys(map(str, targets["brickname"].values)):
        try:
            return float(brick_pixel_scale_arcsec(survey_layout(config), brick, config.bands))
        except SurveyError as error:
            errors.append(str(error))
    raise SurveyError(f"no brick has a readable image, so there is no pixel scale. The first error: {errors[0]}")
