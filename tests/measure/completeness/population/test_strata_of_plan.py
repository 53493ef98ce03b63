"""Strata `plan` are the plan's own values and ranges, whatever rows a split happens to hold."""

import numpy as np
import pytest

from lensflow.errors import ConfigError
from lensflow.manifest.build import build_manifest
from lensflow.measure.completeness.population.injected_prior import InjectedPrior
from lensflow.measure.completeness.tables import stratum_bins
from tests.factories import make_config, make_cutouts


@pytest.fixture(scope="module")
def drawn():
    ends = {"min": 0.1, "max": 0.7}
    config = make_config(plan={"src_reff_arcsec": ends, "injections_per_host": 4})
    cutouts = make_cutouts(6)
    manifest = build_manifest(cutouts, config)
    of_hosts = {n: (("sample", *cutouts[n].dims[1:]), cutouts[n].values[manifest["host_index"].values])
                for n in ("flux_nmgy", "brickname")}  # fmt: skip
    return InjectedPrior.of(config, manifest.attrs), manifest.assign(of_hosts).isel(sample=~manifest["is_control"])


def test_the_bins_of_few_rows_are_those_of_all_rows(drawn):
    prior, rows = drawn
    for name in ("theta_e_arcsec", "src_reff_arcsec", "shear"):
        every, said = stratum_bins(name, "plan", rows, prior)
        few, _ = stratum_bins(name, "plan", rows.isel(sample=slice(3)), prior)
        assert every == few and said == "the plan"
    theta, _ = stratum_bins("theta_e_arcsec", "plan", rows.isel(sample=slice(3)), prior)
    assert theta.values == (0.5, 0.75, 1, 1.25, 1.5, 2, 2.5)
    # A few values of a range are no list: they would each be a bin of one row.
    size, _ = stratum_bins("src_reff_arcsec", "plan", rows.isel(sample=slice(3)), prior)
    assert size.edges == pytest.approx(np.linspace(0.1, 0.7, 7)) and size.is_inside.sum() == 6
    assert size.place([0.7])[0] == 6  # the upper end belongs to the plan


def test_what_the_plan_does_not_draw_says_that_its_bins_are_of_the_rows(drawn):
    prior, rows = drawn
    # All hosts are alike; a source's magnitude is the host's plus a value of a list.
    for name, count in (("host_mag_r", 1), ("src_mag_r", 6)):
        bins, said = stratum_bins(name, "plan", rows, prior)
        assert "the rows' own range" in said and bins.is_inside.sum() == count
    with pytest.raises(ConfigError, match="it has names, not numbers: use each"):
        stratum_bins("brick", "plan", rows, prior)
    assert "own range" in stratum_bins("theta_e_arcsec", "plan", rows)[1]  # a plan nobody gave is not guessed
