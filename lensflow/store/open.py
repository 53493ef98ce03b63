"""Open stores as xarray datasets: tables in memory under their own names, pixels lazily in chunks of one shard."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import dask.array as da
import numpy as np
import xarray as xr
import zarr
from numpy.typing import NDArray

from lensflow import schema
from lensflow.config import load_config
from lensflow.errors import StoreError
from lensflow.injection.rounding import round_pixels
from lensflow.store import objects, paths, resume, sealing
from lensflow.store.blocks import read_host_block as read_host_block
from lensflow.store.blocks import read_hosts, read_manifest_block, read_tables
from lensflow.store.create import LAYOUTS, column_dim, group_bands
from lensflow.store.pixels import LazyPixels, read_pixel_arrays
from lensflow.store.pixels import read_pixels as read_pixels
from lensflow.store.read import open_array, read_array, store_group
from lensflow.store.read import read_attrs as read_attrs
from lensflow.store.read import read_head as read_head
from lensflow.store.read import stored_regions as stored_regions
from lensflow.store.regions import Region
from lensflow.store.run_folder import Places
from lensflow.store.tags import PLAN_OF_ROWS, plan_of_rows
from lensflow.store.unpack import explained, unpack, without_radius_of_controls

# A manifest of 2 million rows takes 0.5 GB.
TABLE_ROWS_IN_MEMORY = 2_000_000


def _lazy(url: str, group: zarr.Group, name: str, places: Places | None = None, unfinished: bool = False) -> da.Array:
    array: Any = open_array(url, group, name)
    rows = array.shards[0] if array.shards else array.chunks[0]
    chunks = (rows, *array.shape[1:])
    # The fingerprint is part of the name: a store written again at the same place is another Dask array.
    label = f"{name}-{url}-{group.attrs.get('fingerprint', '')}"
    if name not in objects.created_of(group).rendered:
        return da.from_array(array, chunks=chunks, name=label, asarray=True)
    pixels = LazyPixels(places or Places.beside(url), name, array.shape, array.dtype, unfinished)
    meta = np.empty((0,) * array.ndim, array.dtype)
    return da.from_array(pixels, chunks=chunks, name=label, asarray=True, meta=meta)


def store_url(place: Any, store: str) -> str:
    """URL of a store, given the store, the folder of its run, or the run's YAML file.

    Parameters
    ----------
    place : str or path
    store : {"cutouts", "manifest", "pairs"}
    """
    url = str(place).rstrip("/")
    if url.endswith((".yaml", ".yml")) and paths.is_local(url):
        config = load_config(paths.local_path(url))
        return paths.join(config.out, f"{store}.zarr")
    inside = paths.join(url, f"{store}.zarr")
    return inside if not paths.group_exists(url) and paths.group_exists(inside) else url


def _check_coordinates(url: str, store: str, group: zarr.Group) -> None:
    """Compare the names that plain xarray shows with those that lensflow uses; older stores have none."""
    expected: dict[str, Any] = {
        column_dim(t): open_array(url, group, t).attrs["columns"] for t in LAYOUTS[store].tables or {}
    }
    for name, names in {**expected, "band": group_bands(group)}.items():
        with paths.explain_errors(url):
            there = name in group
        if there and read_array(url, group, name).tolist() != list(names):
            raise StoreError(f"{url}: {name} has other names than the store's attributes: it was edited")


def _open(url: str, store: str, unfinished: bool = False, places: Places | None = None) -> xr.Dataset:
    group = store_group(url, store, unfinished)
    _check_coordinates(url, store, group)
    data = read_tables(url, store, group)
    for v in LAYOUTS[store].pixels_in(group):
        data[v.name] = (
            v.dims,
            _lazy(url, group, v.name, places, unfinished),
            dict(open_array(url, group, v.name).attrs),
        )
    attrs = _attrs_of(group, store)
    identity: Any = group.attrs.get("identity", {})
    if store == "pairs" and "lensflow.code" in identity:
        attrs["pixel_code"] = identity["lensflow.code"]
    return xr.Dataset(data, coords={"band": group_bands(group)}, attrs=attrs)


def _attrs_of(group: zarr.Group, store: str) -> dict[str, Any]:
    attrs = {k: v for k, v in group.attrs.items() if k not in ("identity", "layout")}
    return attrs | ({PLAN_OF_ROWS: plan_of_rows(group.attrs)} if store == "manifest" else {})


def open_cutouts(url: str) -> xr.Dataset:
    """Open a cutouts store.

    Parameters
    ----------
    url : str
        The store, the folder of its run, or the run's YAML file.

    Returns
    -------
    Dataset, dims host, band, y, x
        Tables in memory, ``host_id`` a coordinate and the index of dim host (``cutouts.sel(host="...")``), ``image``,
        ``invvar`` and ``maskbits`` lazy with one Dask chunk per region. The meaning of codes is in their attrs
        (``flag_meanings``).
    """
    opened = explained(_open(store_url(url, "cutouts"), "cutouts")).set_coords("host_id")
    return opened.assign_coords(host=("host", opened["host_id"].values, {"long_name": "host_id, to select by"}))


def open_manifest(url: str) -> xr.Dataset:
    """Open a manifest: one row per injection or control.

    Parameters
    ----------
    url : str
        The store, the folder of its run, or the run's YAML file.

    Returns
    -------
    Dataset, dim sample
        In memory, lazy (one Dask chunk per shard) beyond two million rows. ``row_id`` is a coordinate, and so is
        ``host_id`` where the cutouts are beside the manifest.
    """
    url = store_url(url, "manifest")
    return with_host_ids(explained(_open_manifest(url)), paths.join(paths.parent(url), "cutouts.zarr"))


def with_host_ids(rows: xr.Dataset, cutouts: str | xr.Dataset) -> xr.Dataset:
    """Rows with the coordinates ``row_id`` and ``host_id``; lazy if ``host_index`` is.

    Parameters
    ----------
    rows : Dataset
        Dim sample, with ``host_index``.
    cutouts : str or Dataset
        Their hosts; if there is no such store, only ``row_id`` becomes a coordinate.
    """
    rows = rows.set_coords("row_id")
    if isinstance(cutouts, str):
        if not paths.group_exists(cutouts):
            return rows
        cutouts = read_head(cutouts, "cutouts", names=("host_id",))
    names = np.asarray(cutouts["host_id"].values)
    index = rows["host_index"].data
    of_row = index.map_blocks(lambda i: names[i], dtype=names.dtype) if isinstance(index, da.Array) else names[index]
    return rows.assign_coords(host_id=("sample", of_row, schema.variable("cutouts", "host_id").attrs))


def _open_manifest(url: str) -> xr.Dataset:
    group = store_group(url, "manifest")
    if open_array(url, group, "row_id").shape[0] <= TABLE_ROWS_IN_MEMORY:
        return _open(url, "manifest")
    _check_coordinates(url, "manifest", group)
    data: dict[str, Any] = {
        v.name: (v.dims, _lazy(url, group, v.name).map_blocks(v.decode, dtype=v.dtype), v.attrs)
        for v in LAYOUTS["manifest"].head
    }
    for name, (variables, _) in (LAYOUTS["manifest"].tables or {}).items():
        columns: Any = open_array(url, group, name).attrs["columns"]
        data.update(unpack(_lazy(url, group, name), "manifest", columns, variables, group_bands(group)))
    attrs = _attrs_of(group, "manifest")
    return xr.Dataset(data, coords={"band": group_bands(group)}, attrs=attrs)


def host_tables(url: str) -> tuple[Callable[[int, int], xr.Dataset], int]:
    """Reader of a cutouts store's tables for hosts ``start:stop`` (no pixels), and the number of hosts."""
    group = store_group(url, "cutouts")
    bands = group_bands(group)

    def read(start: int, stop: int) -> xr.Dataset:
        return xr.Dataset(read_tables(url, "cutouts", group, slice(start, stop)), coords={"band": bands})

    return read, int(open_array(url, group, "cell").shape[0])


def open_pairs(
    url: str,
    manifest_url: str | None = None,
    cutouts_url: str | None = None,
    *,
    split: str | None = None,
    unseal_test: str | None = None,
) -> xr.Dataset:
    """Open a pairs store with its manifest and hosts; the test split stays sealed.

    Parameters
    ----------
    url : str
        The pairs store, the folder of its run, or the run's YAML file.
    manifest_url, cutouts_url : str, optional
        Their location, if not beside the pairs.
    split : {"train", "val", "test"}, optional
        One split. Without it: train and val, and test too if ``unseal_test`` is given.
    unseal_test : str, optional
        Reason for opening the test split. Who, when and why is logged in the folder ``test-access`` beside the store
        before a row is returned; :func:`read_test_accesses` reads it.

    Returns
    -------
    Dataset, dims sample, band, y, x
        ``arc``, ``stamp`` and ``ctrl`` (the host's image) lazy with one Dask chunk per region; the manifest's columns,
        metrics and flags in memory; ``row_id`` and ``host_id`` are coordinates, and the row's number in the manifest is
        the index of dim sample (``pairs.sel(sample=5)`` is that row, even if earlier rows were left out). Controls have
        no Einstein radius (NaN). ``attrs["n_sealed"]`` rows of the test split were left out.

    Raises
    ------
    StoreError
        If the test split is requested without a reason, or its opening cannot be logged.
    """
    if split is not None and split not in schema.SPLITS:
        raise StoreError(f"{split!r} is not a split; the splits are {', '.join(schema.SPLITS)}.")
    if split == "test" and not unseal_test:
        raise StoreError(
            f"{url}: the test split is sealed. To open it, say why: open_pairs(..., split='test', unseal_test='...'); "
            "the opening is logged beside the store."
        )
    url = store_url(url, "pairs")
    every = open_all_pairs(url, manifest_url, cutouts_url)
    of_row = every["split"].values
    wanted = range(len(schema.SPLITS)) if split is None else [schema.SPLITS.index(split)]
    taken = np.isin(of_row, wanted)
    is_test = of_row == schema.SPLITS.index("test")
    if unseal_test and (taken & is_test).any():
        sealing.log_access(url, unseal_test, int((taken & is_test).sum()))
    elif not unseal_test:
        taken &= ~is_test
    # Rows are sorted by split, so a split is a slice: chunks stay those of the store.
    rows = np.flatnonzero(taken)
    contiguous = len(rows) > 0 and rows[-1] - rows[0] + 1 == len(rows)
    out = every.isel(sample=slice(rows[0], rows[-1] + 1) if contiguous else rows)
    out = without_radius_of_controls(explained(out))
    out = out.assign_coords(sample=("sample", rows, {"long_name": "row of the manifest"}))
    return out.assign_attrs(n_sealed=0 if unseal_test else int(is_test.sum()))


def open_all_pairs(
    url: str, manifest_url: str | None = None, cutouts_url: str | None = None, *, unfinished: bool = False
) -> xr.Dataset:
    """Open pairs of all splits, unlogged: for the run's own steps (report, checks), which show no row to a model.

    Parameters and result are those of :func:`open_pairs`. With ``unfinished``, rows of regions without a receipt are
    undefined, and the caller leaves them out; otherwise reading them is an error.
    """
    beside = Places.beside(url)
    places = Places(url, manifest_url or beside.manifest, cutouts_url or beside.cutouts)
    pairs = _open(url, "pairs", unfinished, places)
    manifest = _open_manifest(places.manifest)
    cutouts_at = places.cutouts
    if manifest.sizes["sample"] != pairs.sizes["sample"]:
        raise StoreError(
            f"{url}: {pairs.sizes['sample']} pairs for a manifest of {manifest.sizes['sample']} rows; "
            "these stores do not belong together"
        )
    if not unfinished:
        resume.refuse_other_inputs(*places)
    out = pairs.merge(manifest, combine_attrs="drop_conflicts")
    if "ctrl" not in out:
        out["ctrl"] = (
            schema.CTRL.dims,
            _lazy_ctrl(url, cutouts_at, out, int(manifest.attrs["seed"])),
            schema.CTRL.attrs,
        )
    out["has_data"] = (schema.HAS_DATA.dims, _lazy_has_data(url, cutouts_at, out), schema.HAS_DATA.attrs)
    return with_host_ids(out, cutouts_at)


def _lazy_has_data(url: str, cutouts_url: str, pairs: xr.Dataset) -> da.Array:
    chunks = pairs["stamp"].data.chunks

    def serve(index: NDArray) -> NDArray:
        return serve_has_data(cutouts_url, index[:, 0, 0, 0])

    index = pairs["host_index"].values.reshape(-1, 1, 1, 1)
    return da.map_blocks(
        serve,
        da.from_array(index, chunks=(chunks[0], (1,), (1,), (1,))),
        dtype=np.bool_,
        chunks=chunks,
        meta=np.empty((0, 0, 0, 0), np.bool_),
        name=f"has-data-{url}",
    )


def _lazy_ctrl(url: str, cutouts_url: str, pairs: xr.Dataset, seed: int) -> da.Array:
    chunks = pairs["stamp"].data.chunks

    def along_sample(name: str, *lengths: tuple[int, ...]) -> da.Array:
        values = pairs[name].values
        shape = (*values.shape, *[1] * (4 - values.ndim))
        return da.from_array(values.reshape(shape), chunks=(chunks[0], *lengths))

    one = (1,)

    def serve(index: NDArray, row_id: NDArray, step: NDArray) -> NDArray:
        return serve_ctrl(cutouts_url, index[:, 0, 0, 0], row_id[:, 0, 0, 0], step[:, :, 0, 0], seed)

    return da.map_blocks(
        serve,
        along_sample("host_index", one, one, one),
        along_sample("row_id", one, one, one),
        along_sample("quantize_step_nmgy", chunks[1], one, one),
        dtype=np.float32,
        chunks=chunks,
        meta=np.empty((0, 0, 0, 0), np.float32),
        name=f"ctrl-{url}",
    )


def serve_ctrl(
    cutouts_url: str,
    host_index: NDArray[np.int64],
    row_id: NDArray[np.uint64],
    step: NDArray[np.float32],
    seed: int,
) -> NDArray[np.float32]:
    """Control images of rows: the hosts' images, rounded exactly as the rows' stamps are.

    A control without rounding could be distinguished from a rounded stamp by its grid alone.
    """
    return round_pixels(read_hosts(cutouts_url, host_index, ("image",))["image"], step, row_id, seed)


def serve_has_data(cutouts_url: str, host_index: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Mask of the pixels with data in the rows' hosts (invvar > 0), shape (n, band, y, x)."""
    hosts, of_row = np.unique(host_index, return_inverse=True)
    has_data: NDArray[np.bool_] = read_hosts(cutouts_url, hosts, ("invvar",))["invvar"] > 0
    return has_data[of_row]


def read_row_ids(url: str) -> NDArray[np.uint64]:
    """Row ids of a manifest, in its order."""
    return read_array(url, store_group(url, "manifest"), "row_id")


def read_arcs_block(url: str, region: Region) -> xr.Dataset:
    """One region of pairs without its stamps and without the manifest, in memory: ``arc``, metrics, flags."""
    group = store_group(url, "pairs")
    found = read_pixel_arrays(Places.beside(url), group, ["arc"], region.slice)
    arc = {"arc": (schema.variable("pairs", "arc").dims, found["arc"])}
    return xr.Dataset(read_tables(url, "pairs", group, region.slice) | arc, coords={"band": group_bands(group)})


def read_pairs_block(
    url: str, manifest_url: str, cutouts_url: str, region: Region, hosts: xr.Dataset | None = None
) -> xr.Dataset:
    """One region of pairs, in memory: manifest columns, metrics, flags, ``arc``, ``stamp``, ``ctrl``, ``has_data``.

    ``hosts`` are those of the region's rows, with ``host_index``, if already read.
    """
    group, manifest = store_group(url, "pairs"), read_manifest_block(manifest_url, region)
    pixels = LAYOUTS["pairs"].pixels_in(group)
    out: dict[Any, Any] = {n: v for n, v in manifest.variables.items() if n not in manifest.coords}
    if not objects.created_of(group).rendered:
        out |= read_tables(url, "pairs", group, region.slice, also=pixels)
    else:
        names, places = [v.name for v in pixels], Places(url, manifest_url, cutouts_url)
        found = read_pixel_arrays(places, group, names, region.slice, manifest, hosts)
        out |= read_tables(url, "pairs", group, region.slice)
        out |= {v.name: (v.dims, found[v.name], v.attrs) for v in pixels}
    host_index, row_id = (manifest.variables[name].values for name in ("host_index", "row_id"))
    step = out["quantize_step_nmgy"][1]
    if hosts is None:
        has_data = serve_has_data(cutouts_url, host_index)
    else:
        of_row = np.searchsorted(hosts["host_index"].values, host_index)
        has_data = (hosts["invvar"].values > 0)[of_row]
    out["has_data"] = (schema.HAS_DATA.dims, has_data, schema.HAS_DATA.attrs)
    if "ctrl" not in out:
        if hosts is None:
            ctrl = serve_ctrl(cutouts_url, host_index, row_id, step, int(str(manifest.attrs["seed"])))
        else:
            ctrl = hosts["image"].values[of_row]
            if step.any():
                ctrl = round_pixels(ctrl, step, row_id, int(str(manifest.attrs["seed"])))
        out["ctrl"] = (schema.CTRL.dims, ctrl)
    attrs = {**manifest.attrs, "pixel_scale_arcsec": group.attrs["pixel_scale_arcsec"]}
    # Made at once: xarray looks at every column again for each one that is assigned.
    return xr.Dataset(out, coords=manifest.coords, attrs=attrs)
