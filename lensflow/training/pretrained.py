"""Weights to start from: ImageNet's where they can be had, a file of them, or a checkpoint of lensflow."""

from __future__ import annotations

import hashlib
import io
import urllib.request
from pathlib import Path
from typing import Any

from lensflow.config.training import TrainingConfig
from lensflow.errors import ConfigError, StoreError
from lensflow.store import paths
from lensflow.training.checkpoint import ENDING, About, read_checkpoint
from lensflow.training.packages import need

IMAGENET = "https://download.pytorch.org/models/resnet18-f37072fd.pth"
# The first digits of the file's SHA-256 are part of its name.
_DIGEST = "f37072fd"
_TIMEOUT_S = 30


def start(net: Any, config: TrainingConfig, about: About) -> str:
    """Load the weights that ``training.pretrained`` names into a network, and say what was done.

    Parameters
    ----------
    net : torch.nn.Module
        As :func:`lensflow.training.models.build` makes it.
    config : TrainingConfig
    about : About
        Of the data that it is about to be trained on.

    Returns
    -------
    str
        ``false`` with the reason, or where the weights are from and which layers kept their random values.

    Raises
    ------
    ConfigError
        If a file that is named cannot be used, or is a checkpoint made for other data; both values are named.
    """
    if config.pretrained is False:
        return "false: not asked for (training.pretrained)"
    if isinstance(config.pretrained, str):
        if config.pretrained.endswith(ENDING):
            found = read_checkpoint(config.pretrained)
            found.about.refuse_other_data(about, f"training.pretrained: {config.pretrained}")
            _load(net, dict(found.tensors), config.pretrained, strict=True)
            return f"checkpoint {config.pretrained}"
        return f"{config.pretrained}; {_imagenet(net, _state_of(_file(config.pretrained), config.pretrained), config)}"
    if config.model != "resnet18":
        return f"false: there are no ImageNet weights of the model {config.model}"
    try:
        content = _reachable()
    except OSError as error:
        return f"false: ImageNet weights are neither in torch's cache nor reachable ({type(error).__name__}: {error})"
    return f"ImageNet, {IMAGENET.rpartition('/')[2]}; {_imagenet(net, _state_of(content, IMAGENET), config)}"


def _file(path: str) -> bytes:
    try:
        content = paths.read_object(path)
    except StoreError as error:
        raise ConfigError(f"training.pretrained: {path} cannot be read ({error})") from error
    if content is None:
        raise ConfigError(f"training.pretrained: there is no file {path}. Name one, or set true or false")
    return content


def _reachable() -> bytes:
    """ImageNet weights from torch's cache, or from its server into the cache."""
    kept = Path(need("torch").hub.get_dir()) / "checkpoints" / IMAGENET.rpartition("/")[2]
    if kept.exists():
        content = kept.read_bytes()
    else:
        with urllib.request.urlopen(IMAGENET, timeout=_TIMEOUT_S) as answer:
            content = answer.read()
    if not hashlib.sha256(content).hexdigest().startswith(_DIGEST):
        raise ConfigError(
            f"training.pretrained: {kept if kept.exists() else IMAGENET}: not the published file (its SHA-256 does not "
            f"begin with {_DIGEST}). Delete it, or set training.pretrained: false"
        )
    if not kept.exists():
        kept.parent.mkdir(parents=True, exist_ok=True)
        kept.write_bytes(content)
    return content


def _state_of(content: bytes, name: str) -> dict[str, Any]:
    try:
        # weights_only: no code of the file is run.
        state = need("torch").load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except Exception as error:  # any error raised while unpickling
        raise ConfigError(f"training.pretrained: {name}: no state_dict of torch ({type(error).__name__})") from error
    if not isinstance(state, dict) or not all(hasattr(v, "shape") for v in state.values()):
        raise ConfigError(f"training.pretrained: {name}: no state_dict of torch, a {type(state).__name__}")
    return state


def _imagenet(net: Any, state: dict[str, Any], config: TrainingConfig) -> str:
    """Take the body of published weights; the head is new, and the first layer where its shape differs."""
    if config.model != "resnet18":
        raise ConfigError(f"training.pretrained: published weights are of resnet18, not of model {config.model}")
    body = {f"body.{k}": v for k, v in state.items() if not k.startswith("fc.")}
    own = net.state_dict()
    random = ["head"]
    if "body.conv1.weight" in body and body["body.conv1.weight"].shape != own["body.conv1.weight"].shape:
        random.append("conv1 (another stem, or other bands than three)")
        body["body.conv1.weight"] = own["body.conv1.weight"]
    if any(k.startswith("mix.") for k in own):
        random.append("mix (features)")
    new = {k: v for k, v in own.items() if k.startswith(("head.", "mix."))}
    _load(net, body | new, "published weights", strict=True)
    return f"random: {', '.join(random)}"


def _load(net: Any, state: dict[str, Any], name: str, strict: bool) -> None:
    try:
        net.load_state_dict(state, strict=strict)
    except RuntimeError as error:
        first = str(error).strip().splitlines()
        raise ConfigError(
            f"training.pretrained: {name} has other layers than the model: {' '.join(first[:3])[:400]}"
        ) from error
