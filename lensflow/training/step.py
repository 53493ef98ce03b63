"""Train on a finished run, score val, judge, keep: what ``lensflow train`` does."""

from __future__ import annotations

import hashlib
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from lensflow.config import RunConfig
from lensflow.errors import ExportError
from lensflow.export.view import TrainingView
from lensflow.measure.gate import GateResult
from lensflow.run.execute import Progress, silent
from lensflow.run.identity import pairs_content
from lensflow.run.importable import source_of
from lensflow.run.score import scores_of as run_scores
from lensflow.run.stored_training import kept_training
from lensflow.stats import codec
from lensflow.stats.auc import host_bootstrap
from lensflow.store import paths
from lensflow.store.code_identity import digest_of
from lensflow.store.results import current_results, keep_results
from lensflow.training import files
from lensflow.training.checkpoint import write_checkpoint
from lensflow.training.evaluate import Score, beside, score_view
from lensflow.training.feature_gate import refuse_telling_samples, refuse_without_gate
from lensflow.training.features import HostFeatures
from lensflow.training.feed import epochs_of
from lensflow.training.kept_units import kept
from lensflow.training.loop import Fitted, device_of, fit, repeatable, scores_of
from lensflow.training.models import n_parameters
from lensflow.training.nulls import host_halves, judge_host_halves, judge_zero_flux, without_arcs
from lensflow.training.packages import need
from lensflow.training.pretrained import start
from lensflow.training.real_lenses import real_verdicts, refuse_bad_table
from lensflow.training.result import Training
from lensflow.training.used import views_used
from lensflow.training.verdicts import EXPERIENCE, by_property, verdicts
from lensflow.training.views import Views, class_weights

STAGE = "train"
# What decides a training beside the code that measures.
_CODE = ("export", "run/export", "training")
# The scorer runs on a CPU in workers, the training perhaps on a GPU: scores agree to this share of their scatter.
_AGREE = 0.02


def train_step(config: RunConfig, progress: Progress = silent, *, nulls: bool = False, again: bool = False) -> Training:
    """Train the network that ``training`` names on a run's train split, and judge it on val.

    Everything is kept in ``summaries/training/``: ``weights.safetensors``, ``history.parquet``, ``scores.zarr`` and
    ``report.json``. They are read from there if pairs, settings and lensflow's code are the same.

    Parameters
    ----------
    config : RunConfig
        Its sections ``training``, ``export`` (view, classes, normalisation) and ``scorer`` (thresholds).
    progress : callable, optional
    nulls : bool
        Also train where nothing is left to learn: arcs of no flux, and random halves of the hosts.
    again : bool
        Train again even if a current result is stored.

    Returns
    -------
    Training

    Raises
    ------
    ExportError
        If torch is missing, a split lacks a class, or the loss is not finite.
    ConfigError
        If a setting or a checkpoint to start from does not fit.
    TargetError
        If ``realism.table`` cannot be read.
    StoreError
        If the pairs are not complete.
    """
    need("torch")
    need("safetensors.torch")
    content = pairs_content(config)
    key = files.training_key(config, content)
    stored: Any = None if again else current_results(files.report_of(config), key)
    code = digest_of(_CODE)
    is_current = stored is not None and stored.get("code") == code and _is_whole(config, stored)
    refuse_bad_table(config)
    gate = refuse_without_gate(config, content)
    if is_current and (not nulls or stored["nulls"]):
        return training_of(config, _with_real(config, key, stored, progress))
    views = Views.open(config, progress)
    device, folder = device_of(config.training), str(Path.cwd())
    about, features = views.about(config, content), views.features
    of_samples = refuse_telling_samples(config, views.train, features) if features else ""
    with repeatable(config.training.seed):
        net = views.net(config.training)
        pretrained = start(net, config.training, about)
        begun = time.perf_counter()
        fitted = _fit(net, views, config, device, progress)
        seconds = time.perf_counter() - begun
        found = [_null_zero_flux(views, config, device), _null_halves(views, config, device)] if nulls else []
    url = files.weights_of(config)
    write_checkpoint(url, fitted.net, about)
    source = str(source_of(url, folder))
    scale, crop = views.val.pixel_scale_arcsec, about.crop_pix
    score = scorer_on(fitted.net, device)
    val, train = (
        score_view(v, score, scale, config.seed, crop, features) for v in (views.val, views.some_train(config))
    )
    scored = _scores_of_val(config, url, folder, progress)
    disagree = _refuse_other_scores(val, scored)
    files.write_scores_of_val(config, content, source, scored)
    files.write_history(files.history_of(config), fitted.history)
    gates = verdicts(val, train, config, url, source)
    numbers = {
        "model": config.training.model, "n_parameters": n_parameters(fitted.net), "pretrained": pretrained,
        "device": fitted.device, "seconds": seconds, "epochs": config.training.epochs, "classes": views.in_words(),
        "rows_per_s": sum(h["rows"] for h in fitted.history) / max(sum(h["seconds"] for h in fitted.history), 1e-9),
        "normalisation": views.train.normalisation.kind, "scorer_differs_by": disagree, "experience": EXPERIENCE,
        "features": list(config.training.features), "features_gate": gate, "features_of_samples": of_samples,
    }  # fmt: skip
    kept = codec.encode(
        {
            "scorer": url, "source": source, "sha256": _digest(url), "numbers": numbers,
            "tables": {
                "history": history_table(fitted.history), "by_property": by_property(val, config),
                "used": views_used(views.val, score, config, content, crop, features),
            },
            "about": files.as_plain(asdict(about)),
        }
    ) | {
        "gates": [g.to_dict() for g in gates], "nulls": [g.to_dict() for g in found],
        "settings": config.training.model_dump(mode="json"), "export": config.export.model_dump(mode="json"),
        "code": code,
    }  # fmt: skip
    keep_results(files.report_of(config), key, kept)
    progress(STAGE, config.training.epochs, config.training.epochs)
    return training_of(config, _with_real(config, key, kept, progress))


def scorer_on(net: Any, device: str) -> Score:
    """Score normalised images, and features where there are any, with a network on a device."""

    def score(x: NDArray[np.float32], features: NDArray[np.float32] | None = None) -> NDArray[np.float64]:
        return scores_of(net, x, device, features)

    return score


def _fit(net: Any, views: Views, config: RunConfig, device: str, progress: Progress) -> Fitted:
    of, train = config.training, views.train

    def after(epoch: int, now: Any) -> Mapping[str, float]:
        progress(STAGE, epoch + 1, of.epochs)
        return measured_on(views.val, now, device, of.max_shift_pix, config, views.features)

    return fit(
        net,
        epochs_of(train, of, views.features),
        train.samples.sizes["sample"],
        of,
        device,
        class_weights(train),
        after,
    )


def measured_on(
    val: TrainingView, net: Any, device: str, crop: int, config: RunConfig, features: HostFeatures | None = None
) -> dict[str, float]:
    """Binary cross-entropy and AUROC on val, as the history keeps them."""
    y, score, host = scored_samples(val, net, device, crop, features)
    loss = np.logaddexp(0, score) - y * score
    area, _ = host_bootstrap(y == 1, score, host, 1, config.seed, "training.history")
    return {"val_bce": float(loss.mean()), "val_auc": area}


def scored_samples(
    view: TrainingView, net: Any, device: str, crop: int, features: HostFeatures | None = None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Labels, scores and hosts of all samples of a view, unit by unit."""
    parts, score_of = [], beside(scorer_on(net, device), features)
    for unit in range(view.n_units):
        batch = view.read(unit)
        x = batch["x"]
        x = np.ascontiguousarray(x[:, :, crop : x.shape[2] - crop, crop : x.shape[3] - crop]) if crop else x
        host = batch["host_index"]
        parts.append((batch["y"], np.round(score_of(x, host), 6), host))
    y, score, host = (np.concatenate(p) for p in zip(*parts, strict=True))
    return y, score, host


def _scores_of_val(config: RunConfig, url: str, folder: str, progress: Progress) -> xr.Dataset:
    """Scores of every injection of val and their hosts, by the scorer in the file, as any other would be scored."""
    every = config.scorer.model_copy(update={"split": "val", "max_pairs": sys.maxsize})
    return run_scores(config.model_copy(update={"scorer": every}), url, folder, progress, filled=False)


def _refuse_other_scores(val: xr.Dataset, scored: xr.Dataset) -> float:
    """Compare the loader's scores with those of the scorer in the file, and refuse to keep both if they differ."""
    order = np.argsort(scored["row_id"].values)
    at = order[np.searchsorted(scored["row_id"].values[order], val["row_id"].values)]
    apart = np.abs(scored["stamp"].values[at] - val["stamp"].values)
    scale = float(np.std(val["stamp"].values)) or 1.0
    if not (apart <= _AGREE * scale + 1e-4).all():
        worst = int(np.argmax(np.nan_to_num(apart, nan=np.inf)))
        raise ExportError(
            f"training: row {val['row_id'].values[worst]} scores {val['stamp'].values[worst]:.6g} as the loader gives "
            f"it and {scored['stamp'].values[at][worst]:.6g} as the scorer reads it from the store: their images differ"
        )
    return float(apart.max(initial=0.0))


def _null_zero_flux(views: Views, config: RunConfig, device: str) -> GateResult:
    train, val = without_arcs(views.train_pairs), without_arcs(views.val)
    net = _null_net(views, train, config, device)
    scores = score_view(val, scorer_on(net, device), val.pixel_scale_arcsec, config.seed,
                        config.training.max_shift_pix, views.features)  # fmt: skip
    return judge_zero_flux(scores, config)


def _null_halves(views: Views, config: RunConfig, device: str) -> GateResult:
    seed = config.training.seed
    train, val = host_halves(views.train_pairs, seed), host_halves(views.val, seed)
    if len(np.unique(train.samples["y"].values)) < 2:
        return judge_host_halves(np.zeros(1), np.zeros(1), np.zeros(1, np.int64), config, seed)
    net = _null_net(views, train, config, device)
    of_val = scored_samples(val, net, device, config.training.max_shift_pix, views.features)
    return judge_host_halves(*of_val, config, seed)


def _null_net(views: Views, train: TrainingView, config: RunConfig, device: str) -> Any:
    """Train as the real one is trained, but from random weights."""
    of = config.training.model_copy(update={"aux": "none", "order": "free", "balance": "pair"})
    need("torch").manual_seed(of.seed)
    net, train = views.net(of), kept(train, of.keep_mb)
    return fit(
        net, epochs_of(train, of, views.features), train.samples.sizes["sample"], of, device, class_weights(train)
    ).net


def history_table(history: tuple[dict[str, float], ...]) -> xr.Dataset:
    """Make a Dataset of the history, dim epoch; NaN where an epoch was not measured."""
    names = list(dict.fromkeys(k for h in history for k in h))
    return xr.Dataset({k: ("epoch", np.array([h.get(k, np.nan) for h in history], np.float64)) for k in names
                       if k != "epoch"})  # fmt: skip


def training_of(config: RunConfig, kept: Mapping[str, Any]) -> Training:
    """Read what ``report.json`` holds.

    Parameters
    ----------
    config : RunConfig
    kept : mapping
        Its results.

    Returns
    -------
    Training
    """
    return Training(files.weights_of(config), kept_training(config, kept), files.report_of(config))


def _with_real(config: RunConfig, key: str, kept: Mapping[str, Any], progress: Progress) -> dict[str, Any]:
    """Results with the verdicts on real lenses of this table: those come after the network, which stays."""
    real = {
        "key": files.real_key(config),
        "gates": [g.to_dict() for g in real_verdicts(config, files.weights_of(config), progress)],
    }
    if real != kept.get("real"):
        keep_results(files.report_of(config), key, {**kept, "real": real})
    return {**kept, "real": real}


def _is_whole(config: RunConfig, stored: Mapping[str, Any]) -> bool:
    """Whether the network is the one that the report is of, and its scores are there."""
    return paths.exists(files.weights_of(config)) and stored["sha256"] == _digest(files.weights_of(config)) and (
        paths.group_exists(files.scores_url(config))
    )  # fmt: skip


def _digest(url: str) -> str:
    content = paths.read_object(url)
    return "" if content is None else hashlib.sha256(content).hexdigest()
