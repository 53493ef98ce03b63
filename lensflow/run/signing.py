"""Ed25519 signatures over certificates: key files, by the cryptography library.

No message here contains any part of a private key, and a private key is only written to the file given to
:func:`make_key`.
"""

from __future__ import annotations

import base64
import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lensflow.errors import SigningError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

_STORES = ("cutouts.zarr", "manifest.zarr", "pairs.zarr")
_MAX_BYTES = 1 << 16


def make_key(path: str) -> tuple[Path, str]:
    """Make a key pair: the private key at ``path`` (mode 0600), the public one beside it, with ``.pub`` added.

    Parameters
    ----------
    path : str
        A file that does not exist yet, outside every run's folder.

    Returns
    -------
    Path, str
        File of the public key, and the key itself as 64 hex digits.

    Raises
    ------
    SigningError
        If a file is there already, cannot be written, or would be in a run's folder.
    """
    serialization, ed25519 = _library()
    private = _local(path)
    public = private.with_name(f"{private.name}.pub")
    _refuse_inside_a_run(private)
    key = ed25519.Ed25519PrivateKey.generate()
    secret = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    open_one = key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    # The public one first, so that no private key can remain without it.
    _write_new(public, open_one, 0o644)
    try:
        _write_new(private, secret, 0o600)
    except SigningError:
        public.unlink()
        raise
    return public, _hex(key.public_key())


def read_private_key(path: str) -> Ed25519PrivateKey:
    """Read a private key: PEM (PKCS 8) or OpenSSH, without passphrase, which nobody else can read.

    Raises
    ------
    SigningError
    """
    serialization, ed25519 = _library()
    file = _local(path)
    _refuse_inside_a_run(file)
    content = _read(file)
    mode = stat.S_IMODE(file.stat().st_mode)
    if mode & 0o077:
        raise SigningError(
            f"{file}: others may read or write this private key (mode {mode:04o}). Run: chmod 600 {file}"
        )
    if b"PRIVATE KEY" not in content:
        what = "a public key" if b"PUBLIC KEY" in content or content.startswith(b"ssh-") else "no private key"
        raise SigningError(f"{file}: is {what}. --key takes the private one; `lensflow make-key FILE` makes a pair.")
    openssh = b"OPENSSH" in content
    load = serialization.load_ssh_private_key if openssh else serialization.load_pem_private_key
    key = _loaded(file, load, content, None)
    if not isinstance(key, ed25519.Ed25519PrivateKey):
        raise SigningError(f"{file}: is no Ed25519 key. `lensflow make-key FILE` makes one.")
    return key


def read_public_key(path: str) -> str:
    """Read a public key, PEM or OpenSSH; returns its 64 hex digits.

    Raises
    ------
    SigningError
    """
    serialization, ed25519 = _library()
    file = _local(path)
    content = _read(file)
    if b"PRIVATE KEY" in content:
        raise SigningError(f"{file}: is a private key. --public-key takes the public one, which may be given away.")
    is_ssh = content.lstrip().startswith(b"ssh-")
    load = serialization.load_ssh_public_key if is_ssh else serialization.load_pem_public_key
    key = _loaded(file, load, content)
    if not isinstance(key, ed25519.Ed25519PublicKey):
        raise SigningError(f"{file}: is no Ed25519 key; certificates are signed with those.")
    return _hex(key)


def public_key_of(key: Ed25519PrivateKey) -> str:
    """Public key of a private one, as 64 hex digits."""
    return _hex(key.public_key())


def sign(key: Ed25519PrivateKey, message: bytes) -> str:
    """Signature of a message, in base64."""
    return base64.b64encode(key.sign(message)).decode()


def is_signed_by(public_key: str, message: bytes, signature: str) -> bool:
    """Whether a signature is one of this message by this key (64 hex digits)."""
    _, ed25519 = _library()
    from cryptography.exceptions import InvalidSignature

    try:
        key = ed25519.Ed25519PublicKey.from_public_bytes(bytes.fromhex(public_key))
        value = base64.b64decode(signature, validate=True)
        key.verify(value, message)
    except (InvalidSignature, ValueError):
        return False
    # Base64 has several texts for the same bytes: only one is ours.
    return base64.b64encode(value).decode() == signature and key.public_bytes_raw().hex() == public_key


def available() -> bool:
    """Whether the cryptography library is installed."""
    try:
        _library()
    except SigningError:
        return False
    return True


def _library() -> tuple[Any, Any]:
    try:
        from cryptography.hazmat.primitives import serialization
        from cryptography.hazmat.primitives.asymmetric import ed25519
    except ImportError as error:
        raise SigningError(
            "signatures need the cryptography package, which is not installed. Run: pip install 'lensflow[sign]'"
        ) from error
    return serialization, ed25519


def _loaded(file: Path, load: Any, *arguments: Any) -> Any:
    from cryptography.exceptions import UnsupportedAlgorithm

    try:
        return load(*arguments)
    except TypeError:  # the library's error for a key with a passphrase
        raise SigningError(
            f"{file}: is encrypted with a passphrase, which lensflow does not ask for. Decrypt a copy: openssl pkey "
            "-in FILE -out COPY (OpenSSH: ssh-keygen -p -f COPY), and keep that at mode 600."
        ) from None
    except (ValueError, UnsupportedAlgorithm):  # the library's own words are left out: they might show the content
        raise SigningError(f"{file}: is damaged, or no key in PEM or OpenSSH format.") from None


def _local(path: str) -> Path:
    if "PRIVATE KEY" in path or "\n" in path:
        raise SigningError("a key is named by its file, not written on the command line, where others can see it.")
    if "://" in path:
        raise SigningError(f"{path}: a key is a file of this machine. Copy it here, at mode 600.")
    return Path(path).expanduser()


def _refuse_inside_a_run(file: Path) -> None:
    """Refuse a key inside a run's folder, which may be copied and given away."""
    for one in (file.absolute(), file.resolve()):
        for folder in one.parents:
            if any((folder / name).exists() for name in _STORES):
                raise SigningError(
                    f"{file}: is in the folder of a run ({folder}), which is given away with its data. Keep private "
                    "keys elsewhere, for example in ~/.config/lensflow."
                )


def _read(file: Path) -> bytes:
    try:
        with file.open("rb") as stream:
            content = stream.read(_MAX_BYTES + 1)
    except FileNotFoundError:
        raise SigningError(f"{file}: no such file. `lensflow make-key FILE` makes a pair of keys.") from None
    except OSError as error:
        raise SigningError(f"{file}: cannot be read ({error.strerror}).") from error
    if not content or len(content) > _MAX_BYTES:
        raise SigningError(f"{file}: is {'empty' if not content else 'far too long for a key'}.")
    return content


def _write_new(file: Path, content: bytes, mode: int) -> None:
    try:
        number = os.open(file, os.O_CREAT | os.O_EXCL | os.O_WRONLY, mode)
    except FileExistsError:
        raise SigningError(f"{file}: exists already, and a key is never overwritten. Choose another name.") from None
    except OSError as error:
        raise SigningError(f"{file}: cannot be written ({error.strerror}).") from error
    with os.fdopen(number, "wb") as stream:
        stream.write(content)


def _hex(key: Ed25519PublicKey) -> str:
    return key.public_bytes_raw().hex()
