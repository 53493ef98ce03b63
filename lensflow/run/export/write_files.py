"""Write an export's files on the cluster, or what an interrupted one left to do."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from lensflow._version import __version__
from lensflow.export.formats.folder import FileRecord, Folder
from lensflow.export.formats.write import ExportTask, fingerprint_of, plan_of, shape_of
from lensflow.export.formats.writer import Settings, View, Writer
from lensflow.run.execute import Progress, run_tasks, silent
from lensflow.store import code_identity

STAGE = "export"


def write_files(
    folder: Folder,
    views: Mapping[str, View],
    writer: Writer,
    settings: Settings,
    about: Mapping[str, Any],
    head: Mapping[str, str],
    progress: Progress = silent,
) -> list[FileRecord]:
    """Write every file of an export but its index, or what an interrupted one left to do.

    Parameters
    ----------
    folder : Folder
    views : mapping
        Split -> view.
    writer : Writer
    settings : Settings
    about : mapping
        What else the files depend on, as plain JSON: an interrupted export continues only under the same.
    head : mapping of str
        What every file says of the export.
    progress : callable, optional

    Returns
    -------
    list of FileRecord

    Raises
    ------
    ExportError
        If a format does not hold such samples, a pixel is not finite, or the view hands on other rows than it lists.
    StoreError
        If files cannot be read or written.
    """
    planned = plan_of(views, writer, settings)
    plan = {
        "format": writer.name,
        "lensflow": __version__,
        # Samples are chosen, normalised and written by this code: an export continues under no other.
        "code": code_identity.digest_of(("export", "run/export")),
        # Where the run lies decides no byte.
        "settings": {k: v for k, v in asdict(settings).items() if k != "cutouts"},
        "samples": {split: fingerprint_of(view.samples) for split, view in views.items()},
        "about": json.loads(json.dumps(about)),
        "files": [[writer.path(s), s.rows] for p in planned for g in p.groups for s in g.shards],
    }
    plan["settings"] = json.loads(json.dumps(plan["settings"], default=str))
    folder.begin(json.loads(json.dumps(plan).replace("NaN", "null")))
    tasks = [(p.split, g) for p in planned for g in p.groups]
    task = ExportTask(folder, dict(views), writer, settings, tasks, {**head, **shape_of(views)})
    written: list[FileRecord] = []
    for done in run_tasks(task, range(len(tasks)), STAGE, progress):
        written += done.files
    written.sort(key=lambda r: r.index)
    join = writer.joining(folder, planned, written, settings)
    if join is not None:
        written = list(run_tasks(join, [0], "join"))
    return writer.finish(folder, planned, written, task.head, settings)
