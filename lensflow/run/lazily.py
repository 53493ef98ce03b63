"""Lazy measurements of pairs in a notebook: one task per chunk, added up on the workers, computed on access.

What :func:`lensflow.api.diagnose` and :func:`lensflow.api.gate` return are Dask collections: ``dask.compute`` of
several reads, or renders, every chunk of the pairs once for all of them.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Generic, TypeVar, overload

import dask
import dask.array as da
import numpy as np
import xarray as xr
from dask.base import DaskMethodsMixin
from dask.delayed import Delayed

from lensflow.errors import StoreError
from lensflow.measure.gate import GateResult
from lensflow.measure.gates import as_dataset
from lensflow.run.lazy import rendered
from lensflow.run.tree import Tree

T = TypeVar("T")
Reduce = Callable[[xr.Dataset], Any]


class Lazy(DaskMethodsMixin, Generic[T]):
    """A value that Dask computes once, on first access.

    Parameters
    ----------
    root : Delayed
        What the workers give.
    finish : callable
        Makes the value of it, where it is asked for.
    """

    __dask_scheduler__ = staticmethod(dask.threaded.get)
    # The arrays' optimisation: each chunk of the pairs is made once for several of these.
    __dask_optimize__ = staticmethod(da.Array.__dask_optimize__)

    def __init__(self, root: Delayed, finish: Callable[[Any], T]):
        self._root, self._finish = root, finish
        self._found: list[T] = []

    def __dask_graph__(self) -> Any:
        return self._root.__dask_graph__()

    def __dask_keys__(self) -> list[Any]:
        return [self._root.key]

    def __dask_layers__(self) -> tuple[Any, ...]:
        layers: tuple[Any, ...] = self._root.__dask_layers__()
        return layers

    def __dask_tokenize__(self) -> Any:
        return self._root.key

    def __dask_postcompute__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        # Dask may run it as a task on a worker.
        return _finished, (self._finish,)

    def __dask_postpersist__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        rebuild, more = self._root.__dask_postpersist__()

        def persisted(graph: Any, *rest: Any, **named: Any) -> Lazy[T]:
            out = copy.copy(self)
            out._root, out._found = rebuild(graph, *rest, **named), []
            return out

        return persisted, more

    def compute(self, **how: Any) -> T:
        """Compute it now, or return the earlier result.

        Parameters
        ----------
        **how
            What ``dask.compute`` takes.

        Returns
        -------
        value
            In memory; the same object at every call.
        """
        if not self._found:
            self._found.extend(dask.compute(self, **how))
        return self._found[0]

    @property
    def value(self) -> T:
        """Value, computed now if it is not yet."""
        return self.compute()

    def __repr__(self) -> str:
        """The value if computed, else a placeholder."""
        return repr(self._found[0]) if self._found else f"<{type(self).__name__}: not computed yet; .compute() does it>"


class LazyResults(Lazy[dict[str, xr.Dataset]], Mapping[str, xr.Dataset]):
    """Datasets by name. Accessing one computes all of them, in one pass over the pairs."""

    def __init__(self, root: Delayed, finish: Callable[[Any], dict[str, xr.Dataset]], names: Sequence[str] = ()):
        super().__init__(root, finish)
        self._names = tuple(names)

    def __getitem__(self, name: str) -> xr.Dataset:
        if name not in self._names:
            raise KeyError(name)
        return self.value[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


class LazyVerdicts(Lazy[tuple[GateResult, ...]], Sequence[GateResult]):
    """Verdicts of gates, in their order. Accessing one computes all of them."""

    @overload
    def __getitem__(self, place: int) -> GateResult: ...

    @overload
    def __getitem__(self, place: slice) -> tuple[GateResult, ...]: ...

    def __getitem__(self, place: int | slice) -> GateResult | tuple[GateResult, ...]:
        return self.value[place]

    def __len__(self) -> int:
        return len(self.value)

    def to_dataset(self) -> xr.Dataset:
        """Areas with their intervals, verdicts and reasons along ``gate``."""
        return as_dataset(self.value)


def sum_of_chunks(pairs: xr.Dataset, reduce: Reduce, join: Callable[[list[Any]], Any]) -> Delayed:
    """Reduce every chunk along sample where it lies and add up on the way, in the tree of a stored run's regions.

    Parameters
    ----------
    pairs : Dataset
        Opened or lazy, with ``stamp``, ``ctrl`` and ``arc``.
    reduce : callable
        A chunk of the pairs, in memory, to a small value.
    join : callable
        Values of neighbours to one.

    Returns
    -------
    Delayed

    Raises
    ------
    StoreError
        If the pairs have no pixels.
    """
    for name in ("stamp", "ctrl", "arc"):
        if name not in pairs:
            raise StoreError(f"pairs have no {name!r}: open them with open_pairs, or make them with inject")
    leaves = _reduced(pairs, reduce)
    tree = Tree(len(leaves), dask.delayed(join, pure=False))
    for place, leaf in enumerate(leaves):
        tree.add(place, leaf)
    return tree.root


def _reduced(pairs: xr.Dataset, reduce: Reduce) -> list[Delayed]:
    """One value a chunk: one blockwise call over all variables."""
    pairs = pairs.unify_chunks()
    chunks = pairs.chunksizes.get("sample", (pairs.sizes["sample"],))
    names = [n for n in pairs.variables if "sample" in pairs[n].dims]
    frame, own = pairs.drop_vars(names).compute(), {n: pairs.variables[n] for n in names}
    coords, token = [n for n in names if n in pairs.coords], dask.base.tokenize(object())
    described = {n: (v.dims, v.attrs) for n, v in own.items()}
    letters = {dim: k for k, dim in enumerate(pairs.dims)}
    sample = letters["sample"]

    packed: list[tuple[da.Array, Sequence[Any]]] = []
    in_memory = {n: v for n, v in own.items() if v.chunks is None}
    packed.append((_in_memory(in_memory, chunks, f"rows-{token}"), [*in_memory]))
    lazy = {n: v for n, v in own.items() if v.chunks is not None}
    if made := rendered(pairs):
        packed.append(made)
        lazy = {n: v for n, v in lazy.items() if n not in made[1]}

    taken = [wanted for _, wanted in packed]

    def of_chunk(*values: Any) -> np.ndarray:
        found = dict(zip(lazy, values[len(taken) :], strict=True))
        for part, wanted in zip(values, taken, strict=False):
            found |= {n: part[n] for n in wanted}
        out = np.empty(1, object)
        block = frame.assign({n: (*described[n][:1], found[n], *described[n][1:]) for n in described})
        out[0] = reduce(block.set_coords(coords))
        return out

    arguments = [x for part, _ in packed for x in (part, (sample,))]
    arguments += [x for v in lazy.values() for x in (v.data, tuple(letters[d] for d in v.dims))]
    values = da.blockwise(
        of_chunk, (sample,), *arguments, dtype=object, concatenate=True, align_arrays=False,
        meta=np.empty(0, object), name=f"measure-{token}",
    )  # fmt: skip
    only = dask.delayed(_only, pure=False)
    return [only(leaf) for leaf in values.to_delayed(optimize_graph=False).ravel()]


def _in_memory(variables: Mapping[Any, xr.Variable], chunks: Sequence[int], name: str) -> da.Array:
    """Rows of variables that are in memory, as an array of one dict a chunk: no task cuts them."""
    edges = np.concatenate([[0], np.cumsum(chunks)])
    parts = {
        (name, k): {n: v.isel(sample=slice(*edges[k : k + 2])).values for n, v in variables.items()}
        for k in range(len(chunks))
    }
    return da.Array(parts, name, (tuple(chunks),), dtype=object, meta=np.empty(0, object))


def _finished(values: Sequence[Any], finish: Callable[[Any], T]) -> T:
    return finish(values[0])


def _only(value: np.ndarray) -> Any:
    return value[0]
