"""An export on disk as a training view: the loader reads it as it reads a run."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from lensflow import geometry, rng
from lensflow.config.export import NEGATIVE_KINDS
from lensflow.errors import ExportError, StaleStoreError
from lensflow.export.formats.folder import run_of, settings_of
from lensflow.export.formats.read import UNIT_ROWS, Export, Piece, open_export
from lensflow.export.normalisation import Normalisation
from lensflow.export.pixels.kernels import not_finite
from lensflow.export.samples import Counts
from lensflow.export.view import COLUMNS, Certified, TrainingView, Unit
from lensflow.run.export.non_lenses import table_content
from lensflow.run.export.open_view import open_view, with_export
from lensflow.run.open_run import open_run
from lensflow.store import paths


@dataclass(frozen=True)
class _Pieces:
    """Pixels of an export's units, as they are stored."""

    export: Export
    pieces: tuple[Piece, ...]
    first: int = 0

    def read(self, samples: xr.Dataset, shard: int) -> NDArray[np.float32]:
        if not self.pieces:  # npy: any rows of one array
            rows = samples["row"].values
            order = np.argsort(rows, kind="stable")
            x = np.empty((len(rows), *self.export.shape), np.float32)
            x[order] = _mapped(self.export)[rows[order]]
            return x
        found = self.export.read(self.pieces[shard])
        place = {k: i for i, k in enumerate(found["sample_id"].tolist())}
        return np.ascontiguousarray(found["x"], np.float32)[[place[k] for k in samples["sample_id"].values.tolist()]]


def _mapped(export: Export) -> Any:
    return np.load(paths.local_path(paths.join(export.out, "x.npy")), mmap_mode="r", allow_pickle=False)


class ExportedView(TrainingView):
    """A view whose pixels are those of an export, which may be normalised already."""

    def unit(self, unit: int) -> Unit:
        """Read a unit as loaders use it.

        Parameters
        ----------
        unit : int

        Returns
        -------
        Unit

        Raises
        ------
        ExportError
            If a value is not finite; the message names its row.
        """
        some, x = self._some(unit), self._raw(unit)
        if not self.attrs["normalised"]:
            lacks = self.normalisation.apply_in_place(x, some["row_id"].values)
        else:
            # What is missing is 0 after normalisation, and next to nothing else is.
            lacks = (x[:, : len(self.channels) - self.valid_channel] == 0).any(axis=(1, 2, 3))
        odd = not_finite(np.ascontiguousarray(x))
        if odd.any():
            row = some["row_id"].values[np.argmax(odd)]
            raise ExportError(f"{self.attrs['export_path']}: row {row}: a value is not finite. Export the run again.")
        return Unit(x, np.asarray(lacks), {n: some[n].values for n in COLUMNS if n in some})


def open_exported(place: str | Path, split: str = "train", **options: Any) -> TrainingView:
    """Open one split of an export.

    Parameters
    ----------
    place : str or path
    split : {"train", "val", "test"}
    **options
        ``unseal_test``, for a ``zarr`` export, which reads the run.

    Returns
    -------
    TrainingView

    Raises
    ------
    ExportError
        If it failed its check, or has no such split.
    StaleStoreError
        If a ``zarr`` export is of another content than its run.
    """
    export = open_export(str(place))
    record = export.record
    failed = [k for k, v in record.get("check", {}).items() if v == "FAIL"]
    if failed:
        raise ExportError(f"{place}: this export failed its check ({', '.join(failed)}), so nothing is trained on it")
    if record["format"] == "zarr":
        return _of_run(export, split, options)
    samples, pieces = _samples(export, split)
    for name in ("x_center", "y_center"):
        if name not in samples:
            samples[name] = ("sample", np.full(samples.sizes["sample"], geometry.centre(export.shape[-1]), np.float32))
    code = ("train", "val", "test").index(split)
    samples["split"] = ("sample", np.full(samples.sizes["sample"], code, np.int8))
    s, about = record["splits"][split], record["certificate"]
    counts = Counts(
        s["positives"], s["hosts"], s["different_negatives"], {},
        {k: n for k, n in s["negatives_by_kind"].items() if k in NEGATIVE_KINDS}, {}, {},
    )  # fmt: skip
    return ExportedView(
        samples, record["view"], tuple(record["bands"]), tuple(record["channels"]), export.shape,
        Normalisation.from_json(record["normalisation"]), np.arange(int(samples["unit"].values[-1]) + 1),
        _Pieces(export, pieces), Certified(about["verdict"], about["reason"], about["seal"]), counts,
        record["channels"][-1] == "valid", float(record["pixel_scale_arcsec"]), record["run"]["name"],
        {"split": split, "seed": int(record["seed"]), "normalised": export.is_normalised, "export_path": str(place)},
    )  # fmt: skip


def _samples(export: Export, split: str) -> tuple[xr.Dataset, tuple[Piece, ...]]:
    """Samples with their units: files, or of an array in which any row costs the same, whole pairs of about 1,024."""
    samples, pieces = export.samples(split), tuple(export.pieces(split))
    if not samples.sizes["sample"]:
        raise ExportError(f"{export.out}: split {split} has no sample")
    if export.record["format"] != "npy" or not paths.is_local(export.out):
        return samples, pieces
    expected = int(np.prod(export.shape)) * np.dtype(export.record["dtype"]).itemsize
    total = sum(s["rows"] for s in export.record["splits"].values())
    images = _mapped(export)
    if images.shape != (total, *export.shape) or images.dtype != np.dtype(export.record["dtype"]):
        raise ExportError(
            f"{export.out}: x.npy is {images.dtype} of shape {images.shape}, export.json says {total} x {expected} "
            "bytes. Export the run again."
        )
    first = pieces[0].first
    draw = rng.uniform(int(export.record["seed"]), samples["row_id"].values, "loader.npy")[:, 0]
    order = np.lexsort((samples["sample_id"].values, draw))
    new = np.ones(len(order), bool)
    new[1:] = np.diff(samples["row_id"].values[order]) != 0
    group = np.cumsum(new) - 1  # samples of one row stay in one unit
    size = np.bincount(group)
    unit = (np.cumsum(size) - size) // UNIT_ROWS
    out = samples.assign(row=("sample", first + np.arange(len(order)))).isel(sample=order)
    return out.assign(unit=("sample", np.unique(unit[group], return_inverse=True)[1].astype(np.int32))), ()


def _of_run(export: Export, split: str, options: dict[str, Any]) -> TrainingView:
    record = export.record
    run = run_of(record, export.out)
    if not paths.exists(paths.join(run, "config.yaml")):
        raise ExportError(
            f"{export.out}: an export of format zarr is an index over the run {run}, which is not there. Bring the run "
            "back to that place, or export it with --format npy."
        )
    settings = {k: v for k, v in settings_of(record, export.out).items() if k != "format"}
    if settings.get("tags") and paths.content(settings["tags"]) != record["run"].get("tags"):
        raise StaleStoreError(f"{export.out}: {settings['tags']} was changed since. Export the run again.")
    view = open_view(run, split=split, **settings, **options)
    if view.certified is not None and view.certified.seal != record["certificate"]["seal"]:
        raise StaleStoreError(f"{export.out}: exported under another certificate of {run}. Export the run again.")
    of_table = record["run"].get("non_lenses", "")
    if of_table and table_content(with_export(open_run(run).config, open_run(run).config, settings)) != of_table:
        raise StaleStoreError(f"{export.out}: exported with other stamps of real non-lenses than {run} has now.")
    listed = export.samples(split)["sample_id"].values
    keep = np.isin(view.samples["sample_id"].values, listed)
    if int(keep.sum()) != len(listed) or len(np.unique(listed)) != len(listed):
        raise StaleStoreError(
            f"{export.out}: lists {len(listed):,} samples of split {split}, of which {run} has {int(keep.sum()):,}. "
            "Export the run again."
        )
    return view.select(keep)
