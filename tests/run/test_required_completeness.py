"""A required completeness decides the exit code and the certificate; nothing old, unknown, cut or leaky passes it."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from lensflow import run as steps
from lensflow.config import RunConfig
from lensflow.errors import CertificateError, ConfigError
from lensflow.measure.gate import GateResult, Verdict
from lensflow.run.certified import state_of, stored_gates, summaries_of
from lensflow.run.completeness import completeness_step
from lensflow.run.completeness.data_gates import data_gates
from lensflow.run.completeness.selection_file import selection_digest
from lensflow.run.identity import pairs_content, stored_key
from lensflow.run.required_completeness import completeness_files, completeness_gates, selection_files
from lensflow.run.score import score_step, tables_of
from lensflow.store.results import keep_results
from lensflow.store.run_folder import RunFolder
from tests.reseal import rewrite
from tests.run.certified_run import certified_copy
from tests.run.completeness_run import completeness_run

pytestmark = pytest.mark.whole

BLUE_RING = "lensflow.measure.scorer.scorer:blue_ring"


def asking(config, **more):
    """The run's config with a requirement that every scorer with a low threshold meets."""
    base = {"threshold": {"value": -99.0}, "min_hosts": 2, "min_rows": 2, "bootstrap": 50, "scorer": BLUE_RING,
            "require": [{"min": 0.1}], "require_data_gates": False}  # fmt: skip
    section = type(config.completeness).model_validate({**config.completeness.model_dump(), **base, **more})
    return config.model_copy(update={"completeness": section})


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    return completeness_run(tmp_path_factory)


def result(name, verdict):
    return GateResult(name, {"check": name}, "0", 0.65, verdict, "as the test says")


def every(config, verdict=Verdict.PASS):
    return [result(name, verdict) for name in config.must_pass]


def test_data_must_have_passed_its_own_gates_on_these_pixels_with_these_settings_and_this_code(config):
    folder = RunFolder.of(config)
    asked = asking(config, require_data_gates=True)
    assert "were not measured of these pixels" in data_gates(asked)
    assert completeness_step(asked, BLUE_RING).verdict == "NOT_TESTABLE"
    key = stored_key(config, "gates", pairs_content(config))
    try:
        keep_results(folder.gates, key, [g.to_dict() for g in every(config)])
        assert data_gates(asked) == "" and completeness_step(asked, BLUE_RING).verdict == "PASS"
        # Stored results of the same numbers, judged before, are judged again.
        one = every(config)
        one[1] = replace(one[1], verdict=Verdict.FAIL)
        keep_results(folder.gates, key, [g.to_dict() for g in one])
        found = completeness_step(asked, BLUE_RING)
        assert found.verdict == "NOT_TESTABLE" and f"FAIL, so a completeness is the leak's as well: {one[1].name}" in (
            found.reason
        )
        assert json.loads(Path(found.path).read_text())["results"]["gates"][0]["verdict"] == "NOT_TESTABLE"
        assert data_gates(asked, one[:1]).endswith(f"not run: {', '.join(config.must_pass[1:])}")
        for stale in ("of other pixels", "of other code"):
            keep_results(folder.gates, key if "code" in stale else stale, [g.to_dict() for g in every(config)])
            if "code" in stale:
                rewrite(folder.gates, code="0123")
            assert "were not measured of these pixels" in data_gates(asked), stale
    finally:
        Path(folder.gates).unlink()


@pytest.mark.slow
def test_scores_that_do_not_say_their_pixels_pass_nothing_and_those_that_do_pass(config, tmp_path):
    score_step(config, BLUE_RING)
    bound, _ = tables_of(config, BLUE_RING)
    assert completeness_step(asking(config), bound).verdict == "PASS"
    unbound = str(tmp_path / "scores.parquet")
    pq.write_table(pq.read_table(bound).replace_schema_metadata(None), unbound)
    found = completeness_step(asking(config), unbound)
    assert found.verdict == "NOT_TESTABLE" and "does not say which pixels it scored" in found.reason


@pytest.mark.slow
def test_the_command_exits_with_3_unless_what_is_required_is_reached(config, command):
    for least, code, words in ((0.1, 0, "completeness PASS"), (1.0, 3, "completeness FAIL")):
        found = asking(config, require=[{"min": least}])
        got, text = command("completeness", BLUE_RING, config=found.effective())
        assert got == code and words in text and "Required: " in text
    got, text = command("completeness", BLUE_RING, config=asking(config, weights="area").effective())
    assert got == 2 and "every host counts once in what is judged" in text


def test_a_certificate_names_the_gate_its_file_and_its_settings_and_passes_over_none(config):
    asked = asking(config)
    name = f"completeness of {BLUE_RING}"
    assert completeness_gates(asked) == (name,) and completeness_gates(config) == ()
    (file,) = completeness_files(asked)
    assert file == "completeness/lensflow.measure.scorer.scorer-blue_ring.val.json"
    completeness_step(asked, BLUE_RING)
    state = state_of(asked, regions=False)
    assert state["required"][-1] == name and state["summaries"][file] and name not in state_of(config)["required"]
    assert "completeness.require" in state["run"]["settings"]
    assert stored_gates(asked) is None  # of the data there are none
    nobody = asking(config, scorer=None)
    for step in (steps.certify_step, completeness_gates, state_of):
        with pytest.raises(ConfigError, match=r"completeness\.require: of which scorer"):
            step(nobody)


def test_the_selection_function_is_bound_byte_by_byte_but_for_what_it_says_of_gates_and_certificate(config, tmp_path):
    run = RunConfig.model_validate({**config.effective(), "out": str(tmp_path / "run")})
    shutil.copytree(config.out, run.out, ignore=shutil.ignore_patterns("summaries"))
    asked = asking(run)
    (name,) = selection_files(asked)
    assert summaries_of(asked)[name] is None and name not in summaries_of(run)
    completeness_step(asked, BLUE_RING)
    before = summaries_of(asked)[name]
    file = Path(run.out, "summaries", name)
    assert before == selection_digest(str(file)) and file.is_dir()
    # The gates' verdicts and the seal come later.
    keep_results(RunFolder.of(run).gates, stored_key(run, "gates", pairs_content(run)),
                 [g.to_dict() for g in every(run)])  # fmt: skip
    completeness_step(asked, BLUE_RING)
    assert '"PASS"' in (file / "zarr.json").read_text() and summaries_of(asked)[name] == before
    (chunk,) = [f for f in (file / "n_recovered").rglob("*") if f.is_file() and f.name != "zarr.json"]
    for changed, byte in ((chunk, -1), (file / "zarr.json", (file / "zarr.json").read_text().index('"PASS"') + 2),
                          (file / "tau" / "zarr.json", -3)):  # fmt: skip
        content = changed.read_bytes()
        bad = bytearray(content)
        bad[byte] ^= 1
        changed.write_bytes(bytes(bad))
        assert summaries_of(asked)[name] not in (before, None), changed
        changed.write_bytes(content)
    assert summaries_of(asked)[name] == before
    (file / "n_recovered" / "more").write_text("")
    assert summaries_of(asked)[name] != before


@pytest.mark.slow
def test_a_certificate_holds_the_completeness_measured_again_and_shows_any_change_of_it(tmp_path):
    run = certified_copy(tmp_path / "run")
    config, name = asking(run), f"completeness of {BLUE_RING}"
    certificate = steps.certify_step(config)
    gate = certificate["gates"][-1]
    assert gate["name"] == name == certificate["required"][-1] and gate["verdict"] == "PASS", gate["reason"]
    assert steps.check_step(config, full=True).certificate == certificate
    with pytest.raises(CertificateError, match="required: certified"):
        steps.check_step(run)
    (file,) = completeness_files(config)
    kept = Path(config.out, "summaries", file)
    kept.write_text(kept.read_text().replace("PASS", "FAIL"))
    with pytest.raises(CertificateError, match=r"summaries/completeness/.* is not what was certified"):
        steps.check_step(config)
    kept.write_text(kept.read_text().replace("FAIL", "PASS"))
    steps.check_step(config, quick=True)
    chunk = next(f for f in kept.with_suffix(".zarr").rglob("c/*") if f.is_file())
    *first, last = chunk.read_bytes()
    chunk.write_bytes(bytes([*first, last ^ 1]))
    with pytest.raises(CertificateError, match=r"summaries/completeness/.*zarr: is not what was certified"):
        steps.check_step(config, quick=True)
    # What is stored is not believed, and gates that are not PASS decide.
    strict = asking(run, require_data_gates=True)
    again = steps.certify_step(strict)
    gate = again["gates"][-1]
    assert gate["verdict"] == "NOT_TESTABLE" and "the data's own gates are" in gate["reason"]
    assert again["verdict"] != "PASS"
