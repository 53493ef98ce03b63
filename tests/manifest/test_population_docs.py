"""docs/population.md: its snippet runs as it stands there, and it names every reason that the code knows."""

import inspect
import re
from pathlib import Path

import pytest

from lensflow.manifest import source_table_rows

PAGE = (Path(__file__).parents[2] / "docs/population.md").read_text()


@pytest.mark.whole
def test_the_snippet_runs(tmp_path, monkeypatch, capsys):
    (snippet,) = re.findall(r"```python own table\n(.*?)```", PAGE, re.S)
    monkeypatch.chdir(tmp_path)
    exec(snippet, {})
    assert capsys.readouterr().out == "5000 galaxies\nTrue\n"


def test_the_page_names_every_reason_to_leave_a_galaxy_out():
    reasons = set(re.findall(r'yield f?"([A-Z_]+)', inspect.getsource(source_table_rows)))
    assert len(reasons) > 15
    assert {r for r in reasons if f"`{r}" in PAGE} == reasons
