"""Receipts: one small JSON per finished region, written last; what has none is done again."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from lensflow.config import fingerprint
from lensflow.errors import StoreError
from lensflow.store import paths
from lensflow.store.open import stored_regions
from lensflow.store.regions import Region


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
    objects : dict
        Key of every object in the store -> its bytes there.
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
    objects: dict[str, int]
    messages: list[str] = field(default_factory=list)
    peak_rss_mb: float = 0.0


def receipt_url(folder: str, index: int) -> str:
    """URL of a region's receipt."""
    return paths.join(folder, f"region-{index:06d}.json")


def write_receipt(folder: str, receipt: Receipt) -> Receipt:
    """Write a receipt; call it after everything that it vouches for.

    Of two writers of one region the first wins. The other one takes the winner's receipt, if both wrote the same
    bytes.

    Returns
    -------
    Receipt
        The one that stands there now.

    Raises
    ------
    StoreError
        If there is a receipt for other bytes, or one that cannot be read.
    """
    url = receipt_url(folder, receipt.region)
    try:
        paths.create_json(url, asdict(receipt))
        return receipt
    except FileExistsError:
        first = read_receipt(folder, receipt.region)
    if first is None:
        raise StoreError(f"{url}: a damaged receipt is in the way. Run the same command again: it clears it away.")
    if (first.fingerprint, first.checksums) != (receipt.fingerprint, receipt.checksums):
        differing = [k for k, v in receipt.checksums.items() if first.checksums.get(k) != v]
        raise StoreError(
            f"{url}: another writer finished this region with other bytes ({', '.join(differing) or 'fingerprint'}). "
            "Which of them lies on disk now is not known: run `lensflow verify --repair` and the same command again, "
            "on machines of one type."
        )
    return first


def remove_receipts(folder: str, regions: Iterable[Region]) -> None:
    """Delete the receipts of regions, so that the next run does them again."""
    for region in regions:
        paths.remove(receipt_url(folder, region.index))


def restamp(folder: str, regions: Iterable[Region], old: str, new: str) -> None:
    """Let the receipts of regions vouch for them under a new fingerprint too: the store grew, and they did not change.

    Receipts of another fingerprint than ``old`` are left as they are, and so count for nothing.
    """
    done = read_receipts(folder)
    for region in regions:
        receipt = done.get(region.index)
        if receipt is not None and receipt.fingerprint == old:
            paths.write_json(receipt_url(folder, region.index), asdict(replace(receipt, fingerprint=new)))


def _parse(content: bytes) -> Receipt | None:
    """Receipt from its bytes; None where they are damaged."""
    try:
        return Receipt(**json.loads(content))
    except (ValueError, TypeError):
        return None


def require_finished(folder: str, store_url: str, regions: Iterable[Region], expected_fingerprint: str) -> None:
    """Read back what stands on disk: a step is done when every region has its receipt, whatever the scheduler says.

    Raises
    ------
    StoreError
    """
    left = missing_regions(folder, regions, expected_fingerprint)
    if left:
        raise StoreError(
            f"{store_url}: {len(left)} region(s), the first number {left[0].index}, have no valid receipt although "
            "their tasks have ended. Run the same command again: it does those."
        )


def clear(folder: str) -> None:
    """Delete a folder's receipts: before a store is made anew, or they would vouch for data that is gone."""
    paths.remove_folder(folder)


def read_receipt(folder: str, index: int) -> Receipt | None:
    """Receipt of one region; None where it is missing or damaged."""
    return _parse(paths.read_many([receipt_url(folder, index)])[0])


def read_receipts(folder: str) -> dict[int, Receipt]:
    """Every readable receipt of a folder by region; a damaged one counts as absent, so its region is redone."""
    names = [n for n in paths.list_names(folder) if n.startswith("region-") and n.endswith(".json")]
    contents = paths.read_many([paths.join(folder, n) for n in names])
    return {r.region: r for content in contents if (r := _parse(content)) is not None}


def unfinished_regions(folder: str, regions: Iterable[Region], expected_fingerprint: str) -> list[Region]:
    """Regions to do: those of :func:`missing_regions`, with what invalid receipts they have cleared away."""
    todo = missing_regions(folder, regions, expected_fingerprint)
    known = set(paths.list_names(folder))
    remove_receipts(folder, [r for r in todo if receipt_url("", r.index).rsplit("/", 1)[-1] in known])
    return todo


def missing_regions(folder: str, regions: Iterable[Region], expected_fingerprint: str) -> list[Region]:
    """Regions without a valid receipt: absent, damaged, of another fingerprint or other rows."""
    return _without(read_receipts(folder), regions, expected_fingerprint)


def _without(done: dict[int, Receipt], regions: Iterable[Region], expected_fingerprint: str) -> list[Region]:
    return [
        r
        for r in regions
        if (d := done.get(r.index)) is None
        or d.fingerprint != expected_fingerprint
        or (d.start, d.stop) != (r.start, r.stop)
    ]


def finished_content(folder: str, store_url: str, store: str, command: str, first_rows: int | None = None) -> str:
    """Fingerprint of a finished store's bytes.

    Parameters
    ----------
    folder : str
        Its receipts.
    store_url, store : str
    command : str
        The command that finishes the store, for the message.
    first_rows : int, optional
        Only the regions that hold the first so many rows matter; by default, all.

    Raises
    ------
    StoreError
        If a region lacks a valid receipt.
    """
    whole = stored_regions(store_url, store)
    regions = [r for r in whole if first_rows is None or r.start < first_rows]
    done = read_receipts(folder)
    expected = str(paths.open_group(store_url).attrs.get("fingerprint"))
    todo = _without(done, regions, expected)
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
        "stored_bytes": sum(sum(r.objects.values()) for r in every),
        "peak_rss_mb": max((r.peak_rss_mb for r in every), default=0.0),
        "messages": fold_messages(m for r in every for m in r.messages),
    }
