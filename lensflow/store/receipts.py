"""Receipts: one small JSON per finished region, written last; what has none is done again."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from typing import Any

import fsspec

from lensflow.config import fingerprint
from lensflow.errors import StoreError
from lensflow.store import paths
from lensflow.store.regions import Region, plan_regions


@dataclass(frozen=True)
class Receipt:
    """What one task did.

    Attributes
    ----------
    region, start, stop : int
        Shard number and its rows.
    fingerprint : str
        Of the settings, code and inputs that made the data.
    checksums : dict
        Array -> checksum of the region's bytes.
    counts : dict
        Rows by what became of them ("OK", "PARTIAL", "injections", "invariant: ..."); nothing is lost uncounted.
    seconds : dict
        Phase -> seconds.
    bytes : int
        Uncompressed bytes written.
    messages : list of str
        What a person should read: broken files and the like.
    peak_rss_mb : float
        Largest resident memory of the worker process so far.
    """

    region: int
    start: int
    stop: int
    fingerprint: str
    checksums: dict[str, str]
    counts: dict[str, int]
    seconds: dict[str, float]
    bytes: int
    messages: list[str] = field(default_factory=list)
    peak_rss_mb: float = 0.0


def receipt_url(folder: str, index: int) -> str:
    """URL of a region's receipt."""
    return paths.join(folder, f"region-{index:06d}.json")


def write_receipt(folder: str, receipt: Receipt) -> None:
    """Write a receipt; call it after everything that it vouches for."""
    paths.write_json(receipt_url(folder, receipt.region), asdict(receipt))


def clear(folder: str) -> None:
    """Delete a folder's receipts: before a store is made anew, or they would vouch for data that is gone."""
    fs, path = fsspec.core.url_to_fs(folder)
    if fs.exists(path):
        fs.rm(path, recursive=True)


def read_receipts(folder: str, among: Iterable[Region] | None = None) -> dict[int, Receipt]:
    """Every readable receipt of a folder (or of some regions); a damaged one counts as absent: its region is redone."""
    receipts = {}
    wanted = None if among is None else {receipt_url("", r.index).strip("/") for r in among}
    for name in paths.list_names(folder):
        if not (name.startswith("region-") and name.endswith(".json")) or (wanted is not None and name not in wanted):
            continue
        try:
            receipt = Receipt(**paths.read_json(paths.join(folder, name)))
        except (StoreError, TypeError):
            continue
        receipts[receipt.region] = receipt
    return receipts


def missing_regions(folder: str, regions: Iterable[Region], expected_fingerprint: str) -> list[Region]:
    """Regions without a valid receipt: absent, damaged, of another fingerprint or other rows."""
    regions = list(regions)
    done = read_receipts(folder, regions)
    return [
        r
        for r in regions
        if (d := done.get(r.index)) is None
        or d.fingerprint != expected_fingerprint
        or (d.start, d.stop) != (r.start, r.stop)
    ]


def finished_content(folder: str, store_url: str, rows_per_region: int, n_rows: int, command: str) -> str:
    """Fingerprint of a finished store's bytes.

    Parameters
    ----------
    folder : str
        Its receipts.
    store_url : str
    rows_per_region, n_rows : int
        Size of a region, and the rows that must be finished (whole regions, or all).
    command : str
        The command that finishes the store, for the message.

    Raises
    ------
    StoreError
        If a region lacks a valid receipt.
    """
    expected = str(paths.open_group(store_url).attrs.get("fingerprint"))
    regions = plan_regions(n_rows, rows_per_region)
    done = read_receipts(folder, regions)
    todo = missing_regions(folder, regions, expected)
    if todo:
        raise StoreError(
            f"{store_url}: {len(todo)} of {len(regions)} regions are not finished. Run `{command}` again: it continues "
            "where it stopped."
        )
    return fingerprint([(r.index, done[r.index].checksums) for r in regions])


def total_counts(receipts: Iterable[Receipt]) -> dict[str, int]:
    """Sum the counts of receipts."""
    total: dict[str, int] = {}
    for receipt in receipts:
        for name, number in receipt.counts.items():
            total[name] = total.get(name, 0) + number
    return total


def fold_messages(messages: Iterable[str]) -> list[str]:
    """One message per cause (the text before the hosts that it struck), with the number of regions that say it."""
    first: dict[str, str] = {}
    count: dict[str, int] = {}
    for message in messages:
        cause = message.split(" Host ", 1)[0]
        first.setdefault(cause, message)
        count[cause] = count.get(cause, 0) + 1
    more = {c: f" (and hosts of {n - 1} other region(s))" if n > 1 else "" for c, n in count.items()}
    return [first[c] + more[c] for c in first]


def summary(receipts: Iterable[Receipt]) -> dict[str, Any]:
    """Counts, seconds by phase, bytes and peak memory over receipts, for reports."""
    every = list(receipts)
    seconds: dict[str, float] = {}
    for r in every:
        for phase, value in r.seconds.items():
            seconds[phase] = seconds.get(phase, 0.0) + value
    return {
        "regions": len(every),
        "counts": total_counts(every),
        "task_seconds": {k: round(v, 3) for k, v in seconds.items()},
        "bytes": sum(r.bytes for r in every),
        "peak_rss_mb": max((r.peak_rss_mb for r in every), default=0.0),
        "messages": fold_messages(m for r in every for m in r.messages),
    }
