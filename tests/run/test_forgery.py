"""Ways to tamper with a certified run, and which check notices each: none is left to a check that does not claim it."""

import shutil
from importlib import import_module
from pathlib import Path

import hypothesis
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import strategies as st

from lensflow import run as steps
from lensflow.errors import CertificateError, LensflowError
from lensflow.run import signing
from lensflow.run.certified import state_of
from lensflow.store import paths
from lensflow.store.open import open_pairs
from lensflow.store.run_folder import RunFolder, config_of
from tests.run.certified_run import certificate_of, certified_copy, put_certificate
from tests.run.forgeries import FULL, KEY, QUICK, READ, forget, pixels_and_all_checksums

pytestmark = pytest.mark.whole

certify = import_module("lensflow.run.certify")
HONEST = Ed25519PrivateKey.generate()
TRUSTED = signing.public_key_of(HONEST)


def copy_of(once, out):
    """A copy, signed, with an opening of its test split in the log."""
    shutil.copytree(once, out)
    return config_of(str(out))


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """The run, signed by the honest key, with an opening of the test split that its certificate knows."""
    run = certified_copy(tmp_path_factory.mktemp("forged") / "run")
    open_pairs(RunFolder.of(run).pairs, split="test", unseal_test="the final numbers")
    known = state_of(run)["test_access"]
    assert len(known) == 1
    put_certificate(run, {**certificate_of(run), "made": "2999-01-01T00:00:00+00:00", "test_access": known}, HONEST)
    steps.check_step(run, public_key=TRUSTED)
    return run


@pytest.fixture(scope="module")
def other(base, tmp_path_factory):
    """Another run of the same name and settings, certified and signed by the same key: arcs are brighter there."""
    run = copy_of(base.out, tmp_path_factory.mktemp("other") / "run")
    pixels_and_all_checksums(run, None, HONEST)
    steps.check_step(run, public_key=TRUSTED)
    return run


def tampered(base, other, tmp_path, do):
    shutil.copytree(base.out, tmp_path / "run")
    do(base.model_copy(update={"out": str(tmp_path / "run")}), other)
    forget()
    return config_of(str(tmp_path / "run"))


def noticed(run, message, **level):
    with pytest.raises(CertificateError, match=message):
        steps.check_step(run, **level)


# Every third by default.
QUICK_WAYS = [pytest.param(way, marks=[pytest.mark.slow] if k % 3 else []) for k, way in enumerate(QUICK)]


@pytest.mark.parametrize("way", QUICK_WAYS)
def test_the_quickest_check_notices(base, other, tmp_path, way):
    do, message = QUICK[way]
    run = tampered(base, other, tmp_path, do)
    noticed(run, message, quick=True)
    noticed(run, ".", quick=True, public_key=TRUSTED)


@pytest.mark.parametrize("way", READ)
def test_a_check_that_reads_every_byte_notices_what_the_quick_one_does_not_claim_to(base, other, tmp_path, way):
    do, message = READ[way]
    run = tampered(base, other, tmp_path, do)
    assert any("Not read: the bytes of pixels" in said for said in steps.check_step(run, quick=True).left_out)
    noticed(run, message)


@pytest.mark.parametrize("way", KEY)
def test_a_signature_alone_shows_what_nobody_computes(base, other, tmp_path, way):
    do, message = KEY[way]
    run = tampered(base, other, tmp_path, do)
    assert any("not signed" in said or "--public-key FILE" in said for said in steps.check_step(run).notes)
    noticed(run, message, public_key=TRUSTED)


BOUND = ("*.zarr/**/*", "receipts/**/*", "test-access/*", "summaries/gates.json", "summaries/diagnostics.json", "cert*")


@pytest.mark.slow
@hypothesis.settings(max_examples=40)
@hypothesis.given(data=st.data())
def test_any_bit_of_any_bound_file_is_noticed(base, data):
    root = Path(base.out)
    files = sorted({p for pattern in BOUND for p in root.glob(pattern) if p.is_file()})
    file = data.draw(st.sampled_from(files))
    before = file.read_bytes()
    at, bit = data.draw(st.integers(0, len(before) - 1)), data.draw(st.integers(0, 7))
    changed = bytearray(before)
    changed[at] ^= 1 << bit
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(certify, "_places", lambda *_: [])  # where it is: told by tests/run/test_damage.py
        try:
            file.write_bytes(changed)
            forget()
            with pytest.raises(LensflowError):
                steps.check_step(base)
        finally:
            file.write_bytes(before)
            forget()


@pytest.mark.slow
@pytest.mark.parametrize("way", FULL)
def test_what_only_computing_again_can_tell_is_told_by_it_and_by_a_signature(base, other, tmp_path, way):
    do, message = FULL[way]
    run = tampered(base, other, tmp_path, do)
    steps.check_step(run)
    noticed(run, message, full=True)
    noticed(run, "is not signed", public_key=TRUSTED)


@pytest.mark.slow
def test_what_is_not_computed_is_told_by_a_signature_only(base, other, tmp_path):
    run = tampered(base, other, tmp_path, KEY["a date, sealed"][0])
    steps.check_step(run, full=True)


def test_the_command_exits_with_4_for_a_forgery_and_names_it(base, other, tmp_path, command):
    run = tampered(base, other, tmp_path, QUICK["verdicts in gates.json"][0])
    code, text = command("certify", run.out, "--check", "--quick")
    assert code == 4 and "summaries/gates.json" in text and "not as certified" in text


def test_a_setting_that_came_later_is_no_difference_unless_it_is_used(base, tmp_path):
    run = copy_of(base.out, tmp_path / "run")
    certificate = certificate_of(run)
    del certificate["run"]["settings"]["gate.c"]  # as if gates had not known it
    put_certificate(run, certificate, HONEST)
    steps.check_step(run, quick=True, public_key=TRUSTED)
    used = run.model_copy(update={"gate": run.gate.model_copy(update={"c": 2 * run.gate.c})})
    with pytest.raises(CertificateError, match=r"settings, gate\.c: certified None"):
        steps.check_step(used, quick=True, public_key=TRUSTED)


def test_what_is_not_bound_can_change(base, tmp_path):
    """As the certificate says of itself."""
    run = copy_of(base.out, tmp_path / "run")
    paths.write_text(run.out + "/report/index.html", "<p>all is well</p>")
    paths.write_text(run.out + "/summaries/timings.json", "{}")
    steps.check_step(run, public_key=TRUSTED)
