import numpy as np
import pytest

from lensflow.errors import ManifestError
from lensflow.manifest import hosts
from lensflow.manifest.build import Planner, build_manifest
from lensflow.manifest.hosts import PlanSize, refuse
from tests.factories import make_config, make_cutouts


def test_disjoint_controls_share_no_host_with_injections():
    plan = {"controls": "disjoint", "control_share": 0.3, "controls_per_host": 2, "injections_per_host": 3}
    m = build_manifest(make_cutouts(80, size=8), make_config(plan=plan))
    host, control = m["host_index"].values, m["is_control"].values
    with_control, with_arc = set(host[control]), set(host[~control])
    assert with_control.isdisjoint(with_arc) and len(with_control | with_arc) == 80 and 12 <= len(with_control) <= 38
    assert np.unique(host[control], return_counts=True)[1].tolist() == [2] * len(with_control)
    assert np.unique(host[~control], return_counts=True)[1].tolist() == [3] * len(with_arc)


def test_paired_controls_share_the_host():
    m = build_manifest(make_cutouts(5, size=8), make_config(plan={"controls_per_host": 2}))
    assert (np.bincount(m["host_index"].values[m["is_control"].values]) == 2).all()


def test_the_size_known_beforehand_is_the_size_drawn():
    cutouts = make_cutouts(9, size=8, absent=((1, 1),))
    for plan in ({}, {"design": "grid", "preset": "small"}, {"controls": "disjoint"}):
        planner = Planner(make_config(plan=plan), lambda a, b: cutouts.isel(host=slice(a, b)), 9)
        assert planner.size.rows == sum(b.sizes["sample"] for b in planner.blocks())
        assert planner.size.n_hosts == 9 and planner.size.skipped == {"NO_HOST_FLUX": 1}


def test_a_large_plan_is_asked_for_twice():
    config = make_config(plan={"max_rows": 50_000_000})
    size = PlanSize(5_000_000, 5_000_000, 25_000_000, 5_000_000)
    with pytest.raises(ManifestError, match=r"30,000,000 rows, more than 20,000,000.* --large"):
        refuse(size, config)
    refuse(size, config, confirmed=True)
    with pytest.raises(ManifestError, match=r"plan\.max_rows = 2,000,000"):
        refuse(size, make_config(), confirmed=True)


def test_a_large_plan_is_refused_before_anything_is_drawn(monkeypatch):
    monkeypatch.setattr(hosts, "LARGE_PLAN_ROWS", 10)
    monkeypatch.setattr(Planner, "blocks", lambda self: pytest.fail("drawn"))
    with pytest.raises(ManifestError, match="a second time"):
        build_manifest(make_cutouts(4, size=8), make_config())


def test_a_limit_reads_the_first_hosts_only():
    cutouts, seen = make_cutouts(8, size=8), []

    def read(start, stop):
        seen.append(stop)
        return cutouts.isel(host=slice(start, stop))

    planner = Planner(make_config(plan={"limit_hosts": 3}), read, 8)
    rows = list(planner.blocks())
    assert max(seen) == 3 and set(rows[0]["host_index"].values) == {0, 1, 2}


def test_counts_of_blocks_add_up():
    a = PlanSize(2, 1, 3, 1, {"FAILED": 1}, {})
    total = a + PlanSize(3, 2, 6, 2, {"FAILED": 1}, {"NO_HOST_SHAPE": 2})
    assert total == PlanSize(5, 3, 9, 3, {"FAILED": 2}, {"NO_HOST_SHAPE": 2}) and total.rows == 12
