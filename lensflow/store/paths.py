"""Small files and zarr stores at any fsspec URL; the only module that opens URLs."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import itertools
import json
import os
import shutil
import tempfile
import threading
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

import fsspec
import xxhash
import zarr
import zarr.abc.store
from fsspec.implementations.local import LocalFileSystem
from zarr.storage import FsspecStore, LocalStore

from lensflow.config.place import join as join
from lensflow.config.place import parent as parent
from lensflow.errors import StoreError
from lensflow.fits import reach
from lensflow.store import s3

_STAGED = ".writing-"


def is_local(url: str) -> bool:
    """Return whether the URL is a path on this machine."""
    return "://" not in url or url.startswith("file://")


def local_path(url: str) -> Path:
    """Path of a local URL; ``~`` at its start is the home."""
    path = Path(url.removeprefix("file://"))
    return path.expanduser() if str(path).startswith("~") else path


def zarr_store(url: str, read_only: bool = True) -> zarr.abc.store.Store:
    """Open the zarr store behind a URL."""
    if is_local(url):
        return LocalStore(local_path(url), read_only=read_only)
    url = reach.tidy(url)
    if reach.is_s3(url) and reach.storage_of(url).library == "obstore":
        return s3.object_store(url, read_only)
    if reach.is_s3(url):
        fs = s3.filesystem(url, asynchronous=True)
        return LiteralStore(fs, path=fs._strip_protocol(url), read_only=read_only)
    return FsspecStore.from_url(url, storage_options=reach.options(url), read_only=read_only)


def filesystem(url: str) -> tuple[fsspec.AbstractFileSystem, str]:
    """Filesystem of a URL, and the path there; a local path is taken literally."""
    if is_local(url):
        return LocalFileSystem(), str(local_path(url).absolute())
    url = reach.tidy(url)
    if reach.is_s3(url):
        fs = s3.filesystem(url)
        return fs, fs._strip_protocol(url)
    fs, path = fsspec.core.url_to_fs(url, **reach.options(url))
    return fs, path


class LiteralStore(FsspecStore):
    """zarr's store on S3 that deletes exactly the given key: fsspec's ``rm`` would treat it as a pattern."""

    async def exists(self, key: str) -> bool:
        """Whether there is an object; one request, where fsspec also lists what may be below the key."""
        bucket, name, _ = self.fs.split_path(f"{self.path}/{key}")
        try:
            await self.fs._call_s3("head_object", Bucket=bucket, Key=name)
        except FileNotFoundError:
            return False
        return True

    async def delete(self, key: str) -> None:
        """Delete an object, if it exists."""
        await self._delete_all([f"{self.path}/{key}"])

    async def delete_dir(self, prefix: str) -> None:
        """Delete everything below a prefix."""
        await self._delete_all(await self.fs._find(f"{self.path}/{prefix}".rstrip("/")))

    async def _delete_all(self, places: Sequence[str]) -> None:
        if self.read_only:
            raise ValueError("store was opened in read-only mode")
        for place in places:
            with contextlib.suppress(FileNotFoundError):
                await self.fs._rm_file(place)


def open_group(
    url: str, mode: str = "r", wrapped: Callable[[zarr.abc.store.Store], zarr.abc.store.Store] = lambda store: store
) -> zarr.Group:
    """Open a zarr group, through a store that is ``wrapped`` around that of the URL.

    Raises
    ------
    StoreError
        If there is none.
    """
    try:
        with explain_errors(url):
            store = wrapped(zarr_store(url, read_only=mode == "r"))
            return zarr.open_group(store, mode=mode, zarr_format=3)  # type: ignore[arg-type]
    except FileNotFoundError as error:
        raise StoreError(f"{url}: no such store. Has the step that writes it been run?") from error


def group_exists(url: str) -> bool:
    """Return whether a zarr group's metadata exists at the URL."""
    return exists(join(url, "zarr.json"))


def exists(url: str) -> bool:
    """Return whether a file or object exists."""
    fs, path = filesystem(url)
    with explain_errors(url):
        return bool(fs.exists(path))


def size(url: str) -> int | None:
    """Bytes of a file or object; None if there is none."""
    fs, path = filesystem(url)
    try:
        with explain_errors(url):
            fs.invalidate_cache()
            return int(fs.size(path))
    except FileNotFoundError:
        return None


def state_of(*urls: str) -> list[tuple[int, ...]] | None:
    """What changes whenever one of some local files does; None if one is not there, or not local.

    No program can set the time at which a file's inode changed.
    """
    try:
        found = [local_path(url).stat() for url in urls if is_local(url)]
    except OSError:
        return None
    return [(s.st_dev, s.st_ino, s.st_size, s.st_ctime_ns) for s in found] if len(found) == len(urls) else None


def list_names(url: str) -> list[str]:
    """Sorted names in a folder; empty if there is none."""
    fs, path = filesystem(url)
    try:
        with explain_errors(url):
            return sorted(p.rstrip("/").rsplit("/", 1)[-1] for p in fs.ls(path, detail=False, refresh=True))
    except FileNotFoundError:
        return []


def sizes_below(url: str) -> dict[str, int]:
    """Bytes of every file or object below a folder, by relative path; empty if there is none."""
    with explain_errors(url):
        if is_local(url):
            root = local_path(url)
            files = (Path(d, name) for d, _, names in os.walk(root, followlinks=True) for name in names)
            return {f.relative_to(root).as_posix(): f.stat().st_size for f in files if f.exists()}
        fs, path = filesystem(url)
        fs.invalidate_cache()
        start = len(path.rstrip("/")) + 1
        return {place[start:]: int(about["size"]) for place, about in fs.find(path, detail=True).items()}


def sha256(url: str) -> str | None:
    """SHA-256 of a file or object; None if there is none."""
    if not is_local(url):
        content = read_object(url)
        return None if content is None else hashlib.sha256(content).hexdigest()
    try:
        with explain_errors(url), local_path(url).open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
        return None


def read_text(url: str) -> str:
    """Read a small text file.

    Raises
    ------
    StoreError
        If it does not exist, or is no text.
    """
    try:
        fs, path = filesystem(url)
        with explain_errors(url):
            return str(fs.cat_file(path), "utf-8")
    except FileNotFoundError as error:
        raise StoreError(f"{url}: no such file") from error
    except UnicodeDecodeError as error:
        raise StoreError(f"{url}: not text in UTF-8 ({error.reason} at byte {error.start}).") from error


def content(url: str) -> str:
    """Checksum of a file's bytes, read in pieces.

    Raises
    ------
    StoreError
        If it cannot be read.
    """
    digest = xxhash.xxh3_128()
    try:
        fs, path = filesystem(url)
        with explain_errors(url), fs.open(path, "rb") as file:
            while piece := file.read(1 << 22):
                digest.update(piece)
    except FileNotFoundError as error:
        raise StoreError(f"{url}: no such file.") from error
    except IsADirectoryError as error:
        raise StoreError(f"{url}: a folder, not a file.") from error
    return digest.hexdigest()


def read_many(urls: Sequence[str]) -> list[bytes]:
    """Read many small files of one folder at once, in order; a missing one, or a folder, is empty."""
    if not urls:
        return []
    fs, _ = filesystem(urls[0])
    places = [filesystem(u)[1] for u in urls]
    # Not cat, which treats names as patterns.
    answers = fs.cat_ranges(places, [None] * len(places), [None] * len(places), on_error="return")
    found = dict(zip(places, answers, strict=True))
    absent = (FileNotFoundError, IsADirectoryError, NotADirectoryError)
    for place, content in found.items():
        if isinstance(content, Exception) and not isinstance(content, absent):
            raise s3.explained(urls[0], content) or StoreError(f"{place}: cannot be read ({content})") from content
    return [b"" if isinstance(found[p], Exception) else found[p] for p in places]


def read_object(url: str) -> bytes | None:
    """Read a file or object; None if there is none."""
    fs, path = filesystem(url)
    try:
        with explain_errors(url):
            return bytes(fs.cat_file(path))
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
        return None


def write_text(url: str, text: str) -> None:
    """Write a small text file atomically."""
    write_bytes(url, text.encode())


def write_bytes(url: str, content: bytes) -> None:
    """Write a small file atomically (a local one under a temporary name first)."""
    with explain_errors(url):
        if is_local(url):
            with _temporary(local_path(url), content) as temporary:
                temporary.replace(local_path(url))
        else:
            fs, path = filesystem(url)
            fs.pipe_file(path, content)


@contextlib.contextmanager
def replacing(url: str) -> Iterator[Path]:
    """Yield a local path for a large file, which appears at the URL whole, when the block ends without an error."""
    if is_local(url):
        with explain_errors(url), _temporary(local_path(url), b"") as temporary:
            yield temporary
            temporary.replace(local_path(url))
        return
    with tempfile.TemporaryDirectory(prefix="lensflow-") as folder:
        yield (temporary := Path(folder) / "file")
        fs, path = filesystem(url)
        with explain_errors(url):
            fs.put_file(str(temporary), path)


def put_object(store_url: str, key: str, content: bytes) -> None:
    """Write an object of a zarr store on an object store, with the library that reads it."""
    url = join(store_url, key)
    with explain_errors(url):
        if reach.is_s3(store_url) and reach.storage_of(store_url).library == "obstore":
            s3.put(store_url, key, content)
        else:
            write_bytes(url, content)


def get_object(store_url: str, key: str, part: tuple[int, int] | None = None) -> bytes | None:
    """Read an object of a zarr store on an object store in one request, or bytes ``part`` of it; None without one."""
    url = join(store_url, key)
    try:
        with explain_errors(url):
            if reach.is_s3(store_url) and reach.storage_of(store_url).library == "obstore":
                return s3.get(store_url, key, part)
            fs, path = filesystem(url)
            return bytes(fs.cat_file(path) if part is None else fs.cat_file(path, start=part[0], end=part[1]))
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
        return None


def object_exists(store_url: str, key: str) -> bool:
    """Whether a zarr store has an object; one request, where fsspec also lists what may be below the key."""
    url = join(store_url, key)
    try:
        with explain_errors(url):
            if not reach.is_s3(store_url):
                return exists(url)
            if reach.storage_of(store_url).library == "obstore":
                s3.head(store_url, key)
            else:
                fs, path = filesystem(url)
                bucket, name, _ = fs.split_path(path)
                fs.call_s3("head_object", Bucket=bucket, Key=name)
            return True
    except FileNotFoundError:
        return False


class Stage(Protocol):
    """Write a staged file part by part, or add to one."""

    def __call__(self, parts: Iterable[bytes], to: Path | None = None) -> Path:
        """Return where the file is."""


@contextlib.contextmanager
def staging(run: str) -> Iterator[Stage]:
    """Folder for staged files below a local run; yields a function that writes one there, or adds to one."""
    folder = local_path(run) / f"{_STAGED}{uuid.uuid4().hex}"
    folder.mkdir(parents=True)
    count = itertools.count()

    def stage(parts: Iterable[bytes], to: Path | None = None) -> Path:
        temporary = to or folder / str(next(count))
        try:
            with temporary.open("r+b" if to else "wb") as file:
                file.seek(0, os.SEEK_END)
                file.writelines(parts)
        except FileNotFoundError as error:  # the run that took over has deleted the folder
            raise _taken_over(run) from error
        return temporary

    try:
        yield stage
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def publish(temporary: Path | None, url: str) -> None:
    """Move a staged file into place atomically; None: remove the file."""
    path = local_path(url)
    if temporary is None:
        path.unlink(missing_ok=True)
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        temporary.replace(path)
    except FileNotFoundError as error:
        raise _taken_over(url) from error


def _taken_over(url: str) -> StoreError:
    return StoreError(
        f"{url}: another run took this folder over, so this one stops and has changed nothing here. Run the same "
        "command again when the other has ended."
    )


def discard_staged(run: str) -> None:
    """Delete files staged by other writers below a run, so that they can no longer appear."""
    if is_local(run):
        for folder in local_path(run).glob(f"{_STAGED}*"):
            shutil.rmtree(folder, ignore_errors=True)


def create_exclusive(url: str, content: bytes) -> None:
    """Write a small file atomically, only if there is none: of several writers one wins.

    On S3 this is a PutObject with If-None-Match.

    Raises
    ------
    FileExistsError
        If it exists already.
    """
    with explain_errors(url):
        if is_local(url):
            with _temporary(local_path(url), content) as temporary:
                # A hard link appears atomically, with all its bytes, and never replaces an existing file.
                os.link(temporary, local_path(url))
        else:
            fs, path = filesystem(url)
            try:
                fs.pipe_file(path, content, mode="create")
            except OSError as error:
                if not isinstance(error, FileExistsError) and "PreconditionFailed" not in str(error.__cause__ or error):
                    raise
                raise FileExistsError(errno.EEXIST, "exists already", url) from error


@contextlib.contextmanager
def _temporary(path: Path, content: bytes) -> Iterator[Path]:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except FileNotFoundError as error:  # as /proc answers
        raise StoreError(f"{path}: no folder can be made there ({error.strerror}). Choose another out.") from error
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident()}.tmp")
    try:
        temporary.write_bytes(content)
        yield temporary
    finally:
        temporary.unlink(missing_ok=True)


def remove(url: str) -> None:
    """Delete a file or object, if it exists; a folder in its place too."""
    if is_local(url) and local_path(url).is_dir():
        remove_folder(url)
        return
    fs, path = filesystem(url)
    with contextlib.suppress(FileNotFoundError), explain_errors(url):
        fs.rm_file(path)


def remove_folder(url: str) -> None:
    """Delete a folder and all below it, if it exists."""
    fs, path = filesystem(url)
    with explain_errors(url):
        if isinstance(fs, LocalFileSystem):
            if fs.exists(path):
                fs.rm(path, recursive=True)
            return
        for place in fs.find(path):  # one by one: fs.rm treats names as patterns
            with contextlib.suppress(FileNotFoundError):
                fs.rm_file(place)


def read_json(url: str) -> Any:
    """Read a JSON file; damage is an error that names it."""
    text = read_text(url)
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise StoreError(f"{url}: not valid JSON ({error}). Delete it and run again.") from error


def write_json(url: str, value: Any) -> None:
    """Write JSON, strictly valid (NaN is refused)."""
    write_text(url, _json(value))


def create_json(url: str, value: Any) -> None:
    """Write JSON only if there is no file yet; errors as :func:`create_exclusive`."""
    create_exclusive(url, _json(value).encode())


def _json(value: Any) -> str:
    return json.dumps(value, indent=1, allow_nan=False) + "\n"


def _file_above(url: str) -> Path | None:
    """Return the part of a local path that is a file instead of a folder, if any."""
    return next((p for p in local_path(url).absolute().parents if p.exists() and not p.is_dir()), None)


@contextlib.contextmanager
def explain_errors(url: str) -> Iterator[None]:
    """Turn disk errors and an object store's refusals into a :class:`StoreError` that says what to do."""
    try:
        yield
    except Exception as error:
        if explained := s3.explained(url, error):
            raise explained from error
        if not isinstance(error, OSError):
            raise
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise StoreError(
                f"{url}: no space left on the device. Everything with a receipt is kept: free some space (or choose "
                "another out) and run the same command again."
            ) from error
        if error.errno in (errno.EACCES, errno.EROFS, errno.EPERM):
            raise StoreError(f"{url}: no permission to write here ({error.strerror}).") from error
        if error.errno in (errno.ENOTDIR, errno.EEXIST) and is_local(url) and (file := _file_above(url)):
            raise StoreError(f"{url}: {file} is a file, so nothing can be below it. Choose another out.") from error
        if error.errno in (errno.ENAMETOOLONG, errno.EINVAL, errno.ELOOP):
            raise StoreError(
                f"{url}: no path that this disk can hold ({error.strerror}). Choose another out."
            ) from error
        raise
