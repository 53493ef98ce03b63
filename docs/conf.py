"""Settings of the site: ``make docs`` builds it into docs/_build/html."""

import base64
import json
import re
from pathlib import Path
from typing import Any

import typer

import lensflow
from lensflow import cli

HERE = Path(__file__).parent
# Sphinx reads below its own folder: notebooks are copied there, with links as they are from there.
(HERE / "tutorials").mkdir(exist_ok=True)
for notebook in (HERE.parent / "notebooks").glob("*.ipynb"):
    (HERE / "tutorials" / notebook.name).write_text(notebook.read_text().replace("(../docs/", "(../"))
# A card of the gallery: what the notebook's first picture shows; the first words of its text.
CARD = """```{{grid-item-card}} {title}
:link: tutorials/{stem}
:link-type: doc
:img-top: {picture}

{text}
```
"""


def _card(path: Path) -> str:
    """Card of a notebook: its title, its first sentence, and its first picture, or a figure of the demo's."""
    cells = json.loads(path.read_text())["cells"]
    lines = "".join(cells[0]["source"]).strip().splitlines()
    body = " ".join(line for line in lines[1:] if line.strip()) or "".join(cells[1]["source"])
    text = (
        re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", re.split(r"(?<=[.:])\s", body.replace("\n", " "))[0]).rstrip(".:") + "."
    )
    kept = [d for c in cells for o in c.get("outputs", []) for d in o.get("data", {}).items()]
    images = [(kind, content) for kind, content in kept if kind in ("image/png", "image/jpeg")]
    picture = THUMBNAILS[path.stem]
    if images:
        kind, content = images[0]
        picture = f"generated/{path.stem}.{kind.removeprefix('image/')}"
        (HERE / picture).write_bytes(base64.b64decode("".join(content)))
    return CARD.format(title=lines[0].lstrip("# "), stem=path.stem, picture=picture, text=text)


THUMBNAILS = {
    "01_quickstart": "figures/demo-host-arc-stamp-1.png",
    "02_core_leakage": "figures/core-leakage.png",
    "03_selection_function": "figures/demo-completeness.png",
    "04_training": "figures/demo-roc.png",
    "05_real_lenses": "figures/arc-brightness.png",
}
(HERE / "generated").mkdir(exist_ok=True)
(HERE / "gallery.md").write_text(
    "# Gallery\n\nNotebooks that run from top to bottom on a synthetic survey; nothing else is needed.\n\n"
    "::::{grid} 1 1 2 2\n:gutter: 3\n\n"
    + "\n".join(_card(p) for p in sorted((HERE.parent / "notebooks").glob("*.ipynb")))
    + "\n::::\n"
)
# The repository's own pages, with links as they are from here; the picture of the data, in the theme's own dark mode.
for name in ("CHANGELOG", "CONTRIBUTING"):
    (HERE / f"{name.lower()}.md").write_text((HERE.parent / f"{name}.md").read_text().replace("](docs/", "]("))
flow = (HERE / "_static" / "flow.svg").read_text()
flow = flow.replace("@media (prefers-color-scheme:dark)", 'html[data-theme="dark"]')
(HERE / "generated" / "flow.svg").write_text(f'<div class="flow">{flow}</div>\n')
# One page for each public name.
(HERE / "api.md").write_text(
    "# Python\n\nWhat `import lensflow as lf` offers, in notebooks and scripts alike.\n\n```{eval-rst}\n"
    ".. currentmodule:: lensflow\n\n.. autosummary::\n   :toctree: generated\n   :nosignatures:\n\n"
    + "".join(f"   {name}\n" for name in lensflow.__all__ if not name.startswith("__"))
    + "```\n"
)


def _command(name: str, command: Any) -> str:
    """Section of a command: what it does, how it is called, its options, its example."""
    arguments = [p for p in command.params if p.param_type_name == "argument"]
    usage = " ".join(["lensflow", name, *(p.name.upper() if p.required else f"[{p.name.upper()}]" for p in arguments)])
    rows = [(f"`{p.name.upper()}`", p.help) for p in arguments]
    for option in [p for p in command.params if p.param_type_name == "option"]:
        value = "" if option.is_flag else f" {option.name.upper()}"
        rows.append((", ".join(f"`{o}{value}`" for o in option.opts), option.help))
    table = "".join(f"| {left} | {(right or '').replace('|', chr(92) + '|')} |\n" for left, right in rows)
    text = "\n\n".join(part for part in (command.help, command.epilog) if part)
    return f"### {name}\n\n    {usage}\n\n{text}\n\n" + (
        f"| argument, option | |\n|---|---|\n{table}\n" if rows else ""
    )


# Every command in the groups of the help.
commands = typer.main.get_command(cli.app).commands  # type: ignore[attr-defined]
text = (
    "# Commands\n\nWhat `lensflow --help` and `lensflow COMMAND --help` say. What a command reads from its config is "
    "in [Settings](config.md); its exit status is explained in [Exit codes](exit-codes.md).\n\n"
)
for panel in dict.fromkeys(c.rich_help_panel for c in commands.values()):
    text += f"## {panel}\n\n" + "".join(_command(n, c) for n, c in commands.items() if c.rich_help_panel == panel)
(HERE / "commands.md").write_text(re.sub(r"docs/([a-z0-9-]+\.md)", r"[\1](\1)", text))

project, author, version, release = "lensflow", "the lensflow developers", lensflow.__version__, lensflow.__version__
extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "numpydoc",
    "myst_nb",
    "sphinx_copybutton",
    "sphinx_design",
]
exclude_patterns = ["_build", "figures/*.py"]
html_static_path = ["_static"]
html_css_files = ["site.css"]

nb_execution_mode = "off"
myst_enable_extensions = ["colon_fence", "dollarmath"]
myst_heading_anchors = 4
autosummary_generate = True
numpydoc_show_class_members = False
autodoc_typehints = "none"

html_theme = "pydata_sphinx_theme"
html_title = "lensflow"
html_theme_options = {"show_toc_level": 2, "navigation_with_keys": False, "show_prev_next": False}


def _without_links_to_code(app: Any, docname: str, source: list[str]) -> None:
    """Name files outside docs/ instead of linking to them: the site does not hold them."""
    if not docname.startswith("tutorials/"):
        source[0] = re.sub(r"\[`?([^]`]+)`?\]\(\.\./(?:\.\./)?((?!decisions)[^)#]+)[^)]*\)", r"\1 (`\2`)", source[0])


def setup(app: Any) -> None:
    """Hook into Sphinx."""
    app.connect("source-read", _without_links_to_code)
