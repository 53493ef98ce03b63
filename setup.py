"""What pyproject.toml cannot say: the wheel carries the documents' pages, and the README has links for an index.

``[tool.lensflow] home`` of pyproject.toml is the address of the public repository; until there is one, links to its
files become plain text, so that nothing on an index points nowhere.
"""

import ast
import re
import shutil
import tomllib
from pathlib import Path
from typing import ClassVar

from setuptools import setup
from setuptools.command.build_py import build_py

HERE = Path(__file__).parent
HOME = tomllib.loads((HERE / "pyproject.toml").read_text())["tool"]["lensflow"]["home"].rstrip("/")
LINK = re.compile(r"(!?)\[([^\]]*)\]\((?!https?://|#|mailto:)([^)\s]+)\)")


def readme() -> str:
    """The README with absolute links."""

    def absolute(match: re.Match[str]) -> str:
        image, text, target = match.groups()
        if HOME:
            return f"{image}[{text}]({HOME}/{'raw' if image else 'blob'}/main/{target})"
        return f"*({text})*" if image else f"{text} (`{target}`)"

    return LINK.sub(absolute, (HERE / "README.md").read_text(encoding="utf-8"))


def site_alone() -> set[str]:
    """Pages that the command does not show, as it names them; read as text, for nothing is installed yet."""
    text = (HERE / "lensflow" / "show" / "documents.py").read_text(encoding="utf-8")
    found = re.search(r"^SITE = (\{[^}]*\})$", text, re.MULTILINE)
    if found is None:
        raise SystemExit("lensflow/show/documents.py names no SITE")
    return set(ast.literal_eval(found[1]))


class BuildWithPages(build_py):
    """Puts docs/*.md into the package: messages name these pages, and ``lensflow docs`` shows them."""

    editable_mode: ClassVar[bool] = False

    def run(self) -> None:
        """Build as always, then copy the pages."""
        super().run()
        if self.editable_mode:
            return
        pages = [page for page in sorted((HERE / "docs").glob("*.md")) if page.stem not in site_alone()]
        if not pages:
            raise SystemExit("docs/ holds no page: build from a checkout or from the source distribution")
        goal = Path(self.build_lib) / "lensflow" / "docs"
        goal.mkdir(parents=True, exist_ok=True)
        for page in pages:
            shutil.copyfile(page, goal / page.name)


setup(
    cmdclass={"build_py": BuildWithPages},
    long_description=readme(),
    long_description_content_type="text/markdown",
    project_urls={
        "Source": HOME,
        "Documentation": f"{HOME}/tree/main/docs",
        "Changelog": f"{HOME}/blob/main/CHANGELOG.md",
        "Issues": f"{HOME}/issues",
    }
    if HOME
    else {},
)
