"""Used or unused: what a trained network loses where stamps equal their controls in one gate's view after the other."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from lensflow.config import RunConfig
from lensflow.export.view import TrainingView
from lensflow.measure.gate import GateResult
from lensflow.measure.gate.machine import chosen_hosts
from lensflow.measure.scorer.used import score_matched, used
from lensflow.run.identity import stored_key
from lensflow.store.results import current_results
from lensflow.store.run_folder import RunFolder
from lensflow.training.evaluate import DECIMALS, Score, beside, network_input_of, paired_places
from lensflow.training.features import HostFeatures

# A loss of a percent of the AUROC shows in so many pairs, and each is scored two dozen times.
MAX_PAIRS = 2000
# View of the features: the kind of gate that looks at them.
METADATA = "metadata"
FEATURES_EQUAL = "what it reads beside the pixels ({}) is the mean of the train controls for every image"


def views_used(
    view: TrainingView,
    score: Score,
    config: RunConfig,
    content: str,
    crop_pix: int = 0,
    features: HostFeatures | None = None,
) -> xr.Dataset:
    """Score pairs with each gate's view made equal between stamp and control.

    A stamp shares its features with its control already: they are made equal for all pairs instead, and the network is
    left with the pixels. That is the view of the gate on metadata.

    Parameters
    ----------
    view : TrainingView
        Of pairs, of val.
    score : callable
        Normalised images to scores.
    config : RunConfig
        Its ``scorer.bootstrap`` and ``export.min_snr``; of more than 2,000 pairs, some hosts are taken.
    content : str
        Fingerprint of the pairs, to find their gates.
    crop_pix : int
        Pixels that the network does not see on each side.
    features : HostFeatures, optional
        ``score`` is then called with (images, features of their hosts).

    Returns
    -------
    Dataset, dim view
        As :func:`lensflow.measure.scorer.used.used`.
    """
    s = view.samples
    seen = s["snr"].values >= config.export.min_snr
    positives = s["host_index"].values[seen & (s["y"].values == 1)]
    some = chosen_hosts(positives, min(config.scorer.max_pairs, MAX_PAIRS), config.seed)
    few = view.select(seen & np.isin(s["host_index"].values, some))
    parts: list[dict[str, NDArray[Any]]] = []
    for unit in range(few.n_units):
        of = few.samples.isel(sample=np.flatnonzero(few.samples["unit"].values == unit))
        raw, (stamp, own) = few.raw(unit)["x"], paired_places(of)
        rows = of.isel(sample=stamp)
        radius = rows["psfsize_arcsec"].values.astype(np.float64) / few.pixel_scale_arcsec

        host = rows["host_index"].values

        def scored(images: NDArray[np.float32], host: NDArray[np.int64] = host) -> NDArray[np.float64]:
            return beside(score, features)(network_input_of(few, images, np.isfinite(images), crop_pix), host)

        x, y = rows["x_center"].values, rows["y_center"].values
        found = score_matched(raw[stamp], raw[own], x, y, radius, scored, DECIMALS)
        if features is not None:
            found |= _without_features(few, score, {"stamp": raw[stamp], "own_ctrl": raw[own]}, crop_pix, features)
        parts.append({**found, "host": host})
    joined = {k: np.concatenate([p[k] for p in parts]) for k in parts[0]}
    host = joined.pop("host")
    more = None if features is None else {METADATA: FEATURES_EQUAL.format(", ".join(features.scale.names))}
    return used(joined, host, config.scorer.bootstrap, config.seed, gates_of(config, content), more=more)


def _without_features(
    view: TrainingView, score: Score, images: Mapping[str, NDArray[np.float32]], crop: int, features: HostFeatures
) -> dict[str, NDArray[np.float64]]:
    """Scores of images whose features are the mean of train controls, which is 0 to a network."""
    nothing = np.zeros((1, len(features.scale.columns)), np.float32)
    return {
        f"{k} {METADATA}": np.round(
            score(network_input_of(view, v, np.isfinite(v), crop), np.repeat(nothing, len(v), axis=0)), DECIMALS
        )
        for k, v in images.items()
    }


def gates_of(config: RunConfig, content: str) -> dict[str, GateResult]:
    """Stored gates of these pixels by name; nothing where none were measured."""
    stored: Any = current_results(RunFolder.of(config).gates, stored_key(config, "gates", content), any_code=True)
    return {g["name"]: GateResult.from_dict(g) for g in stored or ()}
