"""Read a config: a YAML file or a mapping becomes a :class:`RunConfig`, or an error that says what to mend."""

from __future__ import annotations

import os
import re
import types
import typing
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from lensflow.config.run import RunConfig
from lensflow.errors import ConfigError, did_you_mean

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
            text = Path(source).read_text(encoding="utf-8")
        except UnicodeDecodeError as error:
            raise ConfigError(f"{where}: not a text file in UTF-8 ({error.reason} at byte {error.start}).") from error
        except OSError as error:
            raise ConfigError(f"{where}: cannot read the config ({error.strerror}).") from error
        try:
            tree = yaml.safe_load(text)
        except yaml.YAMLError as error:
            raise ConfigError(f"{where}: not valid YAML: {error}") from error
    if not isinstance(tree, Mapping):
        raise ConfigError(f"{where}: a config is a mapping of settings, not {type(tree).__name__} ({REFERENCE})")
    tree = {**_expand(tree, where), **{k: v for k, v in overrides.items() if v is not None}}
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

        return re.sub(r"\$\{(\w+)\}", value, tree)
    return tree


def _explain(error: Mapping[str, Any]) -> str:
    # Tags of unions ("<range>") are pydantic's, not settings.
    location = [str(p) for p in error["loc"] if not str(p).startswith("<")]
    name = ".".join(location) or "config"
    if error["type"] == "extra_forbidden":
        return f"{name}: no such setting.{did_you_mean(location[-1], _known_keys(location[:-1]))}"
    message = error["msg"].removeprefix("Value error, ")
    message = message[:1].lower() + message[1:]
    given = (
        ""
        if isinstance(error.get("input"), Mapping | BaseModel) or error["type"] == "missing"
        else (f" (given: {error['input']!r})")
    )
    return f"{name}: {message}{given}"


def _known_keys(path: Iterable[str]) -> list[str]:
    model: Any = RunConfig
    for part in path:
        field = model.model_fields.get(part)
        model = section_of(field.annotation) if field else None
        if model is None:
            return []
    return list(model.model_fields)


def section_of(annotation: Any) -> type[BaseModel] | None:
    """Return the section that an annotation stands for, alone or as one of its choices, or None."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    if typing.get_origin(annotation) in (types.UnionType, typing.Union, typing.Annotated):
        return next((s for s in map(section_of, typing.get_args(annotation)) if s), None)
    return None
