"""Diagnostics at the documented sizes (32 to 1024 pixels) and scales (0.03 to 1 arcsec): no crash, no false alarm."""

import numpy as np
import pytest

import lensflow as lf
from lensflow.config import DiagnosticsConfig, RunConfig
from lensflow.measure.pixels import Status, findings

SIZES = (32, 48, 100, 128, 192, 256, 320, 321, 400, 512, 768, 1024)
SCALES = (0.03, 0.06, 0.1, 0.168, 0.27, 0.4, 0.6, 1.0)


def diagnosed(size, scale, hosts=8, per_host=3):
    """Findings of a survey with such stamps: below 0.1 arcsec from space, with a sharp PSF and smaller arcs."""
    draw = np.random.default_rng(1)
    cube = size + 8
    y, x = np.mgrid[:cube, :cube] - (cube - 1) / 2
    r = np.hypot(x, y) * scale
    # The same sky per square arcsecond at any scale.
    sky = {"g": 0.004 * scale / 0.27, "r": 0.006 * scale / 0.27, "z": 0.01 * scale / 0.27}
    images = {
        b: (0.5 * scale**2 * 15 * np.exp(-r / 0.8) + s * draw.normal(size=(hosts, cube, cube))).astype(np.float32)
        for b, s in sky.items()
    }
    ground = {"g": 1.5, "r": 1.3, "z": 1.2}
    psfsize = {b: max(w if scale >= 0.1 else 0.1, 2.5 * scale) for b, w in ground.items()}
    cutouts = lf.import_stamps(images, pixel_scale_arcsec=scale, psfsize_arcsec=psfsize, stamp_size=size)
    # Arcs on the stamp: one of 64 pixels of 0.03 arcsec reaches 1 arcsec from its lens.
    smaller = min(1.0, size * scale / 2 / 2.5)
    plan = {
        "preset": "historic",
        "psf_beta": 3.5,
        "injections_per_host": per_host,
        "theta_e_arcsec": {"min": 0.8 * smaller, "max": 1.5 * smaller},
        "src_reff_arcsec": [0.25 * smaller, 0.4 * smaller],
        "src_n": 1.0,
    }
    config = RunConfig.model_validate(
        {"out": "-", "survey": {"root": "-", "targets": "-", "stamp_size": size}, "plan": plan}
    ).model_copy(update={"diagnostics": DiagnosticsConfig(bootstrap=50)})
    pairs = lf.inject(cutouts, lf.plan_injections(cutouts, config), config)
    return findings(lf.diagnose(pairs, config))


def alarms(found):
    return [f for f in found if f.status is Status.ALARM]


@pytest.mark.slow
def test_on_a_stamp_of_4_arcsec_nothing_alarms_but_that_arcs_reach_its_outer_pixels_with_their_noise():
    found = diagnosed(64, 0.06)
    # True there: r >= 20 pix begins at 1.2 arcsec, and arcs of 0.6 to 1.2 arcsec bring their shot noise along.
    assert [f.where for f in alarms(found) if f.diagnostic != "balance" or "outer_rms" not in f.where] == []
    assert {f.status for f in found if f.diagnostic in ("psf", "rendering", "flux")} <= {Status.OK, Status.NOT_TESTED}


@pytest.mark.slow
def test_a_large_stamp_of_many_hosts_is_diagnosed_without_alarm():
    found = diagnosed(336, 0.262)
    assert alarms(found) == []
    assert {f.status for f in found if f.diagnostic in ("psf", "rendering")} == {Status.OK}


@pytest.mark.slow
@pytest.mark.parametrize("size", SIZES)
def test_every_size_is_diagnosed_without_alarm(size):
    found = diagnosed(size, 0.262)
    assert alarms(found) == []
    assert "psf" in {f.diagnostic for f in found if f.status is Status.OK}


@pytest.mark.slow
@pytest.mark.parametrize("scale", SCALES)
def test_every_scale_is_diagnosed_without_alarm(scale):
    found = diagnosed(64, scale)
    assert alarms(found) == []
    assert "psf" in {f.diagnostic for f in found if f.status is Status.OK}
