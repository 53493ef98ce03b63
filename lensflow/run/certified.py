"""The present state in the run's folder of everything that a certificate covers."""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

from lensflow.config import RunConfig
from lensflow.errors import StoreError
from lensflow.run.completeness.selection_file import selection_digest
from lensflow.run.execute import Progress, run_tasks, silent
from lensflow.run.required_completeness import completeness_files, completeness_gates, selection_files
from lensflow.run.required_realism import realism_files, realism_gates
from lensflow.run.required_scorers import required_gates, scorer_files, scorer_gate
from lensflow.store import digests, paths, sealing
from lensflow.store.open import read_attrs
from lensflow.store.run_folder import STORES, RunFolder

BOUND_SUMMARIES = ("diagnostics.json", "gates.json")
# Tolerance for numbers from another machine or library version.
CLOSE = 1e-4
_NUMBER = re.compile(r"-?\d+(?:\.\d+)?(?:e[+-]?\d+)?")


def state_of(config: RunConfig, progress: Progress = silent, *, regions: bool = True) -> dict[str, Any]:
    """Read everything that a certificate binds.

    Parameters
    ----------
    config : RunConfig
    progress : callable, optional
    regions : bool
        Read the objects of regions (pixels, metrics, flags) too; else only their names and sizes.

    Returns
    -------
    dict
        ``required``, ``accept_explained``, ``run`` (without versions), ``data``, ``summaries``, ``test_access``, as in
        a certificate; a store whose regions were not read names them in ``unread``.
    """
    folder = RunFolder.of(config)
    data = {store: _store_state(folder, store, progress, regions) for store in STORES}
    return {
        "required": [*config.must_pass, *required_gates(config), *completeness_gates(config), *realism_gates(config)],
        "accept_explained": config.gate.accept_explained,
        "run": _run(config),
        "data": {name: found for name, found in data.items() if found is not None},
        "summaries": summaries_of(config),
        "test_access": openings_of(folder),
    }


def summaries_of(config: RunConfig) -> dict[str, str | None]:
    """SHA-256 of the result files, and of the bytes of selection functions; None for missing ones."""
    folder = RunFolder.of(config)
    names = (*BOUND_SUMMARIES, *scorer_files(config), *completeness_files(config), *realism_files(config))
    found = {name: paths.sha256(folder.path("summaries", *name.split("/"))) for name in names}
    return found | {n: selection_digest(folder.path("summaries", *n.split("/"))) for n in selection_files(config)}


def measured_by(folder: RunFolder) -> str:
    """Fingerprint of the code that measured the stored gates, from their file."""
    stored = _json_of(folder.gates)
    return str(stored.get("code")) if isinstance(stored, dict) else ""


def stored_gates(config: RunConfig) -> list[Any] | None:
    """Stored results of the gates, and of required scorers, as plain JSON; None if there are none."""
    folder = RunFolder.of(config)
    found = _gates_in(_json_of(folder.gates), "results")
    for name, scorer in (scorer_files(config) | completeness_files(config)).items():
        of_scorer = _gates_in(_json_of(folder.path("summaries", *name.split("/"))), "results", "gates")
        if found is None or of_scorer is None:
            return None
        found = [*found, *({**g, "name": scorer_gate(str(g.get("name")), scorer)} for g in of_scorer)]
    for name in realism_files(config):
        of_lenses = _gates_in(_json_of(folder.path("summaries", *name.split("/"))), "results", "gates")
        if found is None or of_lenses is None:
            return None
        found = [*found, *of_lenses]
    return found


def _gates_in(stored: Any, *keys: str) -> list[dict[str, Any]] | None:
    for key in keys:
        stored = stored.get(key) if isinstance(stored, dict) else None
    return stored if isinstance(stored, list) and all(isinstance(g, dict) for g in stored) else None


def openings_of(folder: RunFolder) -> dict[str, str]:
    """SHA-256 of every logged opening of the test split, by name."""
    return {n: _sha256(paths.join(folder.path(sealing.FOLDER), n)) for n in _openings(folder)}


def openings_since(folder: RunFolder, certificate: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Openings of the test split that are not in the certificate."""
    return [
        _json_of(paths.join(folder.path(sealing.FOLDER), name)) or {}
        for name in _openings(folder)
        if name not in certificate["test_access"]
    ]


def alike(a: Any, b: Any) -> bool:
    """Whether two results agree: text and integers exactly, other numbers within rounding."""
    if isinstance(a, Mapping) and isinstance(b, Mapping):
        return a.keys() == b.keys() and all(alike(a[k], b[k]) for k in a)
    if isinstance(a, str) or isinstance(b, str):
        if type(a) is not type(b):
            return False
        numbers = [[float(n) for n in _NUMBER.findall(text)] for text in (a, b)]
        return _NUMBER.sub("#", a) == _NUMBER.sub("#", b) and all(
            math.isclose(x, y, rel_tol=1e-2, abs_tol=2e-3) for x, y in zip(*numbers, strict=True)
        )
    if isinstance(a, Sequence) and isinstance(b, Sequence):
        return len(a) == len(b) and all(alike(x, y) for x, y in zip(a, b, strict=True))
    if isinstance(a, float) and isinstance(b, float | int) and not isinstance(b, bool):
        return math.isclose(a, b, rel_tol=CLOSE, abs_tol=CLOSE) or (math.isnan(a) and math.isnan(b))
    return type(a) is type(b) and bool(a == b)


def _run(config: RunConfig) -> dict[str, Any]:
    folder = RunFolder.of(config)
    more: dict[str, Any] = {}
    if config.scorer.required:
        more |= config.settings_of("scorer")
    if config.completeness.require:
        more |= config.settings_of("completeness")
    if config.realism.required:
        more |= config.settings_of("realism")
    try:
        identity: Any = read_attrs(folder.pairs, "pairs").get("identity", {})
    except StoreError:
        identity = {}
    return {
        "name": config.name,
        "settings": config.settings_of("gates") | more,
        "code": {"pixels": str(identity.get("lensflow.code")), "measured_by": measured_by(folder)},
    }


def _store_state(folder: RunFolder, store: str, progress: Progress, regions: bool) -> dict[str, Any] | None:
    url = folder.store(store)
    found = digests.digests_of_group(url)
    if not found:
        return None
    parts = digests.parts_of(url, store)
    read = [p for p in parts if regions or not p.of_region]
    for name, digest in run_tasks(_DigestTask(url, read), range(len(read)), f"digest {store}", progress):
        found[name] = digest
    state = {
        "digest": digests.sha256_of(found),
        "objects": sum(len(p.sizes) for p in parts),
        "bytes": sum(sum(p.sizes.values()) for p in parts),
        "names_and_sizes": digests.digest_of_names(parts),
        "parts": dict(sorted(found.items())),
        "receipts": digests.digests_of_receipts(url),
    }
    if store == "pairs":
        try:
            attrs = read_attrs(url, store)
        except StoreError:
            attrs = {}
        state |= {"rows": attrs.get("n_rows"), "plans": attrs.get("parts")}
    return state if regions else {**state, "unread": [p.name for p in parts if p.of_region]}


class _DigestTask:
    """Digest one part of a store."""

    def __init__(self, url: str, parts: Sequence[digests.Part]):
        self.url, self.parts = url, parts

    def __call__(self, index: int) -> tuple[str, str]:
        part = self.parts[index]
        return part.name, digests.digest_part(self.url, part)


def _openings(folder: RunFolder) -> list[str]:
    return [n for n in paths.list_names(folder.path(sealing.FOLDER)) if n.endswith(".json") and not n.startswith(".")]


def _sha256(url: str) -> str:
    return paths.sha256(url) or hashlib.sha256(b"").hexdigest()


def _json_of(url: str) -> Any:
    """A JSON file; None if it is missing or not JSON."""
    if not paths.exists(url):
        return None
    try:
        return paths.read_json(url)
    except StoreError:
        return None
