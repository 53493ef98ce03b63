"""The snippet of docs/lens-tables.md runs as it stands there, and its tables name what the code knows."""

import re
from pathlib import Path

from lensflow.targets.lenses import EXCLUDED_REFERENCES
from lensflow.targets.lenses.columns import TIERS
from lensflow.targets.lenses.formats import WANTED

PAGE = (Path(__file__).parents[3] / "docs/lens-tables.md").read_text()


def test_the_snippet_runs(tmp_path, monkeypatch, capsys):
    (snippet,) = re.findall(r"```python read\n(.*?)```", PAGE, re.S)
    monkeypatch.chdir(tmp_path)
    Path("catalog.csv").write_text(
        "name,RA [deg],DEC [deg],zlens,type,grading,ref\na,10.00001,5.00001,0.2,galaxy,confident,arXiv:0805.1931\n"
        "b,11.00001,5.00001,0.2,cluster,confident,x\n"
    )
    Path("refuted.csv").write_text("name,ra,dec,tier\nc,20,5,N\n")
    found = {}
    exec(snippet, found)
    assert found["confirmed"].lens_id.values.tolist() == ["a"]
    assert capsys.readouterr().out == "3 rows, 2 objects\n1 kind cluster\n"


def test_the_page_names_every_column_tier_and_excluded_reference():
    columns = {c.name for c in WANTED} - {"also_named", "note"}
    assert {c for c in columns if f"`{c}`" in PAGE} == columns
    assert all(f"\n| {tier} |" in PAGE for tier in TIERS)
    for name in EXCLUDED_REFERENCES:
        author, year = name.rsplit(" ", 1)
        assert author in PAGE and year in PAGE
