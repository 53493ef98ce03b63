"""Image sources and a kernel to render with, and a slow rendering of them with every step written out."""

from functools import cache

import numpy as np

from lensflow.errors import RenderError
from lensflow.lensing import psf
from lensflow.lensing.deflectors import deflect_epl, deflect_shear, deflect_sie
from lensflow.lensing.psf_image import kernel_transform, prepare_kernel
from lensflow.lensing.render_reference import ray_positions
from lensflow.lensing.source_image import prepare_image_source
from lensflow.lensing.sources import sersic_profile

from .rows import Manifest


class Bank(dict):
    """Sources by name."""

    def get(self, source_id):
        if source_id not in self:
            raise RenderError(f"no source {source_id!r}")
        return self[source_id]


def model_image(image, scale=0.03):
    """A noiseless image as a source."""
    return prepare_image_source(image, scale, background=None, noise="keep")


def sersic_source(reff_pix=40.0, q=0.6, size=601):
    """A finely sampled exponential, averaged over 3 x 3 points a pixel."""
    axis = (np.arange(size * 3) + 0.5) / 3 - 0.5 - (size - 1) / 2
    fine = sersic_profile(axis, axis[:, None], reff_pix, 1.0, q)
    return model_image(fine.reshape(size, 3, size, 3).mean(axis=(1, 3)))


@cache
def lumpy_source(seed=0):
    """A galaxy of knots: no symmetry that could hide a flip."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:61, :61]
    image = np.zeros((61, 61))
    for _ in range(6):
        cx, cy, width = rng.uniform(18, 42), rng.uniform(18, 42), rng.uniform(2, 5)
        image += rng.uniform(0.3, 1) * np.exp(-0.5 * ((x - cx) ** 2 + (y - cy) ** 2) / width**2)
    return model_image(image)


def with_images(rows: Manifest, *ids: str) -> Manifest:
    """The rows with images in turn; without numbers that an image does not need."""
    n = len(rows["theta_e_arcsec"])
    source_id = np.array([ids[i % len(ids)] for i in range(n)])
    free = {k: np.where(source_id == "", rows[k], np.nan) for k in ("src_n", "src_q")}
    return {**rows, **free, "src_id": source_id}


def crooked(size):
    """A kernel without any symmetry: a second, smaller blob to one side of the first, and a third further up."""
    axis = np.arange(size) - (size - 1) / 2
    kernel = np.zeros((size, size))
    for x, y, width, light in ((-0.389, -0.324, 4.2, 1.0), (2.4, 1.0, 5.0, 0.3), (0.5, 3.0, 4.0, 0.1)):
        kernel += light * psf.profile(np.hypot(axis - x, (axis - y)[:, None]), width, "gaussian")
    return prepare_kernel(kernel, recentre=False)


def _keys(distance):
    """Cubic convolution kernel of Keys 1981, written out."""
    d = np.abs(distance)
    near, far = 1.5 * d * d * d - 2.5 * d * d + 1, -0.5 * d * d * d + 2.5 * d * d - 4 * d + 2
    return np.where(d < 1, near, np.where(d < 2, far, 0.0))


def slow_light(row, source, x, y):
    """Surface brightness, arcsec^-2, every step written out in numpy."""
    lens = (x, y, row["theta_e_arcsec"], row["lens_q"], row["lens_phi_rad"])
    ax, ay = deflect_epl(*lens, row["lens_gamma"]) if row["lens_model"] == "EPL" else deflect_sie(*lens)
    gx, gy = deflect_shear(x, y, row["shear"], row["shear_phi_rad"])
    bx, by = x - ax - gx - row["src_x_arcsec"], y - ay - gy - row["src_y_arcsec"]
    scale = source.pixel_scale_arcsec * row["src_reff_arcsec"] / source.half_light_radius_arcsec
    c, s = np.cos(row["src_phi_rad"]), np.sin(row["src_phi_rad"])
    px, py = (c * bx + s * by) / scale + source.x_center, (c * by - s * bx) / scale + source.y_center
    light = np.zeros(px.shape)
    ny, nx = source.pixels.shape
    # Most rays are nowhere near the image, where there is no light.
    near = (px > -2) & (px < nx + 1) & (py > -2) & (py < ny + 1)
    px, py = px[near], py[near]
    i0, j0 = np.floor(py).astype(int), np.floor(px).astype(int)
    steps = range(-1, 3)
    of_row, of_column = ([_keys(p - (k + d)) for d in steps] for p, k in ((py, i0), (px, j0)))
    found = np.zeros(px.shape)
    for di, in_row in zip(steps, of_row, strict=True):
        for dj, in_column in zip(steps, of_column, strict=True):
            i, j = i0 + di, j0 + dj
            inside = (i >= 0) & (i < ny) & (j >= 0) & (j < nx)
            pixel = source.pixels[np.clip(i, 0, ny - 1), np.clip(j, 0, nx - 1)] * inside
            found += in_column * in_row * pixel
    light[near] = found
    return light / scale**2


def slow_render(row, source, kernel=None, stamp_size=40, s=16, pad=12, period=96):
    """Brute force: uniform rays one after the other in numpy; one band, a Moffat or a kernel of unit flux."""
    pixel, field = 0.262, stamp_size + 2 * pad
    x, y = (ray_positions(stamp_size, pad, s, pixel, row[k]) for k in ("x_center", "y_center"))
    light = slow_light(row, source, x[None, :], y[:, None]) * (pixel / s) ** 2
    f = np.fft.fftfreq(period)
    waves = np.exp(-2j * np.pi * np.outer(f, np.arange(field * s) / s - 0.5 + 0.5 / s))
    if kernel is None:
        hat = psf.transform(np.hypot(f[:, None], f), row["psf_fwhm_arcsec"][0] / pixel)
    else:
        hat = kernel_transform(kernel, f, f)
    image = np.fft.ifft2((waves @ light @ waves.T) * hat).real
    return row["src_flux_nmgy"][0] * image[pad : pad + stamp_size, pad : pad + stamp_size]
