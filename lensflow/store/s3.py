"""Runs on S3: servers of folders, retries of requests, and the meaning of errors.

Credentials are never handled here. Every process takes them from its own environment, profile, role or service account,
so no pickle, log, attribute or receipt can contain one.
"""

from __future__ import annotations

import os
import re
import string
from collections.abc import Mapping
from datetime import timedelta
from functools import lru_cache
from typing import Any

import fsspec
import zarr.abc.store
from fsspec.config import conf

from lensflow.config import StorageConfig
from lensflow.errors import StoreError

# Characters that obstore and s3fs write the same way.
_PLAIN = frozenset(string.ascii_letters + string.digits + "-_.=+,/@ ()!':;&$")
CONNECT_TIMEOUT_S, READ_TIMEOUT_S, ATTEMPTS = 10, 60, 6
_KEPT = "Everything with a receipt is kept: run the same command again."
# For every S3 object that is not below a folder with its own settings.
INPUTS = "s3://"
_settings: dict[str, StorageConfig] = {}


def is_s3(url: str) -> bool:
    """Return whether the URL is one of S3."""
    return url.startswith(("s3://", "s3a://"))


def tidy(url: str) -> str:
    """Return an S3 URL with single slashes: obstore merges them, s3fs does not, and both must mean one object."""
    if not is_s3(url):
        return url
    scheme, _, path = url.partition("://")
    return f"{scheme}://" + re.sub("/{2,}", "/", path.strip("/"))


def use(settings: Mapping[str, StorageConfig]) -> None:
    """Use these settings for everything below these URLs, in this process from now on."""
    _settings.update(
        {root.rstrip("/"): storage for root, storage in settings.items() if is_s3(root) and root != INPUTS}
    )
    if INPUTS in settings:
        _settings[INPUTS] = settings[INPUTS]
        # Tables and images are opened through fsspec by name: these are its own defaults for S3.
        for protocol in ("s3", "s3a"):
            of_fsspec = conf.setdefault(protocol, {})
            if settings[INPUTS].anonymous:
                of_fsspec["anon"] = True
            else:
                of_fsspec.pop("anon", None)


def of_inputs(storage: StorageConfig) -> StorageConfig:
    """Settings for everything outside ``out`` that a run reads: from ``storage``, only ``anonymous`` applies."""
    return StorageConfig(anonymous=bool(storage.anonymous))


def in_use() -> dict[str, StorageConfig]:
    """Settings of this process, for :func:`use` in another one."""
    return dict(_settings)


def storage_of(url: str) -> StorageConfig:
    """Settings of the innermost folder around a URL; the endpoint from AWS_ENDPOINT_URL if they have none."""
    around = [root for root in _settings if url == root or url.startswith(f"{root}/")]
    storage = _settings[max(around, key=len)] if around else _settings.get(INPUTS, StorageConfig())
    named = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
    return storage if storage.endpoint_url or not named else storage.model_copy(update={"endpoint_url": named})


def options(url: str) -> dict[str, Any]:
    """Options of fsspec's filesystem for a URL; empty if it is not on S3.

    Raises
    ------
    StoreError
        If fsspec's own settings contain credentials: they would be in every pickle.
    """
    if not is_s3(url):
        return {}
    secret = {"key", "secret", "token", "username", "password"} & {*conf.get("s3", {}), *conf.get("s3a", {})}
    if secret:
        raise StoreError(
            f"{url}: fsspec's settings (FSSPEC_S3_..., ~/.config/fsspec) hold {', '.join(sorted(secret))}, which would "
            "be pickled into every task. Give credentials as AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, a profile "
            "or a role."
        )
    storage = storage_of(url)
    config: dict[str, Any] = {
        "retries": {"mode": "standard", "max_attempts": ATTEMPTS},
        "connect_timeout": CONNECT_TIMEOUT_S,
        "read_timeout": READ_TIMEOUT_S,
    }
    found: dict[str, Any] = {"use_listings_cache": False, "config_kwargs": config, "anon": storage.anonymous is True}
    if storage.endpoint_url:
        # Every S3-compatible server knows path style; few have a DNS name for each bucket.
        found["endpoint_url"], config["s3"] = storage.endpoint_url, {"addressing_style": "path"}
    if storage.region:
        found["client_kwargs"] = {"region_name": storage.region}
    return found


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
    place, said = storage_of(url).endpoint_url or "AWS", _code(error)
    if isinstance(error, PermissionError) or of.__name__ in ("PermissionDeniedError", "UnauthenticatedError"):
        said = _reason(url) or said if said.isdigit() else said
        if storage_of(url).anonymous is True:
            return StoreError(
                f"{url}: {place} refuses access without credentials ({said}); storage.anonymous: true sends none. It "
                "is for public buckets; with credentials of your own leave it false, or inputs for the survey alone."
            )
        return StoreError(
            f"{url}: {place} refuses access ({said}). Credentials come from the environment (AWS_ACCESS_KEY_ID, "
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
            if said == "NoSuchBucket"
            else None
        )
    ours = isinstance(error, OSError | TimeoutError) or of.__module__.split(".")[0] in (
        "botocore",
        "aiohttp",
        "obstore",
    )
    if not ours or isinstance(error, FileExistsError):
        return None
    return StoreError(f"{url}: {place} does not answer as it should, after several tries ({said}: {error}). {_KEPT}")


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
