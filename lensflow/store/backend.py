"""The xarray backend: ``xr.open_dataset(path, engine="lensflow")`` opens stores as lensflow's own functions do."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from xarray.backends import BackendArray, BackendEntrypoint
from xarray.core import indexing  # as in xarray's documentation of new backends

# Imported only when a store is opened: xarray imports every installed backend to list them.


class LensflowBackend(BackendEntrypoint):
    """Opens cutouts, manifests and pairs; every byte read is checked, and the test split stays sealed."""

    description = "Cutouts, manifests and pairs of lensflow"
    open_dataset_parameters = ("filename_or_obj", "drop_variables", "split", "unseal_test")

    def open_dataset(
        self,
        filename_or_obj: Any,
        *,
        drop_variables: str | Iterable[str] | None = None,
        split: str | None = None,
        unseal_test: str | None = None,
    ) -> xr.Dataset:
        """Open a store.

        Parameters
        ----------
        filename_or_obj : str or path
            ``cutouts.zarr``, ``manifest.zarr`` or ``pairs.zarr`` of a run.
        drop_variables : str or iterable of str, optional
            Variables to leave out.
        split, unseal_test : str, optional
            Of pairs, as for :func:`lensflow.open_pairs`.

        Returns
        -------
        Dataset
            As from lensflow's own function; pixels are read lazily, with ``chunks={}`` through Dask, one chunk per
            region.

        Raises
        ------
        StoreError
            If it was not made by lensflow, or is incomplete or damaged.
        """
        from lensflow.errors import StoreError
        from lensflow.store.open import open_cutouts, open_manifest, open_pairs

        url = str(filename_or_obj).rstrip("/")
        store = store_at(filename_or_obj)
        if store is None:
            raise StoreError(
                f"{url}: not a store of lensflow, which are cutouts.zarr, manifest.zarr and pairs.zarr in a run's "
                "folder. lf.open_run opens the folder."
            )
        if store != "pairs" and (split, unseal_test) != (None, None):
            raise StoreError(f"{url}: split and unseal_test are for pairs; this is a {store} store")
        if store == "pairs":
            opened = open_pairs(url, split=split, unseal_test=unseal_test)
        else:
            opened = {"cutouts": open_cutouts, "manifest": open_manifest}[store](url)
        dropped = [drop_variables] if isinstance(drop_variables, str) else list(drop_variables or ())
        return _as_xarray_reads(opened.drop_vars(dropped, errors="ignore"))

    def guess_can_open(self, filename_or_obj: Any) -> bool:
        """Whether lensflow made the store: xarray then selects this engine by itself."""
        return store_at(filename_or_obj) is not None


class _Pixels(BackendArray):
    """Pixels that were opened as a Dask array, read in the calling thread.

    xarray wraps a backend's arrays in its own chunks. If these were Dask arrays too, a task would wait for other tasks
    of its own cluster: a deadlock.
    """

    def __init__(self, array: Any):
        self.array, self.shape, self.dtype = array, array.shape, array.dtype

    def __getitem__(self, key: indexing.ExplicitIndexer) -> NDArray[Any]:
        support = indexing.IndexingSupport.OUTER_1VECTOR
        return indexing.explicit_indexing_adapter(key, self.shape, support, self._read)

    def _read(self, key: tuple[Any, ...]) -> NDArray[Any]:
        return np.asarray(self.array[key].compute(scheduler="synchronous"))


def _as_xarray_reads(opened: xr.Dataset) -> xr.Dataset:
    """Let xarray decide about chunks; it prefers those of the store."""
    lazy = {}
    for name, variable in opened.variables.items():
        if variable.chunks is not None:
            prefers = {"preferred_chunks": dict(zip(variable.dims, variable.chunks, strict=True))}
            data = indexing.LazilyIndexedArray(_Pixels(variable.data))
            lazy[name] = xr.Variable(variable.dims, data, variable.attrs, prefers)
    return opened.assign({n: v for n, v in lazy.items() if n in opened.data_vars}).assign_coords(
        {n: v for n, v in lazy.items() if n in opened.coords}
    )


def store_at(place: Any) -> str | None:
    """Name of lensflow's store at a path or URL; None if there is none or it is not lensflow's."""
    from lensflow.errors import StoreError
    from lensflow.store import objects, paths

    if not isinstance(place, str | os.PathLike):
        return None
    url = str(place).rstrip("/")
    if not paths.is_local(url) and not url.endswith(".zarr"):
        return None  # no request if the name rules it out
    try:
        content = paths.read_object(paths.join(url, objects.ROOT))
        found = json.loads(content or b"null")["attributes"]["lensflow_store"]
    except (StoreError, OSError, ValueError, TypeError, KeyError):
        return None
    return found if found in ("cutouts", "manifest", "pairs") else None
