"""The config reference, docs/config.md, generated from the models."""

from __future__ import annotations

import inspect
import types
import typing
from typing import Any

from pydantic import BaseModel

from lensflow.config.base import Range
from lensflow.config.load import section_of
from lensflow.config.presets import KINDS
from lensflow.config.run import RunConfig


def markdown() -> str:
    """Return the text of docs/config.md: every setting with type, default and meaning."""
    lines = ["# Settings", "", "One YAML file configures a run. Generated from `lensflow/config/` by `make docs`.", ""]
    _describe(RunConfig, "", lines)
    _presets(lines)
    return "\n".join(lines) + "\n"


def _describe(model: type[BaseModel], prefix: str, lines: list[str]) -> None:
    sections: list[tuple[str, type[BaseModel]]] = []
    lines += [f"## {prefix or 'top level'}", "", inspect.cleandoc(model.__doc__ or ""), ""]
    lines += ["| setting | type | default | meaning |", "|---|---|---|---|"]
    for name, field in model.model_fields.items():
        section = section_of(field.annotation)
        if section and section is not Range:
            sections.append((f"{prefix}.{name}".lstrip("."), section))
            continue
        default = "required" if field.is_required() else f"`{_plain(field.get_default(call_default_factory=True))}`"
        lines.append(f"| `{name}` | {_kind(field.annotation)} | {default} | {field.description or ''} |")
    lines.append("")
    for name, section in sections:
        _describe(section, name, lines)


def _presets(lines: list[str]) -> None:
    lines += [
        "## presets",
        "",
        "Presets that a setting can name. Their values are in `lensflow/presets/`, one file each.",
        "",
    ]
    lines += ["| setting | preset | origin |", "|---|---|---|"]
    for setting, kind in KINDS.items():
        for name in kind.names():
            first_sentence = kind.comment(name).split(". ")[0]
            lines.append(f"| `{setting}` | `{name}` | {first_sentence} |")
    lines.append("")


def _plain(value: Any) -> Any:
    return value.model_dump() if isinstance(value, BaseModel) else value


def _kind(annotation: Any) -> str:
    """A type in words: ``number or list of numbers``."""
    arguments = [a for a in typing.get_args(annotation) if a is not ...]
    origin = typing.get_origin(annotation)
    if origin is typing.Literal:
        return ", ".join(f"`{a}`" for a in arguments)
    if origin in (types.UnionType, typing.Union):
        return " or ".join("null" if a is type(None) else _kind(a) for a in arguments)
    if origin is typing.Annotated:
        return _kind(arguments[0])
    if origin is tuple:
        words = list(dict.fromkeys(map(_kind, arguments)))
        return f"{len(arguments)} of {words[0]}" if len(arguments) > 1 else f"list of {words[0]}"
    if origin is dict:
        return f"mapping of {_kind(arguments[1])}"
    if annotation is Range:
        return "{min, max, distribution}"
    return {"str": "text", "float": "number", "int": "whole number", "bool": "true or false"}.get(
        annotation.__name__, annotation.__name__
    )
