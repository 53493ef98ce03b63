"""The rows of a run that a page may show, and their columns, read when they are needed."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lensflow import schema
from lensflow.config import RunConfig
from lensflow.errors import StoreError, did_you_mean
from lensflow.store import paths, receipts, sealing
from lensflow.store.columns import read_columns, stored_columns
from lensflow.store.read import read_attrs, stored_regions
from lensflow.store.run_folder import RunFolder
from lensflow.store.tags import plan_of_rows
from lensflow.view.columns import Column, columns_of

TEST = schema.SPLITS.index("test")
# Of a million rows each takes 8 MB.
_COLUMNS_KEPT = 48
_KEYS = ("row_id", "host_index", "is_control", "split")


class Rows:
    """Finished rows of a run, without those of the sealed test split; made by :func:`open_rows`.

    Attributes
    ----------
    folder : RunFolder
    bands : tuple of str
    number : ndarray of int64, shape (n,)
        Of each row in the manifest; places of rows elsewhere in this room count these.
    row_id : ndarray of uint64, shape (n,)
    host_index, split : ndarray of int64, shape (n,)
    is_control : ndarray of bool, shape (n,)
    n_every, n_sealed, n_unfinished : int
        Rows of the manifest; those left out because they are of the test split, and because they are not injected yet.
    seed : int
        Of the run.
    plan : str
        Which plan the rows are of: :func:`lensflow.store.tags.plan_of_rows`.
    pixel_scale_arcsec : float
    columns : dict
        Name -> what can be plotted, filtered and sorted by.
    """

    def __init__(self, folder: RunFolder, bands: Sequence[str], keys: dict[str, NDArray], finished: NDArray[np.bool_],
                 sealed: bool):  # fmt: skip
        self.folder, self.bands = folder, tuple(bands)
        is_test = keys["split"] == TEST
        shown = finished & ~is_test if sealed else finished
        self.number = np.flatnonzero(shown).astype(np.int64)
        self.n_every, self.n_unfinished = len(shown), int((~finished).sum())
        self.n_sealed = int((finished & is_test).sum()) if sealed else 0
        self.row_id = keys["row_id"][shown]
        self.host_index, self.split = (keys[n][shown].astype(np.int64) for n in ("host_index", "split"))
        self.is_control = keys["is_control"][shown].astype(bool)
        manifest = read_attrs(folder.manifest, "manifest")
        self.seed, self.plan = int(manifest["seed"]), plan_of_rows(manifest)
        self.pixel_scale_arcsec = float(read_attrs(folder.pairs, "pairs")["pixel_scale_arcsec"])
        self._unfinished = self.n_unfinished > 0
        stored = {s: stored_columns(folder.store(s), s, s == "pairs" and self._unfinished)
                  for s in ("manifest", "pairs", "cutouts")}  # fmt: skip
        self.columns: dict[str, Column] = columns_of(stored, bands)
        self._whole = len(self.number) == self.n_every
        self._kept: OrderedDict[str, NDArray] = OrderedDict()
        self._host_id: NDArray[np.str_] | None = None
        self._by_id: NDArray[np.int64] | None = None
        self._lock = threading.RLock()

    def __len__(self) -> int:
        return len(self.number)

    @property
    def plotted(self) -> list[str]:
        """Names of the columns of numbers."""
        return [n for n, c in self.columns.items() if not c.is_flag]

    @property
    def flags(self) -> list[str]:
        """Names of the columns of flags, quality flags first."""
        return [n for n, c in self.columns.items() if c.is_flag]

    @property
    def host_id(self) -> NDArray[np.str_]:
        """Name of each row's host, shape (n,)."""
        return self.host_ids(slice(None))

    def host_ids(self, places: slice | NDArray[np.int64]) -> NDArray[np.str_]:
        """Names of the hosts of some rows."""
        with self._lock:
            if self._host_id is None:
                self._host_id = read_columns(self.folder.cutouts, "cutouts", ["host_id"])["host_id"]
            return self._host_id[self.host_index[places]]

    def values(self, name: str) -> NDArray:
        """Values of a column; read on first use.

        Parameters
        ----------
        name : str
            Of ``columns``.

        Returns
        -------
        ndarray, shape (n,)
            NaN where a row has none; a control has no Einstein radius.

        Raises
        ------
        StoreError
            If there is no such column, or it is damaged.
        """
        return self.read([name])[name]

    def read(self, names: Sequence[str]) -> dict[str, NDArray]:
        """Values of several columns, as :meth:`values`; those of one table are read together."""
        for name in names:
            if name not in self.columns:
                raise StoreError(f"{self.folder.root}: no column {name!r}.{did_you_mean(name, self.columns)}")
        with self._lock:
            given = {n: self._kept[n] for n in names if n in self._kept}
            wanted = [n for n in names if n not in given]
            needed = [m for n in wanted for m in self.columns[n].made_of or (n,)]
            stored = self._stored(list(dict.fromkeys(needed)))
            for n in wanted:
                column = self.columns[n]
                given[n] = column.make([stored[m] for m in column.made_of]) if column.make else stored[n]
            for n in names:
                self._kept[n] = given[n]
                self._kept.move_to_end(n)
            while len(self._kept) > max(_COLUMNS_KEPT, len(names)):
                self._kept.popitem(last=False)
            return given

    def _stored(self, names: Sequence[str]) -> dict[str, NDArray]:
        out: dict[str, NDArray] = {}
        for store in ("manifest", "pairs", "cutouts"):
            here = [n for n in names if self.columns[n].store == store]
            if not here:
                continue
            url, unfinished = self.folder.store(store), store == "pairs" and self._unfinished
            for n, values in read_columns(url, store, here, unfinished).items():
                if store == "cutouts":
                    out[n] = values[self.host_index]
                else:
                    out[n] = values if self._whole else values[self.number]
        if "theta_e_arcsec" in out:
            out["theta_e_arcsec"] = np.where(self.is_control, np.nan, out["theta_e_arcsec"])
        return out

    def places_of(self, row_ids: Sequence[int]) -> NDArray[np.int64]:
        """Places of rows by their row_id, in the given order; rows that are not shown are left out."""
        with self._lock:
            if self._by_id is None:
                self._by_id = np.argsort(self.row_id, kind="stable")
        order = self._by_id
        wanted = np.array(row_ids, dtype=np.uint64)
        at = np.minimum(np.searchsorted(self.row_id[order], wanted), max(len(order) - 1, 0))
        found = order[at] if len(order) else at[:0]
        return found[self.row_id[found] == wanted] if len(order) else found


@dataclass(frozen=True, eq=False)
class Opened:
    """What there is to show of a run.

    Attributes
    ----------
    config : RunConfig
    rows : Rows or None
        None where nothing is injected yet, or what is needed cannot be read.
    messages : tuple of str
        What a reader must know first: what is missing or damaged, and the command that mends it.
    is_final : bool
        Whether the run is finished; one that is not is opened again for every new page.
    """

    config: RunConfig
    rows: Rows | None
    messages: tuple[str, ...]
    is_final: bool


def open_rows(config: RunConfig, unseal_test: str | None = None) -> Opened:
    """Open the rows of a run for a page; keys alone are read.

    Parameters
    ----------
    config : RunConfig
        Of the run's folder.
    unseal_test : str, optional
        Why the test split is shown; logged beside the store, as by :func:`lensflow.open_pairs`.

    Returns
    -------
    Opened

    Raises
    ------
    StoreError
        If the opening of the test split cannot be logged.
    """
    folder = RunFolder.of(config)
    try:
        if missing := _missing_step(folder):
            return Opened(config, None, (missing,), is_final=False)
        keys = read_columns(folder.manifest, "manifest", _KEYS)
        finished, message = _finished(folder, len(keys["row_id"]))
        rows = Rows(folder, config.bands, keys, finished, sealed=not unseal_test)
    except StoreError as error:
        return Opened(config, None, (str(error),), is_final=False)
    n_test = int((rows.split == TEST).sum())
    if unseal_test and n_test:
        sealing.log_access(folder.pairs, unseal_test, n_test)
    messages = [message] if message else []
    if not len(rows):
        messages.append("No row can be shown: all finished rows are of the sealed test split, or none is finished.")
    return Opened(config, rows if len(rows) else None, tuple(messages), is_final=not message)


def _missing_step(folder: RunFolder) -> str:
    steps = {"cutouts": ("cut", "No cutouts yet"), "manifest": ("plan", "Cutouts are there, nothing is planned yet"),
             "pairs": ("inject", "Cutouts and a plan are there, nothing is injected yet")}  # fmt: skip
    for store, (step, what) in steps.items():
        if not paths.group_exists(folder.store(store)):
            return f"{what}: `lensflow {step} {folder.root}` does it. Load this page again then."
    return ""


def _finished(folder: RunFolder, n_rows: int) -> tuple[NDArray[np.bool_], str]:
    """Which rows are injected, and what is to be said if not all are."""
    regions = stored_regions(folder.pairs, "pairs")
    if regions.n_rows != n_rows:
        raise StoreError(f"{folder.pairs}: {regions.n_rows:,} pairs for a manifest of {n_rows:,} rows")
    there = {n for n in paths.list_names(folder.receipts("pairs")) if n.startswith("region-")}
    finished = np.ones(n_rows, bool)
    if len(there) >= len(regions):  # each is checked where its rows are read
        return finished, ""
    stamp = str(read_attrs(folder.pairs, "pairs").get("fingerprint"))
    for region in receipts.missing_regions(folder.receipts("pairs"), regions, stamp):
        finished[region.slice] = False
    lost = int((~finished).sum())
    return finished, (
        f"{lost:,} of {n_rows:,} rows are not injected yet and left out: `lensflow inject {folder.root}` continues; "
        "load this page again then."
    )
