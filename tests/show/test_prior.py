import numpy as np
import pytest

from lensflow.manifest.build import build_manifest
from lensflow.show import prior
from tests.factories import make_config, make_cutouts

BANDS = ("g", "r", "z")


def manifest(**plan):
    return build_manifest(make_cutouts(3, size=8), make_config(plan={"injections_per_host": 300, **plan}))


@pytest.mark.parametrize(
    "plan",
    [
        {},
        {"design": "low_discrepancy", "theta_e_arcsec": {"min": 0.5, "max": 2, "distribution": "log"}},
        {"src_offset": "square", "src_offset_max": 0.4, "src_mag": "apparent"},
        {"src_offset": "ring", "src_offset_min": 0.2, "lens_model": "EPL", "colours": "measured"},
        {"src_min_images": 2},
        {"preset": "realistic"},
        {"preset": "realistic", "design": "low_discrepancy", "theta_e_min_arcsec": 0.8},
    ],
)
def test_no_row_leaves_what_was_declared(plan):
    m = manifest(**plan)
    declared = m.attrs["declared"]
    for name, values in prior.drawn_parameters(m, BANDS, 1).items():
        ends = prior.declared_range(declared, name)
        assert prior.outside_of_declared(values[np.isfinite(values)], ends) == 0, name
        if ends and ends[1] > ends[0] and name not in ("g-r", "r-z"):
            reach = np.ptp(values[np.isfinite(values)]) / (ends[1] - ends[0])
            assert reach > 0.9 or name == "src_offset", name
    table = prior.declared_table(m, BANDS, 1)
    assert "loud" not in table.html()
    assert {"theta_e_arcsec", "src_mag", "g-r", "src_offset"} <= {r[0] for r in table.rows}


def test_a_row_beyond_the_declared_range_is_marked():
    m = manifest()
    m["theta_e_arcsec"].values[4] = 7.0
    table = prior.declared_table(m, BANDS, 1)
    assert [row[0] for row in table.rows if row[-1].style == "alarm"] == ["theta_e_arcsec"]


def test_what_comes_from_hosts_says_so():
    cutouts = make_cutouts(3, size=8)
    for name, value in {"sigma_v_km_s": 250, "z_lens": 0.4, "host_q": 0.7, "host_phi_rad": 0.1}.items():
        cutouts[name] = (cutouts[name].dims, np.full(cutouts[name].shape, value, np.float32))
    config = make_config(plan={"theta_e_from": "sigma_v", "lens_shape": "host_light"})
    lines = {r[0]: r for r in prior.declared_table(build_manifest(cutouts, config), BANDS, 1).rows}
    assert lines["theta_e_arcsec"][1] == "from sigma_v and redshifts" and lines["lens_e"][1] == "the host's light"
    assert "1.00 to 3.00" in lines["src_z"][1]


def test_relations_are_shown_as_declared():
    m = manifest(preset="realistic")
    lines = {r[0]: r for r in prior.declared_table(m, BANDS, 1).rows}
    assert lines["src_reff_arcsec"][1].startswith("log-normal, median 0.53")
    assert lines["src_reff_arcsec"][-1].value is None
    assert lines["lens_sigma_v_km_s"][1].startswith("the host's; else log-normal")
    assert "0.3 dex per magnitude" in lines["src_mag"][1] and lines["src_mag"][-1].value == 0
