"""The config's reference, docs/config.md, made from the models."""

from __future__ import annotations

import re

from pydantic import BaseModel

from lensflow.config.load import section_of
from lensflow.config.run import RunConfig


def markdown() -> str:
    """Return the text of docs/config.md: every setting with type, default and meaning."""
    lines = ["# Settings", "", "One YAML file configures a run. Made from `lensflow/config/` by `make docs`.", ""]
    _describe(RunConfig, "", lines)
    return "\n".join(lines) + "\n"


def _describe(model: type[BaseModel], prefix: str, lines: list[str]) -> None:
    sections: list[tuple[str, type[BaseModel]]] = []
    lines += [f"## {prefix or 'top level'}", "", (model.__doc__ or "").strip(), ""]
    lines += ["| setting | type | default | meaning |", "|---|---|---|---|"]
    for name, field in model.model_fields.items():
        section = section_of(field.annotation)
        if section:
            sections.append((f"{prefix}.{name}".lstrip("."), section))
            continue
        kind = re.sub(r"\b(typing|annotated_types)\.", "", str(field.annotation).replace("|", "or"))
        kind = re.sub(r"<class '(\w+)'>", r"\1", kind)
        kind = re.sub(r"Annotated\[(\w+), [^\]]*\]", r"\1", kind)
        default = "required" if field.is_required() else f"`{field.get_default(call_default_factory=True)}`"
        lines.append(f"| `{name}` | {kind} | {default} | {field.description or ''} |")
    lines.append("")
    for name, section in sections:
        _describe(section, name, lines)
