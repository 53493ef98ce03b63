"""A zarr store in front of another, all of whose reads and writes go through the few methods that a subclass defines.

zarr's own ``WrapperStore`` hands every method on to the store behind it, those too that later versions of zarr bring
(``get_ranges`` and ``get_sync`` of 3.4): what a subclass checks in ``get`` is then passed by without a word. ``Store``
itself makes all such methods of ``get`` and ``set``.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Sequence
from typing import Any, Self

import zarr.abc.store
from zarr.abc.store import ByteRequest


class ThroughStore(zarr.abc.store.Store):
    """Reads and writes of another store, one object at a time, through ``get``, ``set`` and ``delete``.

    Parameters
    ----------
    store : zarr.abc.store.Store
    """

    # Of zarr 3.4: without methods that do not wait, so that none of them is another way to the bytes.
    _supports_sync_io = False

    def __init__(self, store: zarr.abc.store.Store):
        super().__init__(read_only=store.read_only)
        self._store = store

    def _with_store(self, store: zarr.abc.store.Store) -> Self:
        """Same store in front of another."""
        return type(self)(store)

    def with_read_only(self, read_only: bool = False) -> Self:
        """Same store, read-only or not."""
        return self._with_store(self._store.with_read_only(read_only))

    async def _open(self) -> None:
        await self._store._ensure_open()
        await super()._open()

    def close(self) -> None:
        """Close both."""
        self._store.close()
        super().close()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ThroughStore) and type(self) is type(other) and self._store == other._store

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._store!r})"

    async def get(self, key: str, prototype: Any, byte_range: ByteRequest | None = None) -> Any:
        """Read an object, or a part of it."""
        return await self._store.get(key, prototype, byte_range)

    async def get_partial_values(self, prototype: Any, key_ranges: Iterable[tuple[str, Any]]) -> list[Any]:
        """Read parts of objects."""
        return [await self.get(key, prototype, part) for key, part in key_ranges]

    async def get_ranges(
        self, key: str, byte_ranges: Sequence[ByteRequest | None], **options: Any
    ) -> AsyncGenerator[Sequence[tuple[int, Any]], None]:
        """Read parts of an object, several at once (zarr 3.4); an error is the one that ``get`` raised, in no group."""
        try:
            async for batch in super().get_ranges(key, byte_ranges, **options):  # type: ignore[misc]
                yield batch
        except BaseExceptionGroup as group:
            first: BaseException = group
            while isinstance(first, BaseExceptionGroup):
                first = first.exceptions[0]
            raise first from None

    async def exists(self, key: str) -> bool:
        """Whether there is an object."""
        return await self._store.exists(key)

    async def set(self, key: str, value: Any) -> None:
        """Write an object."""
        await self._store.set(key, value)

    async def delete(self, key: str) -> None:
        """Delete an object."""
        await self._store.delete(key)

    @property
    def supports_writes(self) -> bool:
        """As the store behind."""
        return self._store.supports_writes

    @property
    def supports_deletes(self) -> bool:
        """As the store behind."""
        return self._store.supports_deletes

    @property
    def supports_listing(self) -> bool:
        """As the store behind."""
        return self._store.supports_listing

    def list(self) -> AsyncIterator[str]:
        """All keys."""
        return self._store.list()

    def list_prefix(self, prefix: str) -> AsyncIterator[str]:
        """All keys below a prefix."""
        return self._store.list_prefix(prefix)

    def list_dir(self, prefix: str) -> AsyncIterator[str]:
        """Names right below a prefix."""
        return self._store.list_dir(prefix)
