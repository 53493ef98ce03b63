"""Open a run by its path: its stores, results, report and certificate, and what is missing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import xarray as xr

from lensflow import schema
from lensflow.config import RunConfig
from lensflow.errors import ConfigError, LensflowError, StaleStoreError, StoreError
from lensflow.run.certificate import parse_certificate, seal_of
from lensflow.run.certify import Checked, check_step
from lensflow.run.identity import refuse_settings_of_another
from lensflow.run.report import report_of, result_keys
from lensflow.run.rerender import find_row, settings_in_stores
from lensflow.run.rerender import rerender as rerender_row
from lensflow.show.kept import StoredResults, stored_results
from lensflow.show.lines import as_html, as_text
from lensflow.store import paths, receipts, sealing
from lensflow.store.open import (
    open_cutouts,
    open_manifest,
    open_pairs,
    read_attrs,
    read_head,
    read_pairs_block,
    read_row_ids,
    stored_regions,
    with_host_ids,
)
from lensflow.store.regions import Region
from lensflow.store.run_folder import STORES, RunFolder, config_of

if TYPE_CHECKING:
    from lensflow.run.completeness.result import Completeness

_STEPS = {"cutouts": "cut", "manifest": "plan", "pairs": "inject"}


@dataclass(frozen=True, repr=False, eq=False)
class Run:
    """A run's folder, finished or not; made by :func:`open_run`.

    Access to a missing, unfinished, stale or damaged part raises a :class:`~lensflow.errors.StoreError` that names the
    command to run. Only opened stores are cached, as long as they do not change.

    Attributes
    ----------
    config : RunConfig
        The run's settings.
    notes : tuple of str
        What a reader should know of where the settings come from.
    """

    config: RunConfig
    notes: tuple[str, ...] = ()
    _opened: dict[str, tuple[Any, xr.Dataset]] = field(default_factory=dict, init=False)

    @property
    def path(self) -> str:
        """The run's folder, a path or fsspec URL."""
        return self._folder.root

    @property
    def cutouts(self) -> xr.Dataset:
        """As :func:`lensflow.open_cutouts`."""
        return self._open("cutouts", open_cutouts)

    @property
    def manifest(self) -> xr.Dataset:
        """As :func:`lensflow.open_manifest`."""
        return self._open("manifest", open_manifest)

    @property
    def pairs(self) -> xr.Dataset:
        """As :func:`lensflow.open_pairs`: without the test split, which that function opens for a reason."""
        return self._open("pairs", open_pairs)

    @property
    def results(self) -> StoredResults:
        """Stored diagnostics and gates, if they belong to the stored pixels and the run's settings."""
        urls = {"diagnostics": self._folder.diagnostics, "gates": self._folder.gates}
        return stored_results(urls, result_keys(self.config), self.path)

    @property
    def report(self) -> str:
        """Path of the report's page, if it is up to date."""
        return report_of(self.config)

    @property
    def certificate(self) -> Checked:
        """The certificate as it is stored, once the quick check has found the run as certified.

        The quick check reads all but the objects of regions (pixels, metrics, flags), of which it compares names and
        sizes; :func:`lensflow.run.check_step` reads those too.

        Raises
        ------
        StoreError
            If there is none.
        CertificateError
            If anything is not as certified; the message names each difference.
        """
        if not paths.exists(self._folder.certificate):
            raise StoreError(
                f"{self._folder.certificate}: no certificate. `lensflow certify {self.path}` writes one of a finished "
                "run."
            )
        return check_step(self.config, quick=True)

    def row(self, row: int | str, *, unseal_test: str | None = None) -> xr.Dataset:
        """Read one row of the pairs, in memory.

        Parameters
        ----------
        row : int or str
            Its number in the manifest, its row_id, ``"HOST:REPLICATE"``, or ``"HOST:c0"`` for the host's first control.
        unseal_test : str, optional
            Why a row of the test split is opened; logged as :func:`lensflow.open_pairs` does.

        Returns
        -------
        Dataset with dims band, y, x
            The variables of :func:`lensflow.open_pairs`.

        Raises
        ------
        StoreError
            If there is no such row, it is not finished, or it is of the test split and no reason is given.
        """
        folder = self._require("pairs")
        at = find_row(folder, row)
        where = Region(0, at, at + 1)
        if read_head(folder.manifest, "manifest", where.slice, ("split",))["split"].item() == schema.SPLITS.index(
            "test"
        ):
            if not unseal_test:
                raise StoreError(
                    f"{folder.pairs}: row {at} is of the test split, which is sealed. To open it, say why: "
                    "row(..., unseal_test='...'); the opening is logged beside the store."
                )
            sealing.log_access(folder.pairs, unseal_test, 1)
        block = read_pairs_block(folder.pairs, folder.manifest, folder.cutouts, where)
        block.attrs.pop("identity", None)
        return with_host_ids(block, folder.cutouts).assign_coords(sample=[at]).isel(sample=0)

    def rerender(self, row: int | str) -> xr.Dataset:
        """Render one row again and compare its bits with the stored ones: :func:`lensflow.rerender`.

        Parameters
        ----------
        row : int or str
            As for :meth:`row`.

        Returns
        -------
        Dataset with dims band, y, x
            As :func:`lensflow.rerender`.
        """
        return rerender_row(self._require("pairs").root, row)

    def completeness(self, scorer: Any, **options: Any) -> Completeness:
        """Measure which injections a scorer recovers: :func:`lensflow.completeness`.

        Parameters
        ----------
        scorer : str or object
            As for :func:`lensflow.completeness`.
        **options
            Its other arguments: ``fpr``, ``value``, ``split``, ``negatives``, ``truth``, ``publish``, ``unseal_test``,
            ``again``, ``progress``.

        Returns
        -------
        Completeness
            As :func:`lensflow.completeness`.
        """
        from lensflow.run.completeness.settings import with_options
        from lensflow.run.completeness.step import completeness_step

        how = {k: options.pop(k) for k in ("again", "progress", "publish", "unseal_test") if k in options}
        return completeness_step(with_options(self.config, **options), scorer, **how)

    @property
    def _folder(self) -> RunFolder:
        return RunFolder.of(self.config)

    def _require(self, store: str) -> RunFolder:
        folder = self._folder
        if not paths.group_exists(folder.store(store)) and not paths.exists(_record(folder, store)):
            raise StoreError(_no_store(folder, store))
        refuse_settings_of_another(self.config, store)
        return folder

    def _open(self, store: str, open_store: Callable[[str], xr.Dataset]) -> xr.Dataset:
        folder = self._require(store)
        # Every store that it shows something of: a folder that was made again is opened again.
        below = STORES[: STORES.index(store) + 1]
        key = [str(read_attrs(folder.store(s), s).get("fingerprint")) for s in below]
        known = self._opened.get(store)
        if known is None or known[0] != key:
            known = self._opened[store] = (key, open_store(folder.store(store)))
        return known[1]

    def _lines(self) -> list[tuple[str, str]]:
        folder, results = self._folder, self.results
        lines = [
            ("cutouts", _said(lambda: self._cutouts_line(folder))),
            ("manifest", _said(lambda: self._manifest_line(folder))),
            ("pairs", _said(lambda: self._pairs_line(folder))),
            *results.lines(),
            ("report", _said(lambda: self.report)),
            ("certificate", _said(lambda: _certificate_line(folder))),
        ]
        return [*lines, *(("note", n) for n in self.notes)]

    def _cutouts_line(self, folder: RunFolder) -> str:
        done, total, counts = self._finished("cutouts")
        states = [f"{counts[f'status: {s.name}']:,} {s.name}" for s in schema.Status if counts.get(f"status: {s.name}")]
        text = f"{total:,} hosts ({', '.join(states)}), bands {', '.join(self.config.bands)}"
        return text if done == total else f"{done:,} of {text}: `lensflow cut {folder.root}` continues"

    def _manifest_line(self, folder: RunFolder) -> str:
        self._require("manifest")
        return f"{len(read_row_ids(folder.manifest)):,} rows"

    def _pairs_line(self, folder: RunFolder) -> str:
        done, total, counts = self._finished("pairs")
        kinds = f"{counts.get('injections', 0):,} injections, {counts.get('controls', 0):,} controls"
        text = f"{done:,} of {total:,} rows ({kinds}); the test split is sealed"
        return text if done == total else f"{text}. `lensflow inject {folder.root}` continues"

    def _finished(self, store: str) -> tuple[int, int, dict[str, int]]:
        """Finished rows of a store, all of them, and the counts of the finished ones, from valid receipts."""
        folder = self._require(store)
        regions, stamp = list(stored_regions(folder.store(store), store)), read_attrs(folder.store(store), store)
        done = receipts.read_receipts(folder.receipts(store))
        lost = {r.index for r in receipts.without_receipt(done, regions, str(stamp.get("fingerprint")))}
        valid = [r for r in regions if r.index not in lost]
        counts = receipts.total_counts(done[r.index] for r in valid)
        return sum(r.size for r in valid), sum(r.size for r in regions), counts

    def __repr__(self) -> str:
        """Summary: stores, numbers of hosts and rows, verdicts, missing parts and the commands that make them."""
        return as_text(f"Run {self.config.name!r} in {self.path}", self._lines())

    def _repr_html_(self) -> str:
        return as_html(f"Run {self.config.name!r} in {self.path}", self._lines())


def open_run(path: str | Path) -> Run:
    """Pick a run up by its path: stores, results, report and certificate, finished or not.

    Parameters
    ----------
    path : str or path
        Folder of the run (any fsspec URL), one of the stores in it, or the run's YAML file.

    Returns
    -------
    Run

    Raises
    ------
    StoreError
        If no step of a run was made there.
    ConfigError
        If the run's config cannot be read.
    StaleStoreError
        If the config is not the one that the stores were made with; the message names the settings.
    """
    place, notes = str(path).rstrip("/"), []
    own = place.endswith((".yaml", ".yml")) and not place.endswith("/config.yaml")
    try:
        config = config_of(place)
    except ConfigError:
        root = paths.parent(place) if place.endswith(tuple(f"/{s}.zarr" for s in STORES)) else place
        if paths.exists(RunFolder(root).config) or own:
            raise
        stored = settings_in_stores(RunFolder(root))
        if stored is None:
            raise StoreError(
                f"{place}: no run here: neither a config.yaml nor a store of lensflow. `lensflow run CONFIG` makes "
                "one, in the folder that the config's out names."
            ) from None
        config = stored
        notes.append(
            "config.yaml is missing: the settings are those of the stores, with the defaults of diagnostics and gates."
        )
    folder = RunFolder.of(config)
    if not any(paths.group_exists(folder.store(s)) or paths.exists(_record(folder, s)) for s in STORES):
        raise StoreError(f"{folder.root}: no run here yet, no step of it was made. `lensflow run {place}` makes it.")
    for store in STORES:
        try:
            refuse_settings_of_another(config, store)
        except StaleStoreError as error:
            if own:
                raise
            raise StaleStoreError(
                f"{error}\n{folder.config} was changed since. Restore it, or delete it: the settings are then read "
                "from the stores."
            ) from None
        except StoreError:
            continue  # damaged: reported when it is read
    return Run(config, tuple(notes))


def _record(folder: RunFolder, store: str) -> str:
    return paths.join(folder.receipts(store), "created.json")


def _no_store(folder: RunFolder, store: str) -> str:
    return f"{folder.store(store)}: no {store} yet. `lensflow {_STEPS[store]} {folder.root}` makes them."


def _certificate_line(folder: RunFolder) -> str:
    content = paths.read_object(folder.certificate)
    if content is None:
        return f"none; `lensflow certify {folder.root}` writes one"
    certificate = parse_certificate(content, folder.certificate)
    if seal_of(certificate) != certificate["seal"]:
        return f"edited: its seal does not fit it. `lensflow certify {folder.root}` writes a new one"
    verdict, made = certificate["verdict"], certificate["made"]
    return f"{verdict}, made on {made}; not checked against the run here: run.certificate does that"


def _said(part: Callable[[], str]) -> str:
    """A line of a summary, or the error that prevents it: a summary is also shown for damaged runs."""
    try:
        return part()
    except LensflowError as error:
        return str(error)
