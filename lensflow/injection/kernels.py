"""The per-pixel work of a pair in one pass: the stamp, and the sums that the metrics are made of."""

from __future__ import annotations

import numpy as np

from lensflow import geometry
from lensflow.jit import compiled

# Columns of the sums over one band of one row.
FLUX, GOOD_FLUX, PEAK_SNR, MATCHED, SKY_VARIANCE, GOOD_PIXELS, CORE, ANNULUS, N_SUMS = range(9)

_CORE2 = geometry.CORE_RADIUS_PIX**2
_ANNULUS2 = geometry.ANNULUS_INNER_PIX**2
# The half-light radius is the radius of a pixel; rings this fine (in r^2) tell pixels apart.
RINGS_PER_PIX2 = 2


@compiled()
def add_and_measure(image, invvar, host, arc, noise, x_center, y_center, stamp, sums, growth):  # type: ignore[no-untyped-def]
    """Fill ``stamp``, ``sums`` and ``growth`` for every row.

    Parameters
    ----------
    image, invvar : float32 (host, band, y, x)
    host : int64 (sample,)
        Row of each sample's host.
    arc, noise : float32 (sample, band, y, x)
    x_center, y_center : float64 (sample,)
    stamp : float32 (sample, band, y, x), output
        ``float32(image + arc + noise)``, summed in float64 from left to right.
    sums : float64 (sample, band, N_SUMS), output
    growth : float64 (sample, rings), output
        Arc flux of all bands by r^2, RINGS_PER_PIX2 rings per square pixel; the last ring takes all beyond.
    """
    n, bands, size, _ = arc.shape
    last = growth.shape[1] - 1
    for i in range(n):
        h = host[i]
        for b in range(bands):
            flux = good_flux = peak = matched = sky = core = outer = 0.0
            n_good = 0
            for y in range(size):
                dy2 = (y - y_center[i]) ** 2
                ctrl, weight = image[h, b, y], invvar[h, b, y]
                light, drawn, total = arc[i, b, y], noise[i, b, y], stamp[i, b, y]
                for x in range(size):
                    w = np.float64(weight[x])
                    if w > 0:
                        n_good += 1
                        sky += 1.0 / w
                    a = np.float64(light[x])
                    if a == 0.0:
                        total[x] = ctrl[x]
                        continue
                    total[x] = np.float32(np.float64(ctrl[x]) + a + np.float64(drawn[x]))
                    flux += a
                    if w > 0:
                        good_flux += a
                        matched += a * a * w
                        peak = max(peak, a * np.sqrt(w))
                    r2 = dy2 + (x - x_center[i]) ** 2
                    if r2 < _CORE2:
                        core += a
                    elif r2 >= _ANNULUS2:
                        outer += a
                    growth[i, min(int(r2 * RINGS_PER_PIX2), last)] += a
            out = sums[i, b]
            out[FLUX], out[GOOD_FLUX], out[PEAK_SNR], out[MATCHED] = flux, good_flux, peak, matched
            out[SKY_VARIANCE], out[GOOD_PIXELS], out[CORE], out[ANNULUS] = sky, n_good, core, outer
