"""Fluxes, colours, sizes, Einstein radii and image numbers measured again on the rendered arcs."""

import numpy as np
import pytest

from lensflow.lensing import image_positions, render
from lensflow.manifest.build import build_manifest
from tests.factories import make_config, make_cutouts

SCALE = 0.262


def rendered(psfsize=0.5, size=64, n=60, **plan):
    cutouts = make_cutouts(4, size=size)
    cutouts["psfsize_arcsec"].values[:] = psfsize
    plan = {"injections_per_host": n, "psf_model": "gaussian", **plan}
    m = build_manifest(cutouts, make_config(plan=plan, survey={"root": "-", "targets": "-", "stamp_size": size}))
    rows = m.isel(sample=~m["is_control"].values)
    columns = {name: rows[name].values for name in rows.data_vars}
    out = render(columns, stamp_size=size, pixel_scale_arcsec=SCALE, psf_model="gaussian")
    return rows, out


@pytest.fixture(scope="module")
def usual():
    return rendered(theta_e_arcsec=[0.6, 1.2])


def test_fluxes_are_those_of_the_manifest_times_the_magnification(usual):
    rows, out = usual
    share = out.arc.sum(axis=(2, 3)) / (rows["src_flux_nmgy"].values * out.magnification[:, None])
    assert share == pytest.approx(np.ones_like(share), abs=5e-3)


def test_colours_of_the_arcs_follow_the_declared_prior(usual):
    _, out = usual
    flux = out.arc.sum(axis=(2, 3), dtype=float)
    g_r = -2.5 * np.log10(flux[:, 0] / flux[:, 1])
    r_z = -2.5 * np.log10(flux[:, 1] / flux[:, 2])
    assert np.mean(g_r) == pytest.approx(0.2, abs=0.04) and np.std(g_r) == pytest.approx(0.2, abs=0.03)
    assert np.mean(r_z) == pytest.approx(0.1, abs=0.04) and np.std(r_z) == pytest.approx(0.2, abs=0.03)


def test_magnifications_are_those_of_point_sources():
    rows, out = rendered(n=40, src_reff_arcsec=0.02, src_q=1.0, src_min_images=2)
    names = ("theta_e_arcsec", "lens_q", "lens_phi_rad", "shear", "shear_phi_rad", "src_x_arcsec", "src_y_arcsec")
    expected = np.nansum(np.abs(image_positions(*(rows[k].values for k in names)).magnification), axis=1)
    flux = out.arc[:, 1].sum(axis=(1, 2)) / rows["src_flux_nmgy"].values[:, 1]
    # Near a caustic a source is not a point; most are not near one.
    assert np.median(np.abs(flux / expected - 1)) < 0.01
    assert np.quantile(np.abs(flux / expected - 1), 0.8) < 0.06


def test_sizes_are_the_declared_half_light_radii():
    # A lens of no weight: the source itself, in the PSF. <r^2> of an exponential is 6 (R_e / 1.678)^2.
    plan = {"theta_e_arcsec": 1e-3, "src_reff_arcsec": [0.5, 0.8, 1.1], "src_q": 1.0, "src_offset": "square",
            "src_offset_max": 0.4, "shear": 0.0, "lens_e": 0.0}  # fmt: skip
    rows, out = rendered(n=10, **plan)
    y, x = np.mgrid[:64, :64] * SCALE
    arc = out.arc[:, 1].astype(float)
    total = arc.sum(axis=(1, 2))
    mx, my = ((arc * v).sum(axis=(1, 2)) / total for v in (x, y))
    spread = (arc * ((x - mx[:, None, None]) ** 2 + (y - my[:, None, None]) ** 2)).sum(axis=(1, 2)) / total
    sigma2 = (rows["psf_fwhm_arcsec"].values[:, 1] / 2.35482) ** 2
    reff = 1.67835 * np.sqrt((spread - 2 * sigma2) / 6)
    assert reff == pytest.approx(rows["src_reff_arcsec"].values, rel=0.03)
    place = mx - SCALE * rows["x_center"].values
    assert place == pytest.approx(rows["src_x_arcsec"].values, abs=5e-3)


def test_einstein_radii_are_the_declared_ones():
    plan = {"lens_model": "SIS", "shear": 0.0, "src_offset_max": 0.02, "src_reff_arcsec": 0.05}
    rows, out = rendered(n=20, theta_e_arcsec=[1.0, 1.5, 2.0], **plan)
    y, x = np.mgrid[:64, :64]
    r = SCALE * np.hypot(x - rows["x_center"].values[:, None, None], y - rows["y_center"].values[:, None, None])
    arc = out.arc[:, 1].astype(float)
    measured = (arc * r).sum(axis=(1, 2)) / arc.sum(axis=(1, 2))
    assert measured == pytest.approx(rows["theta_e_arcsec"].values, rel=0.03)
