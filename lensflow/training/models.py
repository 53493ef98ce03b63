"""Networks: ResNet-18 without torchvision, a tiny one for a CPU, or a user's own."""

from __future__ import annotations

import inspect
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

from lensflow.config.training import TrainingConfig
from lensflow.errors import ConfigError
from lensflow.training.packages import need

# What a user's model must be, for messages.
_FORM = "a callable that takes the number of channels and returns a torch.nn.Module from (n, C, H, W) to (n,) or (n, 1)"
_FORM_FEATURES = (
    "with training.features a callable that takes the number of channels and that of the features, and returns a "
    "torch.nn.Module from images (n, C, H, W) and features (n, k) to (n,) or (n, 1); or leave training.features empty"
)
MODEL_EXAMPLE = "my_models:small_net"
Import = Callable[[str], Any]


def build(config: TrainingConfig, channels: int, imported: Import, n_features: int = 0) -> Any:
    """Make the network that ``training.model`` names, with weights drawn from torch's present random state.

    Parameters
    ----------
    config : TrainingConfig
        Its ``model`` and ``stem``.
    channels : int
        Of the images.
    imported : callable
        Imports what ``package.module:callable`` names.
    n_features : int
        Numbers that it reads beside the pixels of each image.

    Returns
    -------
    torch.nn.Module
        ``forward(x)`` gives one number per image; those written here also have ``embed(x)`` and ``head``, and
        ``forward(x)`` is ``head(embed(x))``. With features all three take them: ``forward(x, features)``.

    Raises
    ------
    ConfigError
        If the model fails, returns no module, or one that takes no features where there are some.
    ExportError
        If torch is not installed.
    """
    torch = need("torch")
    if config.model == "tiny":
        return tiny(channels, n_features)
    if config.model == "resnet18":
        return resnet18(channels, config.stem, n_features)
    made, form = imported(config.model), _FORM_FEATURES if n_features else _FORM
    given = (channels, n_features) if n_features else (channels,)
    try:
        net = made(*given)
    except Exception as error:  # a user's model may raise any error
        call, why = ", ".join(map(str, given)), f"{type(error).__name__}: {error}"
        raise ConfigError(f"training.model: {config.model}({call}) failed with {why}. It must be {form}") from error
    if not isinstance(net, torch.nn.Module):
        raise ConfigError(f"training.model: {config.model} returned a {type(net).__name__}; it must be {form}")
    if n_features:
        try:
            inspect.signature(net.forward).bind(None, None)
        except TypeError as error:
            raise ConfigError(
                f"training.model: forward of {config.model} does not take images and features ({error}). It must be "
                f"{form}"
            ) from error
    return net


def n_parameters(net: Any) -> int:
    """Number of trained numbers of a network."""
    return sum(int(p.numel()) for p in net.parameters() if p.requires_grad)


def logits(net: Any, x: Any, features: Any = None, what: str = "training.model") -> Any:
    """One number per image of a network's output.

    Parameters
    ----------
    net : torch.nn.Module
    x : torch.Tensor, shape (n, C, H, W)
    features : torch.Tensor, shape (n, k), optional
        For a network that was built for them.
    what : str
        Of the network, for the message.

    Returns
    -------
    torch.Tensor, shape (n,)

    Raises
    ------
    ConfigError
        If it returns another shape.
    """
    return _one_each(net(x) if features is None else net(x, features), len(x), what)


def embedded(net: Any, x: Any, features: Any = None, what: str = "training.model") -> tuple[Any, Any]:
    """Embedding of images and the number made of it.

    Parameters
    ----------
    net : torch.nn.Module
        With ``embed`` and ``head``.
    x : torch.Tensor, shape (n, C, H, W)
    features : torch.Tensor, shape (n, k), optional
    what : str
        Of the network, for the message.

    Returns
    -------
    (torch.Tensor, torch.Tensor)
        Shapes (n, k) and (n,).

    Raises
    ------
    ConfigError
        If it has no embedding.
    """
    if not (hasattr(net, "embed") and hasattr(net, "head")):
        raise ConfigError(f"training.aux: margin: {what} has no embed(x) and head; use aux: rank, or add them")
    z = net.embed(x) if features is None else net.embed(x, features)
    return z, _one_each(net.head(z), len(x), what)


def _one_each(found: Any, n: int, what: str) -> Any:
    if tuple(found.shape) == (n, 1):
        found = found[:, 0]
    if tuple(found.shape) != (n,):
        raise ConfigError(f"{what}: must return one number per image, shape ({n},), not {tuple(found.shape)}")
    return found


def tiny(channels: int, n_features: int = 0) -> Any:
    """Three convolutions; mean and maximum over the image. 24,481 parameters with three channels.

    Parameters
    ----------
    channels : int
        Of the images.
    n_features : int
        Numbers beside the pixels of an image, mixed into its embedding by one more layer.

    Returns
    -------
    torch.nn.Module
        Without batch statistics: an image scores the same in any batch, in training too.
    """
    nn = need("torch").nn
    body = nn.Sequential(
        nn.Conv2d(channels, 16, 5, stride=2, padding=2), nn.LeakyReLU(0.1),
        nn.Conv2d(16, 32, 3, stride=2, padding=1), nn.LeakyReLU(0.1),
        nn.Conv2d(32, 64, 3, stride=2, padding=1), nn.LeakyReLU(0.1),
    )  # fmt: skip
    return _with_head(body, 64, True, n_features)


def resnet18(channels: int, stem: str = "imagenet", n_features: int = 0) -> Any:
    """ResNet-18, with the names of its parameters as published weights have them (but for the last layer).

    Parameters
    ----------
    channels : int
        Of the images.
    stem : {"imagenet", "small"}
        7 x 7 of stride 2 and a pooling, which leaves 16 x 16 of 64 x 64 pixels; or 3 x 3 of stride 1.
    n_features : int
        Numbers beside the pixels of an image, mixed into its embedding by one more layer.

    Returns
    -------
    torch.nn.Module

    References
    ----------
    He, Zhang, Ren & Sun 2016, CVPR, 770.
    """
    torch = need("torch")
    from torch import nn

    class Block(nn.Module):
        def __init__(self, before: int, after: int, stride: int) -> None:
            super().__init__()
            self.conv1 = nn.Conv2d(before, after, 3, stride, 1, bias=False)
            self.bn1 = nn.BatchNorm2d(after)
            self.conv2 = nn.Conv2d(after, after, 3, 1, 1, bias=False)
            self.bn2 = nn.BatchNorm2d(after)
            self.downsample = None
            if stride != 1 or before != after:
                self.downsample = nn.Sequential(nn.Conv2d(before, after, 1, stride, bias=False), nn.BatchNorm2d(after))

        def forward(self, x: Any) -> Any:
            out = self.bn2(self.conv2(torch.relu(self.bn1(self.conv1(x)))))
            return torch.relu(out + (x if self.downsample is None else self.downsample(x)))

    first = nn.Conv2d(channels, 64, *((7, 2, 3) if stem == "imagenet" else (3, 1, 1)), bias=False)
    parts: list[tuple[str, Any]] = [("conv1", first), ("bn1", nn.BatchNorm2d(64)), ("relu", nn.ReLU())]
    if stem == "imagenet":
        parts.append(("maxpool", nn.MaxPool2d(3, 2, 1)))
    width = 64
    for k, after in enumerate((64, 128, 256, 512), start=1):
        parts.append((f"layer{k}", nn.Sequential(Block(width, after, 1 if k == 1 else 2), Block(after, after, 1))))
        width = after
    net = _with_head(nn.Sequential(OrderedDict(parts)), 512, False, n_features)
    for module in net.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
    return net


def _with_head(body: Any, width: int, both: bool, n_features: int) -> Any:
    """Maps to an embedding (their mean; with ``both`` also their maximum), and one linear layer to the number.

    A feature that is the same for a stamp and its control moves both scores alike, and a linear layer could do no
    more with it: so embedding and features go through a layer with a bend before the head.
    """
    torch = need("torch")
    from torch import nn

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = body
            size = width * (2 if both else 1)
            if n_features:
                self.mix = nn.Sequential(nn.Linear(size + n_features, size), nn.LeakyReLU(0.1))
            self.head = nn.Linear(size, 1)

        def embed(self, x: Any, features: Any = None) -> Any:
            maps = self.body(x)
            mean = maps.mean(dim=(2, 3))
            z = torch.cat([mean, maps.amax(dim=(2, 3))], dim=1) if both else mean
            if (features is not None) != bool(n_features):
                given = "none" if features is None else features.shape[1]
                raise ConfigError(
                    f"training.features: the network was built for {n_features} features and gets {given}"
                )
            return self.mix(torch.cat([z, features], dim=1)) if n_features else z

        def forward(self, x: Any, features: Any = None) -> Any:
            return self.head(self.embed(x, features))[:, 0]

    return Net()
