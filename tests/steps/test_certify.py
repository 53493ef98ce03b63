"""A run's certificate, from stored pairs to the command's exit code."""

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import zarr

import lensflow as lf
from lensflow import steps
from lensflow.config import load_config
from lensflow.config.checks import GATE_CHECKS
from lensflow.errors import CertificateError, ConfigError, StoreError
from lensflow.gates import Verdict
from lensflow.steps.run_folder import config_of
from lensflow.store import paths, receipts
from lensflow.store.open import open_pairs, stored_regions
from tests.factories import imported_galaxies, put
from tests.reseal import reseal

# An edited object is compressed anew: of the old length or another.
OTHER_BYTES = "(has other bytes|is truncated|has more bytes|is an object that nothing vouches for)"


@pytest.fixture(scope="module")
def once(tmp_path_factory):
    """Fourteen hosts with four injections each, injected, stored and certified."""
    cutouts = imported_galaxies(14)
    config = load_config(
        {
            "out": str(tmp_path_factory.mktemp("certify") / "run"),
            "survey": {"root": "-", "targets": "-"},
            "plan": {"injections_per_host": 4},
            "store": {"samples_per_region": 32, "hosts_per_region": 8, "inner_chunk": 8},
            "gate": {"bootstrap": 50, "advisory": ["brightness_all"]},
            "cluster": {"kind": "threads", "dashboard": None},
        }
    )
    lf.write_pairs(cutouts, lf.plan_injections(cutouts, config), config)
    paths.write_text(steps.RunFolder.of(config).config, config.to_yaml())
    steps.certify_step(config)
    return config


@pytest.fixture
def run(once, tmp_path):
    """A copy of that run's folder, to be damaged."""
    shutil.copytree(once.out, tmp_path / "run")
    return config_of(str(tmp_path / "run"))


def certified(config):
    return json.loads(Path(config.out, "certificate.json").read_text())


def test_it_is_bound_to_every_store_and_the_pairs_carry_its_seal(run):
    certificate = steps.certify_step(run)
    assert certificate == certified(run)
    assert [g["name"] for g in certificate["gates"]] == ["core_r", "core_all", "brightness_all", *GATE_CHECKS]
    assert certificate["required"] == ["core_r", "core_all", *GATE_CHECKS]
    assert set(certificate["data"]) == {"cutouts", "manifest", "pairs"}
    assert list(certificate["data"]["pairs"]["regions"]) == ["0", "1", "2"]
    carried = open_pairs(steps.RunFolder.of(run).pairs).attrs["certificate"]
    assert (carried["seal"], carried["verdict"]) == (certificate["seal"], certificate["verdict"])
    assert steps.check_step(run) == certificate


def test_a_moved_folder_is_still_certified(run, tmp_path):
    Path(run.out).rename(tmp_path / "elsewhere")
    moved = config_of(str(tmp_path / "elsewhere"))
    assert moved.out == str(tmp_path / "elsewhere")
    assert steps.check_step(moved) == certified(moved)


def test_a_receipt_with_another_checksum_is_detected_by_its_region(run):
    folder = steps.RunFolder.of(run).receipts("pairs")
    receipt = receipts.read_receipt(folder, 1)
    receipts.remove_receipts(folder, [stored_regions(steps.RunFolder.of(run).pairs, "pairs")[1]])
    receipts.write_receipt(folder, replace(receipt, checksums={**receipt.checksums, "stamp": "0" * 32}))
    with pytest.raises(CertificateError, match="pairs: 1 of 3 regions have other checksums: 1"):
        steps.check_step(run)


def test_unfinished_pairs_are_not_certified_and_no_longer_as_certified(run):
    Path(receipts.receipt_url(steps.RunFolder.of(run).receipts("pairs"), 1)).unlink()
    with pytest.raises(CertificateError, match="1 of 3 regions are not finished"):
        steps.check_step(run)
    with pytest.raises(StoreError, match="lensflow inject"):
        steps.certify_step(run)


def test_edited_rows_results_or_certificates_are_detected(run):
    folder = steps.RunFolder.of(run)
    original = certified(run)
    paths.write_json(folder.certificate, {**original, "verdict": "PASS", "reason": "trust me"})
    with pytest.raises(CertificateError, match="seal does not fit"):
        steps.check_step(run)
    paths.write_json(folder.certificate, original)
    stored = paths.read_json(folder.gates)
    stored["results"][0]["auc"] = 0.5
    paths.write_json(folder.gates, stored)
    with pytest.raises(CertificateError, match="gate results are not the certified ones"):
        steps.check_step(run)
    group = paths.open_group(folder.manifest, mode="r+")
    put(group, 0, "theta_e_arcsec", 9.0)
    with pytest.raises(CertificateError, match=f"parameters/c/0/0 {OTHER_BYTES}"):
        steps.check_step(run)
    reseal(folder.manifest)
    with pytest.raises(CertificateError, match="manifest: content"):
        steps.check_step(run)


@pytest.mark.parametrize(
    ("store", "attr", "value"),
    [("cutouts", "pixel_scale_arcsec", 0.5), ("cutouts", "bands", ["z", "r", "g"]), ("manifest", "seed", 999)],
)
def test_edited_attributes_are_refused_and_noticed_even_if_the_store_vouches_for_them(run, store, attr, value):
    url = steps.RunFolder.of(run).store(store)
    zarr.open_group(url, mode="r+").attrs[attr] = value
    with pytest.raises(CertificateError, match=r"zarr\.json is not what was written"):
        steps.check_step(run)
    reseal(url)
    with pytest.raises(CertificateError, match=f"{store}: content"):
        steps.check_step(run, reread=False)


@pytest.mark.parametrize("array", ["ra_deg", "split", "cell", "host_id"])
def test_edited_columns_of_the_cutouts_are_refused_and_noticed(run, array):
    """What the gate ``splits`` reads."""
    url = steps.RunFolder.of(run).cutouts
    column = zarr.open_group(url, mode="r+")[array]
    column[0] = "h" if array == "host_id" else 7
    with pytest.raises(CertificateError, match=f"{array}(/c/0 {OTHER_BYTES}|: the object has other bytes)"):
        steps.check_step(run)
    reseal(url)
    with pytest.raises(CertificateError, match="cutouts: content"):
        steps.check_step(run, reread=False)


def test_other_gate_settings_are_not_the_certified_ones(run):
    other = run.model_copy(update={"gate": run.gate.model_copy(update={"max_auc": 0.99})})
    with pytest.raises(CertificateError, match=r"run\.fingerprint"):
        steps.check_step(other)


def test_a_run_without_certificate_or_without_config_is_said(run, tmp_path):
    Path(run.out, "certificate.json").unlink()
    with pytest.raises(StoreError, match="`lensflow certify` writes one"):
        steps.check_step(run)
    with pytest.raises(ConfigError, match="neither a YAML file nor the folder of a run"):
        config_of(str(tmp_path / "nothing"))


def test_the_command_exits_with_0_only_if_every_required_gate_passes(run, command):
    code, text = command("certify", run.out)
    verdict = certified(run)["verdict"]
    assert code == (0 if verdict == "PASS" else 3) and f"Certificate: {verdict}" in text
    code, text = command("certify", run.out, "--check", "--quick")
    assert code == (0 if verdict == "PASS" else 3) and "Not read again: pixels" in text
    code, text = command("certify", run.out, "--check")
    assert code == (0 if verdict == "PASS" else 3) and "every stored value with its checksum" in text
    assert command("certify", str(Path(run.out, "config.yaml")), "--check")[0] == code

    folder = steps.RunFolder.of(run)
    stored = paths.read_json(folder.gates)
    for g in stored["results"]:
        if g["name"] in run.gate.must_pass:
            g.update(verdict=str(Verdict.PASS))
    paths.write_json(folder.gates, stored)
    assert command("certify", run.out, "--check")[0] == 4
    assert command("certify", run.out)[0] == 0
    assert command("certify", run.out, "--check")[0] == 0


def flip_a_byte(store: Path) -> None:
    """Change one byte in the middle of the store's largest file."""
    largest = max((f for f in store.rglob("*") if f.is_file()), key=lambda f: f.stat().st_size)
    content = bytearray(largest.read_bytes())
    content[len(content) // 2] ^= 0x10
    largest.write_bytes(content)


@pytest.mark.parametrize("store", ["pairs", "cutouts"])
def test_one_flipped_byte_is_detected_by_the_command(run, store, command):
    flip_a_byte(Path(run.out, f"{store}.zarr"))
    code, text = command("certify", run.out, "--check")
    assert code == 4 and store in text and "not as certified" in text


def test_an_edited_manifest_is_detected_by_the_command(run, command):
    group = paths.open_group(steps.RunFolder.of(run).manifest, mode="r+")
    put(group, 3, "src_flux_nmgy_r", 7.0)
    for extra in ((), ("--quick",)):
        code, text = command("certify", run.out, "--check", *extra)
        assert code == 4 and re.search(f"manifest.zarr: parameters/c/0/0 {OTHER_BYTES}", text)


def test_a_certificate_names_its_recipes_by_hash_and_a_run_without_one_exits_with_1(run, command):
    hashes = [g["recipe_hash"] for g in certified(run)["gates"]]
    assert len(set(hashes)) == len(hashes) == 3 + len(GATE_CHECKS) and all(len(h) == 16 for h in hashes)
    Path(run.out, "certificate.json").unlink()
    code, text = command("certify", run.out, "--check")
    assert code == 1 and "no certificate" in text
    assert command("certify", str(Path(run.out, "nothing")))[0] == 2
