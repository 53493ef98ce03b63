"""The config reference, docs/config.md, generated from the models."""

from __future__ import annotations

import inspect
import re
import types
import typing
from typing import Any

import yaml
from pydantic import BaseModel

from lensflow.config.base import Range
from lensflow.config.load import section_of
from lensflow.config.presets import KINDS
from lensflow.config.run import RunConfig

INTRODUCTION = """\
One YAML file configures a run. `lensflow init` writes one to begin with; a setting that is not in the file has its
default. A heading below is a section of the file:

```yaml
out: runs/mine
survey:
  root: dr10/south
  targets: hosts.csv
plan:
  injections_per_host: 8
  src_bulge: {}
```

`lensflow config CONFIG` prints every setting with its value, `--changed` only those that are not the defaults. This
page is made from `lensflow/config/` by `make docs`."""
# A description longer than this, with names and what each means, becomes a list below its table.
_LONG = 500
_NAME = re.compile(r"(?:: |\. |; )(?=(?:[A-Z]\w+: )?[a-z]\w*: )")


def markdown() -> str:
    """Return the text of docs/config.md: every setting with type, default and meaning."""
    lines = ["# Settings", "", *INTRODUCTION.splitlines(), ""]
    _describe(RunConfig, "", lines)
    _presets(lines)
    text = re.sub(r":\w+:(?=`)", "", "\n".join(lines))
    text = re.sub(r"docs/decisions/(0009)\b", r"[decision \1](decisions/\1-the-default-population.md)", text)
    return re.sub(r"docs/([a-z0-9-]+\.md)", r"[\1](\1)", text) + "\n"


def _describe(model: type[BaseModel], prefix: str, lines: list[str]) -> None:
    sections: list[tuple[str, type[BaseModel]]] = []
    below: list[str] = []
    lines += [f"## {prefix or 'top level'}", "", inspect.cleandoc(model.__doc__ or ""), ""]
    lines += ["| setting | type | default | meaning |", "|---|---|---|---|"]
    for name, field in model.model_fields.items():
        section = section_of(field.annotation)
        if section and section is not Range:
            sections.append((f"{prefix}.{name}".lstrip("."), section))
            continue
        default = "required" if field.is_required() else f"`{_yaml(field.get_default(call_default_factory=True))}`"
        meaning, listed = _listed(name, field.description or "")
        lines.append(f"| `{name}` | {_kind(field.annotation)} | {default} | {meaning} |")
        below += listed
    lines += ["", *below]
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


def _listed(name: str, text: str) -> tuple[str, list[str]]:
    """A description for the table, and the list below the table that a long one's names become."""
    head, *parts = _NAME.split(text)
    if len(text) <= _LONG or len(parts) < 4:
        return text, []
    lines = [f"What `{name}` can name:", ""]
    for part in parts:
        word, _, meaning = part.partition(": ")
        lines += [f"- `{word}`: {meaning}"] if meaning else [*[""][: bool(lines[-1])], f"{word}:", ""]
    return f"{head}; listed below the table", [*lines, ""]


def _yaml(value: Any) -> str:
    """A default as a config would have it."""
    plain = value.model_dump(mode="json") if isinstance(value, BaseModel) else value
    plain = list(plain) if isinstance(plain, tuple) else plain
    text = yaml.safe_dump(plain, default_flow_style=True, width=10**6, sort_keys=False, allow_unicode=True)
    return text.strip().removesuffix("...").strip()


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
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return f"{{{', '.join(annotation.model_fields)}}}"
    return {"str": "text", "float": "number", "int": "whole number", "bool": "true or false"}.get(
        annotation.__name__, annotation.__name__
    )
