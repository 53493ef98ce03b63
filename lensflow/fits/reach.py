"""How a URL is reached: options of fsspec's filesystems for it.

Credentials are never handled here. Every process takes them from its own environment, profile, role or service account,
so no pickle, log, attribute or receipt can contain one.
"""

from __future__ import annotations

import os
import re
from typing import Any

from fsspec.config import conf

from lensflow.config import StorageConfig, place
from lensflow.errors import StoreError

CONNECT_TIMEOUT_S, READ_TIMEOUT_S, ATTEMPTS = 10, 60, 6
# Requests of a process at a time: the arrays of two regions and more. botocore's default of 10 makes some wait.
CONNECTIONS = 32


def is_s3(url: str) -> bool:
    """Return whether the URL is one of S3."""
    return url.startswith(("s3://", "s3a://"))


def tidy(url: str) -> str:
    """Return an S3 URL with single slashes: obstore merges them, s3fs does not, and both must mean one object."""
    if not is_s3(url):
        return url
    scheme, _, path = url.partition("://")
    return place.like(url, f"{scheme}://" + re.sub("/{2,}", "/", path.strip("/")))


def storage_of(url: str) -> StorageConfig:
    """Settings that a URL carries; the endpoint from AWS_ENDPOINT_URL if they have none."""
    storage = place.carried_by(url)
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
        "max_pool_connections": CONNECTIONS,
        "retries": {"mode": "standard", "max_attempts": ATTEMPTS},
        "connect_timeout": CONNECT_TIMEOUT_S,
        "read_timeout": READ_TIMEOUT_S,
    }
    # By default s3fs asks for the size of each object before it reads it: twice the requests, for what is small anyway.
    found: dict[str, Any] = {
        "use_listings_cache": False, "max_concurrency": 1, "config_kwargs": config, "anon": storage.anonymous is True,
    }  # fmt: skip
    if storage.endpoint_url:
        # Every S3-compatible server knows path style; few have a DNS name for each bucket.
        found["endpoint_url"], config["s3"] = storage.endpoint_url, {"addressing_style": "path"}
    if storage.region:
        found["client_kwargs"] = {"region_name": storage.region}
    return found
