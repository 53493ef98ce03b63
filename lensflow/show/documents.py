"""Pages of the documents: in the installed package, or in the checkout that an editable installation points to."""

from __future__ import annotations

from pathlib import Path

from lensflow.errors import ConfigError, did_you_mean

# Pages of the site alone: lists of pages, and what docs/conf.py makes. setup.py reads this line, too.
SITE = {
    "index",
    "learn",
    "how-to",
    "reference",
    "explanation",
    "gallery",
    "about",
    "api",
    "changelog",
    "commands",
    "contributing",
}
_PACKAGE = Path(__file__).parents[1]


def _folder() -> Path:
    """Where the pages are."""
    for folder in (_PACKAGE / "docs", _PACKAGE.parent / "docs"):
        if (folder / "gates.md").is_file():
            return folder
    raise ConfigError("this installation of lensflow has no pages. Install it again, from a wheel or a whole checkout.")


def page_titles() -> dict[str, str]:
    """Name of every page -> its title.

    Raises
    ------
    ConfigError
        If the installation has none.
    """
    pages = sorted(p for p in _folder().glob("*.md") if p.stem not in SITE)
    return {page.stem: _title(page.read_text(encoding="utf-8")) for page in pages}


def page_text(name: str) -> str:
    """Markdown of a page.

    Parameters
    ----------
    name : str
        As messages have it: ``gates``, ``gates.md`` or ``docs/gates.md``.

    Raises
    ------
    ConfigError
        If there is no such page; the message has the nearest name.
    """
    known = page_titles()
    stem = name.removeprefix("docs/").removesuffix(".md")
    if stem not in known:
        raise ConfigError(f"no page {name!r}.{did_you_mean(stem, known)} lensflow docs lists all {len(known)}.")
    return (_folder() / f"{stem}.md").read_text(encoding="utf-8").rstrip("\n")


def _title(text: str) -> str:
    return next((line.removeprefix("# ") for line in text.splitlines() if line.startswith("# ")), "")
