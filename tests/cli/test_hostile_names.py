"""Names that are markup, patterns and HTML go through every step, every printing command and the report as they are."""

from pathlib import Path

import pytest

from lensflow import run as steps
from tests.small_survey import small_survey

NAME = "a [v1] [!x]*? %20 #&'<b> :smile: é [bold]x[-italic]"


@pytest.mark.slow
def test_a_run_of_hostile_names_prints_and_reports_them_as_they_are(tmp_path, command):
    place = tmp_path / NAME
    place.mkdir()
    tree = small_survey(place)
    targets = Path(tree["survey"]["targets"])
    targets.write_text(targets.read_text().replace("h0,", "h0[/bold]<script>alert(1)</script>,"))
    tree |= {"name": "<script>alert(2)</script>[/bold]", "gate": {**tree["gate"], "required": False}}
    out = tree["out"]
    for verb in ("config", "doctor", "run", "cut", "plan", "inject", "diagnose", "gate", "report"):
        code, text = command(verb, config=tree)
        assert code == 0, (verb, text)
    words = " ".join(out.split())
    assert words in command("report", config=tree)[1]
    for verb in (("verify", out), ("compare", out, out)):
        code, text = command(*verb)
        assert code == 0, (verb, text)
    assert "MarkupError" not in command("certify", out)[1]
    code, text = command("verify", f"{out}/[/bold] nothing")
    assert code == 1 and "[/bold] nothing" in text
    for page in Path(out, "report").glob("*.html"):
        html = page.read_text()
        assert "<script>alert" not in html and "&lt;script&gt;alert(2)" in html
    assert steps.verify_step(out).damage == ()
