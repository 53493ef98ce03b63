"""Known differences between arcs and the sky: each is found by the feature that names it."""

import numpy as np
import pytest

from lensflow.measure.realism.features import NAMES
from lensflow.measure.zoo import appearance

FOUND = 0.05


def found(table, name):
    p = table["p_holm"].sel(put_in=name).values
    return {feature for feature, value in zip(NAMES, p, strict=True) if value < FOUND}


@pytest.fixture(scope="module")
def run():
    return appearance.sky(100)


def test_brightness_and_colour_are_found_by_their_names_and_nothing_where_there_is_nothing(run):
    two = [d for d in appearance.DIFFERENCES if d.name in ("arcs + 1 mag", "colours + 0.5")]
    table = appearance.table(run, differences=two)
    assert found(table, "none") == set()
    assert {"arc_mag", "arc_mu"} <= found(table, "arcs + 1 mag")
    assert found(table, "colours + 0.5") == {"arc_gr", "arc_rz"}
    # Larger on the sky: it is brighter (a smaller magnitude), and bluer.
    assert (table["auc"].sel(put_in="colours + 0.5", feature=["arc_gr", "arc_rz"]) < 0.3).all()
    assert float(table["auc"].sel(put_in="arcs + 1 mag", feature="arc_mag")) < 0.3


def test_clumps_are_found_by_the_features_that_name_them(run):
    two = [d for d in appearance.DIFFERENCES if d.name in ("clumpy sources", "blue clumps")]
    table = appearance.table(run, differences=two)
    assert {"knots", "local_var"} <= found(table, "clumpy sources")
    # Smaller on the smooth sky than in the clumpy injections; and so is the scatter of colours where clumps are blue
    # (100 hosts do not settle that one; the slower test has 240).
    assert float(table["auc"].sel(put_in="clumpy sources", feature="knots")) < 0.4
    grey, blue = (float(table["auc"].sel(put_in=d.name, feature="colour_scatter")) for d in two)
    assert blue < grey - 0.1


def test_clumps_keep_the_flux_of_every_band(run):
    rows = run.manifest.isel(sample=np.flatnonzero(~run.manifest["is_control"].values)[:12])
    far = {"src_x_arcsec": rows["src_x_arcsec"] * 0 + 2.5}  # away from the caustic, where magnification is smooth
    rows = rows.assign(far).assign(theta_e_arcsec=rows["theta_e_arcsec"] * 0 + 1e-3)
    smooth, same, blue = (
        run.pairs(renderer, rows)["arc"].values.sum(axis=(2, 3))
        for renderer in (appearance.render, appearance.clumpy(), appearance.clumpy((1.5, 1.0, 0.6)))
    )
    lit = smooth > 0
    for other in (same, blue):
        # Smooth light of a large source reaches beyond the stamp, where clumps do not.
        np.testing.assert_allclose(other[lit], smooth[lit], rtol=0.07)
    assert not np.array_equal(same, smooth)


@pytest.mark.slow
@pytest.mark.parametrize("light", ["radial", "smooth"])
def test_every_difference_is_found_by_the_features_that_name_it(light):
    usual = [d for d in appearance.DIFFERENCES if d.hosts == 240]
    table = appearance.table(light=light, differences=usual)
    assert found(table, "none") == set()
    for difference in usual:
        assert set(difference.named_by) <= found(table, difference.name), difference.name


@pytest.mark.slow
def test_another_profile_of_the_same_width_is_found_by_how_knots_fall_off():
    for difference in (d for d in appearance.DIFFERENCES if d.hosts != 240):
        table = appearance.table(appearance.sky(difference.hosts), differences=[difference])
        assert found(table, "none") == set()
        assert found(table, difference.name) == set(difference.named_by) != set()


def test_wings_and_a_sharp_middle_are_in_peak_shape(run):
    """The same arcs through both PSFs, side by side: nearly all say which is which, whatever their own shapes are."""
    (both,) = (d for d in appearance.DIFFERENCES if d.named_by == ("peak_shape",))
    sides = appearance.Sides(run)
    one, other = (sides.features(r)["peak_shape"].values for r in (appearance.render, both.renderer))
    known = np.isfinite(one) & np.isfinite(other)
    assert known.mean() > 0.95
    assert np.mean(one[known] > other[known]) > 0.9
