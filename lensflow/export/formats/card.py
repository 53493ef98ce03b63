"""The card of an export: ``README.md``, with the head that the Hugging Face hub reads."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import yaml
from jinja2 import Environment, PackageLoader, StrictUndefined

from lensflow.export.formats import words
from lensflow.export.formats.columns import COLUMNS

CARD = "README.md"
_SIZES = (10**3, 10**4, 10**5, 10**6, 10**7, 10**8, 10**9)
_NAMES = ("1K", "10K", "100K", "1M", "10M", "100M", "1B")


def card_of(record: Mapping[str, Any]) -> str:
    """Write the card.

    Parameters
    ----------
    record : mapping
        Content of ``export.json``: the card says nothing that is not there.

    Returns
    -------
    str
        Markdown.
    """
    env = Environment(
        loader=PackageLoader("lensflow.export.formats"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,
    )
    head = yaml.safe_dump(_head(record), sort_keys=False, allow_unicode=True)
    return env.get_template("card.md.j2").render(r=record, head=head, w=words)


def _head(record: Mapping[str, Any]) -> dict[str, Any]:
    rows = sum(s["rows"] for s in record["splits"].values())
    out: dict[str, Any] = {
        "license": record["survey"]["license"],
        "pretty_name": f"{record['run']['name']}: simulated strong lenses, view {record['view']}",
        "size_categories": [size_category(rows)],
        "task_categories": ["image-classification"],
        "tags": ["astronomy", "gravitational-lensing", "simulation"],
    }
    patterns = _patterns(record)
    if patterns:
        out["configs"] = [
            {"config_name": "default", "data_files": [{"split": s, "path": p} for s, p in patterns.items()]}
        ]
    if record["format"] == "parquet":
        out["dataset_info"] = {
            "features": _features(record),
            "splits": [
                {"name": name, "num_bytes": sum(f["bytes"] for f in record["files"] if f["split"] == name),
                 "num_examples": s["rows"]}
                for name, s in record["splits"].items()
            ],
        }  # fmt: skip
    return out


def _patterns(record: Mapping[str, Any]) -> dict[str, str]:
    pattern = {"parquet": "data/{}-*.parquet", "webdataset": "{}-*.tar", "hats": "{}/dataset/Norder=*/Dir=*/*.parquet"}
    if record["format"] not in pattern:
        return {}
    return {split: pattern[record["format"]].format(split) for split in record["splits"]}


def _features(record: Mapping[str, Any]) -> list[dict[str, Any]]:
    plain = [
        {"name": c.name, "dtype": {"double": "float64", "float": "float32"}.get(str(c.arrow), str(c.arrow))}
        for c in COLUMNS
        if c.name in record["columns"]
    ]
    length = 1
    for side in record["shape"]:
        length *= side
    return [*plain, {"name": "x", "list": record["dtype"], "length": length}]


def size_category(rows: int) -> str:
    """Category of the Hugging Face hub for a number of rows."""
    if rows < _SIZES[0]:
        return "n<1K"
    for high, of_low, of_high in zip(_SIZES[1:], _NAMES, _NAMES[1:], strict=False):
        if rows < high:
            return f"{of_low}<n<{of_high}"
    return "n>1B"
