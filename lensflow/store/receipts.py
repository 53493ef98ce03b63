"""Receipts: one small JSON per finished region, written last; a region without one is redone."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Annotated, Any, NamedTuple

import xxhash
from pydantic import ConfigDict, StringConstraints, TypeAdapter

from lensflow.errors import StoreError
from lensflow.store import paths
from lensflow.store.regions import Region

# Array of pairs: a checksum of each row of each array that is rendered when it is read.
ROW_CHECKS = "row_checks"
# As lensflow.store.pieces.pieces_of writes them.
Pieces = Annotated[str, StringConstraints(pattern=r"^[0-9]+:[0-9a-f]{8}( [0-9]+:[0-9a-f]{8})*$")]


@dataclass(frozen=True)
class Receipt:
    """Record of one finished task.

    Attributes
    ----------
    region, start, stop : int
        Shard number and its rows.
    fingerprint : str
        Of the settings, code and inputs that made the data.
    checksums : dict
        Array -> checksum of the region's bytes.
    counts : dict
        Number of rows by outcome ("OK", "PARTIAL", "injections", "invariant: ..."); every row is counted.
    seconds : dict
        Phase -> seconds.
    bytes : int
        Uncompressed bytes written.
    objects : dict
        Key of every object in the store -> lengths and crc32c of its pieces; an array of zeros has none.
    messages : list of str
        Messages for people, such as broken files.
    peak_rss_mb : float
        Largest resident memory of the worker process so far.
    rendered : list of str
        Arrays with a checksum and without an object: they are not stored, but rendered when they are read.
    """

    region: int
    start: int
    stop: int
    fingerprint: str
    checksums: dict[str, str]
    counts: dict[str, int]
    seconds: dict[str, float]
    bytes: int
    objects: dict[str, Pieces]
    messages: list[str] = field(default_factory=list)
    peak_rss_mb: float = 0.0
    rendered: list[str] = field(default_factory=list)

    __pydantic_config__ = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False)

    @property
    def values(self) -> dict[str, str]:
        """Checksums of what a reader gets: the same whether pixels are stored or rendered."""
        return {name: value for name, value in self.checksums.items() if name != ROW_CHECKS}

    @property
    def plain(self) -> dict[str, Any]:
        """Receipt as it is written; as before there were rendered arrays, where there are none."""
        return {k: v for k, v in asdict(self).items() if k != "rendered" or v}


_RECEIPT = TypeAdapter(Receipt)


def receipt_url(folder: str, index: int) -> str:
    """URL of a region's receipt."""
    return paths.join(folder, _name(index))


def _name(index: int) -> str:
    return f"region-{index:06d}.json"


def write_receipt(folder: str, receipt: Receipt) -> Receipt:
    """Write a receipt; call it after all data that it covers are written.

    Of two writers of one region the first wins. The other uses the winner's receipt, if both wrote the same bytes.

    Returns
    -------
    Receipt
        The one stored now.

    Raises
    ------
    StoreError
        If there is a receipt for other bytes, or an unreadable one.
    """
    url = receipt_url(folder, receipt.region)
    try:
        paths.create_json(url, _sealed(receipt))
        _forget()
        return receipt
    except FileExistsError:
        first = read_receipt(folder, receipt.region)
    if first is None:
        raise StoreError(f"{url}: a damaged receipt is in the way. Run the same command again: it clears it away.")
    require_same(url, first, receipt.fingerprint, receipt.checksums)
    return first


def require_same(url: str, first: Receipt, stamp: str, checksums: Mapping[str, str]) -> None:
    """Refuse a second result of a finished region that is not the first one.

    Raises
    ------
    StoreError
    """
    if (first.fingerprint, first.checksums) != (stamp, dict(checksums)):
        differing = [k for k, v in checksums.items() if first.checksums.get(k) != v]
        raise StoreError(
            f"{url}: another writer finished this region with other bytes ({', '.join(differing) or 'fingerprint'}). "
            "The receipt holds: whatever does not fit it is refused by every reader, and `lensflow verify --repair` "
            "mends it. Run the same command again, on machines of one type."
        )


def replace_receipt(folder: str, receipt: Receipt) -> None:
    """Put a receipt in the place of another of the same values: more of the region's arrays are stored now."""
    paths.write_json(receipt_url(folder, receipt.region), _sealed(receipt))
    _forget()


def remove_receipts(folder: str, regions: Iterable[Region]) -> None:
    """Delete the receipts of regions, so that the next run redoes them."""
    _forget()
    for region in regions:
        paths.remove(receipt_url(folder, region.index))


def restamp(folder: str, regions: Iterable[Region], old: str, new: str) -> None:
    """Renew the receipts of regions under a new fingerprint: the store grew, and they did not change.

    Receipts of another fingerprint than ``old`` are left as they are, and so count for nothing.
    """
    done = read_receipts(folder)
    for region in regions:
        receipt = done.get(region.index)
        if receipt is not None and receipt.fingerprint == old:
            paths.write_json(receipt_url(folder, region.index), _sealed(replace(receipt, fingerprint=new)))
    _forget()


def _parse(content: bytes) -> Receipt | None:
    """Receipt from its bytes; None where they are not what was written."""
    try:
        value = json.loads(content)
        written = value.pop("content")
        receipt = _RECEIPT.validate_json(json.dumps(value))
    except (ValueError, TypeError, KeyError, AttributeError):
        return None
    return receipt if written == _content(receipt) else None


def bound_content(content: bytes) -> bytes:
    """Return the part of a receipt that a certificate covers: all but seconds and memory, which vary.

    Bytes that are not a receipt count exactly.
    """
    receipt = _parse(content)
    if receipt is None:
        return content
    bound = replace(receipt, seconds={}, peak_rss_mb=0.0).plain
    return json.dumps(bound, sort_keys=True, separators=(",", ":")).encode()


def _sealed(receipt: Receipt) -> dict[str, Any]:
    return {**receipt.plain, "content": _content(receipt)}


def _content(receipt: Receipt) -> str:
    text = json.dumps(receipt.plain, sort_keys=True, separators=(",", ":"))
    return xxhash.xxh3_128_hexdigest(text.encode())


def require_finished(folder: str, store_url: str, regions: Iterable[Region], expected_fingerprint: str) -> None:
    """Read receipts back: a step is done when every region has its receipt, not when the scheduler says so.

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
    """Delete a folder's receipts before a store is created again, so that none refers to deleted data."""
    _forget()
    paths.remove_folder(folder)


def read_receipt(folder: str, index: int) -> Receipt | None:
    """Receipt of one region; None if it is missing or damaged."""
    receipt = _parse(paths.read_many([receipt_url(folder, index)])[0])
    return receipt if receipt is not None and receipt.region == index else None


def read_receipts(folder: str) -> dict[int, Receipt]:
    """Every readable receipt of a folder by region; a damaged one counts as absent, so its region is redone."""
    names = [n for n in paths.list_names(folder) if n.startswith("region-") and n.endswith(".json")]
    contents = paths.read_many([paths.join(folder, n) for n in names])
    # A receipt under another region's name is invalid.
    return {
        r.region: r
        for name, content in zip(names, contents, strict=True)
        if (r := _parse(content)) is not None and name == _name(r.region)
    }


class Vouched(NamedTuple):
    """Objects of a region with their pieces, and its arrays that are rendered when they are read."""

    objects: dict[str, str]
    rendered: frozenset[str]


_lock = threading.Lock()
_reading: dict[tuple[str, int, str, str], threading.Lock] = {}
_vouched: dict[tuple[str, int, str, str], Vouched] = {}
_VOUCHED_KEPT = 2000
_changes = 0  # how often this process has changed receipts


def vouched_of(
    folder: str, index: int, expected_fingerprint: str, layout: str = "", again: bool = False
) -> Vouched | None:
    """What a region's receipt vouches for, read once per process and layout or ``again``; None without a valid one."""
    key = (folder, index, expected_fingerprint, layout)
    with _lock:
        if not again and (found := _vouched.get(key)) is not None:
            return found
        one_reader = _reading.setdefault(key, threading.Lock())
    # Of one receipt: those of several regions are read side by side.
    with one_reader:
        with _lock:
            if not again and (found := _vouched.get(key)) is not None:
                return found
            changes = _changes
        receipt = read_receipt(folder, index)
        with _lock:
            _reading.pop(key, None)
            if receipt is None or receipt.fingerprint != expected_fingerprint:
                return None
            found = Vouched(receipt.objects, frozenset(receipt.rendered))
            if changes == _changes:  # else it may be of before
                if len(_vouched) >= _VOUCHED_KEPT:
                    _vouched.clear()
                _vouched[key] = found
            return found


def _forget() -> None:
    """Forget cached receipts, since they are about to change."""
    global _changes
    with _lock:
        _changes += 1
        _vouched.clear()


def unfinished_regions(folder: str, regions: Iterable[Region], expected_fingerprint: str) -> list[Region]:
    """Return the regions to do, as :func:`missing_regions`, after deleting their invalid receipts."""
    todo = missing_regions(folder, regions, expected_fingerprint)
    known = set(paths.list_names(folder))
    remove_receipts(folder, [r for r in todo if receipt_url("", r.index).rsplit("/", 1)[-1] in known])
    return todo


def missing_regions(folder: str, regions: Iterable[Region], expected_fingerprint: str) -> list[Region]:
    """Regions without a valid receipt: absent, damaged, of another fingerprint or other rows."""
    return without_receipt(read_receipts(folder), regions, expected_fingerprint)


def without_receipt(done: dict[int, Receipt], regions: Iterable[Region], expected_fingerprint: str) -> list[Region]:
    """Regions that none of these receipts covers."""
    return [
        r
        for r in regions
        if (d := done.get(r.index)) is None
        or d.fingerprint != expected_fingerprint
        or (d.start, d.stop) != (r.start, r.stop)
    ]


def total_counts(receipts: Iterable[Receipt]) -> dict[str, int]:
    """Sum the counts of receipts."""
    total: dict[str, int] = {}
    for receipt in receipts:
        for name, number in receipt.counts.items():
            total[name] = total.get(name, 0) + number
    return total


def fold_messages(messages: Iterable[str]) -> list[str]:
    """One message per cause (the text before the affected hosts), with the number of regions that report it."""
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
        "stored_bytes": sum(int(p.split(":")[0]) for r in every for o in r.objects.values() for p in o.split()),
        "peak_rss_mb": max((r.peak_rss_mb for r in every), default=0.0),
        "messages": fold_messages(m for r in every for m in r.messages),
    }
