"""The environment of every page: escaping, strict about names, its templates compiled once in a process."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from markupsafe import Markup

from lensflow.show.verdict_style import stylesheet

if TYPE_CHECKING:
    from jinja2 import Template


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
    environment.globals["verdict_css"] = Markup(stylesheet())
    return environment.get_template(name)
