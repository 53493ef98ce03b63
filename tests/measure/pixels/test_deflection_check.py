"""The installed renderer bends light as the lens equation says, and renderers that do not are told apart."""

import numpy as np
import pytest

from lensflow.lensing.deflectors import deflect_sie, deflect_sis
from lensflow.lensing.render import render
from lensflow.measure.pixels import Status, findings
from lensflow.measure.pixels import deflection_check as module
from lensflow.measure.pixels.deflection_check import AREA_LIMIT, CASES, deflection_check, expected_image
from lensflow.measure.zoo.faults import FAULTS


def statuses(renderer=render):
    found = findings({"deflection": deflection_check(renderer)})
    return {f.check: f.status for f in found}


def changed(**change):
    def renderer(manifest, **how):
        return render({**manifest, **{k: f(np.asarray(manifest[k])) for k, f in change.items()}}, **how)

    return renderer


@pytest.mark.parametrize(("q", "shear", "axis"), [(1.0, 0.0, 0), (1.0, 0.05, 1), (0.6, 0.0, 0), (0.33, 0.05, 0)])
def test_the_expected_image_solves_the_lens_equation_numerically(q, shear, axis):
    place, magnification = expected_image(q, shear, axis)
    step, direction = 1e-5, np.array([axis == 0, axis == 1], float)

    def source(x, y):
        ax, ay = deflect_sie(x, y, 1.0, q) if q < 1 else deflect_sis(x, y, 1.0)
        return np.array([x - ax - shear * x, y - ay + shear * y], dtype=float)

    x, y = place * direction
    np.testing.assert_allclose(source(x, y), 2.5 * direction, atol=1e-6)
    along_x = (source(x + step, y) - source(x - step, y)) / (2 * step)
    along_y = (source(x, y + step) - source(x, y - step)) / (2 * step)
    determinant = along_x[0] * along_y[1] - along_x[1] * along_y[0]
    assert magnification == pytest.approx(1 / determinant, rel=1e-5)


def test_the_installed_renderer_passes_every_check():
    found = deflection_check()
    np.testing.assert_allclose(found["place"], found["place_expected"], atol=4e-3)
    np.testing.assert_allclose(found["flux"], found["flux_expected"], rtol=8e-3)
    assert (abs(found["area"] - 1) < AREA_LIMIT).all() and float(found["sis_deflection"]) < 1e-9
    assert found.sizes["case"] == len(CASES)
    assert set(statuses().values()) == {Status.OK}


@pytest.mark.parametrize(
    ("renderer", "check"),
    [
        ("missing sqrt(q)", "place of an image"),
        ("half-pixel centre", "place of an image"),
        ("renormalised arc", "magnification of an image"),
        (changed(theta_e_arcsec=lambda v: 1.02 * v), "place of an image"),
        (changed(lens_phi_rad=lambda v: v + np.pi / 2), "place of an image"),
        (changed(shear_phi_rad=lambda v: v + np.pi / 2), "place of an image"),
        (changed(src_flux_nmgy=lambda v: 1.02 * v), "magnification of an image"),
        (changed(src_flux_nmgy=lambda v: 0.0 * v), "place of an image"),
    ],
    ids=[
        "sqrt(q)",
        "half a pixel",
        "renormalised",
        "2 % in theta_E",
        "turned",
        "shear turned",
        "2 % in flux",
        "no light",
    ],
)
def test_a_renderer_with_a_fault_is_an_alarm_of_the_named_check(renderer, check):
    if isinstance(renderer, str):
        renderer = next(f.renderer for f in FAULTS if f.name == renderer)
    assert statuses(renderer)[check] is Status.ALARM


def test_deflections_without_the_area_normalisation_break_the_area(monkeypatch):
    wrong = lambda x, y, theta_e, q: deflect_sie(x, y, theta_e / np.sqrt(q), q)  # noqa: E731
    monkeypatch.setattr(module, "deflect_sie", wrong)
    assert statuses()["area inside the critical curve"] is Status.ALARM


def test_an_sis_that_bends_too_much_breaks_its_limit(monkeypatch):
    monkeypatch.setattr(module, "deflect_sis", lambda x, y, theta_e: deflect_sis(x, y, theta_e * (1 + 1e-6)))
    assert statuses()["an SIS bends by theta_E"] is Status.ALARM
