"""A table says the same on a page, in a terminal and in a text: every cell, and never a nan."""

import io
import math
from html.parser import HTMLParser

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.cells import cell_len

from lensflow.errors import LensflowError
from lensflow.measure.pixels import DIAGNOSTICS
from lensflow.show.from_dataset import from_dataset, from_elsewhere
from lensflow.show.numbers import MISSING, count, fixed, number
from lensflow.show.plain import PlainConsole
from lensflow.show.table import STYLES, Cell, Column, Table, in_notebook, words
from lensflow.show.table import printed as as_text
from lensflow.stats.estimate import NOT_MEASURED, Estimate

NAMES = st.text("""abθ″é<>&|"'[]{}%:/\\漢""", min_size=1, max_size=12)  # no n: what says nan, made it
FLOATS = st.floats(-1e9, 1e9) | st.sampled_from([math.nan, math.inf, -math.inf])
NUMBERS = FLOATS | st.none() | st.integers(-(10**9), 10**9)
ESTIMATES = st.builds(Estimate, FLOATS, FLOATS, FLOATS)
CELLS = NAMES | NUMBERS | ESTIMATES | st.builds(Cell, NUMBERS | ESTIMATES, st.sampled_from(["", *STYLES]), NAMES)


@st.composite
def tables(draw):
    columns = draw(
        st.lists(st.builds(Column, NAMES, write=st.sampled_from([number, 2]), words=st.booleans(),
                           wrap=st.booleans(), optional=st.booleans()), min_size=1, max_size=6)
    )  # fmt: skip
    rows = draw(st.lists(st.lists(CELLS, min_size=len(columns), max_size=len(columns)), max_size=4))
    return Table(draw(NAMES), columns, rows, draw(NAMES))


class Words(HTMLParser):
    """What a reader of HTML sees, cell by cell."""

    def __init__(self, html):
        super().__init__()
        self.cells, self.tags, self.inside = [], [], False
        self.feed(str(html))

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        if tag in ("td", "th"):
            self.cells.append("")
            self.inside = True

    def handle_endtag(self, tag):
        self.inside = self.inside and tag not in ("td", "th")

    def handle_data(self, data):
        if self.inside:
            self.cells[-1] += data.rstrip("\n")


def printed(table, width):
    out = io.StringIO()
    PlainConsole(file=out, width=width).print(table)
    return out.getvalue()


def shown(cell, column):
    """The numbers of a cell, by the rules of the columns; the judge of the renderers."""
    note = cell.note if isinstance(cell, Cell) else ""
    value = cell.value if isinstance(cell, Cell) else cell
    if isinstance(value, Estimate):
        ends = [value.low, value.high] if not math.isnan(value.low) or not math.isnan(value.high) else []
        return [*(column.text(v) for v in (value.value, *ends)), note]
    return [value if isinstance(value, str) else column.text(value), note]


@settings(max_examples=40)
@given(tables())
def test_page_terminal_and_markdown_show_every_cell(table):
    html, wide, text = Words(table.html()), printed(table, 10_000), table.markdown()
    cells = iter(html.cells[len(table.columns) :])
    lines = iter(wide.splitlines()[-len(table.rows) :] if table.rows else [])
    for row in table.rows:
        line = next(lines)
        for cell, column in zip(row, table.heads, strict=True):
            in_page = next(cells)
            for part in shown(cell, column):
                assert part in in_page and part in line and part.replace("|", "\\|") in text


@settings(max_examples=40)
@given(tables())
def test_no_table_says_nan(table):
    for text in ("".join(Words(table.html()).cells), printed(table, 80), table.markdown()):
        assert "nan" not in text.lower()


@settings(max_examples=40)
@given(tables())
def test_a_terminal_of_any_width_shows_all_that_it_must_and_nothing_wider(table):
    text = printed(table, 60)
    assert all(cell_len(line) <= 60 for line in text.splitlines()) and "…" not in text
    for row in table.rows:
        for cell, column in zip(row, table.heads, strict=True):
            for part in shown(cell, column) if not column.optional and not column.wrap else ():
                assert part in text


def test_words_that_leave_no_room_beside_them_are_split_like_numbers():
    names = [f"{'word' * 2}{k}" for k in range(5)]
    columns = [*(Column(n, words=True) for n in names), Column("a number", write=number)]
    table = Table("", columns, [[*(n.upper() for n in names), 2.2527557091932743e-197]])
    text = printed(table, 60)
    assert all(part in text for part in (*names, *(n.upper() for n in names), "2.25×10⁻¹⁹⁷"))
    assert all(cell_len(line) <= 60 for line in text.splitlines())
    heads = [line.split() for line in text.splitlines() if names[0] in line]
    assert heads == [names[:4] + [names[4]], names[:4] + ["a", "number"]]


def test_an_estimate_that_is_not_measured_is_a_dash():
    rows = [[NOT_MEASURED], [Estimate(0.5, 0.4, 0.6)], [Estimate(0.7)], [Estimate(0.7, math.nan, 0.8)]]
    table = Table("areas", [Column("AUC", write=2)], rows)
    cells = Words(table.html()).cells[1:]
    assert cells == [MISSING, "0.50 (0.40 – 0.60)", "0.70", f"0.70 ({MISSING} – 0.80)"]
    assert "no value" in table.html() and "no value" not in Table("areas", ["AUC"], rows[1:2]).html()
    assert [x.strip() for x in printed(table, 80).splitlines()[-4:]] == cells


HOSTILE = ['<script>alert("x")</script>', "a & b", "[bold red]x", ":smile:", "{}", "a|b", "%s"]


@pytest.mark.parametrize("name", HOSTILE)
def test_text_from_outside_is_text_everywhere(name):
    table = Table(name, [words(name)], [[name], [Cell(1.0, "bad", name)]], name)
    html = Words(table.html())
    assert set(html.tags) <= {"div", "table", "caption", "b", "thead", "tbody", "tr", "th", "td", "span"}
    assert html.cells == [name, name, f"1.00 {name}"]
    assert printed(table, 200).count(name) == 4
    assert all(line.count("|") - line.count("\\|") == 2 for line in table.markdown().splitlines()[:4])


def test_control_characters_do_not_reach_the_terminal():
    assert "\x1b" not in printed(Table("a\x1b[31m", [words("b\x1b")], [["c\x1b"]]), 80)


def test_a_narrow_terminal_leaves_out_with_a_note_then_stacks_then_splits():
    estimate = Estimate(0.75, 0.70, 0.80)
    columns = [words("gate"), Column("first", write=2), Column("second", write=2), Column("rows", optional=True)]
    table = Table("Gates", columns, [["core_all", estimate, estimate, 2100]])
    assert "0.75 (0.70 – 0.80)" in printed(table, 80) and "Too narrow" not in printed(table, 80)
    narrow = printed(table, 50)
    assert narrow.count("0.75 (0.70 – 0.80)") == 2 and "2,100" not in narrow and "Too narrow for: rows" in narrow
    assert "0.70–0.80" in printed(table, 43) and "2,100" in printed(table, 43)
    assert "0.70–0.80" in printed(table, 34) and "2,100" not in printed(table, 34)
    split = printed(table, 22)
    assert split.count("core_all") == 2 and split.count("0.70–0.80") == 2 and max(map(len, split.splitlines())) <= 22


def test_groups_name_themselves_once_in_a_terminal_and_are_ruled_on_a_page():
    table = Table("", [words("band"), words("place"), "n"], [["g", "a", 1], ["g", "b", 2], ["r", "a", 3]], groups=True)
    assert printed(table, 80).split().count("g") == 1
    assert table.html().count('class="rule"') == 2 and table.html().count("repeat") == 1


@pytest.mark.parametrize(("rows", "said"), [([[1, 2]], "2 cells for 1"), ([[Cell(1, "pink")]], "no style 'pink'")])
def test_a_table_that_would_lose_a_cell_or_a_colour_is_refused(rows, said):
    with pytest.raises(LensflowError, match=said):
        Table("t", ["a"], rows)


def measured():
    value = np.array([[0.5, np.nan], [0.25, 0.75]])
    dims = ("band", "bin")
    return xr.Dataset(
        {
            "recovered": (dims, value, {"units": "1", "long_name": "recovered share"}),
            "recovered_low": (dims, value - 0.1),
            "recovered_high": (dims, value + 0.1),
            "n_rows": ("band", [1200, 7]),
            "complete": (dims, [[True, False], [True, True]]),
            "depth": ("depth_of", [22.5], {"units": "mag"}),
            "total": ((), 1207),
            "edge_low": ("bin", [0.0, 1.0]),
        },
        {"band": ["g", "r"], "bin": [0.5, 1.5]},
        {"title": "completeness"},
    )


def test_a_dataset_shows_every_number_with_its_interval_and_place():
    scalars, depth, main = sorted(from_dataset(measured()), key=lambda t: len(t.columns) * len(t.rows))[0:3]
    scalars, depth = sorted((scalars, depth), key=lambda t: t.columns[0].name, reverse=True)
    assert [list(r) for r in scalars.rows] == [["total", 1207, ""]]
    assert depth.heads[1].head == "depth (mag)" and depth.rows[0][0] == "0"
    assert [c.name for c in main.heads] == ["band", "bin", "recovered", "n rows", "complete", "edge low"]
    assert [row[:2] for row in main.rows] == [("g", "0.5"), ("g", "1.5"), ("r", "0.5"), ("r", "1.5")]
    assert Words(main.html()).cells[6:12] == ["g", "0.5", "0.500 (0.400 – 0.600)", "1,200", "yes", "0"]
    assert Words(main.html()).cells[14] == MISSING and "recovered: recovered share." in main.html()
    assert all(t.title == "completeness" for t in (scalars, depth, main))


def test_a_measurement_from_outside_is_shown_under_its_name():
    shown = from_elsewhere({"half_light": measured().assign_attrs(title=""), next(iter(DIAGNOSTICS)): measured()})
    assert len(shown) == 3 and {t.title for t in shown} == {"half light"}


@given(st.integers(0, 3), st.integers(0, 3), st.booleans())
def test_no_number_of_a_dataset_is_lost(n, m, turned):
    """Also where dims are the same in another order, or empty."""
    a, b = np.arange(n * m).reshape(n, m) + 1000, np.arange(n * m).reshape(m, n) + 5000
    ds = xr.Dataset({"a": (("x", "y"), a), "b": (("y", "x"), b) if turned else (("x", "y"), b.reshape(n, m))})
    cells = [c for t in from_dataset(ds) for row in t.rows for c in row]
    assert sorted(int(c) for c in cells if not isinstance(c, str)) == sorted([*a.ravel(), *b.ravel()])


def test_numbers_of_a_column_without_a_limit_are_infinite_and_not_missing():
    assert Column("x", write=2).text(math.inf) == "∞" == Column("x").text(math.inf)
    assert fixed(-math.inf) == "−∞" and count(math.nan) == MISSING


def test_no_word_of_a_name_or_command_is_broken_where_others_can_give_room():
    rows = [("toy_finder.joblib, val", "FPR 0.1, all", *[Estimate(0.3, 0.2, 0.4)] * 3)] * 2
    columns = [words("scorer, split", wrap=True), words("arcs", wrap=True), "A", "B", "B−A"]
    said = printed(Table("t", columns, rows), 72)
    assert "toy_finder.joblib," in said and "B−A" in said


def test_commands_in_cells_and_notes_are_code_and_hostile_ones_text():
    cells = [words("a", wrap=True), "b"]
    html = Table("t", cells, [("`lensflow <b>`", Cell(1, "", "`<i>`"))], "See `lensflow docs`.").html()
    assert "<code>lensflow &lt;b&gt;</code>" in html and "<code>&lt;i&gt;</code>" in html
    assert "See <code>lensflow docs</code>." in html and "`" not in html and "<b>" not in html


def test_a_long_name_may_be_broken_at_its_underscores_and_copies_whole():
    name = "injection.core_mask_radius_pix_of_<b>"
    html = Table("t", [words("a", wrap=True)], [(name,)]).html()
    assert "mask_<wbr>radius" in html and "<b>" not in html and Words(html).cells == ["a", name]
    assert "<wbr>" not in Table("t", [words("a", wrap=True)], [("core_mask_radius_pix",)]).html()


def test_in_a_notebook_a_repr_is_text_and_displays_nothing(monkeypatch, capsys):
    monkeypatch.setattr("rich.console._is_jupyter", lambda: True)
    monkeypatch.setattr("rich.jupyter.display", lambda *_: pytest.fail("displayed beside the result"))
    monkeypatch.setenv("FORCE_COLOR", "1")  # as ipykernel does
    text = as_text("Made: `lensflow <run>`.", [Table("Counts", [words("what"), ""], [("rows", 3)])])
    assert text.splitlines()[0] == "Made: `lensflow <run>`." and "rows" in text.splitlines()[-1] and "\x1b" not in text
    assert capsys.readouterr().out == ""


def test_in_a_notebook_words_are_at_the_left_and_names_stay_text():
    html = str(in_notebook("of `<b>`", [Table("Counts", [words("what", wrap=True), ""], [("<i>", 3)])]))
    assert html.startswith("<p>of <code>&lt;b&gt;</code></p>") and "<i>" not in html
    assert html.count("text-align: left") == 3  # caption, head, cell
    # No tag has become text: a Markup escapes the plain text that is added to it.
    assert html.count("<td") == 2 and html.count("<div") == 2 and html.count("&lt;") == 2
