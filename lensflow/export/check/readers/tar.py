"""Reader of webdataset exports: tar files with the members of each sample one after the other."""

from __future__ import annotations

import gzip
import io
import json
import tarfile
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lensflow.errors import ExportError
from lensflow.export.check.parts import Part
from lensflow.export.check.readers.common import ROWS_AT_ONCE, UNSIGNED, Listed

Members = list[tuple[tarfile.TarInfo, bytes]]


class TarReader(Listed):
    """``SPLIT-00000.tar`` with ``KEY.x.npy`` (or ``KEY.x.npy.gz``) and ``KEY.json``."""

    def __init__(self, out: str, description: Mapping[str, Any]):
        super().__init__(out, description, ".tar")

    def parts(self) -> Iterator[Part]:
        """Samples of all files, some hundred at a time."""
        for k, file in enumerate(self.files):
            some: list[tuple[str, Members]] = []
            done = 0
            with self.open(file.name) as source, tarfile.open(fileobj=source, mode="r|") as tar:
                for sample in _samples(tar):
                    some.append(sample)
                    if len(some) == ROWS_AT_ONCE:
                        yield self._part(k, done, some)
                        done += len(some)
                        some = []
            if some:
                yield self._part(k, done, some)
            self.require(file.name, done + len(some))

    def _part(self, k: int, first: int, samples: list[tuple[str, Members]]) -> Part:
        file, n = self.files[k], len(samples)
        images, records, headers = [], [], []
        for key, members in samples:
            name = f"{file.name}, {key}"
            image, stored = _image(members, name)
            if image.shape != self.shape:
                raise ExportError(f"{name}: an image {image.shape}, not {self.shape}")
            images.append(image)
            record = _record(members, name)
            records.append(record)
            headers.append(f"{', '.join(_extension(m.name, key) for m, _ in members)}; {stored}; {', '.join(record)}")
        columns = {c: _column(c, [r.get(c) for r in records]) for c in sorted({c for r in records for c in r})}
        columns.setdefault("split", np.full(n, file.split))
        known, header = np.unique(headers, return_inverse=True)
        of_first = [members[0][0] for _, members in samples]
        marks = {
            "time": np.array([m.mtime for m in of_first], float),
            "permissions": np.array([m.mode for m in of_first]),
            "owner": np.array([f"{m.uid} {m.gid} {m.uname} {m.gname}" for m in of_first]),
        }
        dtypes = np.array([str(i.dtype) for i in images])
        return Part(
            k, np.arange(first, first + n), np.stack(images), dtypes, columns, np.array([key for key, _ in samples]),
            tuple(known.tolist()), header, np.array([sum(m.size for m, _ in s) for _, s in samples], float), marks,
            single=True,
        )  # fmt: skip


def _samples(tar: tarfile.TarFile) -> Iterator[tuple[str, Members]]:
    """Key and members of each sample: those with the same name up to the first dot of its last part."""
    key = ""
    members: Members = []
    for member in tar:
        if not member.isfile():
            continue
        folder, slash, name = member.name.rpartition("/")
        own = folder + slash + name.partition(".")[0]
        if members and own != key:
            yield key, members
            members = []
        content = tar.extractfile(member)
        assert content is not None
        key = own
        members.append((member, content.read()))
    if members:
        yield key, members


def _extension(name: str, key: str) -> str:
    return name[len(key) + 1 :]


def _image(members: Members, name: str) -> tuple[NDArray[Any], str]:
    """Image of a sample, and how it is stored."""
    found = [(m, c) for m, c in members if ".npy" in m.name]
    if len(found) != 1:
        raise ExportError(f"{name}: {len(found)} members .npy; a sample has one")
    member, content = found[0]
    try:
        inner = gzip.decompress(content) if member.name.endswith(".gz") else content
        image: NDArray[Any] = np.load(io.BytesIO(inner), allow_pickle=False)
    except (OSError, ValueError) as error:
        raise ExportError(f"{name}: no image can be read from {member.name}: {error}") from error
    order = "F" if image.flags.f_contiguous and not image.flags.c_contiguous else "C"
    return np.ascontiguousarray(image), f"{image.dtype.str}{list(image.shape)}, {order} order"


def _record(members: Members, name: str) -> dict[str, Any]:
    found = [c for m, c in members if m.name.endswith(".json")]
    if len(found) != 1:
        raise ExportError(f"{name}: {len(found)} members .json; a sample has one")
    try:
        record = json.loads(found[0])
    except ValueError as error:
        raise ExportError(f"{name}: its .json is none: {error}") from error
    return {k: v for k, v in record.items() if not isinstance(v, list | dict)}


def _column(name: str, values: list[Any]) -> NDArray[Any]:
    """One column of records; missing numbers are NaN."""
    if any(isinstance(v, str) for v in values):
        return np.array(["" if v is None else str(v) for v in values], dtype=str)
    if name in UNSIGNED:
        return np.array(values, dtype=np.uint64)
    if all(isinstance(v, bool) for v in values):
        return np.array(values, bool)
    if all(isinstance(v, int) for v in values):
        return np.array(values, np.int64)
    return np.array([np.nan if v is None else v for v in values], np.float64)
