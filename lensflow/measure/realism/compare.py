"""Each feature of real lenses beside that of the injections on their matched hosts."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from scipy.stats import ks_2samp

from lensflow.config import RealismConfig
from lensflow.measure.completeness.paired import holm
from lensflow.measure.realism.probe import around
from lensflow.measure.realism.samples import Floats, MatchedRows
from lensflow.stats.estimate import NOT_MEASURED, Estimate
from lensflow.stats.hostsums import named
from lensflow.stats.matched import areas_within, relabelled, set_bootstrap

QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
SIDES = ("real", "injected")
# With fewer sets in which both sides have the feature, only its quantiles are given.
FEWEST_SETS = 10


def compare(rows: MatchedRows, config: RealismConfig, seed: int) -> xr.Dataset:
    """Compare every feature alone.

    Parameters
    ----------
    rows : MatchedRows
    config : RealismConfig
        ``bootstrap``, ``permutations``.
    seed : int

    Returns
    -------
    Dataset, dims feature, side, quantile
        ``quantiles`` of both sides; ``n`` values and ``n_missing``; ``auc`` with its interval over sets (0.5: alike;
        above: larger in real lenses); ``difference``: of the means over the pooled standard deviation; ``ks``: the
        largest distance of the distribution functions; ``p``: two-sided, by relabelling within sets; ``p_holm``: the
        same, corrected for the number of features. NaN where a feature is missing or constant; ``note`` says which.

    Notes
    -----
    The p-value is exact if real lens and injections can be exchanged within their set (one real among k + 1), whatever
    hosts the sets are on.
    """
    lines = [_line(rows, k, config, seed) for k in range(len(rows.names))]
    dims = ["feature"]
    text = {
        "auc": "probability that a real lens has the larger value; 0.5: alike",
        "auc_low": "lower end of the 95 % bootstrap over matched sets",
        "auc_high": "upper end of the 95 % bootstrap over matched sets",
        "difference": "mean of real lenses less that of injections, over the pooled standard deviation",
        "ks": "largest distance of the two distribution functions",
        "p": "share of relabellings within matched sets that are as far from the expected rank; two-sided",
    }
    data = {k: named(dims, np.array([line[k] for line in lines], dtype=np.float64), "1", v) for k, v in text.items()}
    data["p_holm"] = named(dims, holm([line["p"] for line in lines]), "1", "p, corrected for the number of features")
    data["quantiles"] = (
        ["feature", "side", "quantile"],
        np.array([line["quantiles"] for line in lines]).reshape(len(lines), len(SIDES), len(QUANTILES)),
        {"long_name": "quantiles of each side, in the feature's own unit"},
    )
    counts = np.array([line["n"] for line in lines], dtype=np.int64).reshape(len(lines), len(SIDES))
    every = np.array([rows.n_real, rows.n_injected])
    data["n"] = (["feature", "side"], counts, {"units": "1", "long_name": "rows that have the feature"})
    data["n_missing"] = (["feature", "side"], every - counts, {"units": "1", "long_name": "rows without it: NaN"})
    data["note"] = (dims, np.array([line["note"] for line in lines], dtype=np.str_))
    return xr.Dataset(data, coords={"feature": list(rows.names), "side": list(SIDES), "quantile": list(QUANTILES)})


def areas_of(features: xr.Dataset) -> list[tuple[str, Estimate, float]]:
    """Name, area and corrected p of every feature with an area, the farthest from 0.5 first."""
    found = [
        (str(f), Estimate.in_dataset(features, "auc", {"feature": f}), float(features["p_holm"].sel(feature=f)))
        for f in features["feature"].values
    ]
    return sorted((v for v in found if v[1].is_measured), key=lambda v: -abs(v[1].value - 0.5))


def _line(rows: MatchedRows, k: int, config: RealismConfig, seed: int) -> dict[str, Any]:
    value = rows.values[:, k]
    sides = [value[side & np.isfinite(value)] for side in (rows.is_real, ~rows.is_real)]
    line: dict[str, Any] = {
        "quantiles": [np.quantile(v, QUANTILES) if v.size else np.full(len(QUANTILES), np.nan) for v in sides],
        "n": [v.size for v in sides],
        "ks": math.nan, "difference": math.nan, "p": math.nan, "note": "", **NOT_MEASURED.fields("auc"),
    }  # fmt: skip
    have = rows.only([rows.names[k]]).take(np.isfinite(value))
    if have.n_sets < FEWEST_SETS:
        return line | {"note": f"only {have.n_sets} sets have it on both sides"}
    x = have.values[:, 0]
    if np.ptp(x) == 0:
        return line | {"note": "one value in all rows"}
    tests: list[NDArray[np.int64]] = [np.arange(x.size)]
    purpose = f"realism.feature.{rows.names[k]}"
    labels = np.column_stack(
        [have.is_real, relabelled(have.is_real, have.sets, config.permutations, seed, f"{purpose}.relabel")]
    )
    areas = areas_within(labels, x[:, None], tests)
    draws = set_bootstrap(have.is_real, x, have.sets, tests, config.bootstrap, seed, f"{purpose}.interval")
    apart = np.abs(areas - areas[1:].mean())
    real, other = x[have.is_real], x[~have.is_real]
    spread = math.sqrt(0.5 * (_variance(real) + _variance(other)))
    return line | {
        **around(float(areas[0]), draws, have.n_sets).fields("auc"),
        "difference": (float(real.mean()) - float(other.mean())) / spread if spread else math.nan,
        "ks": float(ks_2samp(real, other).statistic),
        "p": float(1 + (apart[1:] >= apart[0] - 1e-12).sum()) / (1 + config.permutations),
    }


def _variance(x: Floats) -> float:
    return float(x.var(ddof=1)) if x.size > 1 else 0.0
