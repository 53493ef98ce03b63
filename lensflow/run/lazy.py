"""Inject lazily: one Dask task renders a chunk of rows, and one more extracts each requested array.

The chunk's task finds its rows and its hosts by itself, in what :class:`Origin` holds: datasets, read or still lazy.
An Origin is one key of the graph, which every chunk refers to, so that a graph of a million rows is planned in a
second and takes a few megabytes.
"""

from __future__ import annotations

import uuid
from typing import Any
from weakref import WeakValueDictionary

import dask
import dask.array as da
import numpy as np
import xarray as xr

from lensflow import schema
from lensflow.config import InjectionConfig, StoreConfig
from lensflow.errors import ConfigError, ManifestError
from lensflow.injection import inject_block
from lensflow.injection.inject import NEEDED, OPTIONAL, rows_of_hosts
from lensflow.injection.rounding import as_stored
from lensflow.manifest.source_bank import SourceBank
from lensflow.store.unpack import without_radius_of_controls

# About a region of a store: 1.4 s of one core, and 0.2 GB with three bands of 64 x 64 pixels.
CHUNK = 1000
LAZY = (*schema.PAIRS, schema.CTRL, schema.HAS_DATA, *schema.METRICS, *schema.ROUNDING, *schema.FLAGS)
# Hosts of a chunk are read as one slice up to this many times their number, and one by one beyond.
_GAPS = 2


class Origin:
    """What lazy pairs are made of; renders any chunk of them.

    Parameters
    ----------
    cutouts, manifest : Dataset
        Read or lazy.
    config : InjectionConfig
    store : StoreConfig
        Its rounding.
    sources : SourceBank or None
    chunk : int
        Rows of a chunk.
    """

    def __init__(
        self,
        cutouts: xr.Dataset,
        manifest: xr.Dataset,
        config: InjectionConfig,
        store: StoreConfig,
        sources: SourceBank | None,
        chunk: int,
    ):
        self.cutouts, self.manifest, self.config, self.store = cutouts, manifest, config, store
        self.sources, self.chunk, self.key = sources, chunk, uuid.uuid4().hex
        self.columns = manifest  # as the pairs carry them
        self._hosts = cutouts[[*NEEDED, *(n for n in OPTIONAL if n in cutouts)]].reset_coords(drop=True)
        self._hosts.attrs = {"pixel_scale_arcsec": cutouts.attrs["pixel_scale_arcsec"]}
        kept = {*(v.name for v in schema.manifest_variables(manifest.variables)), "host_id"}
        self._rows = manifest[[n for n in manifest.variables if n in kept]]
        # Those of a manifest in memory are compared at once, below.
        self._names = _names(cutouts) if self.is_lazy else None

    @property
    def is_lazy(self) -> bool:
        """Whether the manifest is."""
        return self._rows["host_index"].chunks is not None

    def __getstate__(self) -> dict[str, Any]:
        # Workers render; the cutouts and the whole manifest, with what no pixel depends on, stay with the client.
        return self.__dict__ | {"cutouts": None, "columns": None, "manifest": None}

    def name(self, variable: str) -> str:
        """Unique name of a variable's Dask array."""
        return f"{variable}-{self.key}"

    def render(self, number: int) -> dict[str, np.ndarray]:
        """Read the rows and hosts of a chunk and inject them: every variable of ``LAZY``."""
        rows = slice(number * self.chunk, (number + 1) * self.chunk)
        manifest = _loaded(self._rows.isel(sample=rows))
        index = manifest["host_index"].values
        refuse_other_hosts(index, manifest.get("host_id"), self._hosts.sizes["host"], self._names, rows.start)
        hosts = _loaded(_narrow(self._hosts, np.unique(index)))
        block = as_stored(inject_block(hosts, manifest, self.config, self.sources), hosts, manifest, self.store)
        has_data = hosts["invvar"].values[rows_of_hosts(hosts, index)] > 0
        every = variables_of(self._rows)
        return {v.name: has_data if v is schema.HAS_DATA else block[v.name].values for v in every}


def variables_of(rows: xr.Dataset) -> tuple[schema.Variable, ...]:
    """What is rendered of a manifest's rows: ``LAZY``, and what sources with bulges or knots have beside it."""
    return LAZY + (schema.COMPONENT_METRICS if schema.COMPONENTS[0].name in rows else ())


# Origins of lazy pairs, while a graph references them, for write_pairs.
origins: WeakValueDictionary[str, Origin] = WeakValueDictionary()


def rendered(pairs: xr.Dataset) -> tuple[da.Array, tuple[str, ...]] | None:
    """Chunks of lazy pairs, each a dict of all their arrays, and the variables of the pairs that are untouched ones.

    None of pairs that :func:`inject` did not give, or of some of their rows.
    """
    names = dask_names(pairs)
    for variable, name in names.items():
        origin = origins.get(name.rpartition("-")[2])
        if origin is not None and name == origin.name(variable):
            data = pairs[variable].data
            whole = da.Array(data.dask, origin.name("inject"), (data.chunks[0],), dtype=object)
            return whole, tuple(v for v, n in names.items() if n == origin.name(v))
    return None


def dask_names(pairs: xr.Dataset) -> dict[str, str]:
    """Name of the Dask array of each rendered variable that pairs have; empty for one in memory."""
    every = (*LAZY, *schema.COMPONENT_METRICS)
    return {v.name: str(getattr(pairs[v.name].data, "name", "")) for v in every if v.name in pairs}


def cutouts_of(pairs: xr.Dataset) -> xr.Dataset | None:
    """The cutouts of the unmodified controls of lazy pairs; None for other pairs."""
    name = str(getattr(pairs["ctrl"].data, "name", ""))
    origin = origins.get(name.rpartition("-")[2])
    return origin.cutouts if origin is not None and name == origin.name("ctrl") else None


def _names(cutouts: xr.Dataset) -> np.ndarray | None:
    return np.asarray(cutouts["host_id"].values) if "host_id" in cutouts.variables else None


def _loaded(dataset: xr.Dataset) -> xr.Dataset:
    # Inside a task, in its own thread: another scheduler would wait for the very worker that it runs on.
    return dataset.compute(scheduler="synchronous")


def _narrow(hosts: xr.Dataset, index: np.ndarray) -> xr.Dataset:
    """Hosts of a chunk: one slice if its rows are sorted by host, as in a manifest."""
    first, last = int(index[0]), int(index[-1])
    if last - first < _GAPS * len(index):
        index = np.arange(first, last + 1)
        hosts = hosts.isel(host=slice(first, last + 1))
    else:
        hosts = hosts.isel(host=index)
    return hosts.assign_coords(host_index=("host", index))


def refuse_other_hosts(
    index: np.ndarray, of_rows: xr.DataArray | None, n_hosts: int, names: np.ndarray | None, first_row: int = 0
) -> None:
    """Refuse rows whose ``host_index`` is not a host of the cutouts, or one with another name.

    Raises
    ------
    ManifestError
        Naming the first such row.
    """
    bad = (index < 0) | (index >= n_hosts)
    if bad.any():
        row = int(np.argmax(bad))
        raise ManifestError(
            f"manifest row {first_row + row}: host_index {index[row]} is not among the given hosts ({n_hosts} of them)"
        )
    if of_rows is None or names is None:
        return
    other = of_rows.values != names[index]
    if other.any():
        row = int(np.argmax(other))
        raise ManifestError(
            f"manifest row {first_row + row} is of host {of_rows.values[row]!s}, and host {index[row]} of these "
            f"cutouts is {names[index[row]]!s} ({int(other.sum()) - 1} other row(s) alike): the manifest was planned "
            "for other cutouts. Plan the injections of these cutouts, or inject into those it was planned for."
        )


def _render(origin: Origin, block_id: tuple[int, ...]) -> dict[str, np.ndarray]:
    return origin.render(block_id[0])


def _take(block: dict[str, np.ndarray], name: str) -> np.ndarray:
    return block[name]


def inject(
    cutouts: xr.Dataset,
    manifest: xr.Dataset,
    config: InjectionConfig | None = None,
    chunk: int = CHUNK,
    sources: SourceBank | None = None,
    store: StoreConfig | None = None,
) -> xr.Dataset:
    """Inject lazily: pairs as Dask arrays, rendered chunk by chunk when they are computed.

    Parameters
    ----------
    cutouts : Dataset
        As opened by ``open_cutouts``, or in memory.
    manifest : Dataset
        Any rows of a manifest, in memory or lazy.
    config : InjectionConfig, optional
    chunk : int
        Samples rendered together; the result does not depend on it.
    sources : SourceBank, optional
        Where the images of rows with a ``src_id`` come from.
    store : StoreConfig, optional
        Its rounding is applied; nothing is rounded without.

    Returns
    -------
    Dataset with dim sample: ``arc``, ``stamp``, ``ctrl``, ``has_data`` (sample, band, y, x), metrics and flags
    lazy, and the manifest's columns. The bits are those that ``inject_step`` stores.

    Raises
    ------
    ConfigError
        If ``chunk`` is not positive.
    ManifestError
        If there are no rows, or one is of a host that the cutouts have not; of a lazy manifest when it is computed.

    Notes
    -----
    A chunk is one task, and one more for each array that is computed with others: five for the four pixel arrays. One
    array alone is computed in the chunk's task.
    """
    if chunk < 1:
        raise ConfigError(f"chunk: {chunk} rows; give at least 1.")
    n, shape = manifest.sizes["sample"], tuple(cutouts.sizes[d] for d in ("band", "y", "x"))
    if n == 0:
        raise ManifestError("the manifest has no rows: there is nothing to inject.")
    schema.check("manifest", manifest)
    schema.check("cutouts", cutouts, NEEDED)
    origin = Origin(cutouts, manifest, config or InjectionConfig(), store or StoreConfig(), sources, chunk)
    if not origin.is_lazy:
        index = manifest["host_index"].values
        refuse_other_hosts(index, manifest.get("host_id"), cutouts.sizes["host"], _names(cutouts))
    chunks = da.core.normalize_chunks((chunk,), (n,))
    held = dask.delayed(origin, name=origin.name("origin"), traverse=False)
    packed = da.map_blocks(
        _render, origin=held, chunks=chunks, dtype=object, meta=np.empty(0, object), name=origin.name("inject")
    )
    out = manifest.copy()
    for name, variable in out.variables.items():
        if variable.chunks is not None:  # as long as those of the pixels
            out[name] = variable.chunk({"sample": chunk})
    for v in variables_of(manifest):
        more = {1: (), 2: shape[:1], 4: shape}[len(v.dims)]
        values = da.map_blocks(
            _take,
            packed,
            v.name,
            dtype=v.dtype,
            chunks=(*chunks, *((size,) for size in more)),
            new_axis=list(range(1, len(v.dims))) or None,
            meta=np.empty((0,) * len(v.dims), v.dtype),
            name=origin.name(v.name),
        )
        out[v.name] = (v.dims, values, v.attrs)
    out.attrs["pixel_scale_arcsec"] = cutouts.attrs["pixel_scale_arcsec"]
    out = without_radius_of_controls(out)
    origin.columns = out.drop_vars([v.name for v in variables_of(manifest)])
    origins[origin.key] = origin
    return out
