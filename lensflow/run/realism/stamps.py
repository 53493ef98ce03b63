"""Stamps of real lenses, cut as the run's hosts are: same code, bricks, bands, size, masks and PSF."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from lensflow.config import RunConfig, fingerprint
from lensflow.errors import RealismError, StaleStoreError, StoreError, TargetError
from lensflow.run.cut import create_cutouts, cut_regions, store_block
from lensflow.run.execute import Progress, silent
from lensflow.run.realism.lens_catalogue import with_catalogue
from lensflow.run.realism.lens_targets import lens_targets
from lensflow.run.sources import dataset_content, survey_layout
from lensflow.schema import Reason, Status
from lensflow.stats.codec import decode, encode
from lensflow.store import objects, paths, receipts, resume
from lensflow.store.lease import hold
from lensflow.store.open import open_cutouts, read_attrs, read_head
from lensflow.store.results import keep_results, read_results
from lensflow.store.run_folder import RunFolder
from lensflow.survey.cutouts import cut_block

# Columns of the lens table that are kept beside the stamps, on dim host.
LENS_COLUMNS = (
    *("tier", "is_lens", "theta_e_arcsec", "z_source", "kind", "confuser", "reference", "survey", "also_named", "note"),
)
# Lenses that are cut in memory before the stamps of another table are replaced, until one has a stamp.
TRIED_AT_ONCE = 8
# Input that imported stamps have in the place of the lenses that are cut.
IMPORTED = "stamps"
NO_COVERAGE, FAILED, NO_STAMP = "no coverage", "the stamp could not be cut", "no stamp of it is given"


@dataclass(frozen=True)
class RealFolder(RunFolder):
    """The folder of a run, with the real lenses in the place of its cutouts."""

    @property
    def cutouts(self) -> str:
        """Stamps of the real lenses."""
        return self.store("real")

    @property
    def table(self) -> str:
        """The lens table's columns of these stamps, and what was left out."""
        return self.path("summaries", "realism", "lenses.json")

    def receipts(self, stage: str) -> str:
        """Receipts of the real lenses' stamps."""
        return self.path("receipts", "real")


def stamps_content(config: RunConfig, pairs: RunConfig) -> str:
    """Fingerprint of the stamps that a comparison counts rows of; empty where they are not there.

    Parameters
    ----------
    config : RunConfig
        Whose real lenses.
    pairs : RunConfig
        Whose pairs.
    """
    real, run = RealFolder.of(config), RunFolder.of(pairs)
    try:
        return fingerprint(
            resume.finished_content(real.receipts("real"), real.cutouts, "cutouts", "lensflow realism"),
            resume.finished_content(run.receipts("pairs"), run.pairs, "pairs", "lensflow realism"),
        )
    except StoreError:
        return ""


def imported_content(config: RunConfig) -> str:
    """Fingerprint of the imported stamps of a run's real lenses; empty where they were cut, or none are there."""
    url = RealFolder.of(config).cutouts
    identity: Any = objects.open_group(url).attrs.get("identity") if paths.group_exists(url) else None
    return str(identity.get(f"inputs.{IMPORTED}", "")) if isinstance(identity, Mapping) else ""


def real_stamps(config: RunConfig, lenses: xr.Dataset, progress: Progress = silent) -> xr.Dataset:
    """Stamps of a table's lenses: those that were imported for this table, else cut.

    Parameters
    ----------
    config : RunConfig
    lenses : Dataset
        As :func:`lensflow.run.realism.lens_targets.lenses_for` reads a table.
    progress : callable, optional

    Returns
    -------
    Dataset
        As :func:`open_real`.

    Raises
    ------
    RealismError
        If stamps were imported for another table: they are the user's own, and cutting would replace them.
    TargetError, RealismError
        As :func:`cut_real`.
    """
    if not imported_content(config):
        return cut_real(config, lenses, progress)
    folder = RealFolder.of(config)
    kept = read_results(folder.table, "import them again")
    whole = kept is not None and kept.key == read_attrs(folder.cutouts, "cutouts").get("fingerprint")
    if not whole or decode(kept.results)["lenses"].attrs.get(IMPORTED) != dataset_content(lenses):  # type: ignore[union-attr]
        raise RealismError(
            f"{folder.cutouts}: holds stamps that were imported {'for another table' if whole else 'in part'}. Import "
            "those of this one (lensflow.run.realism.stamps.import_real), or delete that folder to have the lenses "
            "cut. Nothing was changed."
        )
    return open_real(config)


def cut_real(config: RunConfig, lenses: xr.Dataset, progress: Progress = silent) -> xr.Dataset:
    """Cut real lenses into ``real.zarr`` of a run that has its cutouts; finished regions are not redone.

    Stamps of another table, or cut by other code or settings, are replaced: nothing else depends on them. Imported ones
    are not: nobody could cut them again.

    Parameters
    ----------
    config : RunConfig
        The run's own, as its folder keeps it: bricks, bands, size, masks, PSF and splits are taken from it.
    lenses : Dataset
        As :func:`lensflow.targets.lenses.read_lenses` returns it.
    progress : callable, optional

    Returns
    -------
    Dataset
        As :func:`open_real`.

    Raises
    ------
    TargetError
        If no lens lies in the survey, or none could be cut, with counts by reason.
    RealismError
        If the run's hosts are bare stamps, its cutouts were made by other code or settings, or stamps were imported.
    """
    if imported_content(config):
        raise RealismError(
            f"{RealFolder.of(config).cutouts}: holds stamps that were imported, and cutting would replace them. Delete "
            "that folder to have the lenses cut. Nothing was changed."
        )
    if config.survey.stamps is not None:
        raise RealismError(
            "real lenses: this run's hosts are bare stamps (survey.stamps), so nothing says how they were cut. Hand "
            "in stamps of the same origin: lensflow.run.realism.stamps.import_real."
        )
    run, folder = RunFolder.of(config), RealFolder.of(config)
    of_run = read_attrs(run.cutouts, "cutouts")
    hosts = read_head(run.cutouts, "cutouts")
    scale = float(of_run["pixel_scale_arcsec"])
    lenses, n_known = with_catalogue(lenses, config)
    targets, dropped, hosts_dropped = lens_targets(config, lenses, hosts, scale)
    inputs = {"run cutouts": str(of_run["fingerprint"]), "lenses": dataset_content(targets)}
    identity = resume.identity(config, "cutouts", inputs)
    attrs = {
        # The run's, not measured again: holes in a band's PSF map are filled as those of the hosts are.
        "psf_band_ratio": of_run.get("psf_band_ratio", {}),
        "pixel_scale_arcsec": scale,
    }
    with hold(run.root) as held:
        if not _may_resume(folder, identity):
            _refuse_if_none_can_be_cut(config, targets, attrs["psf_band_ratio"], dropped, lenses.sizes["lens"])
            held.guard()
            receipts.clear(folder.receipts("cutouts"))
            create_cutouts(folder.cutouts, config, targets, identity, attrs, held.guard)
        real = cut_regions(config, folder, fingerprint(identity), progress, held)
        counts = _failures(real)
        about = {"dropped": dropped, "failed": counts, "hosts_dropped": hosts_dropped, "n_in_catalogue": n_known}
        _keep_table(folder, lenses, real, about)
    return open_real(config)


def _refuse_if_none_can_be_cut(
    config: RunConfig, targets: xr.Dataset, psf_band_ratio: dict[str, float], dropped: dict[str, int], n_lenses: int
) -> None:
    """Refuse before anything is written if no target has a stamp: cut some in memory until one has."""
    counts: dict[str, int] = {}
    for first in range(0, targets.sizes["host"], TRIED_AT_ONCE):
        some = targets.isel(host=slice(first, first + TRIED_AT_ONCE))
        found = _failures(cut_block(some, survey_layout(config), config.bands, config.survey, psf_band_ratio))
        if sum(found.values()) < some.sizes["host"]:
            return
        counts = {k: counts.get(k, 0) + found.get(k, 0) for k in (*counts, *found)}
    why = ", ".join(f"{n:,} {r}" for r, n in {**dropped, **counts}.items())
    raise TargetError(f"real lenses: no stamp of {n_lenses:,} could be cut ({why}). Nothing was changed.")


def import_real(config: RunConfig, stamps: xr.Dataset, lenses: xr.Dataset) -> xr.Dataset:
    """Store stamps of real lenses that were not cut by the run: other coadds, a viewer's cutouts.

    The same-road check compares them with the run's cutouts; where it fails there is no verdict, whatever the numbers.
    They replace what ``real.zarr`` holds, and stay: ``lensflow realism`` compares them when it is given the same table.

    Parameters
    ----------
    config : RunConfig
        Of a run that has its cutouts.
    stamps : Dataset
        As ``lf.import_stamps`` returns it, in the run's bands and stamp size; ``host_id`` is the lens's ``lens_id``.
    lenses : Dataset
        The whole table, as :func:`lensflow.run.realism.lens_targets.lenses_for` reads it; lenses without a stamp are
        counted.

    Returns
    -------
    Dataset
        As :func:`open_real`.

    Raises
    ------
    RealismError
        If a stamp is of no lens of the table, or has other bands or another size than the run's.
    TargetError
        If no lens is left.
    """
    run, folder = RunFolder.of(config), RealFolder.of(config)
    bands, size = tuple(map(str, stamps["band"].values)), int(stamps.sizes["y"])
    if bands != tuple(config.bands) or size != config.survey.stamp_size:
        raise RealismError(
            f"real lenses: stamps of {', '.join(bands)} and {size} pix; the run has {', '.join(config.bands)} and "
            f"{config.survey.stamp_size} pix. Import them alike."
        )
    names = stamps["host_id"].values.astype(str)
    missing = sorted({*names.tolist()} - {*lenses["lens_id"].values.tolist()})
    if missing:
        raise RealismError(
            f"real lenses: stamp {missing[0]!r} is of no lens of the table ({len(missing) - 1} more alike)."
        )
    there = np.isin(lenses["lens_id"].values.astype(str), names)
    scale = float(stamps.attrs["pixel_scale_arcsec"])
    hosts = read_head(run.cutouts, "cutouts")
    targets, dropped, hosts_dropped = lens_targets(config, lenses.isel(lens=there), hosts, scale, have_stamps=True)
    dropped |= {NO_STAMP: int((~there).sum())} if not there.all() else {}
    where = {n: i for i, n in enumerate(names.tolist())}
    taken = stamps.isel(host=[where[n] for n in targets["host_id"].values.tolist()]).compute()
    own = {n: targets[n].variable for n in ("ra_deg", "dec_deg", "cell", "split")}
    block = taken.drop_vars("host", errors="ignore").assign(own)
    inputs = {"run cutouts": str(read_attrs(run.cutouts, "cutouts")["fingerprint"]), IMPORTED: dataset_content(block)}
    identity = resume.identity(config, "cutouts", inputs)
    with hold(run.root) as held:
        store_block(block, config, folder, identity, held, resuming=_may_resume(folder, identity))
        real = open_cutouts(folder.cutouts)
        about = {"dropped": dropped, "failed": _failures(real), "hosts_dropped": hosts_dropped, "n_in_catalogue": 0,
                 IMPORTED: dataset_content(lenses)}  # fmt: skip
        _keep_table(folder, lenses, real, about)
    return open_real(config)


def _may_resume(folder: RealFolder, identity: dict[str, Any]) -> bool:
    try:
        return resume.may_resume(folder.cutouts, identity)
    except StaleStoreError:
        return False


def _keep_table(folder: RealFolder, lenses: xr.Dataset, real: xr.Dataset, about: dict[str, Any]) -> None:
    """Keep the lens table's columns of these stamps, and what became of the others."""
    table = _lens_columns(lenses, real["host_id"].values.astype(str))
    table.attrs = {**about, "n_lenses": int(lenses.sizes["lens"]),
                   **{k: v for k, v in lenses.attrs.items() if k in _COUNTED}}  # fmt: skip
    keep_results(folder.table, str(real.attrs["fingerprint"]), encode({"lenses": table}))


_COUNTED = ("source", "n_read", "n_removed", "removed", "n_duplicates", "contradictory", "notes")


def open_real(config: RunConfig) -> xr.Dataset:
    """Open the stamps of a run's real lenses.

    Parameters
    ----------
    config : RunConfig

    Returns
    -------
    Dataset with dims host, band, y, x
        As ``open_cutouts``, with the lens table's columns on ``host`` (tier, is_lens, theta_e_arcsec, z_source, kind,
        confuser, reference, survey, also_named, note; z_lens is the cutouts' own). In the attrs: ``dropped`` (reason ->
        lenses that were not cut), ``failed`` (reason -> stamps without data), ``hosts_dropped`` (hosts of the run that
        are real lenses), ``n_in_catalogue`` (lenses that
        ``realism.catalogue`` has), and the counts of the table.

    Raises
    ------
    RealismError
        If there are none, or their table belongs to other stamps.
    """
    folder = RealFolder.of(config)
    if not paths.group_exists(folder.cutouts):
        raise RealismError(f"{folder.cutouts}: no stamps of real lenses. Run lensflow realism RUN --real TABLE.")
    real = open_cutouts(folder.cutouts)
    kept = read_results(folder.table, "lensflow realism RUN --real TABLE")
    if kept is None or kept.key != real.attrs["fingerprint"]:
        raise RealismError(f"{folder.table}: not the table of {folder.cutouts}. Run lensflow realism RUN --real TABLE.")
    table = decode(kept.results)["lenses"]
    if table["host_id"].values.tolist() != real["host_id"].values.tolist():
        raise RealismError(f"{folder.table}: lists other lenses than {folder.cutouts}. Delete it and run again.")
    columns = {n: (("host",), table[n].values, table[n].attrs) for n in LENS_COLUMNS}
    return real.assign(columns).assign_attrs(table.attrs)


def _failures(real: xr.Dataset) -> dict[str, int]:
    """Stamps without data by reason."""
    failed = real["status"].values == Status.FAILED
    uncovered = (real["reasons"].values & int(Reason.NO_COVERAGE | Reason.OUTSIDE_BRICK)) > 0
    counts = {NO_COVERAGE: int((failed & uncovered).sum()), FAILED: int((failed & ~uncovered).sum())}
    return {r: n for r, n in counts.items() if n}


def _lens_columns(lenses: xr.Dataset, names: Any) -> xr.Dataset:
    """Columns of the lens table in the order of the stamps."""
    where = {str(n): i for i, n in enumerate(lenses["lens_id"].values)}
    at = np.array([where[n] for n in names], np.int64)
    columns = {n: ("host", lenses[n].values[at], lenses[n].attrs) for n in LENS_COLUMNS}
    return xr.Dataset({"host_id": ("host", names), **columns})
