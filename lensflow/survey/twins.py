"""The same galaxy twice: find stamps with the same pixels, also rotated, mirrored, shifted, or with added noise.

Portraits (:mod:`lensflow.survey.portraits`) propose pairs: those that share squares of pixels to the bit, and those
whose rings of light are nearest to each other's. Pixels decide, by their *texture*: what is left of a stamp without its
smooth light, over its own local strength. Textures of two galaxies correlate by chance alone, however alike the
galaxies are, for their noise differs; those of one exposure correlate whatever was done to its level, unit and place.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike, NDArray
from scipy import fft, ndimage
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

from lensflow.sky import unit_vectors
from lensflow.survey.portraits import NOTHING, RING_EDGES_PIX, Images, light_in_noise

Pairs = NDArray[np.int64]
# Images (n, band, y, x) of hosts by row number, and their masks of pixels with data.
Reader = Callable[[NDArray[np.int64]], tuple[Images, NDArray[np.bool_]]]

# Textures that correlate by more, over the root of the share of a stamp that they have in common, are of one exposure;
# different galaxies reach 0.2.
SAME_TEXTURE = 0.3
# Of the bands' sum; less is not looked at in each band.
_WORTH_A_LOOK = 0.2
# Shifted further than this, the same pixels show another galaxy beside the first.
MOVED_PIX = 16
# Share of the common pixels that are the same to the bit.
SAME_BITS = 0.9
# Maximum number of pairs whose pixels are compared; those with most in common come first.
MAX_COMPARED = 20_000
_LEAST_OVERLAP = 0.15
_AT_ONCE = 64

_TURNS = ("", "turned by 90 degrees", "turned by 180 degrees", "turned by 270 degrees")


@dataclass(frozen=True)
class Twin:
    """Two hosts that show the same pixels.

    Attributes
    ----------
    a, b : int
        Places of the hosts, ``a < b``.
    correlation : float
        Of their textures where they overlap.
    same_bits : float
        Share of the common pixels that are the same to the bit.
    turn : str
        What must be done to the second to see the first; "" for nothing.
    moved_pix : tuple of int
        And then by how much it must be moved along x and y.
    """

    a: int
    b: int
    correlation: float
    same_bits: float
    turn: str
    moved_pix: tuple[int, int]

    @property
    def exact(self) -> bool:
        """Whether the common pixels are the same to the bit."""
        return self.same_bits >= SAME_BITS

    @property
    def one_galaxy(self) -> bool:
        """Whether both show one galaxy; else they share part of the sky, with different galaxies at the centre."""
        return max(map(abs, self.moved_pix)) <= MOVED_PIX

    def describe(self) -> str:
        """Describe the pair in a few words."""
        bits = "the same bits" if self.exact else f"textures that correlate by {self.correlation:.2f}"
        moved = f"moved by ({self.moved_pix[0]}, {self.moved_pix[1]}) pixels" if any(self.moved_pix) else ""
        return ", ".join(part for part in (bits, self.turn, moved) if part)


@dataclass(frozen=True)
class Twins:
    """Result of the comparison of all hosts.

    Attributes
    ----------
    found : tuple of Twin
        Sorted by place.
    n_hosts, n_blank : int
        Hosts; and those of them that have no pixel to be compared by.
    n_compared, n_left, n_unknown : int
        Pairs whose pixels were compared; those beyond ``MAX_COMPARED``, which were not, of similar light, and with
        pixels in common to the bit.
    """

    found: tuple[Twin, ...] = ()
    n_hosts: int = 0
    n_blank: int = 0
    n_compared: int = 0
    n_left: int = 0
    n_unknown: int = 0
    _first: dict[int, int] = field(default_factory=dict)

    def first_of(self, host: NDArray[np.integer]) -> NDArray[np.int64]:
        """For each host, the first host that shows the same galaxy: folds and bootstraps must not separate them."""
        out = np.asarray(host, np.int64).copy()
        others = np.array(sorted(self._first), np.int64)
        if others.size:
            place = np.minimum(np.searchsorted(others, out), others.size - 1)
            known = others[place] == out
            out[known] = np.array([self._first[int(k)] for k in others])[place[known]]
        return out


@dataclass(frozen=True, eq=False)
class Positions:
    """Positions of the hosts of the portraits, degrees (NaN where unknown), and the size of a pixel, arcsec."""

    ra_deg: ArrayLike
    dec_deg: ArrayLike
    pixel_scale_arcsec: float

    def explain(self, pairs: Pairs, size: int) -> NDArray[np.bool_]:
        """Pairs that show a part of the same sky because they are neighbours on it."""
        apart = self.apart_pix(pairs)
        return np.asarray((apart > MOVED_PIX) & (apart < np.sqrt(2) * size))

    def apart_pix(self, pairs: Pairs) -> NDArray[np.float64]:
        """Distances on the sky, pixels; NaN where a position is unknown."""
        at = unit_vectors(self.ra_deg, self.dec_deg)
        chord = np.linalg.norm(at[pairs[:, 0]] - at[pairs[:, 1]], axis=1)
        return np.asarray(np.rad2deg(chord) * 3600 / self.pixel_scale_arcsec)


def find_twins(portraits: xr.Dataset, read: Reader, size: int, positions: Positions | None = None) -> Twins:
    """Find hosts that show the same pixels.

    Parameters
    ----------
    portraits : Dataset
        Rows of :func:`lensflow.survey.portraits.portraits` of all hosts; a few hundred bytes each.
    read : callable
        Places of at most 128 hosts, sorted, to their images (n, band, y, x) and where these have data.
    size : int
        Pixels along a stamp's side.
    positions : Positions, optional
        Stamps that overlap on the sky share pixels without being twins; where positions say so, they are left out.
    """
    pairs, shares = candidates(portraits)
    if positions is not None and len(pairs):
        other = ~positions.explain(pairs, size)
        pairs, shares = pairs[other], shares[other]
    left = shares[MAX_COMPARED:]
    pairs = pairs[:MAX_COMPARED]
    found = tuple(sorted(_compared(portraits["host"].values[pairs], read), key=lambda t: (t.a, t.b)))
    blank = (portraits["sketch"].values == NOTHING).all(axis=1)
    counts = (portraits.sizes["host"], int(blank.sum()), len(pairs), int((~left).sum()), int(left.sum()))
    return Twins(found, *counts, _groups(found))


def candidates(portraits: xr.Dataset) -> tuple[Pairs, NDArray[np.bool_]]:
    """Pairs of rows of the portraits whose pixels are worth comparing, those with most in common first.

    Returns
    -------
    pairs : ndarray of int, shape (pair, 2)
    shares : ndarray of bool, shape (pair,)
        Whether a pair has pixels in common to the bit.
    """
    shared, often = _sharing_squares(portraits)
    near, distance = _near_in_rings(portraits)
    pairs = np.concatenate([shared, near])
    rank = np.concatenate([-often.astype(np.float64), distance])
    order = np.lexsort((pairs[:, 1], pairs[:, 0], rank))
    _, first = np.unique(pairs[order], axis=0, return_index=True)
    chosen = order[np.sort(first)]
    return pairs[chosen], rank[chosen] < 0


def _sharing_squares(portraits: xr.Dataset) -> tuple[Pairs, NDArray[np.int64]]:
    """Pairs that share exact squares of pixels, and the number of shared ones among those in the sketches."""
    n, width = portraits["sketch"].shape
    owner, value = np.repeat(np.arange(n), width), portraits["sketch"].values.ravel()
    keep = value != NOTHING
    value, owner = value[keep], owner[keep]
    order = np.lexsort((owner, value))
    value, owner = value[order], owner[order]
    # Chained: if many share a square, each is paired with the next.
    same = (value[1:] == value[:-1]) & (owner[1:] != owner[:-1])
    pairs = np.stack([owner[:-1][same], owner[1:][same]], axis=1)
    found, often = np.unique(pairs, axis=0, return_counts=True)
    return found.reshape(-1, 2), often


def _near_in_rings(portraits: xr.Dataset) -> tuple[Pairs, NDArray[np.float64]]:
    """Hosts that are each other's nearest in the rings of light, and their distances in units of the noise."""
    rings, depth = portraits["rings"].values, portraits["depth"].values
    rows = np.flatnonzero(np.isfinite(rings).all(axis=1) & (depth > 0))
    if rows.size < 2:
        return np.empty((0, 2), np.int64), np.empty(0)
    tree = cKDTree(_in_noise(rings[rows], depth[rows]))
    distance, place = tree.query(tree.data, k=2, workers=-1)
    # Copies can come in any order.
    own = place[:, 0] == np.arange(rows.size)
    nearest, apart = np.where(own, place[:, 1], place[:, 0]), distance[:, 1]
    a = np.flatnonzero((nearest[nearest] == np.arange(rows.size)) | (apart == 0))
    pairs = np.sort(np.stack([a, nearest[a]], axis=1), axis=1)
    return rows[pairs], apart[a]


def _in_noise(rings: Images, depth: Images) -> NDArray[np.float64]:
    """Rings in units of what noise does to them in the median host, so that a ring without light counts for little."""
    edges = np.asarray(RING_EDGES_PIX)
    pixels = np.pi * (edges[1:] ** 2 - edges[:-1] ** 2)
    noise = np.tile(np.sqrt(pixels), 3) / float(np.median(depth))
    # The choice of the centre mainly affects the first moments.
    noise = noise + 0.01 * np.repeat([1.0, 2.0, 1.0], len(pixels))
    # A bright neighbour shall not outweigh everything else.
    return np.asarray(10 * np.arcsinh(rings.astype(np.float64) / noise / 10))


def _compared(pairs: Pairs, read: Reader) -> Iterator[Twin]:
    """Compare the pixels of pairs of hosts, a few pairs at a time."""
    for start in range(0, len(pairs), _AT_ONCE):
        part = pairs[start : start + _AT_ONCE]
        hosts, place = np.unique(part, return_inverse=True)
        seen = Textures.of_images(*read(hosts))
        for (a, b), (i, j) in zip(part.tolist(), place.reshape(-1, 2).tolist(), strict=True):
            if (found := seen.compare(i, j)) is not None:
                yield Twin(a, b, *found)


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

    def compare(self, i: int, j: int) -> tuple[float, float, str, tuple[int, int]] | None:
        """Correlation, share of same bits, turn and move of the best match of two stamps; None where it is chance."""
        size = self.image.shape[-1]
        strength = float(np.linalg.norm(self.texture[i]) * np.linalg.norm(self.texture[j]))
        bands = self.good[i].any(axis=(1, 2)) & self.good[j].any(axis=(1, 2))
        if strength == 0 or not bands.any():
            return None
        best, at, turn = -1.0, 0, 0
        for k in range(8):
            other = fft.rfft2(_turned(self.texture[j], k)) if k else self.waves[j]
            match = fft.irfft2(self.waves[i] * other.conj(), s=(size, size)) / _overlap(size)
            place = int(match.argmax())
            if match.flat[place] > best:
                best, at, turn = float(match.flat[place]), place, k
        if best < _WORTH_A_LOOK * strength:
            return None
        return self._closely(i, j, bands, turn, divmod(at, size))

    def _closely(
        self, i: int, j: int, bands: NDArray[np.bool_], turn: int, at: tuple[int, int]
    ) -> tuple[float, float, str, tuple[int, int]] | None:
        """Compare two stamps in every band, at one turn and move, which the transform knows up to whole stamps."""
        size = self.image.shape[-1]
        image = np.stack([self.image[i][bands], _turned(self.image[j][bands], turn)])
        good = np.stack([self.good[i][bands], _turned(self.good[j][bands], turn)])
        first, second = texture(image, good)
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


def _overlap(size: int) -> Images:
    """Fraction of a stamp that remains after a shift; at least a quarter, so that chance stays small."""
    left = 1 - np.abs((np.arange(size) + size // 2) % size - size // 2) / size
    return np.maximum(left[:, None] * left[None, :], 0.25).astype(np.float32)


def _spans(dy: int, dx: int, size: int) -> tuple[Any, ...]:
    return (..., *(slice(max(d, 0), size + min(d, 0)) for d in (dy, dx)))


def _groups(found: tuple[Twin, ...]) -> dict[int, int]:
    """For every other host of a group that shows one galaxy, the group's first host."""
    pairs = [(t.a, t.b) for t in found if t.one_galaxy]
    if not pairs:
        return {}
    places, ends = np.unique(pairs, return_inverse=True)
    a, b = ends.reshape(-1, 2).T
    graph = coo_array((np.ones(len(a), np.int8), (a, b)), shape=(places.size, places.size))
    _, label = connected_components(graph, directed=False)
    _, first = np.unique(label, return_index=True)
    return {int(places[k]): int(places[first[g]]) for k, g in enumerate(label) if first[g] != k}
