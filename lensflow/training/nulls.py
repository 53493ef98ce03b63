"""Trainings where nothing is left to learn: whatever they find is made by the loader or the training, not by arcs."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from lensflow import rng
from lensflow.config import RunConfig, fingerprint
from lensflow.export.view import Pixels, TrainingView
from lensflow.measure.gate import GateResult, Verdict
from lensflow.stats.auc import host_bootstrap
from lensflow.stats.estimate import Estimate
from lensflow.stats.kept_rows import first_of_host
from lensflow.training.verdicts import area_of

ZERO_FLUX, HOST_HALVES = "null_zero_flux", "null_host_halves"
# Within so many standard errors: one in a thousand.
LIMIT = 3.3


@dataclass(frozen=True)
class NoArcs:
    """Pixels of samples whose arcs have no flux: each stamp is its control.

    Attributes
    ----------
    of : Pixels
        Of the view.
    """

    of: Pixels

    def read(self, samples: xr.Dataset, shard: int) -> NDArray[np.float32]:
        """Pixels of the samples' controls.

        Parameters
        ----------
        samples : Dataset
            Of one unit.
        shard : int
            Region that holds them.

        Returns
        -------
        ndarray of float32, shape (n, channel, y, x)
            nMgy/pixel.
        """
        kind = np.zeros_like(samples["negative_kind"].values)
        return self.of.read(samples.assign(negative_kind=("sample", kind)), shard)


def without_arcs(pairs: TrainingView) -> TrainingView:
    """Return a view of pairs whose arcs have no flux; labels stay."""
    return replace(pairs, pixels=NoArcs(pairs.pixels))


def host_halves(pairs: TrainingView, seed: int) -> TrainingView:
    """Controls of a view, one per host, labelled by a random half of the hosts.

    Parameters
    ----------
    pairs : TrainingView
    seed : int
        Of the halves.

    Returns
    -------
    TrainingView
    """
    s = pairs.samples
    control = np.flatnonzero((s["y"].values == 0) & (s["negative_kind"].values == 0))
    some = control[first_of_host(s["host_index"].values[control], s["row_id"].values[control])]
    mask = np.zeros(s.sizes["sample"], bool)
    mask[some] = True
    view = pairs.select(mask)
    key = rng.hash_ids(view.samples["host_id"].values)
    half = rng.uniform(seed, key, "training.null.halves")[:, 0] < 0.5
    weight = np.ones(len(half), np.float32)
    samples = view.samples.assign(y=("sample", half.astype(np.int8)), weight=("sample", weight))
    return replace(view, samples=samples)


def judge_zero_flux(scores: xr.Dataset, config: RunConfig) -> GateResult:
    """Judge the training on arcs of no flux.

    Parameters
    ----------
    scores : Dataset
        As :func:`lensflow.training.evaluate.score_view` gives them, of val.
    config : RunConfig

    Returns
    -------
    GateResult
        PASS if the AUC is exactly 0.5.
    """
    area = area_of(scores, config.scorer, config.seed, "training.null.zero")
    verdict = Verdict.PASS if area.value == 0.5 else Verdict.FAIL
    text = (
        f"stamps are their controls, and the AUC is exactly {area.value!r}"
        if verdict is Verdict.PASS
        else f"stamps are their controls, and the AUC is {area.value!r}, not exactly 0.5: the loader or the training "
        "treats the classes differently (normalisation, mask, batch statistics)"
    )
    result = _result(ZERO_FLUX, config, verdict, text, {})
    return replace(result, n_rows=scores.sizes["sample"], n_hosts=scores.sizes["host"]).with_area(area)


def judge_host_halves(
    labels: NDArray[Any], scores: NDArray[np.float64], hosts: NDArray[np.int64], config: RunConfig, seed: int
) -> GateResult:
    """Judge the training on two random halves of the hosts.

    Parameters
    ----------
    labels, scores, hosts : ndarray, shape (n,)
        Of val: half, score, host; each host once.
    config : RunConfig
    seed : int
        Of the halves.

    Returns
    -------
    GateResult
        PASS if the AUC is within 3.3 standard errors of 0.5.
    """
    ones = int((labels == 1).sum())
    zeros = len(labels) - ones
    area, _ = host_bootstrap(labels == 1, scores, hosts, 1, config.seed, "training.null.halves")
    # Of the Mann-Whitney statistic where nothing differs; each host is one independent image.
    error = math.sqrt((ones + zeros + 1) / (12 * ones * zeros)) if ones and zeros else math.nan
    apart = abs(area - 0.5) / error if error > 0 else math.nan
    if not math.isfinite(apart):
        verdict, text = Verdict.NOT_TESTABLE, f"{ones} and {zeros} hosts: no half can be told from none"
    else:
        verdict = Verdict.PASS if apart <= LIMIT else Verdict.FAIL
        text = (
            f"random halves of the hosts ({ones} and {zeros}): AUC {area:.3f}, {apart:.1f} standard errors of "
            f"{error:.3f} from 0.5 (at most {LIMIT})"
        )
    reach = LIMIT * error
    result = _result(HOST_HALVES, config, verdict, text, {"halves_seed": seed})
    return replace(result, n_rows=len(labels), n_hosts=len(labels)).with_area(
        Estimate(area, area - reach, area + reach, len(labels))
    )


def _result(name: str, config: RunConfig, verdict: Verdict, text: str, more: dict[str, Any]) -> GateResult:
    recipe = {"check": name, "model": config.training.model, "seed": config.training.seed, **more}
    return GateResult(name, recipe, fingerprint(recipe), 0.5, verdict, text)
