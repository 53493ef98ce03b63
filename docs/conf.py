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
    text = notebook.read_text().replace("(../docs/", "(../")
    (HERE / "tutorials" / notebook.name).write_text(re.sub(r"`docs/([a-z-]+\.md)`", r"[\1](../\1)", text))
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
# One page for each public name; in the order in which one meets them.
API = {
    "Make a run": "load_config connect cut import_stamps crop SourceBank plan plan_injections inject write_pairs "
    "make_run materialise warm_up write_report dashboard_link progress_link",
    "Open what is stored": "open_run open_cutouts open_manifest open_pairs open_selection rgb psf_audit tagged verify "
    "rerender",
    "Judge": "diagnose findings gate gate_by_magnitude brightness_table brightness_figure tune_core measure_core "
    "core_table core_figure core_settings handle_core zoo compare_runs sweep",
    "Measure a lens finder": "score_pairs completeness paired cross_test cross_table reweight injection_set "
    "target_density target_population lens_catalogue read_lenspop",
    "Compare with real lenses": "read_lenses compare_real",
    "Train and export": "training_view batches torch_dataset mask_batch train export check_export",
}
NAMES = {group: names.split() for group, names in API.items()}
rest = {n for n in lensflow.__all__ if not n.startswith("__")} - {n for names in NAMES.values() for n in names}
text = "# Python\n\nWhat `import lensflow as lf` offers, in notebooks and scripts alike.\n"
for group, names in {**NAMES, **({"More": sorted(rest)} if rest else {})}.items():
    # lensflow.export is also a package: its page is that of the function.
    lines = "".join(f"   ~lensflow.{'api.' if name == 'export' else ''}{name}\n" for name in names)
    text += f"\n## {group}\n\n```{{eval-rst}}\n.. autosummary::\n   :toctree: generated\n"
    text += f"   :nosignatures:\n\n{lines}```\n"
(HERE / "api.md").write_text(text)
for page in (HERE / "generated").glob("lensflow.*.rst"):
    if f"~{page.stem}\n" not in text:
        page.unlink()


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
# No dollarmath: a dollar is a price here.
myst_enable_extensions = ["colon_fence"]
nb_render_markdown_format = "myst"
# Options have two dashes.
smartquotes_action = "qe"
myst_heading_anchors = 4
autosummary_generate = True
numpydoc_show_class_members = False
autodoc_typehints = "none"

html_theme = "pydata_sphinx_theme"
html_title = "lensflow"
html_theme_options = {"show_toc_level": 2, "navigation_with_keys": False, "show_prev_next": False}


def _as_on_the_site(app: Any, docname: str, source: list[str]) -> None:
    """Links by title; files outside docs/, which the site does not hold, by name."""
    text = source[0]
    if not docname.startswith("tutorials/"):
        text = re.sub(r"\[`?([^]`]+)`?\]\(\.\./(?:\.\./)?((?!decisions)[^)#]+)[^)]*\)", _named, text)
        up = "../" * docname.count("/")
        text = re.sub(r"`notebooks/(0\w+)\.ipynb`", rf"[](<{up}tutorials/\1.ipynb>)", text)
        text = re.sub(r"\[`?(?:[\w-]+/)*[\w-]+\.md`?\]\(", "[](", text)
    source[0] = text


def _named(match: re.Match[str]) -> str:
    text, file = match.groups()
    return f"`{file}`" if text in (file, Path(file).name) else f"{text} (`{file}`)"


def setup(app: Any) -> None:
    """Hook into Sphinx."""
    app.connect("source-read", _as_on_the_site)
