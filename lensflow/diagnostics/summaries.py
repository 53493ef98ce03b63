"""All diagnostics of a run together: one pass over the pairs, and strict JSON for what they say."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from lensflow.config import DiagnosticsConfig
from lensflow.diagnostics.annulus import Annulus
from lensflow.diagnostics.hostsums import Differences
from lensflow.diagnostics.radial_profile import RadialProfile
from lensflow.diagnostics.regression import Regression
from lensflow.diagnostics.stratified import Stratified


@dataclass(frozen=True, eq=False)
class Summaries:
    """Every one-pass diagnostic of the same blocks."""

    annulus: Annulus
    regression: Regression
    stratified: Stratified
    radial_profile: RadialProfile

    @classmethod
    def from_block(cls, pairs: xr.Dataset, config: DiagnosticsConfig) -> Summaries:
        """Summarise one block of pairs, reading its pixels once."""
        d = Differences.from_block(pairs, config)
        return cls(
            Annulus.from_differences(d),
            Regression.from_differences(d),
            Stratified.from_differences(d),
            RadialProfile.from_differences(d, config),
        )

    def __add__(self, other: Summaries) -> Summaries:
        return Summaries(
            self.annulus + other.annulus,
            self.regression + other.regression,
            self.stratified + other.stratified,
            self.radial_profile + other.radial_profile,
        )

    def results(self, config: DiagnosticsConfig, seed: int) -> dict[str, xr.Dataset]:
        """Result of every diagnostic, by name."""
        return {
            "annulus": self.annulus.result(config, seed),
            "regression": self.regression.result(config, seed),
            "stratified": self.stratified.result(config, seed),
            "radial_profile": self.radial_profile.result(config, seed),
        }


def to_json(results: Mapping[str, xr.Dataset]) -> str:
    """Strictly valid JSON of the results: NaN is null, infinities are the strings "inf" and "-inf"."""
    tree = {
        name: {"attrs": dict(ds.attrs), "coords": _encode(ds.coords), "data_vars": _encode(ds.data_vars)}
        for name, ds in results.items()
    }
    return json.dumps(tree, allow_nan=False, indent=1)


def from_json(text: str) -> dict[str, xr.Dataset]:
    """Read back what :func:`to_json` wrote, with the same dtypes and attrs."""
    return {
        name: xr.Dataset(_decode(ds["data_vars"]), coords=_decode(ds["coords"]), attrs=ds["attrs"])
        for name, ds in json.loads(text).items()
    }


def _encode(variables: Mapping[Any, xr.DataArray]) -> dict[str, Any]:
    return {
        str(name): {
            "dims": list(v.dims),
            "shape": list(v.shape),
            "dtype": "str" if v.dtype.kind in "UOT" else v.dtype.name,
            "attrs": dict(v.attrs),
            "data": [_plain(x) for x in v.values.ravel().tolist()],
        }
        for name, v in variables.items()
    }


def _plain(value: Any) -> Any:
    if not isinstance(value, float) or np.isfinite(value):
        return value
    return None if np.isnan(value) else str(value)


def _decode(variables: Mapping[str, Any]) -> dict[str, Any]:
    out = {}
    for name, v in variables.items():
        if v["dtype"].startswith("float"):
            data = [np.nan if x is None else float(x) for x in v["data"]]
        else:
            data = v["data"]
        out[name] = (v["dims"], np.array(data, dtype=v["dtype"]).reshape(v["shape"]), v["attrs"])
    return out
