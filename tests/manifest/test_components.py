"""Drawn bulges and knots: what a plan says of them is what the manifest holds; a table may give its own."""

import numpy as np
import pytest
from astropy.table import Table
from hypothesis import given, settings
from hypothesis import strategies as st

from lensflow import schema
from lensflow.config import components
from lensflow.errors import ConfigError, ManifestError, StoreError
from lensflow.injection import inject_block
from lensflow.injection.metrics import invariant_failures
from lensflow.lensing import render, source_profiles
from lensflow.lensing.sources import sersic_b
from lensflow.manifest.build import build_manifest
from lensflow.manifest.check import check_manifest
from tests.factories import make_config, make_cutouts

NAMES = [v.name for v in schema.COMPONENTS]
BOTH = {"src_bulge": {}, "src_knots": {}}


def planned(n=4, rows=50, **plan):
    manifest = build_manifest(make_cutouts(n), make_config(plan={"injections_per_host": rows, **plan}))
    return manifest, manifest.isel(sample=~manifest["is_control"].values)


def shares(rows):
    bulge, knots = rows["src_bulge_share"].values, rows["src_knots_share"].values
    return 1 - bulge - knots, bulge, knots


def test_without_the_settings_a_manifest_has_no_such_column_and_all_others_are_the_same():
    plain, several = planned(rows=5)[0], planned(rows=5, **BOTH)[0]
    assert not {*NAMES} & {*plain.variables} and {*NAMES} < {*several.variables}
    for name in plain.data_vars:
        np.testing.assert_array_equal(plain[name].values, several[name].values, err_msg=name)
    assert several.attrs["declared"].keys() - plain.attrs["declared"].keys() == {*BOTH}


def test_what_is_drawn_is_within_what_is_declared():
    _, rows = planned(**BOTH, src_n=[0.8, 1.5])
    disc, bulge, knots = (v[:, 1] for v in shares(rows))
    assert (bulge >= 0.1).all() and (bulge <= 0.4).all() and np.ptp(bulge) > 0.25
    assert (knots >= 0.1).all() and (knots <= 0.4).all() and (disc > 0.19).all()
    number = rows["src_knots"].values
    assert {*number} == {*range(2, 9)}
    there = np.arange(schema.N_KNOTS) < number[:, None]
    for name in ("x_arcsec", "y_arcsec", "reff_arcsec", "weight"):
        assert (np.isfinite(rows[f"src_knot_{name}"].values) == there).all()
    ratio = (rows["src_knot_reff_arcsec"] / rows["src_reff_arcsec"]).values[there]
    assert ratio.min() >= 0.04 and ratio.max() <= 0.2 and np.median(ratio) == pytest.approx(np.sqrt(0.008), rel=0.1)
    weight = np.where(there, rows["src_knot_weight"].values, 0)
    np.testing.assert_allclose(weight.sum(axis=1), 1, rtol=1e-12)
    contrast = weight.max(axis=1) / np.where(there, weight, 9).min(axis=1)
    assert contrast.max() <= 10 and np.median(contrast) > 2
    np.testing.assert_array_equal(rows["src_bulge_phi_rad"], rows["src_phi_rad"])


def test_bulges_are_redder_and_knots_bluer_by_what_is_declared_and_the_flux_stays():
    _, rows = planned(rows=5, src_bulge={"redder_g_r": 0.6}, src_knots={"bluer_g_r": 0.4})
    disc, bulge, knots = shares(rows)

    def colour(a, k=0):
        return -2.5 * np.log10(a[:, k] / a[:, k + 1])

    # Shares are of one flux, whose own colour cancels in the difference.
    np.testing.assert_allclose(colour(bulge) - colour(disc), 0.6, rtol=1e-9)
    np.testing.assert_allclose(colour(knots) - colour(disc), -0.4, rtol=1e-9)
    assert (colour(bulge, 1) > colour(disc, 1)).all() and (colour(knots, 1) < colour(disc, 1)).all()
    plain = planned(rows=5)[1]
    np.testing.assert_array_equal(rows["src_flux_nmgy"], plain["src_flux_nmgy"])


def test_knots_lie_as_the_discs_light_does():
    _, rows = planned(n=8, rows=100, src_knots={"number": 12, "within": 2.0}, src_n=[0.5, 1.0, 2.5], src_q=0.4)
    c, s = np.cos(rows["src_phi_rad"].values)[:, None], np.sin(rows["src_phi_rad"].values)[:, None]
    x, y = rows["src_knot_x_arcsec"].values, rows["src_knot_y_arcsec"].values
    along, across = (c * x + s * y), (c * y - s * x) / 0.4
    radius = np.hypot(along, across) / rows["src_reff_arcsec"].values[:, None]
    assert radius.max() <= 2.0
    from scipy.special import gammainc

    for n in (0.5, 1.0, 2.5):
        own = np.sort(radius[rows["src_n"].values == n].ravel())
        inside = gammainc(2 * n, float(sersic_b(n)) * own ** (1 / n)) / gammainc(
            2 * n, float(sersic_b(n)) * 2 ** (1 / n)
        )
        assert np.abs(inside - (np.arange(own.size) + 0.5) / own.size).max() < 1.95 / np.sqrt(own.size)  # p = 0.001
    angle = np.arctan2(across, along).ravel()
    assert abs(np.exp(2j * angle).mean()) < 4 / np.sqrt(angle.size)


def test_rows_are_the_same_however_the_plan_is_divided_and_whatever_the_other_component_is(monkeypatch):
    whole = planned(**BOTH)[0]
    knots = planned(src_knots={})[0]
    for name in (n for n in NAMES if n.startswith("src_knot_") or n == "src_knots"):
        np.testing.assert_array_equal(knots[name].values, whole[name].values)
    monkeypatch.setattr("lensflow.manifest.build.BLOCK_ROWS", 51)
    parts = planned(**BOTH)[0]
    for name in NAMES:
        np.testing.assert_array_equal(parts[name].values, whole[name].values)


@given(
    bulge=st.floats(0, 1), knots=st.floats(0, 1), number=st.integers(0, 12),
    redder=st.floats(-2, 2), bluer=st.floats(-2, 2),
)  # fmt: skip
@settings(max_examples=30, deadline=None)
def test_any_plan_keeps_the_flux_of_every_band(bulge, knots, number, redder, bluer):
    most = max(bulge + knots, 1)
    _, rows = planned(
        1, 3,
        src_bulge={"share": min(bulge / most, 1 - knots / most), "redder_g_r": redder},
        src_knots={"share": knots / most, "number": number, "bluer_g_r": bluer},
    )  # fmt: skip
    for i in range(3):
        row = rows.isel(sample=i)
        profiles = source_profiles({k: v.values for k, v in row.data_vars.items()})
        np.testing.assert_allclose(sum(p.share for p in profiles), 1.0, atol=3e-9)
        assert sum(p.kind == "knot" for p in profiles) == (number if knots / most > 0 else 0)


def test_controls_have_no_components_and_a_manifest_that_says_otherwise_is_refused():
    manifest, _ = planned(rows=3, **BOTH)
    control = manifest.isel(sample=manifest["is_control"].values)
    assert (control["src_knots"] == 0).all() and (control["src_bulge_share"] == 0).all()
    assert np.isnan(control["src_knot_weight"]).all()
    bad = manifest.copy(deep=True)
    bad["src_knots"][3] = 2
    with pytest.raises(ManifestError, match=r"row 3 .*: src_knots is 2; it must be 0 in a control"):
        check_manifest(bad)
    bad = manifest.copy(deep=True)
    bad["src_knot_reff_arcsec"][1, 0] = 0
    with pytest.raises(ManifestError, match=r"row 1 .*: src_knot_reff_arcsec is 0; it must be > 0"):
        check_manifest(bad)
    with pytest.raises(StoreError, match="src_bulge_n is missing"):
        check_manifest(manifest.drop_vars("src_bulge_n"))


@pytest.mark.parametrize(
    ("plan", "message"),
    [
        ({"src_bulge": {"share": 0.7}, "src_knots": {"share": 0.4}}, "may add up to 1.1 of a source"),
        ({"src_bulge": {"share": 1.2}}, r"share.*must be in \[0, 1\], not 1.2"),
        ({"src_bulge": {"reff_ratio": 0}}, r"reff_ratio.*must be in \(0, 10\]"),
        ({"src_bulge": {"n": [1, 9]}}, r"must be in \[0.3, 8\], not 9"),
        ({"src_knots": {"number": 2.5}}, "must be whole numbers"),
        ({"src_knots": {"number": 13}}, r"must be in \[0, 12\], not 13"),
        ({"src_knots": {"bluer_g_r": 5}}, r"must be in \[-3, 3\]"),
        ({"src_knots": {"colour": 1}}, "no such setting"),
    ],
)
def test_impossible_settings_are_refused_by_name(plan, message):
    with pytest.raises(ConfigError, match=message):
        make_config(plan=plan)


def test_the_settings_know_how_many_places_there_are():
    assert components._PLACES == schema.N_KNOTS


# --- a user's table ---------------------------------------------------------------------------------------------------

GIVEN = {
    "host_id": ["host-000", "host-000", "host-001"],
    **{f"src_knots_share_{b}": [0.3, 0.2, 0.0] for b in "grz"},
    "src_knots": [2, 1, 0],
    "src_knot_x_arcsec_0": [0.1, 0.2, np.nan],
    "src_knot_y_arcsec_0": [0.0, 0.1, np.nan],
    "src_knot_reff_arcsec_0": [0.05, 0.04, np.nan],
    "src_knot_weight_0": [0.25, 1.0, np.nan],
    "src_knot_x_arcsec_1": [-0.1, np.nan, np.nan],
    "src_knot_y_arcsec_1": [0.3, np.nan, np.nan],
    "src_knot_reff_arcsec_1": [0.03, np.nan, np.nan],
    "src_knot_weight_1": [0.75, np.nan, np.nan],
}


def from_table(folder, *left_out, plan=None, **changes):
    given = {k: np.ma.masked_invalid(v) if k != "host_id" else v for k, v in {**GIVEN, **changes}.items()
             if k not in left_out}  # fmt: skip
    path = folder / "rows.ecsv"
    Table(given, masked=True).write(path, format="ascii.ecsv", overwrite=True)
    config = make_config(plan={"design": "table", "table": str(path), **(plan or {})})
    manifest = build_manifest(make_cutouts(2), config)
    return manifest.isel(sample=~manifest["is_control"].values)


def test_knots_of_a_table_are_those_of_the_manifest(tmp_path):
    rows = from_table(tmp_path)
    assert rows["src_knots"].values.tolist() == [2, 1, 0]
    assert rows["src_knot_x_arcsec"].values[:, :3].tolist()[0][:2] == [0.1, -0.1]
    assert rows["src_knot_weight"].values[0, :2].tolist() == [0.25, 0.75]
    assert np.isnan(rows["src_knot_weight"].values[:, 2:]).all() and (rows["src_bulge_share"] == 0).all()
    kinds = [[p.kind for p in source_profiles({k: v.values for k, v in rows.isel(sample=i).data_vars.items()})]
             for i in range(3)]  # fmt: skip
    assert kinds == [["disc", "knot", "knot"], ["disc", "knot"], ["disc"]]
    with_bulge = from_table(tmp_path, plan={"src_bulge": {}})
    assert (with_bulge["src_bulge_share"].values[:, 1] >= 0.1).all() and with_bulge["src_knots"].values[0] == 2


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"src_knot_reff_arcsec_1": [0.0, np.nan, np.nan]},
            "row 0 .host host-000.: src_knot_reff_arcsec_1 is 0.0",
        ),
        ({"src_knot_reff_arcsec_0": [0.1, np.nan, np.nan]}, "row 1 .host host-000.: src_knot_reff_arcsec_0 is nan"),
        ({"src_knot_weight_0": [0.5, 1.0, np.nan]}, "row 0 .*the sum of src_knot_weight is 1.25; it must be 1"),
        ({"src_knots": [3, 1, 0]}, "row 0 .*src_knot_x_arcsec_2 is nan; it must be finite"),
        ({"src_knots": [2, 1, 13]}, "row 2 .*src_knots is 13.0; it must be a whole number from 0 to 12"),
        ({"src_knots_share_r": [0.3, -0.2, 0.0]}, "row 1 .*src_knots_share_r is -0.2; it must be in"),
        ({"src_knots_share_z": [0.3, 1.2, 0.0]}, "row 1 .*src_knots_share_z is 1.2; it must be in"),
        ({"src_knot_x_arcsec_1": [-0.1, 0.2, np.nan]}, "row 1 .*src_knot_x_arcsec_1 is 0.2; it must be empty"),
    ],
)
def test_wrong_knots_of_a_table_are_refused_by_row_and_place(tmp_path, changes, message):
    with pytest.raises(ManifestError, match=message):
        from_table(tmp_path, **changes)


def test_halves_of_a_table_are_refused(tmp_path):
    with pytest.raises(ManifestError, match="given together or not at all; missing: src_knot_weight_1"):
        from_table(tmp_path, "src_knot_weight_1")
    with pytest.raises(ManifestError, match="given together or not at all; missing: src_knots_share_z"):
        from_table(tmp_path, "src_knots_share_z")


def test_a_tables_knots_and_a_drawn_bulge_that_are_more_than_the_source_are_refused(tmp_path):
    high = {f"src_knots_share_{b}": [0.8, 0.1, 0.0] for b in "grz"}
    with pytest.raises(ManifestError, match=r"row_id \d+ has src_bulge_share \+ src_knots_share 1.3; it"):
        from_table(tmp_path, plan={"src_bulge": {"share": 0.5, "redder_g_r": 0.0}}, **high)


# --- pairs of them ----------------------------------------------------------------------------------------------------


def test_pairs_of_such_rows_close_their_flux_in_every_band_and_say_what_they_are_magnified_by():
    cutouts = make_cutouts(4)
    plan = {**BOTH, "src_mag": "apparent", "theta_e_arcsec": [0.8], "injections_per_host": 6, "src_reff_arcsec": [0.3]}
    manifest = build_manifest(cutouts, make_config(plan=plan | {"src_bulge": {"n": 1.0}}))
    block = inject_block(cutouts, manifest)
    assert {k: v for k, v in invariant_failures(block, manifest, cutouts).items() if v} == {}
    arcs = ~manifest["is_control"].values
    of_band = block["band_magnification"].values
    assert np.isnan(of_band[~arcs]).all() and (of_band[arcs] >= 1).all()
    assert (np.ptp(of_band[arcs], axis=1) / of_band[arcs, 1] > 0.005).any()
    # With the magnification of all bands' light in the place of each band's own, no flux would close.
    wrong = block.assign(band_magnification=(("sample", "band"), of_band * [1.05, 1, 0.95]))
    assert invariant_failures(wrong, manifest, cutouts)[
        "invariant: flux of an arc within the stamp not magnification x source flux"
    ]
    plain = build_manifest(cutouts, make_config(plan=plan | {"src_bulge": None, "src_knots": None}))
    assert "band_magnification" not in inject_block(cutouts, plain)


def test_a_manifest_of_many_rows_renders_within_the_tolerance():
    _, rows = planned(2, 20, **BOTH, preset="realistic", src_mag="apparent", theta_e_arcsec={"min": 0.5, "max": 2.0})
    found = render(rows, psf_beta=2.6)
    assert (found.render_err < 1e-3).all() and np.median(found.render_err) < 4e-4
