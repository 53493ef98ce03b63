"""The same galaxy twice: find stamps with the same pixels, also rotated, mirrored, shifted, or with added noise.

Portraits (:mod:`lensflow.survey.portraits`) propose pairs: those that share squares of pixels to the bit, and those
whose rings of light are nearest to each other's. Pixels decide, by their *texture*
(:mod:`lensflow.survey.textures`). Textures of two galaxies correlate by chance alone, however alike the galaxies are,
for their noise differs; those of one exposure correlate whatever was done to its level, unit and place.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

from lensflow import rng
from lensflow.sky import unit_vectors
from lensflow.survey.portraits import NOTHING, RING_EDGES_PIX, Images
from lensflow.survey.textures import Match, contents, matches

Pairs = NDArray[np.int64]
# Images (n, band, y, x) of hosts by row number, and their masks of pixels with data.
Reader = Callable[[NDArray[np.int64]], tuple[Images, NDArray[np.bool_]]]

# Shifted further than this, the same pixels show another galaxy beside the first.
MOVED_PIX = 16
# Share of the common pixels that are the same to the bit.
SAME_BITS = 0.9
# Maximum number of pairs of different pixels that are compared, and of pairs of hosts that are read for it; those with
# most in common come first.
MAX_COMPARED, MAX_READ = 20_000, 200_000
_AT_ONCE = 64


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
    compared, decided = _compared(portraits["host"].values[pairs], read)
    found, left = tuple(sorted(compared, key=lambda t: (t.a, t.b))), shares[decided:]
    blank = (portraits["sketch"].values == NOTHING).all(axis=1)
    counts = (portraits.sizes["host"], int(blank.sum()), decided, int((~left).sum()), int(left.sum()))
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
    """Hosts that are each other's nearest in the rings of light, and their distances in units of the noise.

    Hosts whose rings are the same are paired in a chain, like those that share a square: in a tree each of m such hosts
    would be held against the m others.
    """
    rings, depth = portraits["rings"].values, portraits["depth"].values
    rows = np.flatnonzero(np.isfinite(rings).all(axis=1) & (depth > 0))
    if rows.size < 2:
        return np.empty((0, 2), np.int64), np.empty(0)
    points = _in_noise(rings[rows], depth[rows])
    first, place, size = _same_rows(points)
    order = np.argsort(place, kind="stable")
    chained = place[order[1:]] == place[order[:-1]]
    chain = np.stack([order[:-1][chained], order[1:][chained]], axis=1)
    if first.size < 2:
        return rows[chain], np.zeros(len(chain))
    tree = cKDTree(points[first])
    distance, near = tree.query(tree.data, k=2, workers=-1)
    nearest, apart = near[:, 1], distance[:, 1]
    alone = size == 1
    a = np.flatnonzero(alone & alone[nearest] & (nearest[nearest] == np.arange(first.size)))
    pairs = np.sort(np.stack([first[a], first[nearest[a]]], axis=1), axis=1)
    return rows[np.concatenate([chain, pairs])], np.concatenate([np.zeros(len(chain)), apart[a]])


def _same_rows(points: NDArray[np.float64]) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """First of each group of rows that are the same, each row's group, and the groups' sizes."""
    mixed = np.zeros(len(points), np.uint64)
    for column in (points + 0.0).T:  # -0 is 0
        mixed = np.asarray(rng.mix_ids(mixed ^ np.ascontiguousarray(column).view(np.uint64), np.uint64(1)))
    _, first, place, size = np.unique(mixed, return_index=True, return_inverse=True, return_counts=True)
    return first, place, size


def _in_noise(rings: Images, depth: Images) -> NDArray[np.float64]:
    """Rings in units of what noise does to them in the median host, so that a ring without light counts for little."""
    edges = np.asarray(RING_EDGES_PIX)
    pixels = np.pi * (edges[1:] ** 2 - edges[:-1] ** 2)
    noise = np.tile(np.sqrt(pixels), 3) / float(np.median(depth))
    # The choice of the centre mainly affects the first moments.
    noise = noise + 0.01 * np.repeat([1.0, 2.0, 1.0], len(pixels))
    # A bright neighbour shall not outweigh everything else.
    return np.asarray(10 * np.arcsinh(rings.astype(np.float64) / noise / 10))


def _compared(pairs: Pairs, read: Reader) -> tuple[list[Twin], int]:
    """Compare the pixels of pairs of hosts, a few pairs at a time; also how many of the pairs that decided.

    Stamps that are the same to the bit are compared once, however many pairs of hosts have them.
    """
    known: dict[tuple[int, int], Match | None] = {}
    out: list[Twin] = []
    start = 0
    while start < min(len(pairs), MAX_READ) and len(known) < MAX_COMPARED:
        # Where none was there twice the limit is met to the pair; else it may be passed by a few.
        part = pairs[start : start + min(_AT_ONCE, MAX_COMPARED - start if len(known) == start else _AT_ONCE)]
        start += len(part)
        hosts, place = np.unique(part, return_inverse=True)
        image, good = read(hosts)
        keys = contents(image, good)
        asked = [((keys[i], keys[j]), i, j) for i, j in place.reshape(-1, 2).tolist()]
        fresh = {key: (i, j) for key, i, j in asked if key not in known}
        known.update(zip(fresh, matches(image, good, list(fresh.values())), strict=True))
        for (a, b), (key, _, _) in zip(part.tolist(), asked, strict=True):
            if (found := known[key]) is not None:
                out.append(Twin(a, b, *found))
    return out, start


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
