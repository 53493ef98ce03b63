import pytest

from lensflow.manifest.build import build_manifest
from lensflow.manifest.estimate import estimate, size_without_cutouts
from lensflow.manifest.hosts import PlanSize
from tests.factories import make_config, make_cutouts

SIZE = PlanSize(1000, 1000, 6000, 1000)


def test_bytes_follow_from_the_schema():
    cost = estimate(SIZE, make_config(estimate={"compression": 1.0}))
    assert cost.bytes_pairs == 7000 * 2 * 3 * 64 * 64 * 4
    assert cost.bytes_cutouts == 1000 * 2 * 3 * 64 * 64 * 4
    copied = estimate(SIZE, make_config(estimate={"compression": 1.0}, store={"copy_ctrl": True}))
    assert copied.bytes_pairs == 1.5 * cost.bytes_pairs
    rows = build_manifest(make_cutouts(2, size=8), make_config()).drop_vars("band")
    per_row = (rows.nbytes - rows["lens_model"].nbytes) / rows.sizes["sample"] + 1  # a model is one byte in the store
    assert cost.bytes_manifest == pytest.approx(7000 * per_row)


def test_seconds_and_price_follow_from_the_rates():
    rates = {
        "hosts_per_s_per_core": 10,
        "rows_planned_per_s": 7000,
        "rows_per_s_per_core": 70,
        "measured_rows_per_s_per_core": 700,
        "gated_pairs_per_s_per_core": 1000,
        "usd_per_vcpu_hour": 3.6,
    }
    cost = estimate(SIZE, make_config(estimate=rates), workers=4)
    assert cost.core_seconds == pytest.approx({"cut": 100, "plan": 1, "inject": 100, "diagnose": 10, "gate": 12})
    assert cost.wall_seconds == pytest.approx(13 + 210 / 4) and cost.usd == pytest.approx(223 * 0.001)


def test_gates_cost_by_the_pairs_that_they_use_and_by_their_number():
    gate = {"recipes": ["core_r", "core_all", "core_z"], "max_pairs": 2000}
    cost = estimate(SIZE, make_config(gate=gate, estimate={"gated_pairs_per_s_per_core": 100}))
    assert cost.core_seconds["gate"] == 3 * 2000 / 100


@pytest.mark.parametrize(
    ("store", "ratio"),
    [({}, 2), ({"quantize": "sky/16"}, 8), ({"quantize": "sky/16", "quantize_arc": "none"}, 2)],
)
def test_rounded_pairs_take_the_bytes_of_rounded_ones(store, ratio):
    cost = estimate(SIZE, make_config(store=store, estimate={"compression": 2, "compression_rounded": 8}))
    assert cost.bytes_pairs == 7000 * 2 * 3 * 64 * 64 * 4 / ratio


def test_pairs_without_stored_pixels_take_their_tables():
    of = {k: estimate(SIZE, make_config(store={"pixels": k})).bytes_pairs for k in ("full", "stamp", "virtual")}
    assert of["stamp"] == of["full"] / 2
    assert 7000 * 100 < of["virtual"] < 7000 * 1000


def test_larger_stamps_cost_in_proportion():
    survey = {"root": "-", "targets": "-", "stamp_size": 128}
    small, large = estimate(SIZE, make_config()), estimate(SIZE, make_config(survey=survey))
    assert large.bytes_pairs == pytest.approx(4 * small.bytes_pairs, rel=1e-6)
    assert large.core_seconds["inject"] == pytest.approx(4 * small.core_seconds["inject"])


@pytest.mark.parametrize(
    ("plan", "injections", "controls"),
    [
        ({}, 600, 100),
        ({"design": "grid", "preset": "small", "replicates": 2}, 9600, 100),
        ({"controls": "disjoint", "control_share": 0.25, "controls_per_host": 3}, 450, 75),
        ({"limit_hosts": 10}, 60, 10),
    ],
)
def test_the_size_before_the_hosts_are_cut_is_an_upper_bound(plan, injections, controls):
    size = size_without_cutouts(make_config(plan=plan), 100)
    assert (size.injections, size.controls, size.n_hosts) == (injections, controls, 100)
