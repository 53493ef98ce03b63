"""The environment of every page: escaping, strict about names, its templates compiled once in a process."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from markupsafe import Markup, escape

from lensflow.show.plain import COMMAND
from lensflow.show.verdict_style import stylesheet

if TYPE_CHECKING:
    from jinja2 import Template


def commands(text: object) -> Markup:
    """Text of a message as HTML, escaped; what stands in backticks is code, as messages write commands."""
    return Markup(COMMAND.sub(lambda command: f"<code>{command[0][1:-1]}</code>", str(escape(text))))


@cache
def page_template(name: str) -> Template:
    """Template of a page, by the name of its file in ``show/templates``."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("lensflow.show"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
    )
    environment.filters["commands"] = commands
    environment.globals["verdict_css"] = Markup(stylesheet())
    return environment.get_template(name)
