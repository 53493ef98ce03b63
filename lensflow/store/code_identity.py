"""Digest of what code does: text, comments, docstrings, line breaks and the location of a file do not count.

A module is its syntax tree without docstrings and without its imports of lensflow's own modules; these are replaced by
the digests of the modules that define the imported names, so that another function of the same name changes the digest
and a moved file does not. Descriptions of settings do not count. A changed annotation, default or constant does: it may
change what the code does. A preset (YAML) is its values under its name.
"""

from __future__ import annotations

import ast
import hashlib
import json
import os
import re
import threading
from collections.abc import Iterable
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

import yaml

PACKAGE = "lensflow"
ROOT = Path(__file__).parents[1]
_ONE_AT_A_TIME = threading.Lock()
_WITH_DOCSTRING = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
_MAYBE_LEFT_OUT = (ast.Import, ast.ImportFrom, ast.Assign, ast.keyword)


def digest_of(parts: Iterable[str], root: Path = ROOT) -> str:
    """Return 16 hex digits of what the code of some files and folders of a package does.

    Parameters
    ----------
    parts : iterable of str
        Files and folders under ``root``.
    root : path
        Folder of the package ``lensflow``.

    Raises
    ------
    FileNotFoundError
        If a part does not exist.
    """
    files = [f for part in parts for f in (_files(root / part) if (root / part).is_dir() else [root / part])]
    # Parsing takes seconds. The result for exactly these files is cached beside Python's bytecode.
    note = root / "__pycache__" / f"code-{_text_digest(root, files)}.txt"
    with suppress(OSError, UnicodeDecodeError):
        known = note.read_text()
        if re.fullmatch("[0-9a-f]{16}", known):
            return known
    with _ONE_AT_A_TIME:
        sources = Sources(root)
        found = _hash(*sorted({sources.with_imports(f) for f in files}))
    with suppress(OSError):
        note.parent.mkdir(exist_ok=True)
        half = note.with_suffix(f".{os.getpid()}")
        half.write_text(found)
        half.replace(note)
    return found


def _files(folder: Path) -> list[Path]:
    return sorted(f for f in folder.rglob("*") if f.suffix in (".py", ".yaml"))


def _text_digest(root: Path, files: Iterable[Path]) -> str:
    """Digest of every source file of the package, since imports count too, and of the selected files."""
    every = [f"{f.relative_to(root).as_posix()} {hashlib.sha256(f.read_bytes()).hexdigest()}" for f in _files(root)]
    return _hash(
        hashlib.sha256(Path(__file__).read_bytes()).hexdigest(),
        *sorted(every),
        "",
        *(f.relative_to(root).as_posix() for f in files),
    )


class Sources:
    """Modules of a package, each parsed once."""

    def __init__(self, root: Path):
        self.root = root
        self._tree = cache(_parsed)
        self._alone = cache(lambda file: _hash("\n".join(_canonical(self._tree(file), []))))

    def with_imports(self, file: Path) -> str:
        """Digest of a module and its imports from the package: each name with the module that defines it."""
        if file.suffix == ".yaml":
            values = yaml.safe_load(file.read_bytes())
            return _hash(file.parent.name, file.name, json.dumps(values, sort_keys=True, default=str))
        return _hash(self._alone(file), *sorted(f"{name} {self._alone(f)}" for name, f in self._imports(file)))

    def _imports(self, file: Path) -> set[tuple[str, Path]]:
        found = set()
        for node in ast.walk(self._tree(file)):
            if isinstance(node, ast.ImportFrom) and _is_own(node):
                for alias in node.names:
                    found.add(
                        (f"{alias.name} {alias.asname or ''}", self._defining(self._module(file, node), alias.name))
                    )
            elif isinstance(node, ast.Import):
                for alias in node.names:
                    if alias.name.split(".")[0] == PACKAGE:
                        found.add((alias.asname or "", self._file(alias.name.split(".")[1:])))
        return found

    def _module(self, file: Path, node: ast.ImportFrom) -> list[str]:
        own = (node.module or "").split(".") if node.module else []
        if not node.level:
            return own[1:]
        here = list(file.relative_to(self.root).parts)
        return [*here[: len(here) - node.level], *own]

    def _file(self, module: list[str]) -> Path:
        path = self.root.joinpath(*module)
        return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")

    def _defining(self, module: list[str], name: str) -> Path:
        """Module that defines a name: a module itself, or found through packages that re-export it."""
        inner = self._file([*module, name])
        if inner.exists():
            return inner
        file = self._file(module)
        if file.name == "__init__.py" and file.exists():
            for node in self._tree(file).body:
                if isinstance(node, ast.ImportFrom) and _is_own(node):
                    for alias in node.names:
                        if (alias.asname or alias.name) == name:
                            return self._defining(self._module(file, node), alias.name)
        return file


def _parsed(file: Path) -> ast.Module:
    # Python 3.11 counts the depth of all threads' parsers together and can fail with a SystemError.
    for _ in range(20):
        with suppress(SystemError):
            return ast.parse(file.read_bytes(), str(file))
    return ast.parse(file.read_bytes(), str(file))


def _is_own(node: ast.ImportFrom) -> bool:
    return bool(node.level) or (node.module or "").split(".")[0] == PACKAGE


def _canonical(node: ast.AST, out: list[str]) -> list[str]:
    """Append words that distinguish two trees, the same in every version of Python with the same syntax."""
    kind = type(node)
    out.append(kind.__name__)
    for field in _in_order(kind._fields):
        value: Any = getattr(node, field, None)
        items = value if type(value) is list else [value]
        if field == "body" and items and kind in _WITH_DOCSTRING and _is_text(items[0]):
            items = items[1:]
        named = False
        for item in items:
            if item is None or (type(item) in _MAYBE_LEFT_OUT and _is_left_out(item)):
                continue
            if not named:
                named = True
                out.append(field)
            if isinstance(item, ast.AST):
                _canonical(item, out)
            else:
                out.append(f"{type(item).__name__} {item!r}")
    out.append("end")
    return out


@cache
def _in_order(fields: tuple[str, ...]) -> tuple[str, ...]:
    # How a name is used follows from its position.
    return tuple(sorted(set(fields) - {"ctx"}))


def _is_text(node: ast.AST) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


def _is_left_out(node: object) -> bool:
    # A setting's description is for people; settings themselves are compared by their values.
    description = isinstance(node, ast.keyword) and node.arg == "description"
    return description or _is_import(node) or _is_export(node)


def _is_import(node: object) -> bool:
    if isinstance(node, ast.Import):
        return all(alias.name.split(".")[0] == PACKAGE for alias in node.names)
    return isinstance(node, ast.ImportFrom) and _is_own(node)


def _is_export(node: object) -> bool:
    targets = node.targets if isinstance(node, ast.Assign) else []
    return any(isinstance(t, ast.Name) and t.id == "__all__" for t in targets)


def _hash(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode(errors="surrogatepass")).hexdigest()[:16]
