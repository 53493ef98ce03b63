"""Figures beside a page are those of the page: what an earlier report wrote goes, all other files stay."""

from datetime import UTC, datetime
from types import SimpleNamespace

import pytest

from lensflow.show import page
from lensflow.store import paths

NOW = datetime(2030, 1, 2, 3, 4, tzinfo=UTC)


@pytest.fixture
def report(tmp_path, monkeypatch):
    """Write a report with figures of these names; returns the names of all figures there are then."""

    def write(*names):
        pictures = [SimpleNamespace(file=(name, name.encode())) for name in names]
        monkeypatch.setattr(page, "render", lambda record, now, shown, start: shown.extend(pictures) or "a page")
        page.write_page(None, str(tmp_path / "report"), NOW)
        return {p.name for p in (tmp_path / "report" / "figures").iterdir()} - {"written.json"}

    return write


def test_figures_that_a_new_report_does_not_write_go_and_a_users_own_stay(report, tmp_path):
    assert report("a.svg", "gallery-1.png") == {"a.svg", "gallery-1.png"}
    (tmp_path / "report/figures/mine.png").write_bytes(b"mine")
    assert report("a.svg", "b.png") == {"a.svg", "b.png", "mine.png"}
    assert report() == {"mine.png"}


@pytest.mark.parametrize("text", ['["../index.html", "..", "mine", 3, "c.svg/"]', "{}", "nothing", '"mine.png"'])
def test_a_list_that_is_not_ours_deletes_nothing(report, tmp_path, text):
    report("a.svg")
    (tmp_path / "report/figures/mine").write_bytes(b"mine")
    (tmp_path / "report/figures/written.json").write_text(text)
    assert report("c.svg") == {"a.svg", "c.svg", "mine"} and (tmp_path / "report/index.html").exists()


def test_a_report_that_is_stopped_leaves_a_list_of_all_that_is_there(report, tmp_path, monkeypatch):
    report("a.svg")
    write = paths.write_text
    monkeypatch.setattr(paths, "write_text", lambda url, text: write(url, text) if url.endswith(".json") else 1 / 0)
    with pytest.raises(ZeroDivisionError):
        report("b.svg")
    monkeypatch.undo()
    assert report("c.svg") == {"c.svg"}
