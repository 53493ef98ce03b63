"""Checksums of every object of a store, and zarr stores that record them and check every read.

Objects of a region are listed in its receipt. Everything written when a store is created (metadata, names, positions,
the whole manifest) is listed in one record beside the receipts, ``receipts/<store>/created.json``. Both give the crc32c
of every compressed chunk, so that a reader of a few rows can check them without reading more.
"""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable, Iterable, Mapping
from contextvars import ContextVar
from dataclasses import asdict, dataclass, field
from typing import Any

import xxhash
import zarr.abc.store
from pydantic import ConfigDict, TypeAdapter
from zarr.abc.store import ByteRequest, RangeByteRequest

from lensflow import schema
from lensflow.errors import DamagedStoreError, StoreError
from lensflow.store import object_bytes, paths, receipts
from lensflow.store.pieces import covering, fault_of, pieces_of, size_of
from lensflow.store.shards import chunks_of_metadata
from lensflow.store.through import ThroughStore

ROOT = "zarr.json"
# Written into the group's attributes after the store was made.
LATER_ATTRS = ("certificate",)
Guard = Callable[[], None]


def unguarded() -> None:
    """Allow everything: for a store that no run holds."""


@dataclass(frozen=True)
class Created:
    """Record of what was written when a store was created.

    Attributes
    ----------
    root : dict
        The group's metadata, without what is added later (``LATER_ATTRS``).
    metadata : dict
        Key of every array's metadata -> its text.
    objects : dict
        Key of every other object -> its pieces.
    arrays : list of str
        Arrays that are written region by region, so that receipts vouch for their objects.
    values : dict
        Every other array -> checksum of its values, which does not depend on how they are compressed.
    before : dict, optional
        The group's metadata before the store grew: still right while it is growing.
    virtual : dict
        Metadata (key -> text) of the arrays of which some region is rendered when it is read. The store itself has no
        metadata of them: whoever reads it without lensflow finds no such array, rather than one of zeros.
    """

    root: dict[str, Any]
    metadata: dict[str, str]
    objects: dict[str, str]
    arrays: list[str]
    values: dict[str, str]
    before: dict[str, Any] | None = None
    virtual: dict[str, str] = field(default_factory=dict)

    __pydantic_config__ = ConfigDict(strict=True, extra="forbid")

    def accepts(self, root: Mapping[str, Any]) -> bool:
        """Whether group metadata (of :func:`root_of`) is what was written."""
        return canonical(root) in (canonical(self.root), canonical(self.before))

    @property
    def meaning(self) -> dict[str, Any]:
        """What results can depend on: values and attributes, without names of the run, code and settings."""
        left_out = ("identity", "fingerprint", "complete", "finished", "layout")
        return {**{k: v for k, v in self.root["attributes"].items() if k not in left_out}, "values": self.values}

    @property
    def plain(self) -> dict[str, Any]:
        """Record as it is written; as before there were virtual arrays, where there are none."""
        return {k: v for k, v in asdict(self).items() if k != "virtual" or v}

    @property
    def rendered(self) -> list[str]:
        """Names of the arrays in ``virtual``."""
        return [key.removesuffix(f"/{ROOT}") for key in self.virtual]

    @property
    def content(self) -> str:
        """Fingerprint of all of it."""
        text = json.dumps(self.plain, sort_keys=True, separators=(",", ":"))
        return xxhash.xxh3_128_hexdigest(text.encode())


_CREATED = TypeAdapter(Created)
# By url, fingerprint and layout: a store may be made again in the same place, of the same settings, and others of those
# that decide no bit (codec, chunks, which pixels are stored).
_known: dict[tuple[str, str, str], Created] = {}
# By store as above: checked metadata of arrays on object stores, by key; None where there is no such array.
_metadata_read: dict[tuple[str, str, str], dict[str, bytes | None]] = {}


def folder_of(url: str) -> str:
    """Receipts of a store: the folder ``receipts/<store's name>`` beside it."""
    name = url.rstrip("/").rpartition("/")[2]
    return paths.join(paths.parent(url), "receipts", name.removesuffix(".zarr"))


def run_of(url: str) -> str:
    """Folder of the run that a store belongs to."""
    return paths.parent(url)


def record_url(url: str) -> str:
    """URL of the record of a store's creation."""
    return paths.join(folder_of(url), "created.json")


def read_created(url: str) -> Created:
    """Read the record of a store's creation.

    Raises
    ------
    DamagedStoreError
        If it is missing or is not what was written.
    """
    (content,) = paths.read_many([record_url(url)])
    if not content:
        raise DamagedStoreError(url, record_url(url), "is missing (the receipts belong to the store: move both)")
    try:
        value = json.loads(content)
        created = _CREATED.validate_json(json.dumps(value["created"]))
        if created.content != value["content"]:
            raise ValueError
    except (ValueError, TypeError, KeyError) as error:
        raise DamagedStoreError(url, record_url(url), "is not what was written") from error
    return created


def write_created(url: str, created: Created) -> None:
    """Write the record of a store's creation: from then on the store counts as complete."""
    _known.clear()
    _metadata_read.clear()
    object_bytes.forget()
    paths.write_json(record_url(url), {"created": created.plain, "content": created.content})


def root_of(content: bytes) -> dict[str, Any]:
    """Group metadata from its bytes, without what is added later."""
    value = json.loads(content)
    attributes = {k: v for k, v in value["attributes"].items() if k not in LATER_ATTRS}
    return {**value, "attributes": attributes}


class RecordingStore(ThroughStore):
    """A zarr store that records what is written to it, and calls a guard before each write.

    Metadata of the arrays in ``unwritten`` are recorded and not written.
    """

    def __init__(self, store: zarr.abc.store.Store, guard: Guard = unguarded, unwritten: Iterable[str] = ()):
        super().__init__(store)
        self.guard = guard
        self.unwritten = {f"{name}/{ROOT}" for name in unwritten}
        self.metadata: dict[str, str] = {}
        self.objects: dict[str, str] = {}
        self._chunks: dict[str, int] = {}

    def _with_store(self, store: zarr.abc.store.Store) -> RecordingStore:
        again = RecordingStore(store, self.guard)
        again.unwritten = self.unwritten
        again.metadata, again.objects, again._chunks = self.metadata, self.objects, self._chunks  # one record
        return again

    async def set(self, key: str, value: Any) -> None:
        """Record an object and write it."""
        await asyncio.to_thread(self.guard)
        data = value.to_bytes()
        if key.endswith(ROOT):
            self.metadata[key] = data.decode()
            self._chunks[key.removesuffix(ROOT).rstrip("/")] = chunks_of_metadata(json.loads(data))
        else:
            self.objects[key] = pieces_of(data, self._chunks.get(key.partition("/c/")[0], 0))
        if key not in self.unwritten:
            await self._store.set(key, value)

    async def set_if_not_exists(self, key: str, value: Any) -> None:
        """As :meth:`set`: lensflow only creates arrays in stores that it has emptied."""
        if key not in self.metadata and key not in self.objects:
            await self.set(key, value)

    async def delete(self, key: str) -> None:
        """Forget an object and delete it."""
        await asyncio.to_thread(self.guard)
        self.objects.pop(key, None)
        await self._store.delete(key)

    async def delete_dir(self, prefix: str) -> None:
        """Forget what is below a prefix and delete it."""
        await asyncio.to_thread(self.guard)
        below = f"{prefix.rstrip('/')}/" if prefix.strip("/") else ""
        for kept in (self.metadata, self.objects):
            for key in [k for k in kept if k.startswith(below)]:
                del kept[key]
        await self._store.delete_dir(prefix)

    async def clear(self) -> None:
        """Forget and delete everything."""
        await self.delete_dir("")

    def created(self, arrays: Iterable[str], values: Mapping[str, str], attrs: Mapping[str, Any]) -> Created:
        """Return the record, with the group's final attributes."""
        root = root_of(self.metadata[ROOT].encode())
        root["attributes"] |= attrs
        written = {k: text for k, text in self.metadata.items() if k != ROOT and k not in self.unwritten}
        virtual = {k: text for k, text in self.metadata.items() if k in self.unwritten}
        return Created(root, written, dict(self.objects), list(arrays), dict(values), virtual=virtual)

    @property
    def layout(self) -> str:
        """Digest of the metadata of all arrays, and of which of them are not stored."""
        of = {k: [text, k in self.unwritten] for k, text in self.metadata.items() if k != ROOT}
        return xxhash.xxh3_64_hexdigest(canonical(of).encode())


class CheckedStore(ThroughStore):
    """A zarr store that checks every byte it reads, and never takes a missing object for zeros.

    Parameters
    ----------
    store : zarr.abc.store.Store
    url : str
        Of the store.
    unfinished : bool
        Whether regions without a receipt may be read, unchecked: for a report of an unfinished run, which leaves their
        rows out.
    vouched : mapping, optional
        Objects of one region, instead of its receipt's.
    """

    def __init__(
        self,
        store: zarr.abc.store.Store,
        url: str = "",
        unfinished: bool = False,
        vouched: Mapping[str, str] | None = None,
    ):
        super().__init__(store)
        self.url, self.unfinished, self.vouched, self.fingerprint, self.layout = url, unfinished, vouched, "", ""
        self._created: Created | None = None

    def _with_store(self, store: zarr.abc.store.Store) -> CheckedStore:
        return CheckedStore(store, self.url, self.unfinished, self.vouched)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_created": None}  # read again where it arrives, once for each process

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)

    async def get(self, key: str, prototype: Any, byte_range: ByteRequest | None = None) -> Any:
        """Read an object, or a part of it, and check it.

        Raises
        ------
        DamagedStoreError
        """
        if key == ROOT:
            return await self._root(prototype)
        if (text := (await self._record()).virtual.get(key)) is not None:
            return prototype.buffer.from_bytes(text.encode())
        if key.endswith(ROOT) and not paths.is_local(self.url):
            return await self._metadata(key, prototype)
        return await self._checked(key, prototype, byte_range)

    async def _metadata(self, key: str, prototype: Any) -> Any:
        """Metadata of an array on an object store: read and checked once in a process, as the record is."""
        kept = _metadata_read.setdefault((self.url, self.fingerprint, self.layout), {}) if self.fingerprint else {}
        if key not in kept:
            data = await self._checked(key, prototype, None)
            kept[key] = None if data is None else data.to_bytes()
        content = kept[key]
        return None if content is None else prototype.buffer.from_bytes(content)

    async def _checked(self, key: str, prototype: Any, byte_range: ByteRequest | None) -> Any:
        expected = await self._expected(key)
        if expected is None:
            return await self._store.get(key, prototype, byte_range)
        if not expected:  # nothing was stored: a chunk of zeros
            if await self._store.exists(key):
                raise DamagedStoreError(self.url, key, "is an object that nothing vouches for")
            return None
        start, stop, low, high, pieces = covering(expected, byte_range)
        part = RangeByteRequest(low, high) if byte_range is not None else None
        try:
            data = await self._store.get(key, prototype, part)
        except Exception as error:
            # Reading past the end of an object is an error of its own in every library.
            if await self._store.exists(key) and (size := await self._store.getsize(key)) < size_of(expected):
                what = f"is truncated: {size} of {size_of(expected)} bytes"
                raise DamagedStoreError(self.url, key, what) from error
            raise
        if data is None:
            raise DamagedStoreError(self.url, key, "is missing")
        fault = fault_of(data.as_numpy_array().data, pieces)
        if fault:
            raise DamagedStoreError(self.url, key, fault)
        return data if (start, stop) == (low, high) else data[start - low : stop - low]

    async def _root(self, prototype: Any) -> Any:
        """Group metadata; compared with the record of the store's creation, where there is one."""
        data = await self._store.get(ROOT, prototype)
        if data is None:
            if await asyncio.to_thread(paths.exists, record_url(self.url)):
                raise DamagedStoreError(self.url, ROOT, "is missing")
            return None
        try:
            root = root_of(data.to_bytes())
            self.fingerprint, self.layout = (str(root["attributes"].get(k, "")) for k in ("fingerprint", "layout"))
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise DamagedStoreError(self.url, ROOT, "is not what was written") from error
        if not _is_complete(root["attributes"]):
            return data  # a store that is being created has no record yet, and nobody reads it
        try:
            self._created = await self._record()
        except DamagedStoreError:
            # Not lensflow's, or older: the code that opens the group reports which. Otherwise it is damage.
            if _is_ours(root["attributes"]):
                raise
            return data
        if not self._created.accepts(root):
            raise DamagedStoreError(self.url, ROOT, "is not what was written")
        return data

    async def _record(self) -> Created:
        return self._created if self._created is not None else await asyncio.to_thread(self._read_record)

    def _read_record(self) -> Created:
        if self._created is None:
            self._created = _created_of(self.url, self.fingerprint, self.layout)
        return self._created

    async def _expected(self, key: str) -> str | None:
        created = await self._record()
        known = _pieces_at_creation(created, key)
        return known if known is not None else await asyncio.to_thread(self.expected, key)

    @property
    def created(self) -> Created:
        """Record of the store's creation."""
        return self._read_record()

    def expected(self, key: str) -> str | None:
        """Pieces that an object must have.

        Parameters
        ----------
        key : str

        Returns
        -------
        str or None
            As :func:`pieces_of`; empty if there must be no object, None if nothing vouches for it.

        Raises
        ------
        StoreError
            If the region that it belongs to has no valid receipt.
        """
        known = _pieces_at_creation(self._read_record(), key)
        if known is not None:
            return known
        if self.vouched is not None:
            return self.vouched.get(key, "")
        array, _, chunk = key.partition("/c/")
        index = int(chunk.split("/")[0])
        found = self.region(index)
        if found is not None and array in found.rendered:
            found = self.region(index, again=True)  # another process may have stored its pixels since it was read
        if found is not None and array in found.rendered:
            raise StoreError(
                f"{self.url}: {key} is not stored (store.pixels), and zarr alone cannot render it. Read the pairs with "
                f"lensflow (lf.open_pairs, lf.open_run), or store them: `lensflow materialise {run_of(self.url)}`."
            )
        return None if found is None else found.objects.get(key, "")

    def region(self, index: int, again: bool = False) -> receipts.Vouched | None:
        """What the receipt of a region vouches for; None without one where a store may be ``unfinished``.

        Parameters
        ----------
        index : int
        again : bool
            Whether to read it even if this process has read it before.

        Raises
        ------
        StoreError
            If it has no valid receipt.
        """
        found = receipts.vouched_of(folder_of(self.url), index, self.fingerprint, self.layout, again)
        if found is not None or self.unfinished:
            return found
        raise StoreError(
            f"{self.url}: region {index} has no valid receipt: it is not finished, or its receipt is damaged "
            f"({receipts.receipt_url(folder_of(self.url), index)}). Run the same command again: it does what is left."
        )


def _pieces_at_creation(created: Created, key: str) -> str | None:
    """Pieces of an object that was written when its store was created; None for those of regions."""
    if key in created.metadata:
        return pieces_of(created.metadata[key].encode())
    array, _, chunk = key.partition("/c/")
    return None if array in created.arrays and chunk else created.objects.get(key, "")


# By url and whether it may be unfinished: group metadata that were read and checked, and what their files were then.
_groups: dict[tuple[str, bool], tuple[Any, zarr.Group]] = {}
_GROUPS_KEPT = 64


def open_group(url: str, unfinished: bool = False) -> zarr.Group:
    """Open a zarr group whose reads are all checked; ``unfinished`` as in :class:`CheckedStore`.

    On a local disk a process keeps it for as long as the files of its metadata and of its record stay the same.

    Raises
    ------
    StoreError
        If there is none, or it is damaged.
    """
    opened = None if unfinished else opened_groups.get({}).get(url)
    return checked_group(url, unfinished) if opened is None else opened


# By url: groups that the task at work has opened (lensflow.store.read.opened_together).
opened_groups: ContextVar[dict[str, zarr.Group]] = ContextVar("lensflow_opened")


def checked_group(url: str, unfinished: bool = False) -> zarr.Group:
    """Open a group as :func:`open_group` does, though it may be open."""
    files = paths.state_of(paths.join(url, ROOT), record_url(url))
    seen, group = _groups.get((url, unfinished), (None, None))
    if group is None or files is None or files != seen:
        group = paths.open_group(url, wrapped=lambda store: CheckedStore(store, url, unfinished))
        if len(_groups) >= _GROUPS_KEPT:
            _groups.clear()
        if files is not None:
            _groups[url, unfinished] = files, group
    return group


def has_array(group: zarr.Group, name: str) -> bool:
    """Whether a store that :func:`open_group` opened has an array, stored or rendered; nothing is read."""
    key, created = f"{name}/{ROOT}", created_of(group)
    return key in created.metadata or key in created.virtual


def created_of(group: zarr.Group) -> Created:
    """Record of the creation of a store that :func:`open_group` opened."""
    assert isinstance(group.store, CheckedStore)
    return group.store.created


_lock = threading.Lock()


def _created_of(url: str, fingerprint: str, layout: str) -> Created:
    """Record of a store, read once in a process for each fingerprint and layout of the store."""
    with _lock:
        known = _known.get((url, fingerprint, layout)) if fingerprint else None
        if known is None:
            known = read_created(url)
            if len(_known) >= 64:
                _known.clear()
                _metadata_read.clear()
            _known[url, fingerprint, layout] = known
        return known


def canonical(value: Any) -> str:
    """Canonical JSON text of a value."""
    return json.dumps(value, sort_keys=True)


def _is_complete(attributes: Mapping[str, Any]) -> bool:
    return attributes.get("finished", attributes.get("complete")) is not False


def _is_ours(attributes: Mapping[str, Any]) -> bool:
    return attributes.get("schema_version") == schema.SCHEMA_VERSION and "lensflow_store" in attributes
