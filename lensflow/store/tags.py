"""Read tags of rows: the CSV that ``lensflow view`` writes (row_id, host_id, tag, note, of_plan).

A row_id is made of host and number of the injection: another plan on the same hosts has the same ones for other arcs.
The column of_plan binds a tag to the plan that its row is of; tags without it, as a person may write them, are matched
by row_id alone, and that is said.
"""

from __future__ import annotations

import csv
import io
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from lensflow.config import fingerprint
from lensflow.config.plan import EXTENDABLE, TAG_PLAN
from lensflow.errors import LensflowWarning, StoreError, TagError, did_you_mean
from lensflow.store import paths

COLUMNS = ("row_id", "host_id", "tag", "note")
# Attribute of opened rows that says of which plan they are.
PLAN_OF_ROWS = "plan_of_rows"


@dataclass(frozen=True)
class Tag:
    """What a person says of a row; ``plan`` is that of :func:`plan_of_rows`, empty where it is not known."""

    host_id: str
    tag: str
    note: str = ""
    plan: str = ""


def plan_of_rows(attrs: Mapping[str, Any]) -> str:
    """Fingerprint of the plan that rows are of, from the attributes of a manifest's store.

    The same while a run is extended (its rows stay what they are), another for other settings, hosts, images or code.

    Returns
    -------
    str
        16 hex digits; empty for a manifest that does not say what it was made of.
    """
    identity = attrs.get("identity")
    if not isinstance(identity, Mapping):
        return ""
    # With a limit, the content is that of some hosts' regions, which change with it.
    follows = ("inputs.cutouts",) if identity.get("plan.limit_hosts") is not None else ()
    left_out = {*follows, *(f"plan.{name}" for name in EXTENDABLE)}
    return fingerprint({k: v for k, v in identity.items() if k not in left_out})


def check_plan(tags: Mapping[int, Tag], plan: str, name: str) -> str:
    """Refuse tags of another plan's rows.

    Parameters
    ----------
    tags : mapping
        As :func:`read_tags` gives it.
    plan : str
        Of the rows that the tags are for, as :func:`plan_of_rows`; empty: not known, nothing is checked.
    name : str
        Of the file, for messages.

    Returns
    -------
    str
        What is to be said of tags that do not say whose rows they are; empty if nothing.

    Raises
    ------
    TagError
    """
    column = TAG_PLAN
    others = [t.plan for t in tags.values() if t.plan and t.plan != plan]
    if plan and others:
        raise TagError(
            f"{name}: {len(others):,} of {len(tags):,} tags are of another plan's rows ({column} {others[0]}; here it "
            f"is {plan}). Another plan on the same hosts has the same row_ids for other arcs. Use the tags made "
            f"on this run. If you know that its rows are the same, empty the column {column}: they are then matched by "
            "row_id alone."
        )
    unbound = sum(not t.plan for t in tags.values())
    if not unbound:
        return ""
    return (
        f"{name}: {unbound:,} of {len(tags):,} tags do not say of which plan their rows are (column {column}). They "
        "are matched by row_id alone, and another plan on the same hosts has the same row_ids for other arcs."
    )


def warn_of_plan(tags: Mapping[int, Tag], plan: str, name: str) -> None:
    """As :func:`check_plan`; what there is to be said is a warning."""
    if said := check_plan(tags, plan, name):
        warnings.warn(said, LensflowWarning, stacklevel=3)


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
            plan = str(line.get(TAG_PLAN) or "").strip()
            out[int(row_id)] = Tag(str(line["host_id"] or ""), tag, str(line["note"] or ""), plan)
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
        If the file cannot be read, its tags are of another plan's rows, or nothing has a tag that is wanted.

    Examples
    --------
    >>> import numpy as np, xarray as xr
    >>> rows = xr.Dataset({"row_id": ("sample", np.array([3, 5], np.uint64))})
    >>> tagged(rows, {5: Tag("host-1", "artefact")}).values
    array([False,  True])
    """
    known = tags if isinstance(tags, Mapping) else read_tags(str(tags))
    name = "these tags" if isinstance(tags, Mapping) else str(tags)
    warn_of_plan(known, str(rows.attrs.get(PLAN_OF_ROWS, "")), name)
    names = (wanted,) if isinstance(wanted, str) else tuple(wanted)
    found = tag_of_rows(known, np.asarray(rows["row_id"].values), names) != ""
    return xr.DataArray(found, dims="sample", attrs={"long_name": "the row has a tag"})
