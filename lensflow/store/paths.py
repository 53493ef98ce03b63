"""Small files and zarr stores at any fsspec URL; the one place that turns a URL into something to open."""

from __future__ import annotations

import contextlib
import errno
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import xxhash
import zarr
import zarr.abc.store
from zarr.storage import FsspecStore, LocalStore

from lensflow.errors import StoreError


def is_local(url: str) -> bool:
    """Return whether the URL is a path on this machine."""
    return "://" not in url or url.startswith("file://")


def local_path(url: str) -> Path:
    """Path of a local URL."""
    return Path(url.removeprefix("file://"))


def join(root: str, *parts: str) -> str:
    """Join a root and parts with single slashes."""
    return "/".join([str(root).rstrip("/"), *parts])


def zarr_store(url: str, read_only: bool = True) -> zarr.abc.store.Store:
    """Open the zarr store behind a URL."""
    if is_local(url):
        return LocalStore(local_path(url), read_only=read_only)
    return FsspecStore.from_url(url, read_only=read_only)


def open_group(url: str, mode: str = "r") -> zarr.Group:
    """Open a zarr group.

    Raises
    ------
    StoreError
        If there is none.
    """
    try:
        return zarr.open_group(zarr_store(url, read_only=mode == "r"), mode=mode, zarr_format=3)  # type: ignore[arg-type]
    except FileNotFoundError as error:
        raise StoreError(f"{url}: no such store. Has the step that writes it been run?") from error


def group_exists(url: str) -> bool:
    """Return whether a zarr group's metadata stands at the URL."""
    return exists(join(url, "zarr.json"))


def exists(url: str) -> bool:
    """Return whether a file or object exists."""
    fs, path = fsspec.core.url_to_fs(url)
    return bool(fs.exists(path))


def list_names(url: str) -> list[str]:
    """Sorted names in a folder; empty where there is none."""
    fs, path = fsspec.core.url_to_fs(url)
    try:
        return sorted(p.rstrip("/").rsplit("/", 1)[-1] for p in fs.ls(path, detail=False, refresh=True))
    except FileNotFoundError:
        return []


def read_text(url: str) -> str:
    """Read a small text file.

    Raises
    ------
    StoreError
        If it does not exist.
    """
    try:
        with fsspec.open(url, "r") as file:
            return str(file.read())
    except FileNotFoundError as error:
        raise StoreError(f"{url}: no such file") from error


def content(url: str) -> str:
    """Checksum of a file's bytes, read in pieces.

    Raises
    ------
    StoreError
        If it cannot be read.
    """
    digest = xxhash.xxh3_128()
    try:
        with fsspec.open(url, "rb") as file:
            while piece := file.read(1 << 22):
                digest.update(piece)
    except FileNotFoundError as error:
        raise StoreError(f"{url}: no such file.") from error
    return digest.hexdigest()


def write_text(url: str, text: str) -> None:
    """Write a small text file whole or not at all."""
    write_bytes(url, text.encode())


def write_bytes(url: str, content: bytes) -> None:
    """Write a small file whole or not at all (a local one under a temporary name first)."""
    with explain_write_errors(url):
        if is_local(url):
            path = local_path(url)
            path.parent.mkdir(parents=True, exist_ok=True)
            temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
            try:
                temporary.write_bytes(content)
                temporary.replace(path)
            finally:
                temporary.unlink(missing_ok=True)
        else:
            with fsspec.open(url, "wb") as file:
                file.write(content)


def read_json(url: str) -> Any:
    """Read a JSON file; damage is an error that names it."""
    text = read_text(url)
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise StoreError(f"{url}: not valid JSON ({error}). Delete it and run again.") from error


def write_json(url: str, value: Any) -> None:
    """Write JSON, strictly valid (NaN is refused)."""
    write_text(url, json.dumps(value, indent=1, allow_nan=False) + "\n")


@contextlib.contextmanager
def explain_write_errors(url: str) -> Iterator[None]:
    """Turn the errors of a full or read-only disk into a :class:`StoreError` that names the place."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise StoreError(
                f"{url}: no space left on the device. Everything with a receipt is kept: free some space (or choose "
                "another out) and run the same command again."
            ) from error
        if error.errno in (errno.EACCES, errno.EROFS, errno.EPERM):
            raise StoreError(f"{url}: no permission to write here ({error.strerror}).") from error
        raise
