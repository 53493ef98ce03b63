"""What ``render_err`` must know of: light beyond the margin, kernels with too few samples, images not seen."""

import warnings

import numpy as np
import pytest

from lensflow.config import load_config
from lensflow.errors import ConfigError, LensflowWarning, RenderError
from lensflow.lensing import image_positions, psf, render
from lensflow.lensing.image_positions import MAX_IMAGES
from lensflow.lensing.render_reference import adaptive_samples

from .rows import one_row, scalars, take, wide_rows

TOLERANCE = 1e-3


def far_rows(n, size, seed, model="SIE"):
    """Lenses whose images mostly lie off the stamp."""
    rows = wide_rows(n, seed, model=model, size=size)
    grown = np.random.default_rng(seed).uniform(2, 8, n) / rows["theta_e_arcsec"]
    for name in ("theta_e_arcsec", "src_x_arcsec", "src_y_arcsec"):
        rows[name] = rows[name] * grown
    return rows


@pytest.mark.slow
@pytest.mark.parametrize("model, beta", [("SIE", 3.5), ("EPL", 3.5), ("SIE", 2.0)])
def test_light_beyond_the_margin_is_in_render_err(model, beta):
    size, around = 48, 70
    rows = far_rows(120, size, 3, model)
    found = render(rows, stamp_size=size, psf_beta=beta)
    moved = rows | {k: rows[k] + around for k in ("x_center", "y_center")}
    whole = render(moved, stamp_size=size + 2 * around, psf_beta=beta).arc[:, :, around:-around, around:-around]
    error = (np.abs(found.arc - whole).max(axis=(2, 3)) / whole.max(axis=(2, 3))).max(axis=1)
    assert (error > TOLERANCE).any(), "no row has the fault"
    assert (found.render_err[error > TOLERANCE] > TOLERANCE).all()
    assert (error < (1.5 if beta > 2.5 else 5) * found.render_err).all()


def test_rows_whose_arcs_lie_on_the_stamp_are_not_flagged_for_light_beyond_it():
    rows = wide_rows(150, 5)
    whole = render(rows)
    share = whole.arc.sum(axis=(2, 3)).mean(axis=1) / whole.magnification
    assert (whole.render_err[share > 0.9] < TOLERANCE).mean() > 0.99


@pytest.mark.parametrize("model", ["gaussian", "moffat"])
def test_what_an_undersampled_kernel_cannot_know_is_in_render_err(model):
    rows = wide_rows(40, 7)
    for fwhm in (2.0, 2.25, 2.5, 3.0):
        rows["psf_fwhm_arcsec"][:] = 0.262 * fwhm
        kernel = psf.kernel(63, fwhm, model)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", LensflowWarning)
            found = render(rows, psf_model=np.stack([kernel, kernel]))
        truth = render(rows, psf_model=model)
        error = (np.abs(found.arc - truth.arc).max(axis=(2, 3)) / truth.arc.max(axis=(2, 3))).max(axis=1)
        assert (found.render_err[error > 1.5 * TOLERANCE] > TOLERANCE).all(), fwhm
        assert (error > TOLERANCE).any() or fwhm > 2.25


def compact_rows(n, seed):
    """Elongated sources of 1 to 10 mas far out, behind lenses with a strong shear: few rays come near."""
    rng = np.random.default_rng(seed)
    theta_e = np.exp(rng.uniform(np.log(0.2), np.log(3), n))
    away, angle = theta_e * rng.uniform(1.2, 2.9, n), rng.uniform(0, 2 * np.pi, n)
    return wide_rows(n, seed) | {
        "lens_model": np.full(n, "SIE"),
        "theta_e_arcsec": theta_e,
        "lens_q": rng.uniform(0.2, 1, n),
        "shear": rng.uniform(0.17, 0.3, n),
        "src_x_arcsec": away * np.cos(angle),
        "src_y_arcsec": away * np.sin(angle),
        "src_reff_arcsec": np.exp(rng.uniform(np.log(1e-3), np.log(1e-2), n)),
        "src_n": rng.uniform(0.5, 2, n),
        "src_q": rng.uniform(0.1, 0.3, n),
    }


def point_magnification(rows):
    """Sum over the images of a point at the source's centre."""
    names = ("theta_e_arcsec", "lens_q", "lens_phi_rad", "shear", "shear_phi_rad", "src_x_arcsec", "src_y_arcsec")
    images = image_positions(*(rows[k] for k in names))
    assert images.x.shape[1] == MAX_IMAGES
    return np.nansum(np.abs(images.magnification), axis=1)


@pytest.mark.slow
def test_every_image_of_a_compact_source_is_seen():
    rows = compact_rows(2500, 11)
    found = render(rows | {k: rows[k][:, :1] for k in ("src_flux_nmgy", "psf_fwhm_arcsec")})
    ratio = found.magnification / point_magnification(rows)
    # By a caustic a source of 10 mas is no point: those are left out.
    plain = point_magnification(rows) < 3
    assert plain.mean() > 0.9
    assert ratio[plain].min() > 0.98
    assert (np.abs(ratio - 1) < 2e-3).mean() > 0.98


@pytest.mark.slow
def test_a_compact_source_off_the_beaten_rays_has_the_flux_of_brute_force():
    rows = take(compact_rows(2500, 11), slice(0, 3))
    found = render(rows)
    for i in range(3):
        samples = adaptive_samples(scalars(rows, i), pad_pix=60, tolerance=1e-6, max_depth=22)
        assert found.magnification[i] == pytest.approx(samples[2].sum(), rel=3e-3)


def test_a_moffat_whose_wings_reach_round_is_refused():
    with pytest.raises(RenderError, match=r"psf_beta must be at least 2.*not 1\.6"):
        render(one_row(), psf_beta=1.6)
    with pytest.raises(ConfigError, match=r"psf_beta"):
        load_config({"out": "-", "survey": {"root": "-", "targets": "-"}, "plan": {"psf_beta": 1.9}})
    assert np.isfinite(render(one_row(), psf_beta=2.0).arc).all()
