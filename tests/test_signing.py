"""Keys of signatures: what is made, what is refused, and that nothing of a private key is ever shown."""

import os
import shutil
import stat
import subprocess
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from lensflow.errors import SigningError
from lensflow.run import signing

PEM = serialization.Encoding.PEM
PKCS8, OPENSSH = serialization.PrivateFormat.PKCS8, serialization.PrivateFormat.OpenSSH
PLAIN = serialization.NoEncryption()


@pytest.fixture
def pair(tmp_path):
    signing.make_key(str(tmp_path / "key.pem"))
    return tmp_path / "key.pem"


def private_file(tmp_path, key, form=PKCS8, encryption=PLAIN):
    file = tmp_path / "other"
    file.write_bytes(key.private_bytes(PEM, form, encryption))
    file.chmod(0o600)
    return str(file)


def test_a_pair_is_made_that_signs_and_verifies_and_only_its_owner_reads_it(tmp_path):
    before = os.umask(0)
    try:
        public, name = signing.make_key(str(tmp_path / "key.pem"))
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "key.pem").stat().st_mode) == 0o600
    assert public == tmp_path / "key.pem.pub" and signing.read_public_key(str(public)) == name
    key = signing.read_private_key(str(tmp_path / "key.pem"))
    signature = signing.sign(key, b"message")
    assert signing.public_key_of(key) == name
    assert signing.is_signed_by(name, b"message", signature)
    assert not signing.is_signed_by(name, b"massage", signature)
    assert not signing.is_signed_by(name[::-1], b"message", signature)
    alias = signature[:-3] + chr(ord(signature[-3]) + 1) + "=="  # the same bytes in base64, by another text
    for nonsense in ("", "AAAA", "no base64!", alias, name.upper(), signature[:-4], signature + signature):
        assert not signing.is_signed_by(name, b"message", nonsense)
    for nonsense in ("", "zz", name[:-2], name + "00", f" {name}"):
        assert not signing.is_signed_by(nonsense, b"message", signature)


def test_no_key_is_overwritten_and_none_is_left_half_made(pair):
    before = pair.read_bytes()
    with pytest.raises(SigningError, match="exists already"):
        signing.make_key(str(pair))
    pair.with_name("key.pem.pub").unlink()
    with pytest.raises(SigningError, match=r"key\.pem: exists already"):
        signing.make_key(str(pair))
    assert pair.read_bytes() == before and not pair.with_name("key.pem.pub").exists()
    with pytest.raises(SigningError, match="cannot be written"):
        signing.make_key(str(pair / "below-a-file"))


def test_keys_of_openssh_are_taken(tmp_path):
    key = ed25519.Ed25519PrivateKey.generate()
    there = signing.read_private_key(private_file(tmp_path, key, OPENSSH))
    public = tmp_path / "id.pub"
    public.write_bytes(
        key.public_key().public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)
        + b" me@here\n"
    )
    assert signing.read_public_key(str(public)) == signing.public_key_of(there)


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604, 0o660, 0o622])
def test_a_private_key_that_others_can_reach_is_refused_with_the_way_out(pair, mode):
    pair.chmod(mode)
    with pytest.raises(SigningError, match=rf"mode {mode:04o}\). Run: chmod 600 .*key\.pem"):
        signing.read_private_key(str(pair))


def test_other_kinds_of_key_and_encrypted_ones_are_refused_by_name(tmp_path):
    for key in (rsa.generate_private_key(65537, 2048), ec.generate_private_key(ec.SECP256R1())):
        for form in (PKCS8, OPENSSH):
            with pytest.raises(SigningError, match="is no Ed25519 key"):
                signing.read_private_key(private_file(tmp_path, key, form))
    locked = serialization.BestAvailableEncryption(b"secret")
    with pytest.raises(SigningError, match="encrypted with a passphrase"):
        signing.read_private_key(private_file(tmp_path, ed25519.Ed25519PrivateKey.generate(), PKCS8, locked))
    other = tmp_path / "ec.pub"
    public = ec.generate_private_key(ec.SECP256R1()).public_key()
    other.write_bytes(public.public_bytes(PEM, serialization.PublicFormat.SubjectPublicKeyInfo))
    with pytest.raises(SigningError, match="is no Ed25519 key"):
        signing.read_public_key(str(other))


@pytest.mark.skipif(shutil.which("ssh-keygen") is None, reason="needs ssh-keygen")
def test_keys_of_ssh_keygen_are_taken_without_passphrase_only(tmp_path):
    for name, passphrase in (("plain", ""), ("locked", "a passphrase")):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", passphrase, "-f", tmp_path / name], check=True)
    key = signing.read_private_key(str(tmp_path / "plain"))
    assert signing.read_public_key(str(tmp_path / "plain.pub")) == signing.public_key_of(key)
    with pytest.raises(SigningError, match="encrypted with a passphrase"):
        signing.read_private_key(str(tmp_path / "locked"))


def test_the_two_keys_are_not_mistaken_for_each_other(pair):
    with pytest.raises(SigningError, match="is a private key"):
        signing.read_public_key(str(pair))
    public = pair.with_name("key.pem.pub")
    public.chmod(0o600)
    with pytest.raises(SigningError, match="is a public key"):
        signing.read_private_key(str(public))


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"", "empty"), (b"x" * 70_000, "far too long"), (b"hello", "no private key"), (None, "cannot be read")],
)
def test_files_that_are_no_keys_are_refused(tmp_path, content, message):
    file = tmp_path / "key"
    if content is None:
        file.mkdir()
    else:
        file.write_bytes(content)
        file.chmod(0o600)
    with pytest.raises(SigningError, match=message):
        signing.read_private_key(str(file))
    with pytest.raises(SigningError):
        signing.read_public_key(str(file))
    with pytest.raises(SigningError, match=r"no such file.*make-key"):
        signing.read_private_key(str(tmp_path / "nothing"))


def test_a_damaged_key_is_refused_and_nothing_of_it_is_shown(pair, tmp_path):
    lines = pair.read_text().splitlines()
    pair.write_text("\n".join([lines[0], lines[1][:-6] + "/" * 6, lines[2]]) + "\n")
    for broken in (pair.read_text(), "\n".join(lines[:2]), lines[0] + "\n" + lines[1]):
        pair.write_text(broken)
        try:
            signing.read_private_key(str(pair))
        except SigningError as error:
            assert lines[1][:20] not in str(error) and error.__cause__ is None


def test_a_key_itself_on_the_command_line_is_refused_without_being_repeated(pair, command):
    secret = pair.read_text()
    for text in (secret, secret.replace("\n", "")):
        code, said = command("certify", "nowhere", "--key", text)
        assert code == 1 and "named by its file" in said and secret.splitlines()[1] not in said
    code, said = command("certify", "nowhere", "--key", "s3://bucket/key.pem")
    assert code == 1 and "a file of this machine" in said


def test_a_key_in_the_folder_of_a_run_is_refused_by_any_way_there(tmp_path, pair):
    Path(tmp_path, "run", "pairs.zarr").mkdir(parents=True)
    inside = tmp_path / "run" / "keys" / "key.pem"
    with pytest.raises(SigningError, match="in the folder of a run"):
        signing.make_key(str(inside))
    inside.parent.mkdir()
    assert not list(inside.parent.iterdir())
    pair.rename(inside)
    link = tmp_path / "link.pem"
    link.symlink_to(inside)
    for place in (inside, link):
        with pytest.raises(SigningError, match="in the folder of a run"):
            signing.read_private_key(str(place))


def test_without_the_library_the_extra_is_named(monkeypatch, tmp_path):
    monkeypatch.setitem(__import__("sys").modules, "cryptography.hazmat.primitives", None)
    assert not signing.available()
    with pytest.raises(SigningError, match=r"pip install 'lensflow\[sign\]'"):
        signing.make_key(str(tmp_path / "key"))
