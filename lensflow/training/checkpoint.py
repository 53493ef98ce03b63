"""A trained network in one file: safetensors, whose header says for which data it is."""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from lensflow.config.training import TrainingConfig
from lensflow.errors import ConfigError, StoreError
from lensflow.export.normalisation import Normalisation
from lensflow.store import paths
from lensflow.training.feature_scale import FeatureScale
from lensflow.training.packages import need

ENDING = ".safetensors"
_KEY = "lensflow.training"
_SCALE_TOLERANCE = 1e-4


@dataclass(frozen=True)
class About:
    """For which data a network is, and of which training.

    Attributes
    ----------
    bands, channels : tuple of str
        Of the images, and of what the network takes (bands, and ``valid``).
    pixel_scale_arcsec : float
    stamp_size_pix : int
        Side of a stamp before ``crop_pix`` pixels are cut from each side.
    normalisation : mapping
        As ``Normalisation.to_json`` gives it.
    model, stem : str
    crop_pix : int
        Pixels that shifts (``max_shift_pix``) cut from each side.
    made : mapping
        Run, pixels, seed, code: for readers.
    lens_light : {"kept", "radial", "smooth"}
        Light of the lens galaxy that was taken off the images.
    features : mapping
        What it reads beside the pixels, as ``FeatureScale.to_json`` gives it; empty without.
    """

    bands: tuple[str, ...]
    channels: tuple[str, ...]
    pixel_scale_arcsec: float
    stamp_size_pix: int
    normalisation: Mapping[str, Any]
    model: str = "tiny"
    stem: str = "imagenet"
    crop_pix: int = 0
    made: Mapping[str, Any] = field(default_factory=dict)
    lens_light: str = "kept"
    features: Mapping[str, Any] = field(default_factory=dict)

    @property
    def scale(self) -> FeatureScale | None:
        """Features and their constants; None without any."""
        return FeatureScale.from_json(self.features) if self.features else None

    def refuse_other_data(self, other: About, name: str) -> None:
        """Refuse data that the network was not trained for.

        Parameters
        ----------
        other : About
            Of the data.
        name : str
            Of the checkpoint, for the message.

        Raises
        ------
        ConfigError
            Naming the value of the checkpoint and that of the data.
        """
        self.refuse_other_images(other.bands, other.pixel_scale_arcsec, other.stamp_size_pix, name)
        for what in ("channels", "model", "lens_light"):
            mine, theirs = getattr(self, what), getattr(other, what)
            if mine != theirs:
                raise ConfigError(_differ(name, what, mine, theirs))
        mine, theirs = self.scale, other.scale
        if mine is not None and theirs is not None:
            mine.refuse_other(theirs, name)
        elif mine is not theirs:
            words = [", ".join(s.columns) if s else "none" for s in (mine, theirs)]
            raise ConfigError(_differ(name, "features", *words))
        of_data = Normalisation.from_json(other.normalisation)
        Normalisation.from_json(self.normalisation).refuse_other(of_data, name, "the data")

    def refuse_other_images(self, bands: tuple[str, ...], scale: float, size: int, name: str) -> None:
        """Refuse images of other bands, pixel scale or size.

        Parameters
        ----------
        bands : tuple of str
        scale : float
            Arcsec per pixel.
        size : int
            Side of an image, pixels.
        name : str
            Of the checkpoint, for the message.

        Raises
        ------
        ConfigError
            Naming both values.
        """
        if tuple(bands) != self.bands:
            raise ConfigError(_differ(name, "bands", ", ".join(self.bands), ", ".join(bands)))
        if abs(scale / self.pixel_scale_arcsec - 1) > _SCALE_TOLERANCE:
            raise ConfigError(_differ(name, "pixel scale (arcsec)", f"{self.pixel_scale_arcsec:g}", f"{scale:g}"))
        if size != self.stamp_size_pix:
            raise ConfigError(_differ(name, "stamp size (pix)", self.stamp_size_pix, size))


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """Weights and what they are for.

    Attributes
    ----------
    about : About
    tensors : mapping
        Name -> torch.Tensor.
    """

    about: About
    tensors: Mapping[str, Any]


def write_checkpoint(url: str, net: Any, about: About) -> None:
    """Write a network's weights.

    Parameters
    ----------
    url : str
    net : torch.nn.Module
    about : About
        Goes into the header.
    """
    tensors = {k: v.detach().cpu().contiguous() for k, v in net.state_dict().items()}
    header = {_KEY: json.dumps(asdict(about), sort_keys=True, allow_nan=False)}
    paths.write_bytes(url, need("safetensors.torch").save(tensors, metadata=header))


def read_checkpoint(url: str, content: bytes | None = None) -> Checkpoint:
    """Read weights that :func:`write_checkpoint` wrote.

    Parameters
    ----------
    url : str
    content : bytes, optional
        Of the file, if already read.

    Returns
    -------
    Checkpoint

    Raises
    ------
    ConfigError
        If there is no such file, or it is not one of lensflow.
    """
    if content is None:
        try:
            content = paths.read_object(url)
        except StoreError as error:
            raise ConfigError(f"{url}: cannot be read ({error})") from error
        if content is None:
            raise ConfigError(f"{url}: there is no such checkpoint. `lensflow train RUN` writes one")
    try:
        # The format: eight bytes of length, JSON, tensors.
        length = struct.unpack("<Q", content[:8])[0]
        header = json.loads(content[8 : 8 + length])["__metadata__"][_KEY]
        tree = json.loads(header)
        about = About(**{**tree, "bands": tuple(tree["bands"]), "channels": tuple(tree["channels"])})
        tensors = need("safetensors.torch").load(content)
    except (struct.error, ValueError, KeyError, TypeError) as error:
        raise ConfigError(
            f"{url}: no checkpoint of lensflow: its header does not say for which bands, pixel scale and normalisation "
            f"it is ({type(error).__name__}: {error})"
        ) from error
    except Exception as error:  # safetensors' own errors have no common public base
        raise ConfigError(f"{url}: damaged ({type(error).__name__}: {error})") from error
    return Checkpoint(about, tensors)


def config_of(about: About) -> TrainingConfig:
    """Settings that build the network of a checkpoint again."""
    return TrainingConfig.model_validate({"model": about.model, "stem": about.stem})


def _differ(name: str, what: str, mine: Any, theirs: Any) -> str:
    return f"{name}: was trained for {what} {mine}, and the data have {theirs}."
