"""Two runs of one manifest: what one recovers and the other does not, and no comparison of anything else."""

import numpy as np
import pytest

import lensflow as lf
from lensflow.errors import CompletenessError, ConfigError
from lensflow.run.completeness import completeness_step, scorers, with_options
from lensflow.run.completeness.step import scored_of
from lensflow.run.score import scores_of
from lensflow.store import paths
from lensflow.store.run_folder import RunFolder
from tests.run.completeness_run import completeness_run, hosts, other_run

pytestmark = pytest.mark.whole

BLUE_RING = "lensflow.measure.scorer.scorer:blue_ring"


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A run, and the same injections with their cores masked."""
    first = completeness_run(tmp_path_factory)
    masked = first.injection.model_copy(update={"core_mask_radius_pix": 9.0})
    out = str(tmp_path_factory.mktemp("masked") / "run")
    second = first.model_copy(update={"injection": masked, "out": out})
    cutouts = hosts()
    lf.write_pairs(lf.inject(cutouts, lf.plan_injections(cutouts, second), second), second)
    paths.write_text(RunFolder.of(second).config, second.to_yaml())
    return first, second


def test_a_run_against_itself_differs_in_nothing(runs):
    found = lf.paired(runs[0].out, lf.open_run(runs[0].out), BLUE_RING)
    assert found.differ == {} and found.notes == () and len(found.results) == 2
    for one in found.results:
        assert (one.gained, one.lost, one.discordant_hosts, one.p, one.difference.value) == (0, 0, 0, 1.0, 0.0)
        assert (one.n_rows, one.n_hosts, one.left_out, one.score_difference) == (36, 12, 0, 0.0)
    assert "no setting" in repr(found)


@pytest.mark.slow
def test_differences_are_those_of_the_two_completenesses(runs):
    middle = float(np.nanmedian(scored_of(runs[0], BLUE_RING).rows["score"]))
    found = lf.paired(*runs, BLUE_RING, value=middle)
    configs = [with_options(c, value=middle) for c in runs]
    alone = [completeness_step(c, BLUE_RING, keep=False)["curves"].sel(curve="all") for c in configs]
    assert set(found.differ) == {"injection.core_mask_radius_pix"}
    ds = found.to_dataset()
    apart = (alone[1]["completeness"] - alone[0]["completeness"]).values
    np.testing.assert_allclose(ds["difference"], apart, atol=1e-12)
    net = (alone[1]["n_recovered"] - alone[0]["n_recovered"]).values
    np.testing.assert_array_equal(ds["gained"] - ds["lost"], net)
    assert ds.attrs["run_b"] == runs[1].out and (ds["gained"] + ds["lost"]).sum() > 0
    theta = found.strata["theta_e_arcsec"]
    np.testing.assert_array_equal(theta["gained"].sum("theta_e_arcsec"), ds["gained"])
    assert "theta_e_arcsec.p_holm" in ds
    for text in (repr(found), found._repr_html_()):
        assert "injection.core_mask_radius_pix" in text and "rows gained" in text


@pytest.mark.slow
def test_the_command_says_what_another_run_gains_and_loses(command, runs):
    code, text = command("completeness", runs[0].out, BLUE_RING, "--against", runs[1].out, "--fpr", "0.25")
    assert code == 0 and "injection.core_mask_radius_pix: 0.0 and 9.0" in text
    assert "second less first" in text and "of 36 on 12 hosts" in text


def test_strata_that_the_treatment_fills_differently_are_left_out_and_said(runs):
    """The two runs of the project before this were binned in a magnitude that the treatment had changed."""
    section = runs[0].completeness.model_copy(update={"strata": {"snr_peak_r": "plan", "theta_e_arcsec": "plan"}})
    both = [c.model_copy(update={"completeness": section}) for c in runs]
    found = lf.paired(*both, BLUE_RING)
    assert set(found.strata) == {"theta_e_arcsec"}
    assert "strata snr_peak_r left out" in found.notes[0] and found.notes[0] in " ".join(repr(found).split())


def test_runs_of_two_manifests_or_two_thresholds_are_refused(runs, tmp_path_factory):
    with pytest.raises(CompletenessError, match="not one manifest"):
        lf.paired(runs[0], other_run(tmp_path_factory), BLUE_RING, fpr=0.5)
    other = runs[1].completeness.model_copy(update={"threshold": runs[1].completeness.threshold.model_copy(
        update={"fpr": (0.25,)})})  # fmt: skip
    second = runs[1].model_copy(update={"completeness": other})
    with pytest.raises(ConfigError, match=r"completeness.threshold differs, .* give it here, for both"):
        lf.paired(runs[0], second, BLUE_RING)
    assert len(lf.paired(runs[0], second, BLUE_RING, fpr=0.25).results) == 1


@pytest.mark.slow
def test_a_column_of_the_manifest_that_differs_is_named_unless_the_factor_owns_it(runs, monkeypatch):
    from lensflow.run.completeness import step

    real = step.rows_of

    def brighter(config, split, *more):
        rows = real(config, split)
        return rows if config.out == runs[0].out else rows.assign(src_flux_nmgy=rows["src_flux_nmgy"] * 2)

    monkeypatch.setattr(step, "rows_of", brighter)
    with pytest.raises(CompletenessError, match="not one manifest: src_flux_nmgy differ"):
        lf.paired(*runs, BLUE_RING)
    assert lf.paired(*runs, BLUE_RING, owned=["src_flux_nmgy"]).results


def test_rows_are_matched_by_their_id_and_not_by_their_place(runs, monkeypatch):
    before = lf.paired(*runs, BLUE_RING).to_dataset()

    def turned(config, *given, **more):
        scores = scores_of(config, *given, **more)
        return scores.isel(sample=slice(None, None, -1)) if config.out == runs[1].out else scores

    monkeypatch.setattr(scorers, "scores_of", turned)
    assert lf.paired(*runs, BLUE_RING).to_dataset().equals(before)
