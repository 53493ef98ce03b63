"""A sweep in a terminal of 80 columns and on a page: one line per arm, the largest difference first."""

import io
import re
from dataclasses import replace

import pytest

from lensflow.show.plain import PlainConsole
from lensflow.show.sweep import (
    gates_table,
    interaction_table,
    lines_table,
    proof_table,
    sentence,
    strata_table,
    write_page,
)
from lensflow.stats.estimate import Estimate
from tests.measure.realism.sweep.made_sweep import made_sweep


def printed(table, width=80):
    out = io.StringIO()
    PlainConsole(file=out, width=width).print(table)
    lines = out.getvalue().splitlines()
    assert max(map(len, lines)) <= width
    return lines


def test_lines_of_several_sweeps_are_sorted_together():
    lines = printed(lines_table([made_sweep("plan.src_n"), made_sweep("plan.src_q", (0.2,))]))
    rows = [line.split() for line in lines if line.startswith("plan.")]
    assert [(r[0], r[2]) for r in rows] == [("plan.src_n", "3"), ("plan.src_q", "2"), ("plan.src_n", "2")]
    values = [float(r[3].replace("−", "-")) for r in rows]
    assert values == sorted(values, reverse=True) and 15 < values[0] < 25  # points of 100


def test_every_table_fits_80_columns():
    one = made_sweep()
    for table in (strata_table(one.arms[0]), gates_table(one.arms[0]), proof_table(one.arms[0]),
                  proof_table(one.null, null=True)):  # fmt: skip
        assert printed(table)
    assert strata_table(made_sweep(counted=False).arms[0]) is None and interaction_table(one) is None
    text = "\n".join(printed(proof_table(one.arms[0]), 160))
    assert re.search(r"src_n +the factor's own +200", text) and re.search(r"theta_e_arcsec +declared equal +0", text)


def test_the_sentence_says_what_was_proved():
    said = sentence(made_sweep())
    assert "blue_ring, split val at false-positive rate 0.1" in said and "bit-equal in 280 rows" in said
    assert "No scorer was named" in sentence(made_sweep(counted=False))


@pytest.mark.parametrize("counted", [True, False])
def test_the_page_has_every_arm_and_escapes_its_names(counted):
    html = write_page([made_sweep(counted=counted), made_sweep("plan.<b>", (0.2,), counted=counted)])
    assert "plan.&lt;b&gt;" in html and "plan.<b>" not in html and "not that real lenses" in html
    assert ('<svg class="drawn"' in html) == counted
    assert html.count("proof</caption>") >= 3 and "nan" not in re.sub(r"base64,[^\"]*", "", html)


def test_an_area_against_real_lenses_is_shown_with_its_change_where_there_is_one():
    one = made_sweep()
    assert "real lenses" not in "".join(printed(lines_table([one]), 200))
    changed = replace(one.arms[0], realism=Estimate(0.8, 0.75, 0.85), realism_change=Estimate(-0.1, -0.158, -0.042))
    measured = replace(one, arms=(changed, *one.arms[1:]), realism=Estimate(0.9, 0.87, 0.93))
    text = " ".join(" ".join(printed(lines_table([measured]), 240)).split())
    assert "0.800 (0.750 – 0.850)" in text and "−0.100 (−0.158 to −0.042" in text


def test_commands_in_notes_are_code_and_hostile_names_stay_text():
    notes = ("`lensflow sweep <run>` continues, of `</p><script>x</script>`", "a ` alone")
    html = write_page([replace(made_sweep(), notes=notes)])
    assert "<code>lensflow sweep &lt;run&gt;</code> continues, of <code>&lt;/p&gt;&lt;script&gt;" in html
    assert "<script" not in html and html.count("`") == 1
