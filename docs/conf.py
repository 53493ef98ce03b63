"""Settings of the site: ``make docs`` builds it into docs/_build/html."""

import re
from pathlib import Path
from typing import Any

import lensflow

HERE = Path(__file__).parent
# Sphinx reads below its own folder: notebooks are copied there, with links as they are from there.
(HERE / "tutorials").mkdir(exist_ok=True)
for notebook in (HERE.parent / "notebooks").glob("*.ipynb"):
    (HERE / "tutorials" / notebook.name).write_text(notebook.read_text().replace("(../docs/", "(../"))
# One page for each public name.
(HERE / "api.md").write_text(
    "# Python\n\nWhat `import lensflow as lf` offers, in notebooks and scripts alike.\n\n```{eval-rst}\n"
    ".. currentmodule:: lensflow\n\n.. autosummary::\n   :toctree: generated\n   :nosignatures:\n\n"
    + "".join(f"   {name}\n" for name in lensflow.__all__ if not name.startswith("__"))
    + "```\n"
)

project, author, version, release = "lensflow", "the lensflow developers", lensflow.__version__, lensflow.__version__
extensions = ["sphinx.ext.autodoc", "sphinx.ext.autosummary", "numpydoc", "myst_nb", "sphinx_copybutton"]
exclude_patterns = ["_build", "figures/*.py"]

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
