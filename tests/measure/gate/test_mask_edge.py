"""Masks on the arcs' cores: what the gates look at beside a mask, and whether its edge can be seen."""

import numpy as np
import pytest

from lensflow import geometry
from lensflow.config import GateConfig
from lensflow.errors import GateError
from lensflow.injection.core import handle_core
from lensflow.measure.gate import Verdict, feature_rows
from lensflow.measure.gate.features import features_of, sources_of
from lensflow.measure.gate.mask_edge import ARCS, HALOS, SECTORS, Mask, hole_unit, mask_edge_gate, mask_rows
from lensflow.measure.gate.regions import CELLS, Region, masked_regions
from lensflow.measure.gates import run_gate
from lensflow.stats.kept_rows import KeptRows
from tests.measure.pixels.pairs_factory import pairs_block

GATE = GateConfig(bootstrap=60)
BANDS = ("g", "r", "z")


@pytest.fixture(scope="module")
def pairs():
    return pairs_block(n_hosts=40, per_host=3, size=48, absent_band_every=0).assign_attrs(pixel_scale_arcsec=0.262)


def edge(pairs, name, method, radius, width=2.0):
    mask = Mask(radius, method, width)
    masked = handle_core(pairs, f"{name}_{radius:g}", width_pix=width)
    return mask_edge_gate(mask_rows(masked, pairs["arc"].values, mask), mask, GATE, BANDS, seed=1)


def test_regions_reach_beyond_the_mask_until_more_is_open_than_blanked():
    for radius in (2.0, 3.4, 5.0, 7.0, 10.0, 20.0):
        found = masked_regions(64, radius, 10)
        assert len({(r.shape, r.size_pix) for r in found}) == len(found) and Region("box", 10) not in found
        r = geometry.radius_pix(64, 31.5, 31.5)
        openness = []
        for region in found:
            cells = region.labels(64)
            names = np.unique(cells[cells >= 0])
            assert 1 <= names.size <= CELLS**2
            openness.append(np.mean([(r[cells == k] >= radius).any() for k in names]))
        assert max(openness) > 0.5, radius
    assert masked_regions(64, 0.0, 10) == () and masked_regions(12, 7.0, 10) == ()


@pytest.mark.parametrize("region", [Region("box", 14), Region("disc", 8), Region("box", 22), Region("disc", 14)])
def test_a_region_keeps_its_name_and_is_the_same_seen_in_a_mirror(region):
    assert Region.of(region.kind) == region
    inside = region.labels(64) >= 0
    for turned in (inside[::-1], inside[:, ::-1], inside.T):
        assert np.array_equal(turned, inside)
    assert (inside.sum() == region.size_pix**2) if region.shape == "box" else inside[31, 31]
    with pytest.raises(GateError, match="no region"):
        Region.of("core@ring7")


@pytest.mark.slow
def test_a_box_that_a_mask_blanks_is_no_pass_and_the_regions_beyond_it_tell(pairs):
    masked = handle_core(pairs, "mask_3")
    box = run_gate(feature_rows(masked, ["core_r"], 4), "core_r", GATE, BANDS, seed=1)
    assert box.verdict is Verdict.NOT_TESTABLE
    swept = run_gate(feature_rows(masked, ["core_r"], 4, 3.0), "core_r", GATE, BANDS, seed=1)
    assert swept.auc_low >= 0.65 and swept.verdict in (Verdict.FAIL, Verdict.EXPLAINED)
    looked = swept.controls["looked_at"]
    assert len(looked) == 1 + len(masked_regions(48, 3.0, 4)) and sum(v["counts"] for v in looked) == 1
    assert "the worst of" in swept.reason and "99.17 %" in swept.recipe["interval"] and not swept.box_shape


def test_a_gate_that_is_not_told_of_the_mask_in_its_rows_is_refused(pairs):
    told = pairs.assign(core_mask_radius_pix=("sample", np.where(pairs["is_control"], np.nan, 7.0)))
    assert "core@box14_raw" in sources_of(feature_rows(told, ["core_r"], 10, 7.0))
    with pytest.raises(GateError, match=r"masked at r < 7 pixels.*injection.core_mask_radius_pix"):
        feature_rows(told, ["core_r"], 10)


def test_a_hard_mask_is_seen_by_both_comparisons(pairs):
    result = edge(pairs, "mask", "hard", 7.0)
    assert result.verdict is Verdict.FAIL and result.name == "mask_edge"
    assert [v["verdict"] for v in result.controls["looked_at"]] == ["FAIL", "FAIL"]
    assert result.controls["positive"]["found"] and result.controls["null"]["holds_half"]


def test_a_mask_that_takes_no_light_passes_because_nothing_is_changed(pairs):
    far = pairs.copy(deep=True)
    r = geometry.radius_pix(48, far["x_center"].values, far["y_center"].values)[:, None]
    far["stamp"].values[:] = np.where(r < 12, far["ctrl"].values, far["stamp"].values)
    far["arc"].values[:] = np.where(r < 12, 0, far["arc"].values)
    result = edge(far, "mask", "hard", 3.0)
    assert result.verdict is Verdict.PASS and "takes no light from any" in result.reason


def test_the_edge_is_seen_where_it_is_and_not_inside_the_hole(pairs):
    """At r = 5 of a mask of 7 pixels a stamp is its control: nothing can tell them apart there."""
    masked = handle_core(pairs, "mask_7")
    seen = {}
    for radius in (4.0, 7.0):
        look = mask_rows(
            masked.assign(arc=masked["arc"] * 0, ctrl=masked["ctrl"]),
            0 * pairs["arc"].values,
            Mask(radius, "hard", 2.0),
        )
        of_ctrl = mask_rows(
            masked.assign(arc=masked["arc"] * 0, stamp=masked["ctrl"]), 0 * pairs["arc"].values,
            Mask(radius, "hard", 2.0),
        )  # fmt: skip
        steps = [features_of(b, ARCS).stamp[..., :SECTORS] for b in (look, of_ctrl)]
        seen[radius] = not np.array_equal(*steps)
    assert seen == {4.0: False, 7.0: True}


def test_features_are_steps_in_order_and_a_known_hole_moves_them_as_said(pairs):
    mask = Mask(6.0, "hard", 2.0)
    flat = pairs.isel(sample=np.flatnonzero(~pairs["is_control"].values)[:6])
    light = np.ones_like(flat["arc"].values)
    r = geometry.radius_pix(48, flat["x_center"].values, flat["y_center"].values)[:, None]
    holed = flat.assign(arc=flat["arc"] * 0 + np.where(r < 6, 0, 1).astype(np.float32))
    holed["stamp"].values[:] = flat["ctrl"].values + holed["arc"].values
    block = mask_rows(holed, light, mask)
    for name in (ARCS, HALOS):
        shift = features_of(block, name).stamp.astype(float) - features_of(block, name).ctrl
        expected = hole_unit(mask)
        assert np.allclose(shift[..., :SECTORS], expected[:SECTORS], atol=2e-5)
        rings = shift[..., SECTORS:] - expected[SECTORS:]
        # Rings lie about the lens as the mask does: each is wholly inside or outside.
        assert np.allclose(rings, 0, atol=2e-5)
        assert (np.diff(features_of(block, name).stamp[..., :SECTORS], axis=-1) <= 0).all()


def test_arcs_of_another_mask_are_refused(pairs):
    with pytest.raises(GateError, match="not what a new rendering gives"):
        mask_rows(handle_core(pairs, "mask_7"), pairs["arc"].values, Mask(3.0, "hard", 2.0))


def test_blocks_join_whatever_rows_they_hold(pairs):
    mask, masked = Mask(7.0, "hard", 2.0), handle_core(pairs, "mask_7")
    n, arc = pairs.sizes["sample"], pairs["arc"].values
    cuts = (slice(0, 0), slice(0, 50), slice(50, n))
    joined = KeptRows.concat(KeptRows(mask_rows(masked.isel(sample=s), arc[s], mask)) for s in cuts).rows
    whole = mask_edge_gate(mask_rows(masked, arc, mask), mask, GATE, BANDS, seed=1)
    assert mask_edge_gate(joined, mask, GATE, BANDS, seed=1).to_dict() == whole.to_dict()
