"""A trained network as a scorer of images, for ``lensflow score``, ``completeness`` and the gates."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lensflow.errors import ConfigError
from lensflow.export.normalisation import Normalisation
from lensflow.training.checkpoint import About, config_of, read_checkpoint
from lensflow.training.loop import scores_of
from lensflow.training.models import Import, build
from lensflow.training.packages import need


@dataclass(frozen=True, eq=False)
class TrainedScorer:
    """A network in evaluation mode with the normalisation that it was trained with.

    Attributes
    ----------
    net : torch.nn.Module
    about : About
        For which data it is.
    name : str
        Of its file.
    """

    net: Any
    about: About
    name: str
    # As it was trained: whoever scores with it says which pixels have no data.
    missing_is_zero = True

    @property
    def lens_light(self) -> str:
        """Light of the lens that is taken off before it sees an image: ``scorer.lens_light`` must say the same."""
        return self.about.lens_light

    @property
    def needs_features(self) -> tuple[str, ...]:
        """What it takes beside the images: whoever scores with it hands it those of their hosts."""
        scale = self.about.scale
        return scale.names if scale else ()

    @property
    def note(self) -> str:
        """What is said wherever its numbers are shown."""
        made = self.about.made
        return (
            f"A network ({self.about.model}) trained for {made.get('epochs', '?')} epochs on injections of "
            f"{made.get('run', 'a run')!r} alone: what it finds are arcs of that prior, in these hosts"
        )

    def __call__(self, images: NDArray[Any], features: NDArray[Any] | None = None) -> NDArray[np.float64]:
        """Score images.

        Parameters
        ----------
        images : ndarray, shape (n, band, y, x)
            nMgy/pixel, in the order of ``about.bands``; a pixel without data is 0 or NaN.
        features : ndarray, shape (n, feature * band), optional
            What it was trained with beside the images (``needs_features``), as surveys give it (PSF sizes in arcsec);
            NaN where a band is absent.

        Returns
        -------
        ndarray of float64, shape (n,)
            Logits: higher for what looks more like a lens.

        Raises
        ------
        ConfigError
            If they have another number of bands, or another size, than those that it was trained on; or if it was
            trained with features and gets none, or gets some and was trained without.
        """
        bands, size = len(self.about.bands), self.about.stamp_size_pix
        if images.ndim != 4 or images.shape[1:] != (bands, size, size):
            raise ConfigError(
                f"{self.name}: was trained for images of shape ({bands}, {size}, {size}), bands "
                f"{', '.join(self.about.bands)}, and the data have {images.shape[1:]}"
            )
        scale = self.about.scale
        if (scale is None) != (features is None):
            mine, given = ("none", "some") if scale is None else (", ".join(scale.columns), "none")
            raise ConfigError(f"{self.name}: was trained with features {mine} beside the images, and is given {given}")
        beside = None if scale is None or features is None else scale.apply(features, self.name)
        return scores_of(self.net, network_input(images, self.about), features=beside)

    def refuse_other_images(self, bands: tuple[str, ...], scale: float, size: int) -> None:
        """Refuse a run with other bands, pixel scale or stamps.

        Parameters
        ----------
        bands : tuple of str
        scale : float
            Arcsec per pixel.
        size : int
            Side of a stamp, pixels.

        Raises
        ------
        ConfigError
            Naming both values.
        """
        self.about.refuse_other_images(bands, scale, size, self.name)


def network_input(images: NDArray[Any], about: About) -> NDArray[np.float32]:
    """Images as the loader hands them to a training: normalised, missing pixels 0, cropped by the shifts' reach.

    Parameters
    ----------
    images : ndarray, shape (n, band, y, x)
        nMgy/pixel; a pixel without data is 0, as stores have it, or NaN.
    about : About

    Returns
    -------
    ndarray of float32, shape (n, channel, y, x)
    """
    valid = np.isfinite(images) & (images != 0)
    x = Normalisation.from_json(about.normalisation).apply(images, valid)
    if len(about.channels) > len(about.bands):
        x = np.concatenate([x, valid.all(axis=1, keepdims=True).astype(np.float32)], axis=1)
    c = about.crop_pix
    return np.ascontiguousarray(x[:, :, c : x.shape[2] - c, c : x.shape[3] - c]) if c else x


def load_scorer(content: bytes, name: str, imported: Import) -> TrainedScorer:
    """Make a scorer of a checkpoint's bytes.

    Parameters
    ----------
    content : bytes
        Of the file.
    name : str
        Of the file, for messages.
    imported : callable
        Imports what ``package.module:callable`` names.

    Returns
    -------
    TrainedScorer

    Raises
    ------
    ConfigError
        If it is no checkpoint of lensflow, or the model that it names is another by now.
    """
    found = read_checkpoint(name, content)
    scale = found.about.scale
    net = build(config_of(found.about), len(found.about.channels), imported, len(scale.columns) if scale else 0)
    try:
        net.load_state_dict(dict(found.tensors))
    except RuntimeError as error:
        raise ConfigError(
            f"{name}: its weights do not fit the model {found.about.model} as it is now: {str(error)[:300]}"
        ) from error
    return TrainedScorer(net.eval(), found.about, name)


def fingerprint_of(content: bytes) -> str:
    """Fingerprint of a checkpoint and the torch that runs it."""
    return hashlib.sha256(content + need("torch").__version__.encode()).hexdigest()[:16]
