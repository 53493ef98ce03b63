"""The features of one stamp, written for a reader and not for speed; tests hold :mod:`.kernel` against it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from lensflow.measure.realism.features import names as n
from lensflow.units import mag_of_flux

Floats = NDArray[np.float64]


def features_of_stamp(
    residual: dict[str, Floats], variance: dict[str, Floats], psf_pix: float, x: float, y: float, sigma: float,
    scale: float,
) -> dict[str, float]:  # fmt: skip
    """Features of a stamp that has data everywhere and an arc.

    Parameters
    ----------
    residual, variance : dict of ndarray, shape (y, x)
        Light without the lens's, and 1/invvar, in g, r and z.
    psf_pix : float
        psfsize in r, pixels.
    x, y : float
        Target, pixels.
    sigma : float
        Scatter of the sky in r.
    scale : float
        arcsec per pixel.
    """
    res, var = residual["r"], variance["r"]
    rows, columns = np.indices(res.shape)
    dx, dy = columns - x, rows - y
    r, angle = np.hypot(dx, dy), np.arctan2(dy, dx)
    inner = n.ZONE_INNER_PSF * psf_pix
    zone = (r >= inner) & (r <= n.ZONE_OUTER_ARCSEC / scale)

    label, groups = ndimage.label(zone & (res > n.ARC_SIGMA * sigma))
    sizes = ndimage.sum_labels(np.ones_like(res), label, np.arange(1, groups + 1))
    kept = 1 + np.flatnonzero(sizes >= n.ARC_PIXELS)
    arc = np.isin(label, kept)
    flux = {band: light[arc].sum() for band, light in residual.items()}
    out = {
        "arc_snr": flux["r"] / np.sqrt(var[arc].sum()),
        "arc_mag": mag_of_flux(flux["r"]),
        "arc_gr": mag_of_flux(flux["g"]) - mag_of_flux(flux["r"]),
        "arc_rz": mag_of_flux(flux["r"]) - mag_of_flux(flux["z"]),
        "arc_mu": mag_of_flux(np.percentile(res[arc], 90) / scale**2),
        "arc_radius": np.average(r[arc], weights=res[arc]) * scale,
    }

    width = 2 * np.pi / n.SECTORS
    sector = np.round(angle / width).astype(int) % n.SECTORS
    lit = [res[zone & (sector == s)].sum() > n.SECTOR_SIGMA * np.sqrt(var[zone & (sector == s)].sum())
           for s in range(n.SECTORS)]  # fmt: skip
    out["arc_fill"] = np.mean(lit)

    brightest = label == kept[np.argmax([res[label == k].sum() for k in kept])]
    middle = np.arctan2((res * dy)[brightest].sum(), (res * dx)[brightest].sum())
    off = np.abs((angle - middle) % (2 * np.pi) - np.pi)
    out["counter"] = res[arc & (off <= np.radians(n.OPPOSITE_DEG))].sum() / flux["r"]

    def smooth(image: Floats, fwhm: float = psf_pix, squared: bool = False) -> Floats:
        sd = fwhm / np.sqrt(8 * np.log(2))
        reach = max(int(np.ceil(3 * sd)), 1)
        g = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sd) ** 2)
        g = (g / g.sum()) ** (2 if squared else 1)
        once = ndimage.correlate1d(image, g, axis=0, mode="constant")
        return np.asarray(ndimage.correlate1d(once, g, axis=1, mode="constant"))

    gy, gx = (np.asarray(v) for v in np.gradient(res))
    gx[[0, -1]] = gx[:, [0, -1]] = gy[[0, -1]] = gy[:, [0, -1]] = 0
    jxx, jxy, jyy = smooth(gx * gx), smooth(gx * gy), smooth(gy * gy)
    along_radius = np.cos(angle) ** 2 * jxx + np.sin(2 * angle) * jxy + np.sin(angle) ** 2 * jyy
    along_tangent = jxx + jyy - along_radius
    of_tangential, of_radial = ((res * j)[arc].sum() for j in (along_radius, along_tangent))
    out["tangential"] = (of_tangential - of_radial) / (of_tangential + of_radial)

    fine = smooth(res, 0.5 * psf_pix)
    around = np.ones((3, 3), dtype=bool)
    around[1, 1] = False
    top = (fine > ndimage.maximum_filter(fine, footprint=around)) & (fine > n.KNOT_SIGMA * sigma)
    out["knots"] = (top & arc).sum() / len(kept)

    power = np.abs(np.fft.fft2(np.where(arc, res, 0))) ** 2
    k = np.hypot(*np.meshgrid(np.fft.fftfreq(res.shape[1]), np.fft.fftfreq(res.shape[0])))
    out["high_k"] = power[k > n.HIGH_K_PER_PIXEL].sum() / power.sum()

    ratio = flux["g"] / flux["r"]
    square = ((residual["g"] - ratio * res) ** 2 - variance["g"] - ratio**2 * var)[arc].sum()
    square /= ratio**2 * (res**2 - var)[arc].sum()
    out["colour_scatter"] = 2.5 / np.log(10) * np.sign(square) * np.sqrt(abs(square))

    about = res - smooth(res) / smooth(np.ones_like(res))
    point: Floats = np.zeros(res.shape)
    point[res.shape[0] // 2, res.shape[1] // 2] = 1
    own = 1 - 2 * smooth(point).max()
    out["local_var"] = (about**2)[arc].sum() / (own * var + smooth(var, squared=True))[arc].sum()
    v, u = np.unravel_index(np.argmax(np.where(arc, fine, -np.inf)), res.shape)
    level = [float((smooth(res, a * psf_pix) / smooth(np.ones_like(res), a * psf_pix))[v, u]) for a in n.PEAK_WIDTHS]
    step = -np.diff(level)
    out["peak_shape"] = (step[0] - 2 * step[2] + step[3]) / step[1:].sum()
    core = r < inner
    out["core_excess"] = res[core].sum() / np.sqrt(var[core].sum())
    return {name: float(value) for name, value in out.items()}
