"""Results as strict JSON, exactly: what is written comes back with the same numbers, dtypes and attrs.

JSON has no NaN and no infinity. A NaN is written as null and an infinity as the text ``inf`` or ``-inf``. So that they
come back as what they were, None and those two texts are refused as values: leave such a key out.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from enum import Enum
from typing import Any

import numpy as np
import xarray as xr

_INFINITE = {"inf": math.inf, "-inf": -math.inf}
_DATASET = {"attrs", "coords", "data_vars"}


def encode(value: Any, place: str = "results") -> Any:
    """Make JSON of numbers, texts, lists, mappings and Datasets.

    Parameters
    ----------
    value : object
        Tuples become lists, numpy's scalars become Python's, members of an Enum become their value.
    place : str
        Name for errors.

    Raises
    ------
    ValueError
        If a value would not come back as it is; names its place.
    """
    if isinstance(value, xr.Dataset):
        parts = {"coords": value.coords, "data_vars": value.data_vars}
        return {
            "attrs": encode(dict(value.attrs), f"{place}.attrs"),
            **{k: {str(n): _variable(v, f"{place}.{n}") for n, v in part.items()} for k, part in parts.items()},
        }
    if isinstance(value, Mapping):
        return {_key(k, place): encode(v, f"{place}.{k}") for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [encode(v, f"{place}[{k}]") for k, v in enumerate(value)]
    if isinstance(value, Enum):
        return encode(value.value, place)
    if isinstance(value, np.generic):
        return encode(value.item(), place)
    if isinstance(value, float):
        return value if math.isfinite(value) else None if math.isnan(value) else str(value)
    if isinstance(value, str) and value not in _INFINITE:
        return str(value)
    if isinstance(value, bool | int):
        return value
    raise ValueError(f"{place}: {value!r} ({type(value).__name__}) would not come back from JSON as it is")


def decode(tree: Any) -> Any:
    """Read back what :func:`encode` gave: null is NaN, tuples are lists."""
    if isinstance(tree, Mapping):
        return dataset(tree) if tree.keys() == _DATASET else {k: decode(v) for k, v in tree.items()}
    if isinstance(tree, list):
        return [decode(v) for v in tree]
    if tree is None:
        return math.nan
    return _INFINITE.get(tree, tree) if isinstance(tree, str) else tree


def dumps(value: Any) -> str:
    """Strictly valid JSON of what :func:`encode` takes."""
    return json.dumps(encode(value), allow_nan=False)


def loads(text: str) -> Any:
    """Read back what :func:`dumps` wrote."""
    return decode(json.loads(text))


def datasets(tree: Any) -> dict[str, xr.Dataset]:
    """Datasets by name, of their JSON.

    Raises
    ------
    ValueError
        If anything in it is not a Dataset; names it.
    """
    if not isinstance(tree, Mapping):
        raise ValueError("not a mapping of Datasets")
    for name, one in tree.items():
        if not isinstance(one, Mapping) or one.keys() != _DATASET:
            raise ValueError(f"{name} is not a Dataset")
    return {name: dataset(one) for name, one in tree.items()}


def dataset(tree: Mapping[str, Any]) -> xr.Dataset:
    """Dataset of its JSON, with the same dtypes and attrs."""
    variables = {k: {n: _array(v) for n, v in tree[k].items()} for k in ("coords", "data_vars")}
    return xr.Dataset(variables["data_vars"], coords=variables["coords"], attrs=decode(tree["attrs"]))


def _variable(v: xr.DataArray, place: str) -> dict[str, Any]:
    values = v.values.ravel().tolist()
    text = v.dtype.kind in "UOT" and all(isinstance(x, str) for x in values)
    if not text and v.dtype.kind not in "biuf":
        raise ValueError(f"{place}: values of dtype {v.dtype} would not come back from JSON as they are")
    return {
        "dims": list(v.dims),
        "shape": list(v.shape),
        "dtype": "str" if text else v.dtype.name,
        "attrs": encode(dict(v.attrs), f"{place}.attrs"),
        "data": values if text else encode(values, place),
    }


def _array(v: Mapping[str, Any]) -> tuple[Any, ...]:
    data = v["data"] if v["dtype"] == "str" else decode(v["data"])
    return v["dims"], np.array(data, dtype=v["dtype"]).reshape(v["shape"]), decode(v["attrs"])


def _key(key: Any, place: str) -> str:
    if not isinstance(key, str):
        raise ValueError(f"{place}: a key {key!r} ({type(key).__name__}) would come back as text")
    return str(key)
