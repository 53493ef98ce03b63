"""Pixels of the stamps that are compared: real lenses, injections, hosts; and what is made of them for a probe."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from lensflow.config import RunConfig
from lensflow.errors import ConfigError, RealismError
from lensflow.measure.lens_light import subtract
from lensflow.measure.scorer.beside import arguments, some
from lensflow.run.completeness.negatives import control_images
from lensflow.run.importable import load
from lensflow.store.open import host_tables, read_head, read_pixels
from lensflow.store.run_folder import RunFolder

Floats = NDArray[np.float64]

# Side of the squares that residuals are averaged over, pixels.
BLOCK_PIX = 8
EXAMPLE = "my_models:embed"
# Images that an encoder gets at once, and the most when it gets them again beside others.
BATCH, OTHER_BATCH = 256, 97


def stamps_of_pairs(config: RunConfig, rows: NDArray[np.int64]) -> NDArray[np.float32]:
    """Stamps of rows of the pairs, in their order, shape (n, band, y, x), nMgy/pixel."""
    once, place = np.unique(rows, return_inverse=True)
    found: NDArray[np.float32] = read_pixels(RunFolder.of(config).pairs, "pairs", once, ("stamp",))["stamp"]
    return found[place]


def images_of_hosts(url: str, rows: NDArray[np.int64], name: str = "image") -> NDArray[np.float32]:
    """Images (or ``invvar``) of rows of a cutouts store, in their order, shape (n, band, y, x)."""
    once, place = np.unique(rows, return_inverse=True)
    found: NDArray[np.float32] = read_pixels(url, "cutouts", once, (name,))[name]
    return found[place]


def images_as_pairs(config: RunConfig, url: str, rows: NDArray[np.int64]) -> NDArray[np.float32]:
    """Images of rows of a cutouts store, rounded as the stamps of a run's pairs are (``store.quantize``).

    Without it an encoder tells real lenses from injections by the lattice of their pixels.
    """
    once, place = np.unique(rows, return_inverse=True)
    pixels = read_pixels(url, "cutouts", once, ("image", "invvar"))
    names = read_head(url, "cutouts", names=("host_id",))["host_id"].values[once]
    hosts = xr.Dataset({name: (("host", "band", "y", "x"), values) for name, values in pixels.items()})
    return control_images(hosts, names, config)[place]


def centres_of_hosts(url: str, rows: NDArray[np.int64]) -> tuple[Floats, Floats]:
    """Positions of the targets of rows of a cutouts store, x and y, pixels."""
    read, n = host_tables(url)
    found = read(0, n)
    return found["x_center"].values[rows].astype(np.float64), found["y_center"].values[rows].astype(np.float64)


def block_means(images: NDArray[Any], x: Floats, y: Floats, bands: tuple[str, ...]) -> tuple[tuple[str, ...], Floats]:
    """Means of the residuals over squares of 8 x 8 pixels.

    Parameters
    ----------
    images : ndarray, shape (n, band, y, x)
        nMgy/pixel.
    x, y : ndarray, shape (n,)
        Targets, pixels.
    bands : tuple of str

    Returns
    -------
    names, values of shape (n, name)
        A square that the stamp's size does not fill is left out; one without data is NaN.
    """
    residual = subtract(images, "radial", x, y)
    n, b, height, width = residual.shape
    rows, columns = height // BLOCK_PIX, width // BLOCK_PIX
    cut = residual[:, :, : rows * BLOCK_PIX, : columns * BLOCK_PIX]
    blocks = cut.reshape(n, b, rows, BLOCK_PIX, columns, BLOCK_PIX)
    known = np.isfinite(blocks)
    count = known.sum(axis=(3, 5))
    mean = np.divide(
        np.where(known, blocks, 0.0).sum(axis=(3, 5)), count, out=np.full(count.shape, np.nan), where=count > 0
    )
    names = tuple(f"{band} {i},{j}" for band in bands for i in range(rows) for j in range(columns))
    return names, mean.reshape(n, -1)


def find_encoder(path: str, folder: str) -> Callable[[Any], Any]:
    """Import an encoder, before any work.

    Parameters
    ----------
    path : str
        ``module:callable``.
    folder : str
        Where modules are looked for after Python's own places.

    Raises
    ------
    ConfigError
        If there is no such module or name, or it cannot be called.
    """
    found = load(path, folder, "encoder", EXAMPLE)
    if not callable(found):
        raise ConfigError(f"realism.encoder {path!r}: a {type(found).__name__} cannot be called with images")
    return found


def embedded(encoder: Callable[[Any], Any], images: NDArray[np.float32], name: str) -> Floats:
    """Features that an encoder makes of images, checked.

    Parameters
    ----------
    encoder : callable
        Images (n, band, y, x), float32, nMgy/pixel, to floats (n, d).
    images : ndarray, shape (n, band, y, x)
    name : str
        For errors.

    Returns
    -------
    ndarray, shape (n, d)

    Raises
    ------
    RealismError
        If it fails, returns another number of rows, a value that is not finite (names the row), or features of an
        image that depend on the images beside it.
    """
    first, second = (
        [_of_batch(encoder, images[k : k + size], name, k) for k in range(0, len(images), size)]
        for size in (BATCH, _other(len(images)))
    )
    if len({p.shape[1] for p in (*first, *second)}) > 1:
        raise RealismError(
            f"encoder {name}: batches have {', '.join(str(p.shape[1]) for p in (*first, *second))} features"
        )
    found, again = np.concatenate(first), np.concatenate(second)
    scale = np.abs(found).max(axis=1, initial=0.0)
    if (row := differing_row(found, again, 1e-3 * scale + 1e-12)) is not None:
        raise RealismError(f"encoder {name}: the features of row {row} {DEPENDS}")
    return found


# Of a row whose values change with the images beside it.
DEPENDS = (
    "differ among other images: they depend on the images beside it, or on chance (batch normalisation or dropout in "
    "training mode?)"
)


def scores_alike(
    score: Callable[..., Any],
    images: NDArray[np.float32],
    names: NDArray[Any],
    who: str,
    features: Floats | None = None,
) -> Floats:
    """Scores of images that must not depend on the images beside them.

    Parameters
    ----------
    score : callable
        Images to one score each.
    images : ndarray, shape (n, band, y, x)
    names : ndarray of str, shape (n,)
        For errors.
    who : str
        Name of the scorer, for errors.
    features : ndarray, shape (n, feature), optional
        For a scorer that needs them.

    Returns
    -------
    ndarray, shape (n,)

    Raises
    ------
    RealismError
        If a score is not finite or depends on the images beside it; names the image.
    """

    def scores(size: int) -> Floats:
        # Copies: a scorer may normalise in place.
        parts = [
            score(images[k : k + size].astype(np.float32), *arguments(some(features, slice(k, k + size))))
            for k in range(0, len(images), size)
        ]
        return np.concatenate([np.asarray(p, dtype=np.float64) for p in parts])

    found = scores(BATCH)
    if not np.isfinite(found).all():
        bad = int(np.argmin(np.isfinite(found)))
        raise RealismError(f"scorer {who}: the score of real lens {names[bad]} is not finite: {found[bad]}")
    again = scores(_other(len(images)))
    # Single precision sums in other orders for other batches.
    if (row := differing_row(found, again, 1e-3 * float(np.ptp(found)) + 1e-5 * np.abs(found))) is not None:
        raise RealismError(
            f"scorer {who}: the score of real lens {names[row]} is {found[row]:.6g} and {again[row]:.6g}; scores "
            + DEPENDS.replace("the images beside it", "the images beside them")
        )
    return found


def differing_row(found: Floats, again: Floats, most: NDArray[Any]) -> int | None:
    """First row whose values differ by more than ``most``, shape (row,); None if there is none.

    Parameters
    ----------
    found, again : ndarray, shape (row,) or (row, column)
    most : ndarray, shape (row,)
    """
    apart = np.abs(found - again)
    apart = apart.max(axis=1, initial=0.0) if apart.ndim > 1 else apart
    bad = ~(apart <= most)
    return int(np.argmax(bad)) if bad.any() else None


def _other(n: int) -> int:
    """Size of batches in which every image has other ones beside it than in those of ``BATCH``."""
    return max(min(OTHER_BATCH, n // 2), 1)


def _of_batch(encoder: Callable[[Any], Any], images: NDArray[np.float32], name: str, first: int) -> Floats:
    try:
        # Copies: an encoder may normalise in place.
        found = np.asarray(encoder(images.astype(np.float32)), dtype=np.float64)
    except Exception as error:  # an encoder may raise any error; its own message says what to do
        raise RealismError(
            f"encoder {name}: failed on {len(images)} images: {type(error).__name__}: {error}"
        ) from error
    if found.ndim != 2 or len(found) != len(images):
        raise RealismError(f"encoder {name}: images {images.shape} must give ({len(images)}, d), not {found.shape}")
    if not np.isfinite(found).all():
        row = first + int(np.argmin(np.isfinite(found).all(axis=1)))
        raise RealismError(f"encoder {name}: a feature of row {row} is not finite")
    return found
