"""Losses: binary cross-entropy, and what pairs of stamp and control add to it."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lensflow.config.training import TrainingConfig
from lensflow.training.models import embedded, logits
from lensflow.training.packages import need


class Losses(NamedTuple):
    """Losses of one batch.

    Attributes
    ----------
    total, bce, aux : torch.Tensor
        The one that is minimised, and its two parts, the second without its weight.
    n_pairs : int
        Pairs that the auxiliary loss was taken over.
    """

    total: Any
    bce: Any
    aux: Any
    n_pairs: int


def losses(
    net: Any, x: Any, y: Any, weight: Any, pairs: NDArray[np.int64], config: TrainingConfig, features: Any = None
) -> Losses:
    """Losses of a batch.

    Parameters
    ----------
    net : torch.nn.Module
    x : torch.Tensor, shape (n, C, H, W)
    y, weight : torch.Tensor, shape (n,)
        Label 0 or 1, and weight.
    pairs : ndarray of int64, shape (m, 2)
        Places of a stamp and its control in the batch, as :func:`pairs_in` gives them.
    config : TrainingConfig
        Its ``aux``, ``aux_weight`` and ``aux_margin``.
    features : torch.Tensor, shape (n, k), optional
        For a network that was built for them.

    Returns
    -------
    Losses
    """
    torch = need("torch")
    z, score = embedded(net, x, features) if config.aux == "margin" else (None, logits(net, x, features))
    each = torch.nn.functional.binary_cross_entropy_with_logits(score, y, reduction="none")
    bce = (weight * each).sum() / weight.sum()
    aux = torch.zeros((), device=score.device)
    if config.aux != "none" and len(pairs):
        at = torch.as_tensor(pairs, device=score.device)
        aux = (
            margin_loss(z[at[:, 0]], z[at[:, 1]], config.aux_margin)
            if z is not None
            else rank_loss(score[at[:, 0]], score[at[:, 1]])
        )
    return Losses(bce + config.aux_weight * aux if config.aux != "none" else bce, bce, aux, len(pairs))


def margin_loss(stamp: Any, control: Any, margin: float) -> Any:
    """Mean of max(0, margin - |z_stamp - z_control|)^2 over pairs of L2-normalised embeddings.

    Parameters
    ----------
    stamp, control : torch.Tensor, shape (m, k)
        Embeddings, not normalised yet.
    margin : float
        Distance from which on a pair costs nothing; normalised embeddings are at most 2 apart.

    Returns
    -------
    torch.Tensor
        A scalar. Its gradient is finite also where both are the same.
    """
    torch = need("torch")
    a, b = (torch.nn.functional.normalize(z, dim=1) for z in (stamp, control))
    # The root's own gradient at 0 is infinite, and times 0 it is NaN.
    distance = torch.sqrt(((a - b) ** 2).sum(dim=1) + 1e-12)
    return (torch.clamp(margin - distance, min=0) ** 2).mean()


def rank_loss(stamp: Any, control: Any) -> Any:
    """Mean of softplus(control - stamp) over pairs of scores.

    Parameters
    ----------
    stamp, control : torch.Tensor, shape (m,)
        Scores.

    Returns
    -------
    torch.Tensor
        A scalar.
    """
    return need("torch").nn.functional.softplus(control - stamp).mean()


def pairs_in(
    y: NDArray[Any], pair_id: NDArray[np.int64], snr: NDArray[Any], negative_kind: NDArray[Any], min_snr: float
) -> NDArray[np.int64]:
    """Places of stamps and their own controls in a batch, of pairs whose arc can be seen.

    Parameters
    ----------
    y, pair_id, snr, negative_kind : ndarray, shape (n,)
        Label, id that stamp and control share, snr_matched of the row, kind of negative (0 is the control itself).
    min_snr : float
        Pairs below are left out: an arc that cannot be seen cannot be ranked.

    Returns
    -------
    ndarray of int64, shape (m, 2)
    """
    control = np.flatnonzero((y == 0) & (negative_kind == 0) & (pair_id >= 0))
    order = control[np.argsort(pair_id[control], kind="stable")]
    stamps = np.flatnonzero((y == 1) & (snr >= min_snr) & (pair_id >= 0))
    at = np.searchsorted(pair_id[order], pair_id[stamps])
    has = at < len(order)
    has[has] = pair_id[order][at[has]] == pair_id[stamps][has]
    return np.stack([stamps[has], order[at[has]]], axis=1).astype(np.int64).reshape(-1, 2)
