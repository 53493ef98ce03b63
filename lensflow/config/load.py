"""Read a config: a YAML file or a mapping becomes a :class:`RunConfig`, or an error that says what to correct."""

from __future__ import annotations

import os
import re
import types
import typing
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from lensflow.config.run import RunConfig
from lensflow.config.yaml_text import MAX_BYTES, parse_yaml
from lensflow.errors import ConfigError, did_you_mean

# Characters of a wrong value that an error quotes.
MAX_SHOWN = 200
REFERENCE = "lensflow config reference: docs/config.md"


def load_config(source: str | os.PathLike[str] | Mapping[str, Any], **overrides: Any) -> RunConfig:
    """Read and validate a config.

    Parameters
    ----------
    source : path or mapping
        YAML file, or its content as a mapping.
    **overrides
        Top-level settings that replace the file's (``out="runs/other"``); None leaves the file's value.

    Returns
    -------
    RunConfig

    Raises
    ------
    ConfigError
        Naming the file and every wrong setting, with the nearest known name for unknown ones.
    """
    where = "config"
    if isinstance(source, Mapping):
        tree: Any = dict(source)
    else:
        where = str(source)
        try:
            # Read no more than needed: the path may be a pipe or a table.
            with Path(source).open("rb") as file:
                text = file.read(4 * MAX_BYTES).decode("utf-8")
        except UnicodeDecodeError as error:
            raise ConfigError(f"{where}: not a text file in UTF-8 ({error.reason} at byte {error.start}).") from error
        except OSError as error:
            raise ConfigError(f"{where}: cannot read the config ({error.strerror}).") from error
        tree = parse_yaml(text, where)
    if not isinstance(tree, Mapping):
        raise ConfigError(f"{where}: a config is a mapping of settings, not {type(tree).__name__} ({REFERENCE})")
    given = {k: _home(v, k) if isinstance(v, str) else v for k, v in overrides.items() if v is not None}
    tree = {**_expand(tree, where), **given}
    try:
        return RunConfig.model_validate(tree)
    except ValidationError as error:
        lines = [_explain(e) for e in error.errors()]
        raise ConfigError(f"{where}: {len(lines)} wrong setting(s) ({REFERENCE})\n  " + "\n  ".join(lines)) from None


def _expand(tree: Any, where: str) -> Any:
    if isinstance(tree, Mapping):
        return {k: _expand(v, where) for k, v in tree.items()}
    if isinstance(tree, list):
        return [_expand(v, where) for v in tree]
    if isinstance(tree, str):

        def value(match: re.Match[str]) -> str:
            if match[1] not in os.environ:
                raise ConfigError(f"{where}: ${{{match[1]}}} is not set in the environment")
            return os.environ[match[1]]

        return _home(re.sub(r"\$\{(\w+)\}", value, tree), where)
    return tree


def _is_there(text: str) -> bool:
    try:
        return Path(text).exists()
    except (OSError, ValueError):
        return False


def _home(text: str, where: str) -> str:
    """Expand a ``~`` at the start of a path; refuse ``$NAME`` without braces."""
    if ("/" not in text and text != "~" and text[:1] != "$") or (text[:2] != "~/" and _is_there(text)):
        return text
    if bare := re.match(r"(?:.*/)?\$([A-Za-z_]\w*)(?:/|$)", text):
        raise ConfigError(f"{where}: {text!r}: write ${{{bare[1]}}} for the environment variable {bare[1]}")
    if not re.match(r"~[\w.-]*(/|$)", text):
        return text
    home = os.path.expanduser(text)  # noqa: PTH111 (a URL's double slashes stay)
    if home == text:
        raise ConfigError(f"{where}: {text!r}: there is no such user")
    return home


def _explain(error: Mapping[str, Any]) -> str:
    # Tags of unions ("<range>") are pydantic's, not settings.
    location = [str(p) for p in error["loc"] if not str(p).startswith("<")]
    name = ".".join(location) or "config"
    if error["type"] == "extra_forbidden":
        return f"{name}: no such setting.{did_you_mean(location[-1], _known_keys(location[:-1]))}"
    message = error["msg"].removeprefix("Value error, ")
    message = message[:1].lower() + message[1:]
    if error["type"] in ("tuple_type", "list_type") and isinstance(error.get("input"), str):
        parts = [p for p in re.split(r"[\s,;]+", error["input"].strip("()")) if p]
        if name == "bands" and len(parts) == 1:  # bands: grz
            parts = list(parts[0])
        message = f"must be a list: [{', '.join(parts)}]"
    given = (
        ""
        if isinstance(error.get("input"), Mapping | BaseModel) or error["type"] == "missing"
        else (f" (given: {_shortened(error['input'])})")
    )
    return f"{name}: {message}{given}"


def _shortened(value: Any) -> str:
    try:
        text = repr(value)
    except ValueError:  # Python refuses to print numbers of thousands of digits
        text = "a number of thousands of digits"
    return text if len(text) <= MAX_SHOWN else f"{text[:MAX_SHOWN]} ..."


def _known_keys(path: Iterable[str]) -> list[str]:
    model: Any = RunConfig
    for part in path:
        field = model.model_fields.get(part)
        model = section_of(field.annotation) if field else None
        if model is None:
            return []
    return list(model.model_fields)


def section_of(annotation: Any) -> type[BaseModel] | None:
    """Return the section class in an annotation, alone or as one of its choices, or None."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    if typing.get_origin(annotation) in (types.UnionType, typing.Union, typing.Annotated):
        return next((s for s in map(section_of, typing.get_args(annotation)) if s), None)
    return None
