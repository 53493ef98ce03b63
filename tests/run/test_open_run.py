"""A run picked up by its path alone: what is there is served, what is missing, stale or damaged is named."""

import html
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import yaml

import lensflow as lf
from lensflow.errors import CertificateError, ConfigError, LensflowError, StaleStoreError, StoreError
from lensflow.store import receipts
from lensflow.store.sealing import read_test_accesses
from tests.reseal import rewrite
from tests.run.certified_run import certified_copy

pytestmark = pytest.mark.whole


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A certified run with its report; read only."""
    return Path(certified_copy(tmp_path_factory.mktemp("opened") / "run").out)


@pytest.fixture
def folder(made, tmp_path):
    shutil.copytree(made, tmp_path / "run")
    return tmp_path / "run"


def changed_config(folder, **sections):
    place = folder / "config.yaml"
    tree = yaml.safe_load(place.read_text())
    for name, values in sections.items():
        tree[name] |= values
    place.write_text(yaml.safe_dump(tree))


@pytest.mark.parametrize("place", ["", "/", "/pairs.zarr", "/config.yaml", Path])
def test_a_path_is_enough(made, place):
    run = lf.open_run(Path(made) if place is Path else f"{made}{place}")
    assert run.path == str(made) == run.config.out
    assert run.pairs.equals(lf.open_pairs(str(made))) and run.pairs["stamp"].chunks is not None
    assert run.cutouts.equals(lf.open_cutouts(str(made))) and run.manifest.equals(lf.open_manifest(str(made)))
    stored = json.loads((made / "summaries" / "gates.json").read_text())["results"]
    assert [g.to_dict() for g in run.results.gates] == stored
    kept = json.loads((made / "summaries" / "diagnostics.json").read_text())["results"]
    assert set(run.results.diagnostics) == set(kept) and not run.results.notes
    assert run.report == f"{made}/report/index.html"
    checked = run.certificate
    assert checked.certificate == json.loads((made / "certificate.json").read_text()) and checked.left_out


def test_stores_are_opened_once_and_again_when_they_are_gone(folder):
    run = lf.open_run(folder)
    assert run.pairs is run.pairs and run.cutouts is run.cutouts
    shutil.rmtree(folder / "pairs.zarr")
    with pytest.raises(StoreError, match="pairs"):
        _ = run.pairs


@pytest.mark.slow
def test_one_row_is_found_by_number_by_id_and_by_host_and_replicate(made):
    run = lf.open_run(made)
    for k in range(0, run.pairs.sizes["sample"], 25):
        expected = run.pairs.isel(sample=k)
        kind = "c" if expected["is_control"] else ""
        name = f"{expected['host_id'].values}:{kind}{int(expected['replicate'])}"
        for row in (k, int(expected["row_id"]), expected["row_id"].values, name):
            found = run.row(row)
            assert found["row_id"] == expected["row_id"] and found["host_id"] == expected["host_id"]
            assert all(found[n].equals(expected[n].compute()) for n in ("stamp", "arc", "ctrl", "theta_e_arcsec"))
    again = run.rerender(name)
    assert again.attrs["identical"] and again["row_id"] == expected["row_id"]
    with pytest.raises(StoreError, match="no row with row_id"):
        run.row(10**17)


def test_a_row_of_the_test_split_is_sealed_until_a_reason_is_logged(folder):
    run = lf.open_run(folder)
    (k, *_) = np.flatnonzero(run.manifest["split"].values == 2)
    before = len(read_test_accesses(f"{folder}/pairs.zarr"))
    with pytest.raises(StoreError, match="sealed"):
        run.row(int(k))
    assert len(read_test_accesses(f"{folder}/pairs.zarr")) == before
    found = run.row(int(k), unseal_test="a look at one row")
    assert found["row_id"] == run.manifest["row_id"][k]
    (*_, last) = read_test_accesses(f"{folder}/pairs.zarr")
    assert last["why"] == "a look at one row" and last["rows"] == 1


@pytest.mark.parametrize(
    "what", ["nothing", "an empty folder", "another zarr store", "a config whose run was not made"]
)
def test_what_is_no_run_is_named(tmp_path, what):
    place = tmp_path / "place"
    if what != "nothing":
        place.mkdir()
    if "zarr" in what:
        (place / "zarr.json").write_text('{"zarr_format": 3, "node_type": "group", "attributes": {}}')
    if "config" in what:
        (place / "mine.yaml").write_text(f"out: {tmp_path}/run\nsurvey: {{root: '-', targets: '-'}}\n")
        place = place / "mine.yaml"
    with pytest.raises((StoreError, ConfigError), match=r"no run|neither a YAML file") as error:
        lf.open_run(place)
    assert str(tmp_path) in str(error.value)


def test_a_run_that_was_only_cut_says_what_makes_the_rest(folder):
    for name in ("manifest.zarr", "pairs.zarr", "receipts/pairs", "summaries", "report", "receipts/manifest"):
        shutil.rmtree(folder / name)
    (folder / "certificate.json").unlink()
    run = lf.open_run(folder)
    assert run.cutouts.sizes["host"] == 14
    parts = {
        "manifest": lambda: run.manifest,
        "pairs": lambda: run.pairs,
        "diagnostics": lambda: run.results.diagnostics,
        "gates": lambda: run.results.gates,
        "report": lambda: run.report,
        "certificate": lambda: run.certificate,
        "row": lambda: run.row(0),
        "rerender": lambda: run.rerender(0),
    }
    commands = {"manifest": "plan", "pairs": "inject", "diagnostics": "diagnose", "gates": "gate", "row": "inject",
                "rerender": "inject", "certificate": "certify"}  # fmt: skip
    for name, ask in parts.items():
        with pytest.raises(StoreError, match=f"lensflow {commands.get(name, name)} {re.escape(str(folder))}"):
            ask()
    for text in (repr(run), run._repr_html_()):
        assert "14 hosts" in text and all(f"lensflow {c}" in text for c in set(commands.values()) | {"report"})


def test_an_interrupted_run_serves_no_pairs_and_no_results(folder):
    before = lf.open_run(folder)
    assert before.results.gates
    receipts.remove_receipts(f"{folder}/receipts/pairs", list(_regions(folder))[1:2])
    run = lf.open_run(folder)
    for opened in (run, before):
        with pytest.raises(StoreError, match="not finished"):
            _ = opened.pairs["stamp"].compute()
        with pytest.raises(StoreError, match="other pixels or settings"):
            _ = opened.results.gates
        with pytest.raises(StoreError, match="other pixels or settings"):
            _ = opened.results.diagnostics
    assert "38 of 70 rows" in repr(run) and f"lensflow inject {folder}" in repr(run)
    assert "core_r" not in repr(run)


def _regions(folder):
    from lensflow.store.open import stored_regions

    return stored_regions(f"{folder}/pairs.zarr", "pairs")


def test_gates_of_other_settings_are_not_served_and_what_still_fits_is(folder):
    changed_config(folder, gate={"max_auc": 0.9})
    run = lf.open_run(folder)
    assert run.results.diagnostics
    with pytest.raises(StoreError, match=f"other pixels or settings.*lensflow gate {re.escape(str(folder))}"):
        _ = run.results.gates
    assert "gates belong to other pixels or settings" in repr(run.results) + repr(run)
    with pytest.raises(StoreError, match=r"older .*lensflow report"):
        _ = run.report
    with pytest.raises(CertificateError, match=r"gate\.max_auc"):
        _ = run.certificate


@pytest.mark.slow
def test_a_report_is_served_again_once_it_was_written_again(folder, command):
    stored = folder / "summaries" / "diagnostics.json"
    stored.write_text(stored.read_text() + "\n")
    with pytest.raises(StoreError, match=f"lensflow report {re.escape(str(folder))}"):
        _ = lf.open_run(folder).report
    assert command("report", folder)[0] == 0
    assert lf.open_run(folder).report == f"{folder}/report/index.html"


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("gates", "{"),
        ("gates", "[]"),
        ("gates", None),
        ("diagnostics", '{"results"'),
        ("diagnostics", None),
    ],
)
def test_damaged_results_are_an_error_that_names_the_file(folder, name, text):
    place = folder / "summaries" / f"{name}.json"
    if text is None:  # under its right key, and no results
        text = json.dumps(
            json.loads(place.read_text()) | {"results": {"a": 1} if name == "diagnostics" else [{"a": 1}]}
        )
    place.write_text(text)
    run = lf.open_run(folder)
    with pytest.raises(LensflowError, match=rf"{name}\.json"):
        getattr(run.results, name)
    assert f"{name}.json" in repr(run) and f"{name}.json" in run._repr_html_()


def test_results_of_other_code_say_so(folder):
    place = folder / "summaries" / "gates.json"
    rewrite(place, code="0123456789abcdef")
    results = lf.open_run(folder).results
    assert results.gates and "0123456789abcdef" in " ".join(results.notes)
    assert "0123456789abcdef" in repr(lf.open_run(folder))


def test_without_its_config_the_settings_are_those_of_the_stores(folder):
    wanted = lf.open_run(folder).config
    (folder / "config.yaml").unlink()
    run = lf.open_run(folder)
    assert run.config.settings_of("pairs") == wanted.settings_of("pairs") and run.pairs.sizes["sample"]
    assert "config.yaml is missing" in repr(run)
    with pytest.raises(StoreError):  # what they were gated with nobody knows
        _ = run.results.gates


def test_a_config_that_is_not_that_of_the_stores_is_refused_with_a_way_out(folder):
    changed_config(folder, plan={"injections_per_host": 9})
    with pytest.raises(StaleStoreError, match=r"(?s)plan\.injections_per_host: stored 4, now 9.*config\.yaml") as error:
        lf.open_run(folder)
    assert "delete" in str(error.value)
    (folder / "config.yaml").unlink()
    assert lf.open_run(folder).config.plan.injections_per_host == 4
    (folder / "config.yaml").write_text("out: [")
    with pytest.raises(LensflowError, match=r"config\.yaml"):
        lf.open_run(folder)


def test_damage_of_a_store_is_named_and_the_rest_of_the_run_is_served(folder):
    (folder / "pairs.zarr" / "zarr.json").write_text("{}")
    run = lf.open_run(folder)
    assert run.cutouts.sizes["host"] == 14
    with pytest.raises(StoreError, match=r"pairs\.zarr"):
        _ = run.pairs
    assert "pairs.zarr" in repr(run) and "lensflow verify" in repr(run)


def test_an_edited_certificate_is_no_certificate(folder):
    place = folder / "certificate.json"
    place.write_text(place.read_text().replace('"EXPLAINED"', '"PASS"'))
    run = lf.open_run(folder)
    with pytest.raises(CertificateError):
        _ = run.certificate
    assert "PASS" not in next(line for line in repr(run).splitlines() if "certificate" in line)


def test_a_run_fits_a_screen_and_its_html_is_escaped(made, tmp_path):
    odd = tmp_path / "a <b> & c"
    shutil.copytree(made, odd)
    run = lf.open_run(odd)
    lines = repr(run).splitlines()
    assert len(lines) < 30 and max(map(len, lines)) < 140
    gates = " ".join(line for line in lines if "gates" in line)
    assert all(f"{g.name} {g.verdict}" in " ".join(lines) for g in run.results.gates), gates
    for words in ("14 hosts", "70 of 70 rows", "sealed", "report", "certificate"):
        assert words in repr(run), words
    page = run._repr_html_()
    assert "<b>" not in page and html.escape(str(odd)) in page and page.count("<tr>") == page.count("</tr>") > 5
    assert "core_r" in repr(run.results) and "EXPLAINED" in repr(run.certificate)
