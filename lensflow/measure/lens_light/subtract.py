"""Take the lens galaxy's light off stamps: a median over rings, or a smooth elliptical profile."""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lensflow import geometry
from lensflow.errors import GateError, did_you_mean
from lensflow.measure.lens_light.kernels import subtract_light

Light = Literal["radial", "smooth"]
LIGHT: tuple[Light, ...] = get_args(Light)


def subtract(
    images: NDArray[np.floating],
    light: Light = "radial",
    x_center: ArrayLike | None = None,
    y_center: ArrayLike | None = None,
) -> NDArray[np.float64]:
    """Stamps less a model of the light about their targets, made from each stamp and band alone.

    ``radial``: medians over 1-pixel rings about the target, the running median of three, and between them a cubic that
    does not overshoot. ``smooth``: elliptical rings of one axis ratio and angle, those of the least sum of absolute
    residuals (each counted up to 3 sky sigma) at 2 to 16 pixels; to their medians a sum of concentric Gaussians of
    amplitudes of 0 or more and a level are fitted, rings that are too bright counting less, and fitted again without
    the pixels that are far off. Such a sum has no ring and no shoulder, whatever its amplitudes: what is narrow in
    radius is left.

    An arc that fills less than half of a ring moves its median little; one that fills more is taken off by ``radial``
    with the galaxy. docs/lens-light.md says how much of arcs each takes.

    Parameters
    ----------
    images : ndarray, shape (n, band, y, x)
        nMgy/pixel; NaN where there is no data, which stays NaN.
    light : {"radial", "smooth"}
    x_center, y_center : array_like, shape (n,), optional
        Targets, pixels; without one, and where it is NaN, the stamp's middle.

    Returns
    -------
    ndarray of float64, shape (n, band, y, x)
        In the images' unit.

    Raises
    ------
    GateError
        If there is no such model, or the shapes do not agree.

    References
    ----------
    Gaussians: Emsellem, Monnet & Bacon 1994, A&A 285, 723; the cubic: Fritsch & Butland 1984, SIAM J. Sci. Stat.
    Comput. 5, 300.
    """
    return subtracted(images, light, x_center, y_center)[0]


def subtracted(
    images: NDArray[np.floating],
    light: Light = "radial",
    x_center: ArrayLike | None = None,
    y_center: ArrayLike | None = None,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """As :func:`subtract`, and the ellipses: shape (n, band, 2).

    The second are ``(a - b)/(a + b)`` times cosine and sine of twice the major axis' angle; 0 for ``radial``.
    """
    if light not in LIGHT:
        raise GateError(f"no model of a lens's light {light!r}.{did_you_mean(light, LIGHT)} One of {', '.join(LIGHT)}")
    pixels = np.ascontiguousarray(images, dtype=np.float32)
    if pixels.ndim != 4:
        raise GateError(f"lens light: images have shape (n, band, y, x), not {pixels.shape}")
    size = pixels.shape[-1]
    x, y = (targets(v, len(pixels), n) for v, n in ((x_center, size), (y_center, pixels.shape[-2])))
    out = np.empty(pixels.shape)
    ellipse = np.zeros((*pixels.shape[:2], 2))
    subtract_light(pixels, x, y, geometry.sky_pixels(size), light == "smooth", out, ellipse)
    return out, ellipse


# A pixel with data that is just its ring's median: 0 says that there is no data.
_NEXT_TO_NOTHING = np.float32(1e-30)


def without_light(
    pixels: NDArray[np.floating],
    light: str,
    x_center: ArrayLike | None,
    y_center: ArrayLike | None,
    has_data: NDArray[np.bool_] | None = None,
    missing: float = 0.0,
) -> NDArray[np.float32]:
    """Stamps less the light of their lens, as gates, scorers and trainings take them.

    Parameters
    ----------
    pixels : ndarray, shape (n, band, y, x)
        nMgy/pixel.
    light : {"radial", "smooth"}
    x_center, y_center : array_like, shape (n,), or None
        Targets, pixels, as for :func:`subtract`.
    has_data : ndarray of bool, shape (n, band, y, x), optional
        Pixels with data; those that are not finite have none.
    missing : float
        Value of pixels without data.

    Returns
    -------
    ndarray of float32, shape (n, band, y, x)
        Of pixels with data, no one is exactly 0.

    Raises
    ------
    GateError
        As :func:`subtract`.
    """
    known = np.isfinite(pixels) if has_data is None else np.isfinite(pixels) & has_data
    left = subtract(np.where(known, pixels, np.nan), light, x_center, y_center).astype(np.float32)  # type: ignore[arg-type]
    return np.where(known, np.where(left == 0, _NEXT_TO_NOTHING, left), np.float32(missing))


def targets(position: ArrayLike | None, n: int, size: int) -> NDArray[np.float64]:
    """Positions of n targets along an axis, pixels, shape (n,): the stamp's middle where none is known.

    Raises
    ------
    GateError
        If one lies outside the stamp: there is no galaxy to take off.
    """
    middle = geometry.centre(size)
    if position is None:
        return np.full(n, middle)
    at = np.broadcast_to(np.asarray(position, dtype=np.float64), (n,))
    at = np.ascontiguousarray(np.where(np.isnan(at), middle, at))
    odd = ~((at >= 0) & (at <= size - 1))
    if odd.any():
        row = int(np.argmax(odd))
        raise GateError(f"row {row}: a target at {at[row]:g} is not on a stamp of {size} pixels")
    return at
