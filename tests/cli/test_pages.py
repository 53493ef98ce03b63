"""Every page that a message names can be read by whoever has installed lensflow."""

import re
from pathlib import Path

import pytest

import lensflow
from lensflow import cli
from lensflow.errors import ConfigError
from lensflow.show.documents import page_text, page_titles

ROOT = Path(lensflow.__file__).parent


def test_every_page_that_the_code_names_is_there():
    named = {m for p in ROOT.rglob("*.py") for m in re.findall(r"docs/([a-z0-9-]+)\.md", p.read_text())}
    assert len(named) > 15 and named - {"name"} <= set(page_titles())


def test_pages_are_listed_and_shown(command):
    code, text = command("docs")
    assert code == 0 and "gates: Gates" in text and all(f"{name}: " in text for name in page_titles())
    code, text = command("docs", "docs/gates.md")
    assert code == 0 and text == " ".join(page_text("gates").split())


def test_an_unknown_page_is_an_error_with_the_nearest_name(command):
    code, text = command("docs", "gate")
    assert code == 2 and "Did you mean 'gates'" in text


def test_an_error_that_names_a_page_says_how_to_read_it(monkeypatch, capsys):
    def fail():
        raise ConfigError("no such thing (docs/cutouts.md, docs/gates.md, docs/cutouts.md)")

    monkeypatch.setattr(cli.root, "app", fail)
    with pytest.raises(SystemExit):
        cli.main()
    said = capsys.readouterr().err
    assert said.count("lensflow docs cutouts shows") == 1 and said.count("lensflow docs gates shows") == 1
