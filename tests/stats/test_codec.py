"""Results survive JSON exactly, or are refused: no NaN becomes None, no None becomes NaN."""

import json
import math

import numpy as np
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st

from lensflow.stats import codec

TEXTS = st.text(max_size=5).filter(lambda t: t not in ("inf", "-inf"))
TREES = st.recursive(
    st.booleans() | st.integers() | st.floats() | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=8,
)


def same(a, b):
    """Equal, types and signs of zero included; NaN is NaN."""
    if isinstance(a, dict):
        return isinstance(b, dict) and a.keys() == b.keys() and all(same(a[k], b[k]) for k in a)
    if isinstance(a, list):
        return isinstance(b, list) and len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, float) and math.isnan(a):
        return isinstance(b, float) and math.isnan(b)
    return type(a) is type(b) and repr(a) == repr(b)


def refuse(token):
    raise AssertionError(f"{token} is not JSON")


@given(TREES)
def test_a_tree_comes_back_from_strict_json_as_it_was(tree):
    text = codec.dumps(tree)
    json.loads(text, parse_constant=refuse)
    assert same(codec.loads(text), tree)


@pytest.mark.parametrize(
    ("tree", "place"),
    [
        ({"a": [1, None]}, r"results\.a\[1\]: None"),
        ({"a": {"b": "inf"}}, r"results\.a\.b: 'inf'"),
        ({1: 2.0}, "a key 1 "),
        ({"a": {1, 2}}, r"results\.a: "),
        ({"a": np.zeros(2)}, r"results\.a: .*ndarray"),
        (xr.Dataset(attrs={"why": None}), r"results\.attrs\.why: None"),
        (xr.Dataset({"t": ("x", np.array(["a", None], object))}), r"results\.t"),
        (xr.Dataset({"t": ("x", np.array([0], "M8[ns]"))}), r"results\.t"),
    ],
)
def test_what_would_not_come_back_is_refused_with_its_place(tree, place):
    with pytest.raises(ValueError, match=place):
        codec.encode(tree)


@pytest.mark.parametrize("dtype", ["f4", "f8", "i2", "i8", "u8", "?", "U7"])
def test_datasets_keep_dtypes_attrs_and_empty_arrays(dtype):
    values = np.array([[0, 1, 2]]).astype(dtype)
    ds = xr.Dataset(
        {"a": (["y", "x"], values, {"units": "1", "limit": math.nan}), "b": (["z", "x"], values[:0])},
        coords={"x": ["inf", "q", ""]},
        attrs={"title": "t", "worst": -math.inf},
    )
    back = codec.loads(codec.dumps({"d": ds}))["d"]
    assert np.isnan(back["a"].attrs.pop("limit")) and np.isnan(ds["a"].attrs.pop("limit"))
    xr.testing.assert_identical(back, ds)
    assert back["a"].dtype == values.dtype or dtype == "U7"


@pytest.mark.parametrize("tree", [[], {"a": 1}, {"a": {"attrs": {}, "coords": {}}}, {"a": [1]}])
def test_what_is_no_mapping_of_datasets_is_refused(tree):
    with pytest.raises(ValueError, match="Dataset"):
        codec.datasets(tree)


def test_datasets_keep_every_float():
    values = np.array([np.inf, -np.inf, np.nan, -0.0, 5e-324, 0.1], "f8")
    ds = xr.Dataset({"a": ("x", values), "b": ("x", values.astype("f4"))})
    back = codec.loads(codec.dumps(ds))
    for name in "ab":
        assert back[name].values.tobytes() == ds[name].values.tobytes()
