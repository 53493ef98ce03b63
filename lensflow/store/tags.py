"""Read tags of rows: the CSV that ``lensflow view`` writes (row_id, host_id, tag, note)."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from lensflow.errors import StoreError, TagError, did_you_mean
from lensflow.store import paths

COLUMNS = ("row_id", "host_id", "tag", "note")


@dataclass(frozen=True)
class Tag:
    """What a person says of a row."""

    host_id: str
    tag: str
    note: str = ""


def read_tags(url: str) -> dict[int, Tag]:
    """Read a file of tags.

    Parameters
    ----------
    url : str
        A path or any fsspec URL.

    Returns
    -------
    dict
        row_id -> Tag, in the order of the file.

    Raises
    ------
    TagError
        If there is no such file, a column is missing, a row_id is no whole number, a tag is empty or a row stands
        twice; names the line.
    """
    try:
        text = paths.read_text(url)
    except (StoreError, OSError, UnicodeDecodeError) as error:
        raise TagError(f"{url}: cannot be read as a file of tags ({error})") from error
    return parse_tags(text, url)


def parse_tags(text: str, name: str) -> dict[int, Tag]:
    """Tags of a file's text; see :func:`read_tags`."""
    out: dict[int, Tag] = {}
    lines = csv.DictReader(io.StringIO(text.removeprefix("\ufeff"), newline=""))
    try:
        if lacking := [c for c in COLUMNS if c not in (lines.fieldnames or ())]:
            raise TagError(f"{name}: no column {lacking[0]}; a file of tags has {', '.join(COLUMNS)}")
        for line in lines:
            row_id, tag = str(line["row_id"] or "").strip(), str(line["tag"] or "").strip()
            where = f"{name}: line {lines.line_num}"
            if not (row_id.isascii() and row_id.isdigit() and int(row_id) < 2**64):
                raise TagError(
                    f"{where}: {row_id!r} is no row_id. A spreadsheet rounds its 20 digits: keep the column as text."
                )
            if not tag:
                raise TagError(f"{where}: row {row_id} has no tag")
            if int(row_id) in out:
                raise TagError(f"{where}: row {row_id} stands there twice")
            out[int(row_id)] = Tag(str(line["host_id"] or ""), tag, str(line["note"] or ""))
    except csv.Error as error:
        raise TagError(f"{name}: line {lines.line_num} is no CSV ({error})") from error
    return out


def tag_of_rows(tags: Mapping[int, Tag], row_id: NDArray[np.uint64], wanted: Sequence[str] = ()) -> NDArray[np.str_]:
    """Tag of each row; empty text for rows without one, or with another than those that are wanted.

    Parameters
    ----------
    tags : mapping
        As :func:`read_tags` gives it.
    row_id : ndarray of uint64, shape (n,)
    wanted : sequence of str
        Tags; all without any.

    Raises
    ------
    TagError
        If no row has a tag that is wanted.
    """
    known = sorted({t.tag for t in tags.values()})
    for name in wanted:
        if name not in known:
            raise TagError(
                f"no row has the tag {name!r}.{did_you_mean(name, known)} Tags: {', '.join(known) or 'none'}"
            )
    kept = {r: t.tag for r, t in tags.items() if not wanted or t.tag in wanted}
    out = np.full(len(row_id), "", dtype=f"U{max([1, *map(len, kept.values())])}")
    ids = np.array(sorted(kept), dtype=np.uint64)
    if len(ids):
        at = np.minimum(np.searchsorted(ids, row_id), len(ids) - 1)
        there = ids[at] == row_id
        out[there] = np.array([kept[int(i)] for i in ids])[at[there]]
    return out


def tagged(rows: xr.Dataset, tags: str | Mapping[int, Tag], wanted: str | Sequence[str] = ()) -> xr.DataArray:
    """Which rows of pairs or of a manifest have a tag.

    Parameters
    ----------
    rows : Dataset, dim sample
        With ``row_id``, as :func:`lensflow.open_pairs` gives it.
    tags : str or mapping
        The CSV that ``lensflow view`` writes, a path or any fsspec URL; or what :func:`read_tags` gave.
    wanted : str or sequence of str
        Names of tags; any tag by default.

    Returns
    -------
    DataArray of bool, dim sample
        ``pairs.isel(sample=~lf.tagged(pairs, "tags.csv", "artefact"))`` are the others.

    Raises
    ------
    TagError
        If the file cannot be read, or nothing has a tag that is wanted.

    Examples
    --------
    >>> import numpy as np, xarray as xr
    >>> rows = xr.Dataset({"row_id": ("sample", np.array([3, 5], np.uint64))})
    >>> tagged(rows, {5: Tag("host-1", "artefact")}).values
    array([False,  True])
    """
    known = tags if isinstance(tags, Mapping) else read_tags(str(tags))
    names = (wanted,) if isinstance(wanted, str) else tuple(wanted)
    found = tag_of_rows(known, np.asarray(rows["row_id"].values), names) != ""
    return xr.DataArray(found, dims="sample", attrs={"long_name": "the row has a tag"})
