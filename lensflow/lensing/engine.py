"""The fast renderer: packs rows into plain arrays and renders them in one compiled call."""

from __future__ import annotations

from functools import lru_cache

import numba
import numpy as np
from numpy.typing import NDArray
from scipy.special import gammainccinv, gammaincinv

from lensflow.lensing import psf
from lensflow.lensing import quadrature as quad
from lensflow.lensing.bands import LANES, TABLE_STEPS, forward, image, pixel_waves
from lensflow.lensing.rows import Rows
from lensflow.lensing.shoot import BIN, shoot_row
from lensflow.lensing.sources import sersic_amplitude, sersic_b
from lensflow.lensing.spreading import DECONVOLUTION, ETA, TAPS, WEIGHTS

ARC_FLOOR = 1e-6
CORE_POWER = 1.5
PSF_FLOOR = 6e-5
DARK_FLUX = 8e-5
CORE_FLUX = 1e-2
TUNE = np.array([1.6, 3.0, 4.5, 2.5, 4.5, 5.0, 1.0, 1.5, 0.3])
STEEP = 7.0

Floats = NDArray[np.float64]


@lru_cache(maxsize=16)
def psf_table(model: str, beta: float) -> NDArray[np.float32]:
    """PSF transform against x = 2 pi (scale length) f, TABLE_STEPS to the unit, cut at PSF_FLOOR."""
    length = scale_length(1.0, model, beta)
    x_cut = 2 * np.pi * length * psf.cutoff_frequency(model, beta, PSF_FLOOR)
    x = np.arange(int(np.ceil(x_cut * TABLE_STEPS)) + 1) / TABLE_STEPS
    return np.concatenate([psf.transform(x / (2 * np.pi * length), 1.0, model, beta), [0, 0]]).astype(np.float32)


def scale_length(fwhm, model, beta):
    return fwhm / (2 * np.sqrt(2 * np.log(2))) if model == "gaussian" else fwhm / (2 * np.sqrt(2 ** (1 / beta) - 1))


def pack(rows: Rows, which, size, pixel, models, beta):
    c = {k: v[which] for k, v in rows.column.items()}
    n = which.size
    fwhm = rows.fwhm[which] / pixel
    p = np.zeros((n, quad.PARAMETERS))
    sis = rows.is_sis[which]
    q = np.where(sis, 1.0, c["lens_q"])
    gamma = rows.gamma[which]
    phi = np.where(sis, 0.0, c["lens_phi_rad"])
    p[:, quad.COS], p[:, quad.SIN], p[:, quad.Q] = np.cos(phi), np.sin(phi), q
    power = np.where(np.abs(2 - gamma) < 1e-6, 0.0, 2 - gamma)
    p[:, quad.POWER] = power
    radius = c["theta_e_arcsec"] * np.sqrt(q) / pixel
    p[:, quad.STRENGTH] = 2 / (1 + q) * radius ** (1 - power)
    f = (1 - q) / (1 + q)
    terms = np.where(f > 1e-9, np.ceil(np.log(1e-8) / np.log(np.clip(f, 1e-9, 0.999))), 0)
    p[:, quad.TERMS] = terms
    k = np.arange(1, max(int(terms.max(initial=0)), 1) + 1)
    t = 1 - power[:, None]
    series = -f[:, None] * (2 * k - (2 - t)) / (2 * k + (2 - t))
    cs, sn = np.cos(c["src_phi_rad"]), np.sin(c["src_phi_rad"])
    reff, sq = c["src_reff_arcsec"] / pixel, c["src_q"]
    to = np.stack([cs, sn, -sn / sq, cs / sq], 1) / reff[:, None]
    g1, g2 = c["shear"] * np.cos(2 * c["shear_phi_rad"]), c["shear"] * np.sin(2 * c["shear_phi_rad"])
    p[:, quad.TO_SOURCE : quad.TO_SOURCE + 4] = to
    p[:, quad.MAP] = to[:, 0] * (1 - g1) - to[:, 1] * g2
    p[:, quad.MAP + 1] = -to[:, 0] * g2 + to[:, 1] * (1 + g1)
    p[:, quad.MAP + 2] = to[:, 2] * (1 - g1) - to[:, 3] * g2
    p[:, quad.MAP + 3] = -to[:, 2] * g2 + to[:, 3] * (1 + g1)
    sx, sy = c["src_x_arcsec"] / pixel, c["src_y_arcsec"] / pixel
    p[:, quad.SOURCE], p[:, quad.SOURCE + 1] = to[:, 0] * sx + to[:, 1] * sy, to[:, 2] * sx + to[:, 3] * sy
    index = c["src_n"]
    b = sersic_b(index)
    p[:, quad.CORE] = (gammaincinv(2 * index, CORE_FLUX / np.maximum(index, 1) ** CORE_POWER) / b) ** index
    p[:, quad.DARK] = (gammainccinv(2 * index, DARK_FLUX) / b) ** index
    p[:, quad.STEEP] = STEEP * index / b * np.where(index < 1, 0.4, 1.0)
    p[:, quad.FLATTER] = np.where(index > 1, 1 - 1 / index, 0.0)
    # PSF
    used = np.isfinite(fwhm)
    length = np.full(fwhm.shape, np.nan)
    cut = np.full(n, np.nan)
    reach = np.zeros(n)
    for model in np.unique(models):
        of = models == model
        length[of] = scale_length(fwhm[of], model, beta)
        unit = scale_length(1.0, model, beta)
        cut[of] = psf.cutoff_frequency(model, beta, PSF_FLOOR) * unit * 2 * np.pi
        reach[of] = np.sqrt(2 * np.log(1e5)) if model == "gaussian" else np.sqrt(1e5 ** (1 / beta) - 1)
    widest = np.where(used, length, 0).max(1)
    pad = np.ceil(np.maximum(16, 2.5 * np.where(used, fwhm, 0).max(1)))
    period = size + pad + np.minimum(reach * widest, 2 * size)
    period = np.maximum(period, size + 2 * pad)
    scale = 2 * np.pi * length / period[:, None]
    kk = np.where(used, np.ceil(cut[:, None] / scale / 4 + 0.01) * 4, 0)
    kmax = kk.max(1)
    step = ETA * period / np.maximum(kmax, 4)
    field = size + 2 * pad
    m = np.ceil((field / step + TAPS + 2) / 8) * 8
    step = field / (m - TAPS - 2)
    x, y = rows.x_center[which], rows.y_center[which]
    p[:, quad.LEFT], p[:, quad.RIGHT] = -pad - 0.5 - x, size + pad - 0.5 - x
    p[:, quad.LOW], p[:, quad.HIGH] = -pad - 0.5 - y, size + pad - 0.5 - y
    p[:, quad.REACH] = 0.5 * size
    middle = 0.5 * (size - 1)
    origin = np.stack([middle - 0.5 * (m - 1) * step - x, middle - 0.5 * (m - 1) * step - y], 1)
    tune = np.repeat(TUNE[None], n, 0)
    tune[:, [2, 4, 5]] *= (0.45 / (kmax / period))[:, None]
    central = sersic_amplitude(1.0, reff, index, sq) * np.exp(b)
    return p, series, tune, np.stack([index, b, central, period, step, origin[:, 0], origin[:, 1]], 1), scale, kk.astype(np.int64), m.astype(np.int64)


@numba.njit(cache=True, error_model="numpy", nogil=True)
def render_rows(arc, which, p, series, tune, scalars, scale, kk, ms, flux, table_of, tables, table_sizes, nodes, turns, weights, deconv, out, timing):
    size = arc.shape[2]
    bands = arc.shape[1]
    m_max, k_max = ms.max(), kk.max()
    mp = (m_max + LANES) // LANES * LANES
    hp = (m_max // 2 + LANES) // LANES * LANES
    kp = (k_max + LANES) // LANES * LANES
    sp = (size // 2 + 1 + LANES) // LANES * LANES
    f4 = np.float32
    grid = np.zeros((mp, mp), f4)
    flat = grid.reshape(mp * mp)
    bins = np.zeros((4, m_max // BIN + 2, m_max // BIN + 2))
    scratch = np.empty((8, quad.MAX_SAMPLES), f4)
    edges = np.empty((quad.MAX_PANELS, 2))
    stack = np.zeros((quad._DEPTH * 2 + 4, 5 + 3 * quad._RAY))
    stack[:, 5:] = 0.0
    spectrum = np.zeros((4, kp, kp), f4)
    cos, sin = np.zeros((kp, hp), f4), np.zeros((kp, hp), f4)
    cos_t, sin_t = np.zeros((hp, kp), f4), np.zeros((hp, kp), f4)
    fold, half = np.zeros((4, hp, hp), f4), np.zeros((kp, max(hp, kp)), f4)
    work = np.zeros((4, max(kp, hp, sp)))
    pcos, psin = np.zeros((sp, kp), f4), np.zeros((sp, kp), f4)
    pcos_t, psin_t = np.zeros((kp, sp), f4), np.zeros((kp, sp), f4)
    shaped, zhalf, quarter = np.zeros((4, kp, kp), f4), np.zeros((max(sp, kp), kp), f4), np.zeros((4, sp, sp), f4)
    picture = np.zeros((size, size), f4)
    for i in range(which.size):
        sc = scalars[i]
        m = ms[i]
        stride = mp
        grid[:m, :] = 0
        bins[:] = 0
        inside, outside, samples, panels = shoot_row(
            p[i], series[i], tune[i], sc[0], sc[1], flat, stride, sc[4], sc[5], sc[6], (nodes, turns, weights), bins, scratch, edges, stack
        )
        row = which[i]
        out[i, 0] = (inside + outside) * sc[2]
        out[i, 1] = samples
        out[i, 2] = panels
        out[i, 3] = inside * sc[2]
        for j in range(4):
            out[i, 4 + j] = bins[j].max() * sc[2]
            out[i, 8 + j] = bins[j].sum() * sc[2]
        k = kk[i].max()
        if k == 0:
            continue
        forward(spectrum, grid, m, k, sc[4], sc[3], deconv, cos, sin, cos_t, sin_t, fold, half, work)
        pixel_waves(pcos, psin, pcos_t, psin_t, size, k, sc[3], work)
        psf_t = tables[table_of[i], : table_sizes[table_of[i]]]
        for band in range(bands):
            if kk[i, band] == 0:
                continue
            image(picture, spectrum, kk[i, band], scale[i, band], sc[3], psf_t, size, pcos, psin, pcos_t, psin_t, shaped, zhalf, quarter)
            peak = picture.max()
            floor = np.float32(ARC_FLOOR) * peak
            unit = np.float32(sc[2] * flux[i, band])
            to = arc[row, band]
            for y in range(size):
                for x in range(size):
                    v = picture[y, x]
                    to[y, x] = v * unit if abs(v) >= floor else np.float32(0)
