"""Textures of stamps, and how two of them match: what :mod:`lensflow.survey.twins` decides by.

A *texture* is what is left of a stamp without its smooth light, over its own local strength. Pairs of stamps are held
against each other many at a time, in all eight orientations, by Fourier transforms; what is alike is then compared band
by band, pixel by pixel.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

import numpy as np
import xxhash
from numpy.typing import NDArray
from scipy import fft, ndimage

from lensflow.survey.portraits import Images, light_in_noise

# Correlation, share of the same bits, turn, and move along x and y of the best match of two stamps.
Match = tuple[float, float, str, tuple[int, int]]

# Textures that correlate by more, over the root of the share of a stamp that they have in common, are of one exposure;
# different galaxies reach 0.2.
SAME_TEXTURE = 0.3
# Of the bands' sum; less is not looked at in each band.
_WORTH_A_LOOK = 0.2
_LEAST_OVERLAP = 0.15

_TURNS = ("", "turned by 90 degrees", "turned by 180 degrees", "turned by 270 degrees")


def contents(image: Images, good: NDArray[np.bool_]) -> list[int]:
    """Hash of the bits of each stamp (n, band, y, x) and of where it has data."""
    parts = zip(np.ascontiguousarray(image), np.ascontiguousarray(good), strict=True)
    return [xxhash.xxh3_128_intdigest(one.data) ^ xxhash.xxh3_128_intdigest(has.data, 1) for one, has in parts]


def matches(image: Images, good: NDArray[np.bool_], pairs: Sequence[tuple[int, int]]) -> list[Match | None]:
    """Compare pairs of stamps.

    Parameters
    ----------
    image : ndarray of float32, shape (n, band, y, x)
    good : ndarray of bool, of the same shape
        Pixels with data.
    pairs : sequence of two int
        Places of stamps in ``image``.

    Returns
    -------
    list
        For each pair its best match; None where it is no better than chance.
    """
    if not len(pairs):
        return []
    used, place = np.unique(np.asarray(pairs, np.int64), return_inverse=True)
    seen = Textures.of_images(image[used], good[used])
    return seen.compare(place.reshape(-1, 2))


@dataclass(frozen=True, eq=False)
class Textures:
    """Some stamps, the texture of the sum of each one's bands, and its Fourier transform."""

    image: Images
    good: NDArray[np.bool_]
    texture: Images
    waves: NDArray[np.complex64]

    @classmethod
    def of_images(cls, image: Images, good: NDArray[np.bool_]) -> Textures:
        """Compute the textures of images (n, band, y, x)."""
        good = good & np.isfinite(image)
        image = np.where(good, image, np.float32(0)).astype(np.float32, copy=False)
        made = texture(light_in_noise(image, good)[:, None], np.asarray(good.any(axis=1))[:, None])[:, 0]
        return cls(image, good, made, fft.rfft2(made))

    def compare(self, pairs: NDArray[np.int64]) -> list[Match | None]:
        """Best match of each pair (pair, 2) of stamps; None where it is chance."""
        size = self.image.shape[-1]
        some = np.asarray(self.good.any(axis=(2, 3)))
        norm = np.array([np.linalg.norm(t) for t in self.texture])
        i, j = pairs.T
        strength, bands = norm[i] * norm[j], some[i] & some[j]
        asked = np.flatnonzero((strength > 0) & bands.any(axis=1))
        best, at, turn = self._best_turns(i[asked], j[asked])
        out: list[Match | None] = [None] * len(pairs)
        for k in np.flatnonzero(best >= _WORTH_A_LOOK * strength[asked]):
            pair = asked[k]
            place = divmod(int(at[k]), size)
            out[pair] = self._closely(int(i[pair]), int(j[pair]), bands[pair], int(turn[k]), place)
        return out

    def _best_turns(
        self, i: NDArray[np.int64], j: NDArray[np.int64]
    ) -> tuple[Images, NDArray[np.int64], NDArray[np.int64]]:
        """Largest correlation of each pair in any of the eight orientations, its place in the transform, and which."""
        size, every = self.image.shape[-1], np.arange(len(i))
        best, at, turn = np.full(len(i), -1, np.float32), np.zeros(len(i), np.int64), np.zeros(len(i), np.int64)
        for k in range(8):
            other = fft.rfft2(_turned(self.texture[j], k)) if k else self.waves[j]
            match = fft.irfft2(self.waves[i] * other.conj(), s=(size, size)) / _overlap(size)
            flat = match.reshape(len(i), size * size)
            place = flat.argmax(axis=1)
            found = flat[every, place]
            better = found > best
            best, at, turn = np.where(better, found, best), np.where(better, place, at), np.where(better, k, turn)
        return best, at, turn

    @cached_property
    def _by_band(self) -> dict[int, Images]:
        """Textures of single bands, of stamps that were looked at closely as they are."""
        return {}

    def _of_bands(self, i: int, turn: int) -> Images:
        """Texture of each band of a stamp, turned."""
        if turn:
            return texture(_turned(self.image[i], turn)[None], _turned(self.good[i], turn)[None])[0]
        if i not in self._by_band:
            self._by_band[i] = texture(self.image[i][None], self.good[i][None])[0]
        return self._by_band[i]

    def _closely(self, i: int, j: int, bands: NDArray[np.bool_], turn: int, at: tuple[int, int]) -> Match | None:
        """Compare two stamps in every band, at one turn and move, which the transform knows up to whole stamps."""
        size = self.image.shape[-1]
        image = self.image[i][bands], _turned(self.image[j][bands], turn)
        good = self.good[i][bands], _turned(self.good[j][bands], turn)
        first, second = self._of_bands(i, 0)[bands], self._of_bands(j, turn)[bands]
        found = None
        for dy in (at[0], at[0] - size):
            for dx in (at[1], at[1] - size):
                overlap = max(size - abs(dy), 0) * max(size - abs(dx), 0) / size**2
                if overlap < _LEAST_OVERLAP:
                    continue
                here, there = _spans(dy, dx, size), _spans(-dy, -dx, size)
                a, b = first[here].ravel(), second[there].ravel()
                strength = float(np.linalg.norm(a) * np.linalg.norm(b))
                match = float(a @ b) / strength if strength > 0 else 0.0
                # Chance correlations are larger if fewer pixels are compared.
                if match * np.sqrt(overlap) >= SAME_TEXTURE and (found is None or match > found[0]):
                    both = good[0][here] & good[1][there]
                    same = float((image[0][here] == image[1][there])[both].mean()) if both.any() else 0.0
                    found = (match, same, _words(turn), (dx, dy))
        return found


def texture(image: Images, good: NDArray[np.bool_]) -> Images:
    """Pixels minus their smooth light, divided by the local amplitude of the residuals; 0 without data.

    Parameters
    ----------
    image : ndarray of float32, shape (n, band, y, x)
    good : ndarray of bool, of the same shape
    """
    rest = image - _smooth(image, 5)
    local = np.sqrt(np.maximum(_smooth(rest**2, 9), 0))
    floor = np.maximum(0.3 * np.median(local, axis=(2, 3), keepdims=True), np.finfo(np.float32).tiny)
    out = np.clip(rest / np.maximum(local, floor), -3, 3)
    whole = good if good.all() else ndimage.minimum_filter(good.astype(np.uint8), (1, 1, 5, 5), mode="nearest") > 0
    return np.where(whole, out, np.float32(0)).astype(np.float32, copy=False)


def _smooth(values: Images, width: int) -> Images:
    return np.asarray(ndimage.uniform_filter(values, (0, 0, width, width), mode="reflect"))


def _turned(values: NDArray, k: int) -> NDArray:
    """Rotate and mirror the last two axes in one of eight ways."""
    turned = np.rot90(values, k % 4, axes=(-2, -1))
    return np.ascontiguousarray(turned[..., ::-1] if k >= 4 else turned)


def _words(k: int) -> str:
    return " and ".join(part for part in (_TURNS[k % 4], "mirrored" if k >= 4 else "") if part)


@lru_cache(maxsize=4)
def _overlap(size: int) -> Images:
    """Fraction of a stamp that remains after a shift; at least a quarter, so that chance stays small."""
    left = 1 - np.abs((np.arange(size) + size // 2) % size - size // 2) / size
    return np.maximum(left[:, None] * left[None, :], 0.25).astype(np.float32)


def _spans(dy: int, dx: int, size: int) -> tuple[Any, ...]:
    return (..., *(slice(max(d, 0), size + min(d, 0)) for d in (dy, dx)))
