"""A tree of sums whose shape depends only on the number of its leaves."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")
# Values joined at a time: few, so that few are held in memory.
FAN_IN = 4


class Tree(Generic[T]):
    """Values of neighbouring leaves are joined as soon as all of them are there, and so on up to the root.

    Floating-point sums depend on their order; here each value has its place, whenever it comes. Of n leaves that come
    about in order, some ``FAN_IN`` times log n values wait at a time.

    Parameters
    ----------
    number : int
        Leaves, at least one.
    join : callable
        Values of neighbours, in order, to one. A single one is its own sum.
    """

    def __init__(self, number: int, join: Callable[[list[T]], T]):
        if number < 1:
            raise ValueError("a tree without leaves has no root")
        self._number, self._join = number, join
        self._parts: dict[tuple[int, int], dict[int, T]] = {}
        self._root: list[T] = []

    def add(self, place: int, value: T, level: int = 0) -> None:
        """Put a value at its leaf, 0 to number - 1, each once; or the sum of some at its node, so many levels up."""
        size = self._number
        for _ in range(level):
            size = -(-size // FAN_IN)
        while size > 1:
            node, child = divmod(place, FAN_IN)
            parts = self._parts.setdefault((level, node), {})
            parts[child] = value
            if len(parts) < min(FAN_IN, size - node * FAN_IN):
                return
            del self._parts[level, node]
            value = self._join([parts[k] for k in sorted(parts)]) if len(parts) > 1 else value
            place, size, level = node, -(-size // FAN_IN), level + 1
        self._root = [value]

    @property
    def root(self) -> T:
        """Sum of all leaves.

        Raises
        ------
        LookupError
            While some are missing.
        """
        if not self._root:
            raise LookupError("leaves are missing")
        return self._root[0]

    def waiting(self) -> list[T]:
        """Values that wait for their neighbours."""
        return [value for parts in self._parts.values() for value in parts.values()]
