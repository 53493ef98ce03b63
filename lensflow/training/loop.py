"""The loop: batches in, a trained network and its history out. It knows no files and no command line."""

from __future__ import annotations

import contextlib
import math
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lensflow.config.training import MODELS, TrainingConfig
from lensflow.errors import ConfigError, ExportError
from lensflow.training.ahead import ahead, on_device
from lensflow.training.losses import losses, pairs_in
from lensflow.training.models import logits
from lensflow.training.packages import need

Batch = Mapping[str, NDArray[Any]]
# Batches of one epoch: x (n, C, H, W) float32, y, weight, row_id, for pairs pair_id, negative_kind, snr, and what is
# read beside the pixels: features (n, k) float32.
Epochs = Callable[[int], Iterable[Batch]]
# Told of each finished epoch, with the network: returns what goes into the history beside the losses.
AfterEpoch = Callable[[int, Any], Mapping[str, float]]
_SCORED_AT_ONCE = 256
_NAMED_ROWS = 12


@dataclass(frozen=True, eq=False)
class Fitted:
    """A trained network.

    Attributes
    ----------
    net : torch.nn.Module
        In evaluation mode.
    history : tuple of dict
        Of each epoch: losses, learning rate, rows, seconds, and what was measured after it.
    device : str
    """

    net: Any
    history: tuple[dict[str, float], ...]
    device: str


def device_of(config: TrainingConfig) -> str:
    """Return the device that ``training.device`` means here.

    Raises
    ------
    ConfigError
        If there is no such device.
    """
    torch = need("torch")
    if config.device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.zeros(1, device=config.device)
    except (RuntimeError, AssertionError) as error:
        raise ConfigError(
            f"training.device: {config.device!r} cannot be used here ({error}). Set auto or cpu"
        ) from error
    return config.device


@contextlib.contextmanager
def repeatable(seed: int) -> Iterator[None]:
    """Seed torch for the body, and choose its repeatable kernels; the process's state is restored.

    Parameters
    ----------
    seed : int
        Of weights and dropout.
    """
    torch = need("torch")
    # cuBLAS reads it once, when it is first used: sums in one order. NVIDIA, cuBLAS, section "Results reproducibility".
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    before = torch.are_deterministic_algorithms_enabled()
    with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        torch.manual_seed(seed)
        # On a GPU some kernels have no repeatable form: they warn, and the spread of seeds is reported.
        torch.use_deterministic_algorithms(True, warn_only=True)
        try:
            yield
        finally:
            torch.use_deterministic_algorithms(before)


def fit(
    net: Any,
    epochs: Epochs,
    n_samples: int,
    config: TrainingConfig,
    device: str = "cpu",
    class_weight: tuple[float, float] = (1.0, 1.0),
    after: AfterEpoch = lambda epoch, net: {},
) -> Fitted:
    """Train a network: AdamW, learning rate rising over the warm-up and falling as a cosine.

    Parameters
    ----------
    net : torch.nn.Module
    epochs : callable
        Epoch -> its batches.
    n_samples : int
        Of an epoch; with the batch size it sets how fast the learning rate falls.
    config : TrainingConfig
    device : str
    class_weight : (float, float)
        Factors on the weights of negatives and positives.
    after : callable
        Called with (epoch, network in evaluation mode) after each.

    Returns
    -------
    Fitted

    Raises
    ------
    ExportError
        If a loss is not finite (the message names rows of the batch), or an epoch has no batch.
    """
    torch = need("torch")
    on_gpu = device.startswith("cuda")
    last = on_gpu and config.model in MODELS  # a user's own may not take it
    net = net.to(device, memory_format=torch.channels_last) if last else net.to(device)
    optimiser = torch.optim.AdamW(net.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay)
    steps = max(1, math.ceil(n_samples / config.batch_size))
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: rate_at(step / steps, config))
    factors = np.array(class_weight)

    def ready(batch: Batch) -> tuple[Any, Any, Any, Any]:
        y = np.asarray(batch["y"])
        weight = np.asarray(batch["weight"]) * factors[y.astype(int)]
        more = on_device(batch["features"], device) if "features" in batch else None
        return on_device(batch["x"], device, last), on_device(y, device), on_device(weight, device), more

    history: list[dict[str, float]] = []
    for epoch in range(config.epochs):
        net.train()
        begun, rows, sums, pairs = time.perf_counter(), 0, np.zeros(3), 0
        rate = float(optimiser.param_groups[0]["lr"])
        for batch, (x, label, weight, features) in ahead(epochs(epoch), ready):
            with torch.autocast(device.partition(":")[0], torch.bfloat16, enabled=config.precision == "bfloat16"):
                found = losses(net, x, label, weight, _pairs(batch, config), config, features)
            # One wait for the device in each batch, and not one for each number.
            values = np.array(torch.stack([found.total, found.bce, found.aux]).tolist())
            if not np.isfinite(values[0]):
                raise ExportError(diverged(epoch, batch, net, x))
            optimiser.zero_grad()
            found.total.backward()
            optimiser.step()
            schedule.step()
            sums += len(label) * values
            rows, pairs = rows + len(label), pairs + found.n_pairs
        if not rows:
            raise ExportError(f"training: epoch {epoch} has no batch: fewer samples than training.batch_size?")
        seconds = time.perf_counter() - begun
        total, bce, aux = (float(v) for v in sums / rows)
        net.eval()
        measured = {k: float(v) for k, v in after(epoch, net).items()}
        history.append(
            {"epoch": epoch, "loss": total, "bce": bce, "aux": aux, "n_pairs": pairs, "learning_rate": rate,
             "rows": rows, "seconds": seconds, **measured}
        )  # fmt: skip
    net.eval()
    return Fitted(net, tuple(history), device)


def rate_at(epoch: float, config: TrainingConfig) -> float:
    """Learning rate as a share of its highest: rising to 1 over the warm-up, then a cosine to 0.

    Parameters
    ----------
    epoch : float
        Epochs done, with the part of the present one.
    config : TrainingConfig

    Returns
    -------
    float
        0 to 1; above 0 during the training.
    """
    warm, every = config.warm_up_epochs, config.epochs
    if epoch < warm:
        # The first step already moves.
        return max(epoch / warm, 0.01)
    done = min(1.0, (epoch - warm) / max(every - warm, 1e-9))
    return 0.5 * (1 + math.cos(math.pi * done))


def scores_of(
    net: Any, x: NDArray[np.float32], device: str = "cpu", features: NDArray[np.float32] | None = None
) -> NDArray[np.float64]:
    """Score images with a network in evaluation mode.

    Parameters
    ----------
    net : torch.nn.Module
    x : ndarray of float32, shape (n, C, H, W)
        Normalised.
    device : str
    features : ndarray of float32, shape (n, k), optional
        Normalised, for a network that was built for them.

    Returns
    -------
    ndarray of float64, shape (n,)
        Logits, higher for what looks more like a lens.
    """
    torch = need("torch")
    out, on_gpu = np.empty(len(x)), device.startswith("cuda")
    # Tensor cores round to ten bits (TF32): a CPU, which scores the same network later, does not.
    # (What ``cudnn.flags`` is not told, it sets to values of its own: cuDNN off, and ten times slower.)
    with torch.no_grad(), torch.backends.cudnn.flags(enabled=True, deterministic=True, allow_tf32=False):
        for first in range(0, len(x), _SCORED_AT_ONCE):
            parts = [np.ascontiguousarray(v[first : first + _SCORED_AT_ONCE]) for v in (x, features) if v is not None]
            n = len(parts[0])
            if on_gpu and n < _SCORED_AT_ONCE:
                # A GPU has other kernels for other sizes of a batch, and equal images must have equal scores.
                parts = [np.concatenate([p, np.zeros((_SCORED_AT_ONCE - n, *p.shape[1:]), p.dtype)]) for p in parts]
            given = [torch.as_tensor(p, device=device) for p in parts]
            out[first : first + n] = logits(net, *given)[:n].double().cpu().numpy()
    return out


def _pairs(batch: Batch, config: TrainingConfig) -> NDArray[np.int64]:
    if config.aux == "none":
        return np.empty((0, 2), np.int64)
    y, pair, snr, kind = (np.asarray(batch[k]) for k in ("y", "pair_id", "snr", "negative_kind"))
    return pairs_in(y, pair, snr, kind, config.aux_min_snr)


def diverged(epoch: int, batch: Batch, net: Any, x: Any) -> str:
    """Say which rows a loss that is not finite came from.

    Parameters
    ----------
    epoch : int
    batch : mapping of ndarray
        With ``row_id``.
    net : torch.nn.Module
    x : torch.Tensor, shape (n, C, H, W)
        What the network was given of it.

    Returns
    -------
    str
    """
    torch = need("torch")
    ids = np.asarray(batch["row_id"])
    inputs = ~torch.isfinite(x).flatten(1).all(dim=1).cpu().numpy()
    if inputs.any():
        which, why = ids[inputs], "their images are not finite"
    elif not all(bool(torch.isfinite(p).all()) for p in net.parameters()):
        which, why = ids, "the network's weights were not finite before this batch: lower training.learning_rate"
    else:
        which, why = ids, "their images are finite: the network diverged; lower training.learning_rate"
    shown = ", ".join(str(int(i)) for i in which[:_NAMED_ROWS])
    more = f" and {len(which) - _NAMED_ROWS} more" if len(which) > _NAMED_ROWS else ""
    return f"training: the loss of a batch of epoch {epoch} is not finite; row_id {shown}{more}: {why}"
