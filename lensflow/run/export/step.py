"""Export a run: views, files, card and Croissant, then the check."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lensflow import schema
from lensflow.config import RunConfig, fingerprint
from lensflow.config.place import Place
from lensflow.errors import ExportError
from lensflow.export.formats.card import CARD, card_of
from lensflow.export.formats.croissant import CROISSANT, croissant_of
from lensflow.export.formats.folder import INDEX, FileRecord, Folder
from lensflow.export.formats.record import record_of
from lensflow.export.formats.registry import writer_of
from lensflow.export.formats.writer import Settings, View, Writer, require
from lensflow.run.execute import Progress, silent
from lensflow.run.export import run_checks
from lensflow.run.export.about import about_run, header, lasting
from lensflow.run.export.open_view import RunViews, with_export
from lensflow.run.export.real_lenses import refuse_deployment
from lensflow.run.export.write_files import write_files
from lensflow.run.open_run import Run, open_run
from lensflow.show.lines import as_html, as_text
from lensflow.store import paths
from lensflow.store.run_folder import RunFolder

CERTIFICATE = "certificate.json"
DEFAULT_SPLITS = ("train", "val")


@dataclass(frozen=True, repr=False)
class Exported:
    """A finished export.

    Attributes
    ----------
    path : str
        Its folder; ends in ``.failed`` where its check failed.
    record : dict
        Content of its ``export.json``.
    verdicts : dict
        Check -> verdict; empty where it was not checked.
    """

    path: str
    record: dict[str, Any]
    verdicts: dict[str, str]

    @property
    def passed(self) -> bool:
        """Whether no check failed."""
        return "FAIL" not in self.verdicts.values()

    def _lines(self) -> list[tuple[str, str]]:
        splits = [
            (name, f"{s['rows']:,} samples, {s['positives']:,} positives on {s['hosts']:,} hosts")
            for name, s in self.record["splits"].items()
        ]
        said = ", ".join(f"{k} {v}" for k, v in self.verdicts.items()) or "not checked"
        return [*splits, ("certificate", self.record["certificate"]["verdict"]), ("check", said)]

    def __repr__(self) -> str:
        """Path, samples, verdicts."""
        return as_text(f"Export ({self.record['format']}) in {self.path}", self._lines())

    def _repr_html_(self) -> str:
        return as_html(f"Export ({self.record['format']}) in {self.path}", self._lines())


def export_step(
    config: RunConfig,
    out: str,
    progress: Progress = silent,
    *,
    splits: Sequence[str] = DEFAULT_SPLITS,
    unseal_test: str | None = None,
    check: bool = True,
) -> Exported:
    """Write the samples of a run as its section ``export`` says; an interrupted export continues.

    Parameters
    ----------
    config : RunConfig
        Of a finished, certified run.
    out : str
        Folder of the export, a path or URL; reached as the run is.
    progress : callable, optional
    splits : sequence of str
    unseal_test : str, optional
        Why the test split is opened; logged beside the store.
    check : bool
        Check what was written.

    Returns
    -------
    Exported

    Raises
    ------
    ExportError
        If the certificate's verdict is not allowed, the format cannot hold the view, or the folder is not empty.
    StoreError
        If anything cannot be read or written; StaleStoreError if the certificate is of other content.
    """
    writer = writer_of(config.export.format)
    splits = _in_order(splits, unseal_test)
    for package in writer.packages:
        require(package, writer.name)
    folder = Folder(Place(str(out).rstrip("/"), config.storage))
    folder.refuse_taken()
    refuse_deployment(config)
    opened = RunViews(config, config, progress)
    views: dict[str, View] = {s: opened.open(s, unseal_test=unseal_test if s == "test" else None) for s in splits}
    # Nothing is refused from here on but a place that another export takes.
    with folder.locked():
        folder.refuse_taken()  # by one that ended while this one began
        return _written(config, folder, views, writer, check, progress)


def _written(
    config: RunConfig, folder: Folder, views: dict[str, View], writer: Writer, check: bool, progress: Progress
) -> Exported:
    about = about_run(config, folder.out)
    settings = _settings(config, next(iter(views.values())))
    head = header(about, writer.name)
    files = write_files(folder, views, writer, settings, lasting(about), head, progress)
    certificate = paths.read_object(RunFolder.of(config).certificate) or b""
    files.append(folder.add(CERTIFICATE, lambda to: _write(to, certificate)))
    record = record_of(views, writer, settings, files, about)
    record["digest"] = digest_of(files)
    describe(folder, record)
    verdicts = _checked(folder) if check else {}
    record["check"] = verdicts
    describe(folder, record)
    passed = "FAIL" not in verdicts.values()
    return Exported(folder.publish(passed), record, verdicts)


def export(
    run: str | Path | Run | RunConfig,
    out: str | Path,
    *,
    format: str | None = None,
    view: str | None = None,
    split: str | Sequence[str] = DEFAULT_SPLITS,
    unseal_test: str | None = None,
    check: bool = True,
    progress: Progress = silent,
    **settings: Any,
) -> Exported:
    """Export the samples of a finished, certified run for a training, and check what was written.

    On the Dask client in force (:func:`lensflow.connect`), in threads without one; an interrupted export continues.

    Parameters
    ----------
    run : str, path, Run or RunConfig
        Folder of a run, as :func:`lensflow.open_run` takes it.
    out : str or path
        Folder of the export, a path or any fsspec URL.
    format : {"zarr", "npy", "parquet", "webdataset", "hats"}, optional
        Replaces ``export.format``.
    view : {"single", "concat", "residual", "pairs", "triplet"}, optional
        Replaces ``export.view``.
    split : str or sequence of str
        Splits to export.
    unseal_test : str, optional
        Why the test split is opened; logged beside the store before a row is read.
    check : bool
        Check the export (:func:`lensflow.check_export`); one that fails keeps the suffix ``.failed``.
    progress : callable, optional
        Called with stage, tasks done and tasks in all.
    **settings
        Other settings of the section ``export``: ``min_snr=5``.

    Returns
    -------
    Exported
        Path, the content of ``export.json``, and the verdicts of the check.

    Raises
    ------
    ExportError
        If the certificate's verdict is not allowed, the format cannot hold the view, or the folder is not empty.
    ConfigError
        If a setting is wrong.
    StoreError
        If anything cannot be read or written; StaleStoreError if the certificate is of other content.
    """
    own = run if isinstance(run, RunConfig) else (run if isinstance(run, Run) else open_run(run)).config
    given = {k: v for k, v in {"format": format, "view": view}.items() if v is not None}
    config = with_export(own, own, {**settings, **given})
    splits = (split,) if isinstance(split, str) else tuple(split)
    return export_step(config, str(out), progress, splits=splits, unseal_test=unseal_test, check=check)


def describe(folder: Folder, record: Mapping[str, Any]) -> None:
    """Write card, Croissant and, last, the index without which no reader opens the folder."""
    paths.write_text(folder.path(CARD), card_of(record))
    paths.write_text(folder.path(CROISSANT), json.dumps(croissant_of(record), indent=1, allow_nan=False) + "\n")
    paths.write_json(folder.path(INDEX), record)


def digest_of(files: Sequence[FileRecord]) -> str:
    """Digest of the files of an export: the same samples under the same settings have the same one."""
    return fingerprint(sorted((f.path, f.sha256) for f in files))


def _in_order(splits: Sequence[str], unseal_test: str | None) -> list[str]:
    for name in splits:
        if name not in schema.SPLITS:
            raise ExportError(f"{name!r} is not a split; the splits are {', '.join(schema.SPLITS)}.")
    if not splits:
        raise ExportError(f"no split to export; the splits are {', '.join(schema.SPLITS)}.")
    if unseal_test and "test" not in splits:
        raise ExportError("a reason to open the test split, which is not exported: add --split test, or leave it out.")
    if "test" in splits and not unseal_test:
        raise ExportError(
            'the test split is sealed. To export it, say why: --open-test "final figures" (unseal_test=...); the '
            "opening is logged beside the store."
        )
    return [s for s in schema.SPLITS if s in splits]


def _settings(config: RunConfig, view: Any) -> Settings:
    e = config.export
    return Settings(
        seed=config.seed, dtype=e.dtype, shard_mb=e.shard_mb, shards=e.shards, readers=e.readers,
        units_per_group=e.mixed_units, cutouts=RunFolder.of(config).cutouts,
        pixel_scale_arcsec=float(view.pixel_scale_arcsec),
    )  # fmt: skip


def _checked(folder: Folder) -> dict[str, str]:
    return {str(k): str(v) for k, v in run_checks.check_export(folder.root).items()}


def _write(to: Path, content: bytes) -> None:
    to.write_bytes(content)
