"""Sources that are images: a real galaxy made ready to be lensed, and its light between pixels.

An image enters as surface brightness of the source plane. What is its sky, its noise and its frame is dealt with
once (:func:`prepare_image_source`); what is left has unit flux, a centroid, and a half-light radius along its major
axis, which is what a manifest's ``src_reff_arcsec`` means for a Sersic source too. The telescope's PSF stays in
the image: an HST source is as sharp as HST (0.1 arcsec) times its magnification.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage

from lensflow.errors import RenderError
from lensflow.jit import compiled
from lensflow.units import median_and_sigma

Floats = NDArray[np.float64]

# Zeros around the pixels: cubic convolution reaches 2 pixels, and reads one more where its weight is 0.
PAD = 3
# The faint part of a galaxy is smoothed by this, pixels, and detected on the image smoothed by it.
_SMOOTH_PIX = 2.0
_DETECT_SIGMA = 2.0
# Pixels fainter than the first (in noise sigmas per pixel, after smoothing) are smoothed, above the second kept.
_SMOOTH_BELOW, _KEEP_ABOVE = 1.0, 3.0


@dataclass(frozen=True, eq=False)
class ImageSource:
    """One image, ready to be lensed; made by :func:`prepare_image_source`.

    Attributes
    ----------
    pixels : ndarray of float64, shape (y, x)
        Flux per pixel; sums to 1.
    pixel_scale_arcsec : float
        Native pixel size, arcsec.
    source_id : str
        Name under which a manifest asks for it.
    x_center, y_center : float
        Flux-weighted centroid, pixels; it lies at the row's ``src_x_arcsec``, ``src_y_arcsec``.
    half_light_radius_arcsec : float
        Semi-major axis, arcsec, of the ellipse about the centroid, shaped as the second moments, that holds half of the
        flux, at the native scale.
    axis_ratio, phi_rad : float
        Of that ellipse; angle from the image's +x in [0, pi). A row's ``src_phi_rad`` turns the image by that much,
        its major axis ends at the sum.
    native_flux : float
        Sum of the image before normalisation, in its own unit.
    background, noise : float
        What was subtracted, and the standard deviation of a border pixel; 0 where not measured.
    """

    pixels: Floats
    pixel_scale_arcsec: float
    source_id: str
    x_center: float
    y_center: float
    half_light_radius_arcsec: float
    axis_ratio: float
    phi_rad: float
    native_flux: float
    background: float
    noise: float

    def padded(self) -> Floats:
        """Pixels with the frame of zeros that :func:`interpolate` reads, shape (y + 2 PAD, x + 2 PAD)."""
        return np.pad(self.pixels, PAD)

    def scale_arcsec(self, reff_arcsec: float) -> float:
        """Pixel size at which the half-light radius along the major axis is a given one.

        Parameters
        ----------
        reff_arcsec : float
            Half-light radius, arcsec; NaN asks for the native scale.

        Returns
        -------
        float
            Arcsec per pixel.
        """
        if math.isnan(reff_arcsec):
            return self.pixel_scale_arcsec
        return self.pixel_scale_arcsec * reff_arcsec / self.half_light_radius_arcsec


def prepare_image_source(
    image: ArrayLike,
    pixel_scale_arcsec: float,
    *,
    source_id: str = "",
    background: Literal["border"] | None = "border",
    noise: Literal["smooth", "keep"] = "smooth",
    negative: Literal["clip", "keep"] = "clip",
    border_pix: int = 3,
    taper_pix: int = 4,
) -> ImageSource:
    """Make a galaxy's image a source: sky off, noise tamed, frame tapered, flux 1.

    Parameters
    ----------
    image : array_like, shape (y, x)
        Flux per pixel, any unit; at least 8 x 8 pixels.
    pixel_scale_arcsec : float
        Pixel size, arcsec.
    source_id : str
        Name for messages and manifests.
    background : {"border"} or None
        Subtract the median of the outermost ``border_pix`` pixels, clipped at 3 sigma; or nothing.
    noise : {"smooth", "keep"}
        "smooth": only the brightest connected object (above 2 sigma of the smoothed image, grown by half its radius)
        is kept, and its pixels below 3 sigma give way to the image smoothed by 2 pixels, fully so below 1 sigma.
        "keep": all pixels stay as they are; right for models, and for images without noise.
    negative : {"clip", "keep"}
        Set pixels below 0 to 0, or leave them. Clipping raw noise makes light of it: 0.4 sigma per blank pixel,
        which can double a faint galaxy's flux; with ``noise="smooth"`` no excess is seen, and the flux is as good
        as the background is (4 % at worst for a galaxy of peak 10 sigma a pixel).
    border_pix, taper_pix : int
        Width, pixels, of the frame that is measured, and of the cosine taper to 0 at the image's edge.

    Returns
    -------
    ImageSource

    Raises
    ------
    RenderError
        If the image is not two-dimensional, too small, not finite, or holds no positive flux.

    Notes
    -----
    A frame of one value (zeros, -99, NaN) round an image of sky and galaxy is no data and is cut off first: the sky
    that is measured is that of the image's own edge, and the source is the one that the image gives without the frame.
    """
    pixels = np.array(image, dtype=np.float64)
    name = f"source {source_id!r}" if source_id else "source image"
    least = max(8, 2 * border_pix + 2)
    if pixels.ndim != 2 or min(pixels.shape) < least:
        raise RenderError(f"{name}: needs at least {least} x {least} pixels (y, x), not the shape {pixels.shape}")
    pixels = without_frame(pixels)
    if pixels.ndim != 2 or min(pixels.shape) < least:
        raise RenderError(f"{name}: {pixels.shape} pixels are left without its frame of padding, {least} are needed")
    if not np.isfinite(pixels).all():
        bad = tuple(int(v) for v in np.argwhere(~np.isfinite(pixels))[0])
        raise RenderError(f"{name}: pixel {bad} is {pixels[bad]}; mask or replace pixels that are not finite")
    if not (np.isfinite(pixel_scale_arcsec) and pixel_scale_arcsec > 0):
        raise RenderError(f"{name}: pixel_scale_arcsec must be positive and finite, not {pixel_scale_arcsec}")
    for key, value, known in (
        ("background", background, ("border", None)),
        ("noise", noise, ("smooth", "keep")),
        ("negative", negative, ("clip", "keep")),
    ):
        if value not in known:
            raise RenderError(f"{name}: {key} must be one of {known}, not {value!r}")
    level, sigma = _border_statistics(pixels, border_pix)
    if background is None:
        level = 0.0
    pixels -= level
    if noise == "smooth" and sigma > 0:
        pixels = _tame_noise(pixels, sigma, border_pix, name)
    pixels *= _edge_taper(pixels.shape[0], taper_pix)[:, None] * _edge_taper(pixels.shape[1], taper_pix)
    if negative == "clip":
        pixels = np.maximum(pixels, 0.0)
    flux = float(pixels.sum())
    # A sum that positive and negative noise nearly cancel cannot be scaled to a source's flux.
    if not flux > 1e-3 * np.abs(pixels).sum():
        raise RenderError(f"{name}: no positive flux is left ({flux:.3g}); is the background right?")
    pixels /= flux
    x, y, ratio, phi = _moments(pixels, name)
    radius = _half_light_radius(pixels, x, y, ratio, phi)
    return ImageSource(
        pixels, float(pixel_scale_arcsec), source_id, x, y, radius * pixel_scale_arcsec, ratio, phi, flux, level, sigma
    )


def without_frame(pixels: Floats) -> Floats:
    """Cut off rows and columns at the edges that hold one and the same value, if sky lies behind them.

    A model without noise, and a galaxy cut out along its own outline, end in zeros that mean zero: there the image is
    left as it is. What tells sky is that the values behind the frame scatter from pixel to pixel, on both sides of the
    frame's value or far from it.
    """
    first, last = np.array([0, 0]), np.array(pixels.shape)
    corners = pixels[[0, 0, -1, -1], [0, -1, 0, -1]]

    def blank(line: Floats) -> bool:
        return bool(np.isnan(line).all() or (line == line[0]).all())

    for axis in (0, 1):
        lines = np.moveaxis(pixels, axis, 0)
        while first[axis] < last[axis] and blank(lines[first[axis]]):
            first[axis] += 1
        while last[axis] > first[axis] and blank(lines[last[axis] - 1]):
            last[axis] -= 1
    inside = pixels[first[0] : last[0], first[1] : last[1]]
    if inside.shape == pixels.shape or min(inside.shape) < 4:
        return pixels
    # Whatever is cut off holds a corner.
    value = next(c for k, c in enumerate(corners) if (first[0], last[0] - pixels.shape[0])[k // 2]
                 or (first[1], last[1] - pixels.shape[1])[k % 2])  # fmt: skip
    if not np.isfinite(value):
        return inside
    edge = [inside[0], inside[-1], inside[:, 0], inside[:, -1]]
    # Third differences of noise scatter ten times more than first ones; of a smooth profile, far less.
    rough = sum(float((np.diff(e, 3) ** 2).mean()) for e in edge) > 2 * sum(
        float((np.diff(e) ** 2).mean()) for e in edge)  # fmt: skip
    ring = np.concatenate(edge)
    level, scatter = map(float, median_and_sigma(ring))
    both_sides = min((ring < value).mean(), (ring > value).mean()) > 0.05
    return inside if rough and (both_sides or abs(level - value) > 5 * scatter) else pixels


def _border_statistics(pixels: Floats, width: int) -> tuple[float, float]:
    """Median and robust standard deviation of the frame, clipped three times at 3 sigma."""
    inside = np.zeros(pixels.shape, dtype=bool)
    inside[width:-width, width:-width] = True
    frame = pixels[~inside]
    level = sigma = 0.0
    for _ in range(3):
        level, sigma = map(float, median_and_sigma(frame))
        frame = frame[np.abs(frame - level) <= 3 * sigma]
    return level, sigma


def _tame_noise(pixels: Floats, sigma: float, border: int, name: str) -> Floats:
    smooth = ndimage.gaussian_filter(pixels, _SMOOTH_PIX)
    # Measured, not derived from sigma: the noise of drizzled images is correlated.
    _, smooth_sigma = _border_statistics(smooth, border)
    labels, count = ndimage.label(smooth > _DETECT_SIGMA * smooth_sigma)
    if not count:
        raise RenderError(f"{name}: nothing stands above the noise; use noise='keep' to take the image as it is")
    brightest = 1 + int(np.argmax(ndimage.sum_labels(smooth, labels, np.arange(1, count + 1))))
    mask = ndimage.binary_fill_holes(labels == brightest)
    grow = max(3.0, 0.5 * math.sqrt(mask.sum() / math.pi))
    # 1 to half of the growth, 0 beyond the whole of it, smooth in between.
    away = np.clip(ndimage.distance_transform_edt(~mask) / grow, 0.5, 1.0)
    weight = np.where(away < 1.0, np.cos(np.pi * (away - 0.5)) ** 2, 0.0)
    sharp = np.clip((smooth / sigma - _SMOOTH_BELOW) / (_KEEP_ABOVE - _SMOOTH_BELOW), 0.0, 1.0)
    return np.asarray(weight * (sharp * pixels + (1 - sharp) * smooth))


def _edge_taper(size: int, width: int) -> Floats:
    from_edge = np.minimum(np.arange(size), np.arange(size)[::-1]) + 0.5
    return np.asarray(np.sin(0.5 * np.pi * np.minimum(from_edge / max(width, 0.5), 1.0)) ** 2)


def _moments(pixels: Floats, name: str) -> tuple[float, float, float, float]:
    """Centroid (pixels), axis ratio and angle of the flux-weighted second moments of an image of unit flux."""
    y, x = (np.arange(n, dtype=np.float64) for n in pixels.shape)
    along_x, along_y = pixels.sum(axis=0), pixels.sum(axis=1)
    cx, cy = float(along_x @ x), float(along_y @ y)
    if not (0 <= cx <= x[-1] and 0 <= cy <= y[-1]):
        raise RenderError(f"{name}: centroid ({cx:.1f}, {cy:.1f}) outside of the image; use negative='clip'")
    xx, yy = float(along_x @ (x - cx) ** 2), float(along_y @ (y - cy) ** 2)
    xy = float((y - cy) @ pixels @ (x - cx))
    spread, trace = math.hypot(xx - yy, 2 * xy), xx + yy
    # Noise that was kept can make a moment negative; a circle is the answer that asks nothing of it.
    ratio = math.sqrt((trace - spread) / (trace + spread)) if trace > spread else 1.0
    return cx, cy, max(ratio, 0.05), 0.5 * math.atan2(2 * xy, xx - yy) % math.pi


def _half_light_radius(pixels: Floats, cx: float, cy: float, ratio: float, phi: float) -> float:
    """Semi-major axis, pixels, of the ellipse that holds half of the flux; measured on the interpolated light."""
    s = 4
    ny, nx = pixels.shape
    x = (np.arange((nx + 2 * PAD) * s) + 0.5) / s - 0.5 - PAD
    y = (np.arange((ny + 2 * PAD) * s) + 0.5) / s - 0.5 - PAD
    light = sample(np.pad(pixels, PAD), x, y)
    c, sn = math.cos(phi), math.sin(phi)
    dx, dy = x[None, :] - cx, y[:, None] - cy
    radius = np.hypot(c * dx + sn * dy, (c * dy - sn * dx) / ratio).ravel()
    order = np.argsort(radius)
    growth = np.cumsum(light.ravel()[order])
    return float(radius[order][np.argmax(growth >= 0.5 * growth[-1])])


@compiled(inline="always")
def _weights(t):  # type: ignore[no-untyped-def]
    """Cubic convolution (Keys 1981, IEEE ASSP 29, 1153, a = -1/2): weights of the pixels at -1, 0, 1, 2."""
    return (
        ((-0.5 * t + 1.0) * t - 0.5) * t,
        (1.5 * t - 2.5) * t * t + 1.0,
        ((-1.5 * t + 2.0) * t + 0.5) * t,
        (0.5 * t - 0.5) * t * t,
    )


@compiled(inline="always")
def interpolate(padded, px, py):  # type: ignore[no-untyped-def]
    """Flux per pixel at a position between pixels, 0 outside of the image.

    Parameters
    ----------
    padded : ndarray, shape (y + 2 PAD, x + 2 PAD)
        From :meth:`ImageSource.padded`.
    px, py : float
        Pixel coordinates in ``padded``.

    Notes
    -----
    The weights sum to 1 at every position and the kernel's integral is 1: the integral of what is interpolated is
    the sum of the pixels, exactly. It falls smoothly to 0 within 2 pixels of the edge.
    """
    total = 0.0
    if px >= 1.0 and py >= 1.0 and px < padded.shape[1] - 2 and py < padded.shape[0] - 2:
        j, i = int(px), int(py)  # truncation is floor here
        a0, a1, a2, a3 = _weights(px - j)
        b0, b1, b2, b3 = _weights(py - i)
        for k, b in enumerate((b0, b1, b2, b3)):
            line = padded[i - 1 + k]
            total += b * (a0 * line[j - 1] + a1 * line[j] + a2 * line[j + 1] + a3 * line[j + 2])
    return total


@compiled()
def sample(padded, x, y):  # type: ignore[no-untyped-def]
    """Flux per pixel on a grid of positions (pixels of the image in the frame), shapes (nx,), (ny,) -> (ny, nx)."""
    out = np.empty((y.size, x.size))
    for i in range(y.size):
        for j in range(x.size):
            out[i, j] = interpolate(padded, x[j] + PAD, y[i] + PAD)
    return out
