"""Runs on S3: the other library that moves pixels, and the meaning of errors. Options: :mod:`lensflow.fits.reach`."""

from __future__ import annotations

import json
import os
import string
import threading
from datetime import timedelta
from functools import lru_cache
from typing import Any

import fsspec
import zarr.abc.store

from lensflow.errors import StoreError
from lensflow.fits.reach import ATTEMPTS, CONNECT_TIMEOUT_S, READ_TIMEOUT_S, is_s3, options, storage_of, tidy

# Characters that obstore and s3fs write the same way.
_PLAIN = frozenset(string.ascii_letters + string.digits + "-_.=+,/@ ()!':;&$")
_KEPT = "Everything with a receipt is kept: run the same command again."


_lock = threading.Lock()
_filesystems: dict[tuple[int, str], fsspec.AbstractFileSystem] = {}


def filesystem(url: str, *, asynchronous: bool = False) -> fsspec.AbstractFileSystem:
    """Filesystem of a URL, one in a process for all of its threads.

    fsspec would make one for each thread, with a client of its own: a third of a second of the processor, and new
    connections, in every thread that has not asked before. Its requests run in one loop in any case.

    Parameters
    ----------
    url : str
    asynchronous : bool
        For zarr, which has a loop of its own.
    """
    settings = {**options(url), "asynchronous": asynchronous}
    key = os.getpid(), json.dumps(settings, sort_keys=True, default=str)  # a forked process has no loop yet
    with _lock:
        if key not in _filesystems:
            _filesystems[key] = fsspec.filesystem("s3", **settings)
        return _filesystems[key]


def object_store(url: str, read_only: bool) -> zarr.abc.store.Store:
    """Zarr store of ``storage.library: obstore``.

    Raises
    ------
    StoreError
        If obstore is not installed.
    """
    from zarr.storage import ObjectStore

    return ObjectStore(_client(url), read_only=read_only)


def put(store_url: str, key: str, content: bytes) -> None:
    """Write an object of a store with ``storage.library: obstore``."""
    _client(store_url).put(key, content)


def get(store_url: str, key: str, part: tuple[int, int] | None) -> bytes:
    """Read an object of a store with ``storage.library: obstore``, or bytes ``part`` of it."""
    client = _client(store_url)
    return bytes(client.get(key).bytes() if part is None else client.get_range(key, start=part[0], end=part[1]))


def head(store_url: str, key: str) -> None:
    """Ask for an object with ``storage.library: obstore``; a FileNotFoundError if there is none."""
    _client(store_url).head(key)


def _client(url: str) -> Any:
    storage = storage_of(url)
    bucket, _, prefix = tidy(url).partition("://")[2].partition("/")
    if strange := sorted(set(prefix) - _PLAIN):
        raise StoreError(
            f"{url}: {' '.join(map(repr, strange))} in a name is written in other characters by obstore than by s3fs. "
            "Set storage.library: s3fs, or choose an out of letters, digits and - _ . = + ,"
        )
    unsigned = storage.anonymous is True
    return _obstore(bucket, prefix, storage.endpoint_url, storage.region, unsigned)


@lru_cache(maxsize=64)
def _obstore(bucket: str, prefix: str, endpoint_url: str | None, region: str | None, unsigned: bool) -> Any:
    """One client, with its connection pool, per store and process."""
    try:
        from obstore.store import S3Store
    except ImportError as error:
        raise StoreError("storage.library: obstore is not installed. pip install 'lensflow[obstore]'") from error
    where: dict[str, Any] = {"endpoint": endpoint_url, "virtual_hosted_style_request": False} if endpoint_url else {}
    if region:
        where["region"] = region
    if unsigned:
        where["skip_signature"] = True
    return S3Store(
        bucket,
        prefix=prefix,
        **where,
        client_options={
            "allow_http": bool(endpoint_url and endpoint_url.startswith("http://")),
            "connect_timeout": f"{CONNECT_TIMEOUT_S}s",
            "timeout": f"{4 * READ_TIMEOUT_S}s",
        },
        retry_config={"max_retries": 2 * ATTEMPTS, "retry_timeout": timedelta(seconds=READ_TIMEOUT_S)},
    )


def explained(url: str, error: Exception) -> StoreError | None:
    """Return an error that says what a failed request means and what to do; None if unknown."""
    if not is_s3(url) or isinstance(error, StoreError):
        return None
    of = type(error)
    place, code = storage_of(url).endpoint_url or "AWS", _code(error)
    if isinstance(error, PermissionError) or of.__name__ in ("PermissionDeniedError", "UnauthenticatedError"):
        code = _reason(url) or code if code.isdigit() else code
        if storage_of(url).anonymous is True:
            return StoreError(
                f"{url}: {place} refuses access without credentials ({code}); storage.anonymous: true sends none. It "
                "is for public buckets; with credentials of your own leave it false, or inputs for the survey alone."
            )
        return StoreError(
            f"{url}: {place} refuses access ({code}). Credentials come from the environment (AWS_ACCESS_KEY_ID, "
            "AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN, AWS_PROFILE) or a role, of every worker too: they are wrong, "
            f"expired, or not allowed to do this. {_KEPT}"
        )
    if "Credential" in of.__name__ or "credential" in str(error).lower():
        return StoreError(
            f"{url}: no credentials for {place} ({of.__name__}). Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, "
            "AWS_PROFILE, or give the machine a role; workers need them too. A public bucket is read without any by "
            "storage.anonymous: true (inputs: for the survey and tables alone, not for out)."
        )
    if isinstance(error, FileNotFoundError):
        return (
            StoreError(f"{url}: no such bucket at {place}. Create it, or correct out.")
            if code == "NoSuchBucket"
            else None
        )
    ours = isinstance(error, OSError | TimeoutError) or of.__module__.split(".")[0] in (
        "botocore",
        "aiohttp",
        "obstore",
    )
    if not ours or isinstance(error, FileExistsError):
        return None
    return StoreError(f"{url}: {place} does not answer as it should, after several tries ({code}: {error}). {_KEPT}")


def _reason(url: str) -> str:
    """Return the server's error code for an object: the answer to a HEAD has no body, that to a GET has."""
    try:
        fsspec.filesystem("s3", **options(url)).cat_file(url, start=0, end=1)
    except PermissionError as error:
        return _code(error)
    except Exception:  # whatever else fails, the refusal is reported
        return ""
    return ""


def _code(error: BaseException) -> str:
    """Name of the server's error, from the response if there is one."""
    response = getattr(error.__cause__, "response", None)
    code = response.get("Error", {}).get("Code") if isinstance(response, dict) else None
    return str(code or type(error).__name__)
