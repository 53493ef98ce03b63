"""Tables of what an export wrote."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lensflow.show.numbers import amount
from lensflow.show.table import Cell, Table, words
from lensflow.show.verdict_style import verdict_style


def exported_tables(record: Mapping[str, Any]) -> list[Table]:
    """Splits of an export, and the verdicts of certificate and check.

    Parameters
    ----------
    record : mapping
        Content of ``export.json``.

    Returns
    -------
    list of Table
    """
    files = record["files"]
    rows = [
        (
            name, s["rows"], s["positives"], s["negatives"], s["different_negatives"], s["hosts"],
            len(s["files"]) or "",
        )
        for name, s in record["splits"].items()
    ]  # fmt: skip
    heads = ["samples", "positives", "negatives", "different negatives", "hosts", "files"]
    size = amount(sum(f["bytes"] for f in files))
    title = f"Export, format {record['format']}, view {record['view']}: {len(files)} files, {size}"
    out = [Table(title, [words("split"), *heads], rows)]
    real = {"against real lenses": record["realism"]["verdict"]} if "realism" in record else {}
    verdicts = {"certificate of the run": record["certificate"]["verdict"], **real, **record.get("check", {})}
    said = [(name, Cell(v, verdict_style(v).cell)) for name, v in verdicts.items()]
    return [*out, Table("Verdicts", [words("of"), words("verdict")], said)]
