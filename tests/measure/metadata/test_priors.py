"""A manifest that is not what its plan draws is found; what the plan declares, a point too, is no fault."""

import numpy as np
import pytest
from scipy.stats import rankdata

from lensflow.config import RunConfig
from lensflow.manifest.build import build_manifest
from lensflow.measure.metadata.priors import prior_findings
from lensflow.measure.pixels import Status
from lensflow.measure.zoo.small_run import small_run

BANDS = ("g", "r", "z")


@pytest.fixture(scope="module")
def run():
    return small_run(hosts=60, per_host=4)


@pytest.fixture(scope="module")
def redrawn(run):
    return build_manifest(run.hosts, run.config.model_copy(update={"seed": 1234}))


def judged(run, manifest, redrawn, **how):
    flux = run.hosts["aperture_flux_nmgy"].values[:, 1]
    return {f.check: f for f in prior_findings(manifest, redrawn, flux, BANDS, 1, **how)}


def alarms(found):
    return {k for k, f in found.items() if f.status is Status.ALARM}


def changed(manifest, **columns):
    out = manifest.copy(deep=True)
    arcs = ~out["is_control"].values
    for name, change in columns.items():
        values = out[name].values[arcs]
        out[name].values[arcs] = change(values)
    return out


def test_a_sound_manifest_is_what_a_second_draw_gives(run, redrawn):
    found = judged(run, run.manifest, redrawn)
    assert alarms(found) == set()
    assert all(f.status is Status.OK for f in found.values()) and len(found) == 5


def first(values):
    return np.broadcast_to(values[:1], values.shape)


@pytest.mark.parametrize(
    ("columns", "check", "where"),
    [
        ({"lens_phi_rad": first}, "no parameter stands still", "lens_phi_rad"),
        ({"theta_e_arcsec": first}, "no parameter stands still", "theta_e_arcsec"),
        ({"src_phi_rad": lambda v: 0.2 * v}, "distributions", "src_phi_rad"),
        ({"theta_e_arcsec": lambda v: 0.6 * v}, "distributions", "theta_e_arcsec"),
    ],
    ids=["one orientation", "one theta_E", "a narrow range of orientations", "theta_E too small"],
)
def test_what_is_not_drawn_from_its_prior_is_named(run, redrawn, columns, check, where):
    found = judged(run, changed(run.manifest, **columns), redrawn)
    assert check in alarms(found) and where in found[check].where


def test_one_colour_in_all_rows_is_named(run, redrawn):
    one = changed(run.manifest, src_flux_nmgy=lambda v: v[:, 1:2] * np.array([0.4, 1.0, 2.0]))
    passed = one["mw_transmission"].values
    assert (passed == 1).all() or np.isnan(passed).any()
    found = judged(run, one, redrawn)
    assert found["no parameter stands still"].where == "g-r, r-z"


def test_theta_e_tied_to_the_brightness_of_the_host_is_named(run, redrawn):
    arcs = ~run.manifest["is_control"].values
    flux = run.hosts["aperture_flux_nmgy"].values[run.manifest["host_index"].values[arcs], 1]
    order = np.argsort(np.argsort(rankdata(flux, method="ordinal")))
    tied = changed(run.manifest, theta_e_arcsec=lambda v: np.sort(v)[order])
    found = judged(run, tied, redrawn)
    assert alarms(found) >= {"correlations"}
    assert "theta_e_arcsec with host flux" in found["correlations"].where


def test_the_same_arc_in_every_row_is_found(run, redrawn):
    names = ("theta_e_arcsec", "lens_q", "shear", "src_x_arcsec", "src_y_arcsec", "src_reff_arcsec", "src_n", "src_q")
    found = judged(run, changed(run.manifest, **dict.fromkeys(names, first)), redrawn)
    assert "arcs are not drawn twice" in alarms(found) and found["arcs are not drawn twice"].value > 0.99


def test_what_a_config_fixes_is_no_fault(run):
    tree = run.config.effective()
    tree["plan"] |= {"theta_e_arcsec": [1.0], "lens_e": [0.2], "shear": [0.0]}
    config = RunConfig.model_validate(tree)
    manifests = [build_manifest(run.hosts, config.model_copy(update={"seed": s})) for s in (1, 2)]
    assert alarms(judged(run, *manifests)) == set()


def test_row_ids_twice_fail_and_what_declares_nothing_is_not_tested(run, redrawn):
    found = judged(run, run.manifest, redrawn, n_twice=3)
    assert found["row ids are unique"].status is Status.ALARM
    found = judged(run, run.manifest, "it declares no priors")
    assert found["distributions"].status is Status.NOT_TESTED and "it declares no priors" in found["distributions"].text


def test_what_a_table_gave_is_not_compared(run, redrawn):
    one = changed(run.manifest, shear=lambda v: 3 * v + 0.2)
    assert alarms(judged(run, one, redrawn)) and not alarms(judged(run, one, redrawn, given=("shear",)))


@pytest.mark.slow
@pytest.mark.parametrize("plan", [{}, {"preset": "realistic"}, {"design": "low_discrepancy"}])
def test_fifty_sound_seeds_raise_no_alarm(run, plan):
    tree = run.config.effective()
    if "preset" in plan:
        tree["plan"] = {"injections_per_host": 4}
    tree["plan"] |= plan
    config = RunConfig.model_validate(tree)
    draws = [build_manifest(run.hosts, config.model_copy(update={"seed": s})) for s in range(51)]
    assert [k for k, d in enumerate(draws[1:]) if alarms(judged(run, d, draws[0]))] == []
