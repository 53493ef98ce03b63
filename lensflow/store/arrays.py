"""One Dataset of results as a zarr store: it opens only as a whole, and as it was written."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr
import xxhash
import zarr

from lensflow.errors import StoreError
from lensflow.store import paths
from lensflow.store.create import CODECS, LOSSLESS
from lensflow.store.objects import ROOT

# Attributes of the group that are not the Dataset's.
_STORE, _COMPLETE, CONTENT = "lensflow_store", "complete", "content"


def write_arrays(url: str, dataset: xr.Dataset, store: str) -> None:
    """Write a Dataset; a store of this kind at the URL is replaced.

    Until its last attribute is written the store does not open: a crash leaves nothing that is taken for a result.

    Parameters
    ----------
    url : str
    dataset : Dataset
        In memory; attrs are plain JSON.
    store : str
        Its kind, as ``selection``: what is of another kind does not open as this one.

    Raises
    ------
    StoreError
        If something else is in the way, or it cannot be written.
    """
    plain = dataset.copy().assign_attrs({_STORE: store, _COMPLETE: False})
    for name, v in plain.variables.items():
        v.encoding = {}
        if v.dtype.kind in "UO":  # zarr v3 has no specification for text of fixed width
            plain[name] = v.copy(data=v.values.astype(np.dtypes.StringDType()))
    with paths.explain_errors(url):
        _refuse_others(url, store)
        paths.remove(paths.join(url, ROOT))  # from here on there is nothing to open
        numbers = [str(n) for n, v in plain.variables.items() if v.dtype.kind in "biuf"]
        codecs = {n: {"compressors": [CODECS[LOSSLESS]], "_FillValue": None} for n in numbers}
        target = paths.zarr_store(url, read_only=False)
        plain.to_zarr(target, mode="w", zarr_format=3, consolidated=False, encoding=codecs)
        _group(url, store, mode="r+").attrs.update({CONTENT: _content(dataset), _COMPLETE: True})


def read_arrays(url: str, store: str, command: str = "run again") -> xr.Dataset:
    """Read what :func:`write_arrays` wrote, into memory.

    Parameters
    ----------
    url, store : str
    command : str
        What makes it again, for errors.

    Returns
    -------
    Dataset

    Raises
    ------
    StoreError
        If there is none, it is of another kind, its writing did not end, or a value or attribute is not what was
        written.
    """
    damaged = f"{url}: is not what was written{{}}. To make it again, {command}."
    try:
        attrs = dict(_group(url, store).attrs)
        if attrs.get(_COMPLETE) is not True:
            raise StoreError(f"{url}: its writing did not end. To make it, {command}.")
        with paths.explain_errors(url):
            plain: dict[str, Any] = {"decode_times": False, "decode_timedelta": False, "mask_and_scale": False}
            source = paths.zarr_store(url)
            found = xr.open_zarr(source, chunks=None, zarr_format=3, consolidated=False, **plain).load()
    except StoreError:
        raise
    except Exception as error:  # of zarr, of a codec, of JSON: whatever a damaged byte brings about
        raise StoreError(damaged.format(f" ({type(error).__name__}: {error})")) from error
    for name, v in found.variables.items():
        v.encoding = {}
        if v.dtype.kind in "TO":
            found[name] = v.copy(data=v.values.astype(object).astype(str))
    found.attrs = {k: v for k, v in found.attrs.items() if k not in (_STORE, _COMPLETE, CONTENT)}
    if _content(found) != attrs.get(CONTENT):
        raise StoreError(damaged.format(""))
    return found


def _group(url: str, store: str, mode: str = "r") -> zarr.Group:
    group = paths.open_group(url, mode=mode)
    kind = group.attrs.get(_STORE)
    if kind != store:
        raise StoreError(f"{url}: expected a {store} of lensflow, found {kind or 'something else'}")
    return group


def _refuse_others(url: str, store: str) -> None:
    """Replace a store of this kind, whole or not, and nothing else."""
    content = paths.read_object(paths.join(url, ROOT))
    try:
        attrs = {} if content is None else json.loads(content)["attributes"]
    except (ValueError, TypeError, KeyError):
        attrs = {}  # half written, or damaged
    kind = attrs.get(_STORE, "a zarr store of others") if attrs else store
    if kind != store:
        raise StoreError(f"{url}: {kind} is in the way. Move it, and run again.")


def _content(dataset: xr.Dataset) -> str:
    """Checksum of values, dtypes, dims and attrs of every variable, and of the Dataset's attrs."""
    digest = xxhash.xxh3_128()
    for name in sorted(map(str, dataset.variables)):
        v = dataset.variables[name]
        text = v.dtype.kind in "UTO"
        about = [name, list(map(str, v.dims)), list(v.shape), "text" if text else v.dtype.name, _plain(v.attrs)]
        digest.update(json.dumps([*about, name in dataset.coords], sort_keys=True).encode())
        if text:
            digest.update(json.dumps(v.values.astype(object).astype(str).ravel().tolist()).encode())
        else:
            digest.update(np.ascontiguousarray(v.values).data)
    digest.update(json.dumps(_plain(dataset.attrs), sort_keys=True, allow_nan=False).encode())
    return digest.hexdigest()


def _plain(attrs: Mapping[Any, Any]) -> dict[str, Any]:
    return {str(k): v for k, v in attrs.items()}
