import numpy as np
import pytest

from lensflow.config import Range
from lensflow.errors import ConfigError
from lensflow.manifest.build import build_manifest
from lensflow.manifest.draws import at
from lensflow.manifest.source_priors import R_I_OVER_R_Z, band_fluxes
from tests.factories import make_config, make_cutouts

U = (np.arange(10_000) + 0.5) / 10_000


def test_a_list_gives_each_value_alike_and_a_range_its_distribution():
    assert np.unique(at((1.0, 2.0, 4.0), U), return_counts=True)[1].tolist() == [3333, 3334, 3333]
    uniform, log = (at(Range(min=0.5, max=2.0, distribution=d), U) for d in ("uniform", "log"))
    assert np.median(uniform) == pytest.approx(1.25, rel=1e-3) and np.median(log) == pytest.approx(1.0, rel=1e-3)
    for values in (uniform, log):
        assert 0.5 <= values.min() < 0.501 and 1.999 < values.max() <= 2.0


def test_the_i_band_lies_on_the_power_law_between_r_and_z():
    flux = band_fluxes(np.ones(500), np.random.default_rng(0).normal(size=(500, 3)), "griz", "v3")
    r_i, r_z = (-2.5 * np.log10(flux[:, 1] / flux[:, k]) for k in (2, 3))
    assert r_i == pytest.approx(R_I_OVER_R_Z * r_z) and 0.5 < R_I_OVER_R_Z < 0.6
    # On a power law, ln(flux) is linear in ln(wavelength).
    nm = np.log([642, 784, 926])
    expected = np.log(flux[:, 1]) + (np.log(flux[:, 3]) - np.log(flux[:, 1])) * (nm[1] - nm[0]) / (nm[2] - nm[0])
    assert np.log(flux[:, 2]) == pytest.approx(expected)


def test_a_band_without_a_colour_is_refused():
    with pytest.raises(ConfigError, match=r"no colour prior for u; plan.colours: v3 knows g, r, i, z, uv_slope also u"):
        band_fluxes(np.ones(1), np.zeros((1, 3)), ("u", "r"), "v3")
    with pytest.raises(ConfigError, match=r"no colour prior for N708; plan.colours knows u, g, r, i, z, Y"):
        band_fluxes(np.ones(1), np.zeros((1, 3)), ("r", "N708"), "uv_slope")


def test_ranges_of_the_config_reach_the_rows_and_stand_in_the_attrs():
    plan = {
        "injections_per_host": 400,
        "theta_e_arcsec": {"min": 0.5, "max": 2.5, "distribution": "log"},
        "src_n": {"min": 0.5, "max": 4},
        "src_q": [0.5, 0.9],
        "lens_e": 0.2,
        "shear": {"min": 0, "max": 0.1},
        "src_mag": "apparent",
    }
    m = build_manifest(make_cutouts(2), make_config(plan=plan))
    rows = m.isel(sample=~m["is_control"].values)
    assert np.median(rows["theta_e_arcsec"]) == pytest.approx(np.sqrt(0.5 * 2.5), rel=0.08)
    assert rows["src_n"].values.min() < 0.6 and rows["src_n"].values.max() > 3.9
    assert np.unique(rows["src_q"]).tolist() == [0.5, 0.9] and np.unique(rows["lens_q"]) == pytest.approx([0.8 / 1.2])
    magnitude = 22.5 - 2.5 * np.log10(rows["src_flux_nmgy"].values[:, 1])
    assert 23 <= magnitude.min() < 23.1 and 25.9 < magnitude.max() <= 26
    declared = m.attrs["declared"]
    assert declared["theta_e_arcsec"] == {"min": 0.5, "max": 2.5, "distribution": "log"} and "dmag" not in declared
    assert (
        declared["src_mag"]["max"] == 26 and declared["src_q"] == [0.5, 0.9] and declared["colour_clip"] == [-0.5, 1.5]
    )


@pytest.mark.parametrize(
    ("plan", "message"),
    [
        ({"design": "grid", "dmag": {"min": 0, "max": 1}}, "dmag is a range"),
        ({"design": "table"}, "table is needed"),
        ({"table": "x.csv"}, "table is needed"),
        ({"src_offset": "ring"}, "src_offset_min"),
        ({"controls": "disjoint", "controls_per_host": 0}, "controls_per_host >= 1"),
        ({"src_min_images": 2, "lens_model": "EPL"}, "EPL"),
        ({"src_q": [0.5, 1.2]}, r"src_q: must be in \(0, 1\]"),
        ({"shear": {"min": 0, "max": 0.1, "distribution": "log"}}, "log needs min > 0"),
    ],
)
def test_priors_that_contradict_each_other_are_refused(plan, message):
    with pytest.raises(ConfigError, match=message):
        make_config(plan=plan)
