"""Normalisation of samples: x' = f((x - a) / s) for each band, the same for both classes."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lensflow import geometry
from lensflow.config import NormalisationConfig
from lensflow.errors import ConfigError, ExportError, LensflowWarning
from lensflow.export.pixels.kernels import ASINH, CLIP, LINEAR, normalise_in_place
from lensflow.units import MAD_TO_SIGMA

# Kinds whose constants come from the train controls, one pair a band; the others take them from each sample.
OF_CONTROLS = ("survey", "dataset")


@dataclass(frozen=True)
class Normalisation:
    """How pixels become the numbers that a network reads.

    Attributes
    ----------
    kind : {"survey", "annulus", "dataset", "sample", "none"}
    bands : tuple of str
    a, s : tuple of float
        Offset and scale of each band, nMgy/pixel; 0 and 1 where each sample has its own.
    annulus_pix : tuple of float
        Inner and outer radius about the stamp's middle, pixels (``annulus``).
    clip : float
    stretch : {"clip", "asinh"}
    n_pixels : tuple of int
        Pixels of train controls that the constants of each band come from.
    n_hosts : int
        Hosts of these controls.
    """

    kind: str
    bands: tuple[str, ...]
    a: tuple[float, ...]
    s: tuple[float, ...]
    annulus_pix: tuple[float, float]
    clip: float = 20.0
    stretch: str = "clip"
    n_pixels: tuple[int, ...] = ()
    n_hosts: int = 0

    @property
    def how(self) -> int:
        """Number of f in the kernels."""
        if self.kind == "survey" or (self.kind == "annulus" and self.stretch == "asinh"):
            return ASINH
        return CLIP if self.kind == "annulus" else LINEAR

    def apply(
        self, raw: NDArray[np.float32], valid: NDArray[np.bool_] | None = None, row_id: NDArray[Any] | None = None
    ) -> NDArray[np.float32]:
        """Normalise samples.

        Parameters
        ----------
        raw : ndarray, shape (n, channel, y, x)
            nMgy/pixel; NaN where there is no data. One channel a band, or a whole number of images of all bands.
        valid : ndarray of bool, same shape, optional
            Pixels with data; others become 0. Without it those that are finite.
        row_id : ndarray, shape (n,), optional
            For messages.

        Returns
        -------
        ndarray of float32, same shape
            New; without NaN.
        """
        x = np.array(raw, dtype=np.float32, order="C")
        if valid is not None:
            x[~valid] = np.nan
        self.apply_in_place(x, row_id)
        return x

    def apply_in_place(self, x: NDArray[np.float32], row_id: NDArray[Any] | None = None) -> NDArray[np.bool_]:
        """As :meth:`apply`, of pixels that are NaN where there is no data.

        Returns
        -------
        ndarray of bool, shape (n,)
            Samples that lack data somewhere.

        Raises
        ------
        ExportError
            If a sample has no scatter that it could be divided by; the message names its row.
        """
        images, left = divmod(x.shape[1], len(self.bands))
        if left:
            raise ConfigError(f"normalisation: of {len(self.bands)} bands, applied to {x.shape[1]} channels")
        if self.kind in ("annulus", "sample"):
            a, s = self._of_samples(x)
            flat = np.argwhere(~(s > 0))
            if len(flat):
                row, channel = flat[0]
                name = "" if row_id is None else f" of row {row_id[row]}"
                raise ExportError(
                    f"normalisation {self.kind}: band {self.bands[channel % len(self.bands)]} of sample {row}{name} "
                    "has no scatter to be divided by. Choose export.normalisation.kind: survey."
                )
        else:
            a, s = (np.tile(np.array(v), (len(x), images)) for v in (self.a, self.s))
        return normalise_in_place(x, a.astype(np.float32), s.astype(np.float32), self.how, self.clip)

    def _of_samples(self, x: NDArray[np.float32]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Offset and scale of each sample and channel; 0 and 1 where it has no pixel."""
        size = x.shape[-1]
        if self.kind == "annulus":
            middle = geometry.centre(size)
            inside = geometry.annulus(size, middle, middle, *self.annulus_pix)
            pixels = x[:, :, inside]
        else:
            pixels = x.reshape(*x.shape[:2], -1)
        whole = np.isfinite(pixels).all(axis=2)
        a, s = np.zeros(whole.shape), np.ones(whole.shape)
        a[whole], s[whole] = self._location_and_scale(pixels[whole])
        for place in np.argwhere(~whole):
            known = pixels[tuple(place)]
            known = known[np.isfinite(known)]
            if known.size:
                one = self._location_and_scale(known[None])
                a[tuple(place)], s[tuple(place)] = one[0][0], one[1][0]
        return a, s

    def _location_and_scale(self, pixels: NDArray[np.float32]) -> tuple[NDArray[Any], NDArray[Any]]:
        if self.kind == "sample":
            wide = pixels.astype(np.float64)
            return wide.mean(axis=1), wide.std(axis=1)
        middle = np.median(pixels, axis=1)
        return middle, MAD_TO_SIGMA * np.median(np.abs(pixels - middle[:, None]), axis=1)

    def to_json(self) -> dict[str, Any]:
        """As plain JSON types, for export.json and the card."""
        return {
            "kind": self.kind,
            "formula": f"x' = f((x - a) / s); f: {('identity', 'asinh(u / 10) * 10', 'limits at +-clip')[self.how]}",
            "bands": list(self.bands),
            "a_nmgy": list(self.a),
            "s_nmgy": list(self.s),
            "annulus_pix": list(self.annulus_pix),
            "clip": self.clip,
            "stretch": self.stretch,
            "n_pixels": list(self.n_pixels),
            "n_hosts": self.n_hosts,
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Normalisation:
        """Read what :meth:`to_json` gave.

        Raises
        ------
        ExportError
            If it is none.
        """
        try:
            return cls(
                str(value["kind"]), tuple(value["bands"]), tuple(map(float, value["a_nmgy"])),
                tuple(map(float, value["s_nmgy"])), (float(value["annulus_pix"][0]), float(value["annulus_pix"][1])),
                float(value["clip"]), str(value["stretch"]), tuple(map(int, value["n_pixels"])),
                int(value["n_hosts"]),
            )  # fmt: skip
        except (KeyError, TypeError, ValueError, IndexError) as error:
            raise ExportError(f"normalisation: not one of lensflow ({error!r})") from error

    def refuse_other(self, other: Normalisation, whose: str, other_whose: str) -> None:
        """Refuse another normalisation than this one: a model reads only what it was trained with.

        Parameters
        ----------
        other : Normalisation
        whose, other_whose : str
            For the message: ``"the checkpoint"``, ``"the data"``.

        Raises
        ------
        ConfigError
            Naming both values of the first thing that differs.
        """
        for name in ("kind", "bands", "annulus_pix", "clip", "stretch", "a", "s"):
            mine, others = getattr(self, name), getattr(other, name)
            if name == "annulus_pix" and "annulus" not in (self.kind, other.kind):
                continue
            if name in ("a", "s") and len(mine) == len(others) and np.allclose(mine, others, rtol=1e-3, atol=1e-9):
                continue
            if mine != others:
                raise ConfigError(
                    f"export.normalisation: {name} is {mine} in {whose} and {others} in {other_whose}. Use the one "
                    "that the model was trained with."
                )


def of_samples(settings: NormalisationConfig, bands: Sequence[str], size: int) -> Normalisation:
    """Normalisation that needs no constants, or one whose constants are still 0 and 1.

    Parameters
    ----------
    settings : NormalisationConfig
    bands : sequence of str
    size : int
        Side of a stamp, pixels.

    Returns
    -------
    Normalisation
    """
    n = len(bands)
    inner, outer = settings.annulus_pix(size)
    if settings.kind == "annulus":
        middle = geometry.centre(size)
        if int(geometry.annulus(size, middle, middle, inner, outer).sum()) < 30:
            raise ConfigError(
                f"export.normalisation: fewer than 30 pixels at {inner:g} <= r < {outer:g} pix of a stamp of {size}"
            )
    if settings.kind == "sample":
        warnings.warn(
            "export.normalisation.kind: sample divides each stamp by its own scatter, which an arc raises: all pixels "
            "of a positive shrink, and those of its core alone tell the class (AUC 0.76). survey and dataset do not.",
            LensflowWarning,
            stacklevel=3,
        )
    return Normalisation(
        settings.kind, tuple(bands), (0.0,) * n, (1.0,) * n, (inner, outer), settings.clip, settings.stretch
    )
