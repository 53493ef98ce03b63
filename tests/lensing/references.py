"""What the engine is compared with: brute force on few rows, and the engine itself at far finer settings on many."""

from collections.abc import Iterator
from contextlib import contextmanager
from unittest.mock import patch

import numpy as np

from lensflow.lensing import psf
from lensflow.lensing.engine import pack, quadrature
from lensflow.lensing.render_reference import adaptive_samples, image_of_samples

from .rows import Manifest, scalars


def brute_force(
    rows: Manifest,
    models: np.ndarray,
    size: int = 64,
    tolerance: float = 2e-7,
    beta: float = 3.5,
    kernels: list[np.ndarray] | None = None,
) -> np.ndarray:
    """Converged images of every row, shape (row, band, y, x), by a method that shares nothing with the engine's.

    Cells of pixels quartered until they settle, deflections in closed form or by lenstronomy's series, and a plain
    Fourier sum over the samples. ``kernels`` (unit flux, one per band) take the models' place.
    """
    images = []
    for i, model in enumerate(models):
        row = scalars(rows, i)
        widths = row["psf_fwhm_arcsec"] / 0.262
        pad = int(psf.margin_pix(widths.max()))
        samples = adaptive_samples(row, stamp_size=size, pad_pix=pad, tolerance=tolerance, max_depth=14)
        kept = samples[:, samples[2] > 1e-10 * samples[2].max()]
        images.append(
            [
                flux
                * image_of_samples(
                    kept,
                    w,
                    stamp_size=size,
                    psf_model=model,
                    psf_beta=beta,
                    period_pix=int(3 * size + 12 * w),
                    level=1e-6,
                    kernel=None if kernels is None else kernels[band],
                )
                for band, (w, flux) in enumerate(zip(widths, row["src_flux_nmgy"], strict=True))
            ]
        )
    return np.array(images)


@contextmanager
def finer() -> Iterator[None]:
    """The engine with ten times the samples and a hundredth of the neglected light, within the ``with`` block."""
    settings = quadrature.SETTINGS.copy()
    values = {
        "FIRST": 0.7, "GROWTH": 1.5, "LONGEST": 2.5, "NEAR": 0.8, "ARC": 2.5, "SHIFT": 2.5, "CENTRAL": 0.1,
        "PROFILE": 1, "DETAIL": 0.25, "ACROSS": 0.6, "ALONG": 0.6,
    }  # fmt: skip
    for name, value in values.items():
        settings[:, getattr(quadrature, name)] = value
    pack.psf_table.cache_clear()
    pack._cut.cache_clear()
    try:
        with (
            patch.object(quadrature, "SETTINGS", settings),
            patch.multiple(pack, PSF_FLOOR=1e-6, DARK_FLUX=2e-6, CORE_FLUX=5e-4, STEEPNESS=3.0),
            patch.multiple(pack, KNOT_CORE=0.05, _LONGEST_PART=1.0),
        ):
            yield
    finally:
        pack.psf_table.cache_clear()
        pack._cut.cache_clear()
