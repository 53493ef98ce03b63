"""A run's certificate, from stored pairs to the command's exit code. What forgers do: test_forgery.py."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from lensflow import run as steps
from lensflow.config.checks import GATE_CHECKS
from lensflow.errors import CertificateError, ConfigError, StoreError
from lensflow.run.certificate import NOT_BOUND, SIGNED, UNSIGNED
from lensflow.run.certified import alike
from lensflow.store import digests, paths, receipts
from lensflow.store.open import open_pairs
from lensflow.store.run_folder import RunFolder, config_of
from tests.run.certified_run import certificate_of, certified_copy

pytestmark = pytest.mark.whole


@pytest.fixture
def run(tmp_path):
    """A copy of the certified run's folder, to be damaged."""
    return certified_copy(tmp_path / "run")


def test_it_is_bound_to_every_store_and_the_pairs_carry_its_seal(run):
    certificate = certificate_of(run)
    assert [g["name"] for g in certificate["gates"]] == ["core_r", *GATE_CHECKS]
    assert certificate["required"] == ["core_r", *GATE_CHECKS]
    assert certificate["protection"] == UNSIGNED and certificate["signature"] is None
    assert certificate["not_bound"] == list(NOT_BOUND)
    data = certificate["data"]
    assert {n for n in data["pairs"]["parts"] if n.startswith("region/")} == {"region/0", "region/1", "region/2"}
    # Every array and attribute of every store is a part, or is in the regions' objects.
    for store in ("cutouts", "manifest", "pairs"):
        group = paths.open_group(RunFolder.of(run).store(store))
        named = {f"array/{n}" for n in group.array_keys()} | {f"attribute/{n}" for n in group.attrs}
        assert named - {"attribute/certificate"} <= set(data[store]["parts"]), store
    carried = open_pairs(RunFolder.of(run).pairs).attrs["certificate"]
    assert (carried["seal"], carried["verdict"]) == (certificate["seal"], certificate["verdict"])
    assert steps.check_step(run).certificate == certificate


def test_moved_and_renamed_folders_are_still_certified(run, tmp_path):
    before = certificate_of(run)
    Path(run.out).rename(tmp_path / "elsewhere")
    moved = config_of(str(tmp_path / "elsewhere"))
    assert moved.out == str(tmp_path / "elsewhere")
    assert steps.check_step(moved).certificate == before
    shutil.copytree(tmp_path / "elsewhere", tmp_path / "a b" / "[copy] of 100%")
    assert steps.check_step(config_of(str(tmp_path / "a b" / "[copy] of 100%"))).certificate == before


def test_stored_results_are_not_believed_and_are_replaced(run):
    """Two words of a cache once made a PASS of a FAIL."""
    folder = RunFolder.of(run)
    honest = paths.read_json(folder.gates)
    lies = {**honest, "results": [{**g, "verdict": "PASS", "auc": 0.5} for g in honest["results"]]}
    paths.write_json(folder.gates, lies)
    certificate = steps.certify_step(run)
    assert certificate["verdict"] == "EXPLAINED"
    assert paths.read_json(folder.gates) == honest
    steps.check_step(run)


def test_what_is_damaged_or_unfinished_is_not_certified(run):
    folder = RunFolder.of(run)
    shards = sorted(Path(folder.pairs, "stamp", "c").rglob("0"), key=lambda p: p.stat().st_size)
    content = bytearray(shards[-1].read_bytes())
    content[len(content) // 2] ^= 1
    shards[-1].write_bytes(content)
    with pytest.raises(StoreError, match=r"nothing is certified:\n  pairs, region \d, stamp.*other bytes"):
        steps.certify_step(run)
    Path(receipts.receipt_url(folder.receipts("pairs"), 1)).unlink()
    with pytest.raises(StoreError, match=r"1 of 3 regions are not finished.*lensflow inject"):
        steps.certify_step(run)


def test_a_region_that_is_done_again_to_the_same_bytes_is_still_as_certified(run):
    """Its receipt has other seconds; counts and messages are bound."""
    folder = RunFolder.of(run).receipts("pairs")
    receipt = receipts.read_receipt(folder, 1)
    for change in ({"seconds": {"render": 99.0}, "peak_rss_mb": 1.0}, {"messages": ["all is well"]}):
        Path(receipts.receipt_url(folder, 1)).unlink()
        receipts.write_receipt(folder, replace(receipt, **change))
        if "messages" not in change:
            steps.check_step(run)
    with pytest.raises(CertificateError, match=r"receipts/pairs/region-000001\.json: is not"):
        steps.check_step(run, quick=True)


def test_later_openings_of_the_test_split_are_told_and_are_no_difference(run):
    open_pairs(RunFolder.of(run).pairs, split="test", unseal_test="the final numbers")
    notes = " ".join(steps.check_step(run, quick=True).notes)
    assert "was opened 1 time(s) since the certificate was made" in notes and "the final numbers" in notes


def test_a_run_without_certificate_or_without_config_is_said(run, tmp_path):
    Path(run.out, "certificate.json").unlink()
    with pytest.raises(StoreError, match="`lensflow certify` writes one"):
        steps.check_step(run)
    with pytest.raises(ConfigError, match="neither a YAML file nor the folder of a run"):
        config_of(str(tmp_path / "nothing"))


@pytest.mark.slow
def test_the_command_says_what_it_looked_at_and_exits_with_0_only_if_every_required_gate_passes(run, command, tmp_path):
    code, text = command("certify", run.out, "--check", "--quick")
    assert code == 3 and "certificate's verdict is EXPLAINED" in text
    assert "Not read: the bytes of pixels, metrics and flags" in text and "every stored byte" not in text
    assert UNSIGNED in text and "Not computed again: diagnostics and verdicts" in text
    code, text = command("certify", str(Path(run.out, "config.yaml")), "--check")
    assert code == 3 and "every stored byte (" in text and "Not computed again" in text and "report" in text
    before = {p: (p.stat().st_mtime_ns, p.stat().st_size) for p in Path(run.out).rglob("*")}
    code, text = command("certify", run.out, "--check", "--full")
    assert {p: (p.stat().st_mtime_ns, p.stat().st_size) for p in Path(run.out).rglob("*")} == before
    assert code == 3 and "Computed again from the stored pixels" in text and "Not computed again" not in text

    tree = yaml.safe_load(Path(run.out, "config.yaml").read_text())
    accepting = {**tree, "out": run.out, "gate": {**tree["gate"], "accept_explained": True}}
    key = tmp_path / "key.pem"
    assert command("make-key", key)[0] == 0
    code, text = command("certify", "--key", key, config=accepting)
    assert code == 0 and "Certificate: PASS" in text and SIGNED in text.lower()
    for extra in ((), ("--quick",), ("--public-key", f"{key}.pub")):
        assert command("certify", run.out, "--check", *extra)[0] == 0
    code, text = command("certify", run.out, "--check")
    assert "The certificate cannot say whose key that is" in text and UNSIGNED not in text
    assert "Signed by the holder of this key" in command("certify", run.out, "--check", "--public-key", f"{key}.pub")[1]
    secret = key.read_text().splitlines()[1]
    for file in Path(run.out).rglob("*"):
        assert not file.is_file() or secret.encode() not in file.read_bytes()
    Path(run.out, "summaries", "gates.json").write_text("{}")
    code, text = command("certify", run.out, "--check")
    assert code == 4 and "summaries/gates.json: is not what was certified" in text
    Path(run.out, "certificate.json").unlink()
    code, text = command("certify", run.out, "--check")
    assert code == 1 and "no certificate" in text
    assert command("certify", str(Path(run.out, "nothing")))[0] == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--quick",), "--quick belongs to --check"),
        (("--full",), "--full belongs to --check"),
        (("--public-key", "x"), "--public-key belongs to --check"),
        (("--check", "--key", "x"), "--key signs a new certificate"),
        (("--check", "--quick", "--full"), "leaves out the pixels"),
    ],
)
def test_options_that_contradict_each_other_are_refused(command, arguments, message):
    code, text = command("certify", "nowhere", *arguments)
    assert code == 2 and message in text


def test_an_object_more_less_or_elsewhere_is_another_digest(tmp_path, run):
    url = RunFolder.of(run).pairs
    Path(url, "extra").mkdir()
    Path(url, "extra", "zarr.json").write_text("{}")
    Path(url, "stamp/c/9/0/0").mkdir(parents=True)
    Path(url, "stamp/c/9/0/0/0").write_bytes(b"x")
    names = [p.name for p in digests.parts_of(url, "pairs")]
    assert {"array/extra", "region/9", "array/stamp", "region/0"} <= set(names)
    part = next(p for p in digests.parts_of(url, "pairs") if p.name == "region/9")
    digest = digests.digest_part(url, part)
    Path(url, "stamp/c/9/0/0/0").rename(Path(url, "stamp/c/9/0/0/1"))
    (moved,) = [p for p in digests.parts_of(url, "pairs") if p.name == "region/9"]
    assert digests.digest_part(url, moved) != digest
    with pytest.raises(StoreError, match="disappeared"):
        digests.digest_part(url, part)
    # A folder that is a link is followed, as zarr follows it.
    shutil.move(Path(url, "extra"), tmp_path / "far")
    Path(url, "extra").symlink_to(tmp_path / "far")
    assert "array/extra" in [p.name for p in digests.parts_of(url, "pairs")]


@pytest.mark.parametrize(
    ("a", "b", "same"),
    [
        ({"auc": 0.5, "n": 3}, {"auc": 0.50001, "n": 3}, True),
        ({"auc": 0.5}, {"auc": 0.51}, False),
        ({"n": 3}, {"n": 4}, False),
        ({"n": True}, {"n": 1}, False),
        ("AUC 0.981: FAIL", "AUC 0.982: FAIL", True),
        ("AUC 0.981: FAIL", "AUC 0.981: PASS", False),
        ("AUC 0.981: FAIL", "AUC 0.581: FAIL", False),
        (["a"], "a", False),
        ([1.0, None], [1.0, None], True),
        ([1.0], [1.0, 2.0], False),
        ({"a": 1.0}, {"b": 1.0}, False),
    ],
)
def test_results_are_alike_within_rounding_only(a, b, same):
    assert alike(a, b) is same and alike(b, a) is same


@pytest.mark.slow
def test_required_scorers_are_scored_anew_their_gates_are_bound_and_other_settings_are_no_such_certificate(run):
    scorer = "lensflow.measure.scorer.scorer:blue_ring"
    asked = run.scorer.model_copy(update={"required": (scorer,), "bootstrap": 50})
    config = run.model_copy(update={"scorer": asked})
    gates = [f"synthetic_auroc of {scorer}", f"core_drop of {scorer}"]
    certificate = steps.certify_step(config)
    assert [g["name"] for g in certificate["gates"]][-2:] == certificate["required"][-2:] == gates
    assert steps.check_step(config, full=True).certificate == certificate
    with pytest.raises(CertificateError, match="required: certified"):
        steps.check_step(run)
    (kept,) = Path(config.out, "summaries", "scorers").glob("*.json")
    kept.write_text(kept.read_text().replace("NOT_TESTABLE", "PASS"))
    with pytest.raises(CertificateError, match=r"summaries/scorers/.* is not what was certified"):
        steps.check_step(config)
    # What is stored is not believed: certified again, the verdict is the scorer's own.
    again = steps.certify_step(config)
    assert again["gates"][-2:] == certificate["gates"][-2:] and again["gates"][-1]["verdict"] == "NOT_TESTABLE"


@pytest.mark.parametrize("split", ["test", "train"])
def test_a_scorer_can_be_required_on_the_val_split_only(run, split):
    with pytest.raises(ValueError, match=r"scorer\.required needs scorer\.split: val"):
        type(run.scorer)(required=("m:f",), split=split)
