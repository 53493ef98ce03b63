"""Gates without a fit: each passes a sound run and refuses the fault that it is there for."""

from functools import lru_cache

import numpy as np
import pytest

from lensflow.api import gate as gate_of_pairs
from lensflow.config import GateConfig
from lensflow.config.checks import GATE_CHECKS
from lensflow.errors import GateError
from lensflow.manifest.build import build_manifest
from lensflow.measure.gate import GateResult, Verdict
from lensflow.measure.metadata.checks import findings_of, run_checks
from lensflow.measure.metadata.priors import prior_findings
from lensflow.measure.pixels import Block, Settings, Status, measure
from lensflow.measure.zoo.faults import FAULTS
from lensflow.measure.zoo.small_run import SmallRun, small_run
from lensflow.survey.twins import Twin, Twins
from tests.factories import make_config

pytestmark = pytest.mark.whole

GUARD_ARCSEC = 24.0
NO_TWINS = Twins()


@pytest.fixture(scope="module")
def run():
    return small_run(24, 4)


def _hosts(run):
    """Hosts of the run spread over the sky, a degree from each other."""
    n = run.hosts.sizes["host"]
    return run.hosts.assign(ra_deg=("host", 10.0 + np.arange(n)), dec_deg=("host", np.zeros(n)))


def _results(pairs, run):
    return measure(Block(pairs, run.config.diagnostics, run.origin)).results(
        Settings(run.config.diagnostics, 1, run.injection)
    )


@pytest.fixture(scope="module")
def sound(run):
    return _results(run.pairs(), run)


def _checked(run, results, *names, hosts=None, manifest=None, twins=NO_TWINS):
    hosts = _hosts(run) if hosts is None else hosts
    manifest = run.manifest if manifest is None else manifest
    priors = _priors(run) if "priors" in (names or GATE_CHECKS) else ()
    judged = run_checks(names or GATE_CHECKS, results, hosts, manifest, GUARD_ARCSEC, priors, twins)
    return {g.name: g for g in judged}


@lru_cache(maxsize=4)
def _priors(run):
    redrawn = build_manifest(run.hosts, run.config.model_copy(update={"seed": 99}))
    flux = run.hosts["aperture_flux_nmgy"].values[:, 1]
    return prior_findings(run.manifest, redrawn, flux, ("g", "r", "z"), 1)


def _with_fault(run, name):
    fault = next(f for f in FAULTS if f.name == name)
    return _results(fault.spoil(run.pairs(fault.renderer)), run)


def test_a_sound_run_passes_every_check_with_its_comparisons(run, sound):
    gates = _checked(run, sound)
    assert list(gates) == list(GATE_CHECKS)
    assert {g.verdict for g in gates.values()} == {Verdict.PASS}
    for gate in gates.values():
        assert not gate.fitted
        assert np.isnan(gate.auc)
        assert all(f.status is Status.OK for f in findings_of(gate))
        assert GateResult.from_json(gate.to_json()).to_json() == gate.to_json()
    compared = sum(len(g.findings) for name, g in gates.items() if name != "splits")
    assert compared == sum(1 for _ in findings_of(gates["diagnostics"])) + 14


@pytest.mark.parametrize(
    ("fault", "check", "words"),
    [
        ("pedestal", "diagnostics", "annulus, exact where no arc is"),
        pytest.param("one-pixel shift", "diagnostics", "annulus, exact where no arc is", marks=pytest.mark.slow),
    ],
)
def test_a_fault_fails_the_check_that_is_there_for_it_and_is_named(run, fault, check, words):
    gate = _checked(run, _with_fault(run, fault))[check]
    assert gate.verdict is Verdict.FAIL
    assert words in gate.reason
    assert any(f.status is Status.ALARM for f in findings_of(gate))


@pytest.mark.slow
def test_controls_of_other_hosts_than_the_injections_pass_only_if_enough_hosts_would_show_a_difference():
    fault = next(f for f in FAULTS if f.name == "controls of good seeing")
    run = small_run(40, 2)
    assert _checked(run, _results(fault.spoil(run.pairs()), run))["balance"].verdict is Verdict.FAIL
    pairs = run.pairs()
    other = (run.manifest["host_index"].values % 2 == 0) == run.manifest["is_control"].values
    gate = _checked(run, _results(pairs.isel(sample=other), run))["balance"]
    assert gate.verdict is Verdict.NOT_TESTABLE
    assert "would pass unseen: too few hosts" in gate.reason


def test_light_at_another_radius_than_the_arcs_fails_localisation(run):
    pairs = run.pairs()
    added = pairs["stamp"].values - pairs["ctrl"].values
    moved = pairs.assign(stamp=(pairs["stamp"].dims, pairs["ctrl"].values + np.roll(added, 12, axis=-1)))
    gate = _checked(run, _results(moved, run))["localisation"]
    assert gate.verdict is Verdict.FAIL
    assert gate.findings[0]["value"] < 0.1


def test_a_host_a_row_or_a_shared_pixel_in_two_splits_fails(run, sound):
    hosts = _hosts(run)
    twice = hosts.copy(deep=True)
    twice["host_id"].values[-1] = twice["host_id"].values[0]
    assert _checked(run, sound, "splits", hosts=twice)["splits"].reason.startswith("host zoo-0000 is in train and in")

    near = hosts.copy(deep=True)
    near["ra_deg"].values[-1] = near["ra_deg"].values[0] + 0.9 * GUARD_ARCSEC / 3600
    assert "lie within 24 arcsec" in _checked(run, sound, "splits", hosts=near)["splits"].reason
    near["ra_deg"].values[-1] = near["ra_deg"].values[0] + 1.1 * GUARD_ARCSEC / 3600
    assert _checked(run, sound, "splits", hosts=near)["splits"].verdict is Verdict.PASS

    rows = run.manifest.copy(deep=True)
    rows["split"].values[0] = 2
    gate = _checked(run, sound, "splits", manifest=rows)["splits"]
    assert gate.verdict is Verdict.FAIL
    assert gate.reason.startswith("manifest row 0 is in split test")


def test_hosts_that_show_the_same_pixels_fail_across_splits_and_are_named_within_one(run, sound):
    hosts = _hosts(run)
    split, name = hosts["split"].values, hosts["host_id"].values
    a, b = 0, int(np.argmax(split != split[0]))
    gate = _checked(run, sound, "splits", twins=Twins((Twin(a, b, 0.9, 0.0, "mirrored", (3, 0)),), 24))["splits"]
    assert gate.verdict is Verdict.FAIL
    assert f"{name[a]} (train) and {name[b]} (val): textures that correlate by 0.90, mirrored, moved" in gate.reason
    one = Twins((Twin(0, 1, 1.0, 1.0, "", (0, 0)), Twin(1, 2, 0.9, 1.0, "", (30, 0))), 24)
    gate = _checked(run, sound, "splits", twins=one)["splits"]
    assert gate.verdict is Verdict.PASS
    assert "1 pair(s) of hosts within a split show one galaxy" in gate.reason and "Leave one of each out" in gate.reason
    assert "part of the same sky" in gate.reason
    nobody = _checked(run, sound, "splits", twins=None)["splits"]
    assert nobody.verdict is Verdict.NOT_TESTABLE and "were not compared" in nobody.reason
    unknown = _checked(run, sound, "splits", twins=Twins(n_unknown=7))["splits"]
    assert unknown.verdict is Verdict.NOT_TESTABLE and "7 share pixels to the bit" in unknown.reason


def test_a_galaxy_under_two_names_is_one_host_to_the_gates(run):
    twice = run.hosts.copy(deep=True)
    # Half of the hosts are the others again, turned.
    twice["image"].values[12:] = np.rot90(twice["image"].values[:12], 1, (-2, -1))
    pairs = SmallRun(twice, run.manifest, run.config).pairs()
    config = run.config.model_copy(update={"gate": GateConfig(recipes=("core_r",), advisory=(), bootstrap=50)})
    (gate,) = gate_of_pairs(pairs, config)
    assert gate.n_hosts == 12 and gate.n_rows == 96


def test_hosts_without_a_place_cannot_be_shown_to_share_no_pixel_unless_all_are_in_one_split(run, sound):
    hosts = _hosts(run).copy(deep=True)
    hosts["ra_deg"].values[3] = np.nan
    gate = _checked(run, sound, "splits", hosts=hosts)["splits"]
    assert gate.verdict is Verdict.NOT_TESTABLE
    assert "1 host(s) have no position" in gate.reason
    hosts["split"].values[:], rows = 0, run.manifest.copy(deep=True)
    rows["split"].values[:] = 0
    assert _checked(run, sound, "splits", hosts=hosts, manifest=rows)["splits"].verdict is Verdict.PASS


def test_what_was_not_tested_does_not_pass(run, sound):
    arcs_only = run.pairs().isel(sample=~run.manifest["is_control"].values)
    gate = _checked(run, _results(arcs_only, run))["balance"]
    assert (gate.verdict, gate.reason) == (
        Verdict.NOT_TESTABLE,
        "means of the classes: one of the classes has no rows",
    )
    nothing = _checked(run, {})
    assert {nothing[k].verdict for k in ("balance", "localisation", "diagnostics")} == {Verdict.NOT_TESTABLE}
    without_pedestal = {k: v for k, v in sound.items() if k != "annulus"}
    assert _checked(run, without_pedestal)["diagnostics"].verdict is Verdict.NOT_TESTABLE
    without_renderer = {k: v for k, v in sound.items() if k not in ("psf", "rendering")}
    assert _checked(run, without_renderer)["diagnostics"].verdict is Verdict.NOT_TESTABLE


@pytest.mark.slow
def test_a_few_hosts_have_no_interval_for_a_pedestal_and_do_not_pass():
    run = small_run(1, 4)
    gate = _checked(run, _results(run.pairs(), run))["diagnostics"]
    assert gate.verdict is Verdict.NOT_TESTABLE
    assert "annulus, pedestal at r >= 20 pix: no value with an interval" in gate.reason


def test_what_settings_rule_out_is_named_and_does_not_stop_a_pass(run, sound):
    kernels = {
        **sound,
        "rendering": sound["rendering"].assign_attrs(why="every source is an image"),
    }
    gate = _checked(run, kernels)["diagnostics"]
    assert gate.verdict is Verdict.PASS
    assert "not tested: rendering, all: every source is an image" in gate.reason


def test_unknown_checks_are_refused_by_name(run, sound):
    with pytest.raises(GateError, match="no check 'split', only splits, balance"):
        _checked(run, sound, "split")
    with pytest.raises(ValueError, match=r"no check 'split'\. Did you mean 'splits'"):
        GateConfig(checks=("split",))
    with pytest.raises(ValueError, match="named twice"):
        GateConfig(checks=("splits", "splits"))


def test_checks_must_pass_like_required_gates():
    assert make_config().must_pass == ("core_r", "core_all", *GATE_CHECKS)
    assert make_config(gate={"checks": ()}).must_pass == ("core_r", "core_all")
    masked = make_config(injection={"core_mask_radius_pix": 3})
    assert masked.must_pass == ("core_r", "core_all", "mask_edge", *GATE_CHECKS)
