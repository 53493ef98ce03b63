"""Figures and section of a completeness: nothing is drawn or said that is not in the kept numbers."""

import io
import json
import re

import numpy as np
import pytest
from markupsafe import escape
from matplotlib.collections import QuadMesh
from matplotlib.colors import to_hex
from matplotlib.patches import Rectangle
from rich.console import Console

from lensflow.config.completeness import CompletenessConfig
from lensflow.measure.completeness.summary import completeness
from lensflow.show import figures_completeness as figures
from lensflow.show.completeness import roc
from lensflow.show.completeness_page import KeptCompleteness, section
from lensflow.show.table import Cell
from lensflow.stats import codec
from lensflow.stats.estimate import Estimate
from tests.measure.completeness.synthetic_rows import make_negatives, make_rows
from tests.quick import not_drawn

pytestmark = pytest.mark.whole

NAME = "my_models:<b>finder"


@pytest.fixture(scope="module")
def found():
    """Two thresholds; some cells are tested, some are not, some have no row."""
    rows = make_rows(hosts=60, per_host=10)
    lost = rows["render_not_converged"].values.copy()
    lost[3:9] = True
    config = CompletenessConfig(threshold={"fpr": [0.1, 0.01]}, bootstrap=50)
    return completeness(rows.assign(render_not_converged=("sample", lost)), make_negatives(300), config, 3)


@pytest.fixture(autouse=True)
def drawn(monkeypatch):
    """Figures beside pictures of one pixel: what is drawn is asked, not how it is rendered."""
    kept = []

    def keep(figure, *words):
        kept.append(figure)
        return original(figure, *words)

    original = figures.picture
    monkeypatch.setattr(figures, "picture", keep)
    with not_drawn():
        yield kept


def test_an_untested_cell_is_hatched_and_never_coloured_and_a_tested_one_is_coloured(found, drawn):
    figures.plane(found, "x")
    axes = drawn[0].axes[0]
    (mesh,) = (c for c in axes.collections if isinstance(c, QuadMesh))
    shown = figures._shown_bins(found["plane"].sel(curve="all").isel(threshold=0), "theta_e_arcsec")
    cells = figures._shown_bins(shown, "src_mag_r").transpose("src_mag_r", "theta_e_arcsec", ...)
    tested = cells["tested"].values
    assert tested.any() and not tested.all() and (cells["n_valid"].values[~tested] > 0).any()
    colours = np.ma.getmaskarray(mesh.get_array()).reshape(tested.shape)
    np.testing.assert_array_equal(colours, ~tested)
    hatched = {(p.get_y(), p.get_x()) for p in axes.patches if isinstance(p, Rectangle) and p.get_hatch()}
    assert hatched == {(i, j) for i, j in np.argwhere(~tested)}
    # The value of a cell is where its row and column say: the mesh holds the table's numbers, unrounded.
    np.testing.assert_array_equal(
        np.ma.filled(mesh.get_array(), -1).reshape(tested.shape), np.where(tested, cells["completeness"].values, -1)
    )
    labels = [[t.get_text() for t in side.get_ticklabels()] for side in (axes.yaxis, axes.xaxis)]
    assert labels == [cells["src_mag_r"].values.tolist(), cells["theta_e_arcsec"].values.tolist()]


@pytest.mark.parametrize("interval", ["host", "wilson_ignores_hosts"])
@pytest.mark.parametrize("threshold", [0, 1])
def test_points_bars_and_counts_are_those_of_the_table(found, drawn, threshold, interval):
    changed = {k: v.assign_attrs(interval=interval) if "interval" in v.attrs else v for k, v in found.items()}
    figures.curves(changed, "x", threshold)
    base = "completeness" if interval == "host" else f"completeness_{interval}"
    for axes, kind in zip(drawn[0].axes, ("resolution", "resolution_fwhm"), strict=True):
        part = figures._shown_bins(found[kind].isel(threshold=threshold), kind)
        for curve, colour in figures.CURVE_COLOURS.items():
            table = part.sel(curve=curve)
            lines = [c for c in axes.containers if to_hex(c[0].get_color()) == colour]
            points = np.concatenate([np.stack(c[0].get_data(), axis=1) for c in lines])
            known = table["completeness"].values[np.isfinite(table["completeness"].values)]
            assert sorted(points[:, 1]) == sorted(known)
            ends = sorted(float(s[k][1]) for c in lines for s in c[2][0].get_segments() for k in (0, 1))
            expected = [table[f"{base}_{end}"].values[np.isfinite(table["completeness"].values)]
                        for end in ("low", "high")]  # fmt: skip
            np.testing.assert_allclose(ends, np.sort(np.concatenate(expected)), atol=1e-12)
        texts = [t.get_text() for t in axes.texts]
        for n in part["n_valid"].values.ravel():
            assert f"{n:,}" in texts


@pytest.mark.parametrize("few", [False, True])
def test_too_few_rows_are_hollow(found, drawn, few):
    marked = {k: v.assign(few=(v["n_valid"] > 0) & few) if k.startswith("resolution") else v for k, v in found.items()}
    figures.curves(marked, "x")
    points = [c[0] for a in drawn[0].axes for c in a.containers if len(c[0].get_xdata())]
    hollow = {to_hex(p.get_markerfacecolor()) == "#ffffff" for p in points}
    assert hollow == {few}


def test_the_roc_runs_from_one_negative_to_all_on_a_log_axis_through_the_thresholds(found, drawn):
    figures.roc(found, "x")
    (axes,) = drawn[0].axes
    n = int(found["roc"]["n_negatives"])
    assert axes.get_xscale() == "log" and axes.get_xlim() == (1 / n, 1.0)
    curve = axes.lines[0]
    x, y = curve.get_data()
    np.testing.assert_array_equal(y, found["roc"]["curve_tpr"].values)
    dots = [line for line in axes.lines if line.get_marker() == "o"]
    assert len(dots) == 2
    for dot in dots:
        (rate,), (value,) = dot.get_data()
        # Steps hold to the right: the dot lies on the line.
        assert value == pytest.approx(y[np.flatnonzero(x <= rate * (1 + 1e-9))[-1]])
    band = axes.collections[0].get_paths()[0].vertices[:, 1]
    assert {*found["roc"]["curve_tpr_low"].values} <= {*band} and {*found["roc"]["curve_tpr_high"].values} <= {*band}


def test_every_stratum_with_rows_has_a_small_plot_and_one_without_known_values_none(found, drawn):
    figures.strata(found, "x")
    titles = {a.get_title(loc="left") for a in drawn[0].axes if a.axison}
    expected = {figures.in_words(k) for k in figures.strata_of(found)}
    assert titles == expected and figures.in_words("theta_e_arcsec") in titles
    unknown = found["stratum_psfsize_r"].copy(deep=True)
    unknown["n_valid"][:, unknown["psfsize_r_is_inside"].values] = 0
    assert "psfsize_r" not in figures.strata_of({**found, "stratum_psfsize_r": unknown})


def test_the_funnel_says_what_was_lost(found, drawn):
    made = figures.funnel(found, "x")
    texts = [t.get_text() for t in drawn[0].axes[0].texts]
    assert texts[:3] == ["600", "600", "594"] and "render not converged 6" in made.caption


@pytest.fixture(scope="module")
def page(found):
    """The section as the page makes it, of what was kept and read again; and its figures."""
    kept, drawn = json.loads(codec.dumps(found)), []
    about = (NAME, "val", "summaries/x.json", f"Completeness of {NAME}", None)

    def keep(figure, *words, original=figures.picture):
        drawn.append(figure)
        return original(figure, *words)

    with pytest.MonkeyPatch.context() as patch, not_drawn():
        patch.setattr(figures, "picture", keep)
        return numbers_in(kept), section(KeptCompleteness(*about, codec.datasets(kept)), 1)(), drawn


def numbers_in(tree):
    """Every number of a JSON tree, as it is written there."""
    if isinstance(tree, dict):
        tree = [*tree.values()]
    if isinstance(tree, list):
        return set().union(*map(numbers_in, tree))
    return {float(tree)} if isinstance(tree, int | float) and not isinstance(tree, bool) else set()


def numbers_of(table):
    """Every number of a table before it is rounded."""
    for value in (c.value if isinstance(c, Cell) else c for row in table.rows for c in row):
        parts = (value.value, value.low, value.high) if isinstance(value, Estimate) else (value,)
        yield from (float(v) for v in parts if isinstance(v, int | float) and np.isfinite(v))


def test_every_number_of_the_section_is_in_the_kept_results_to_the_last_bit(page):
    numbers, made, drawn = page
    shown = [n for table in made.tables for n in numbers_of(table)]
    assert len(shown) > 500 and not [n for n in shown if n not in numbers]
    # A number that was rounded on the way would not be.
    assert any(round(n, 6) not in numbers for n in shown)
    for figure in (f for f in drawn if len(f.axes) > 1 and f.axes[0].containers):
        points = [y for a in figure.axes for c in a.containers for y in c[0].get_ydata()]
        assert points and not [y for y in points if float(y) not in numbers]
    texts = " ".join([made.sentence, *(t.notes for t in made.tables), made.funnel.caption])
    rounded = {f"{n:.4g}" for n in numbers} | {"95", "10", "1"}
    said = re.findall(r"(?<![\w.])\d[\d,]*(?:\.\d+)?(?![\w.]*\w)", texts)
    assert said and not [n for n in said if n.replace(",", "") not in rounded]


def test_tables_fit_eighty_columns_and_names_of_scorers_are_no_markup(page):
    _, made, _ = page
    console = Console(width=80, record=True, file=io.StringIO())
    for table in made.tables:
        console.print(table)
    lines = console.export_text().splitlines()
    assert len(lines) > 100 and max(map(len, lines)) <= 80
    assert escape(made.title).count("&lt;b&gt;") == 1


def test_the_table_of_the_roc_ends_with_the_whole_area_and_marks_what_is_unsure(found):
    table = roc(found["roc"])
    rows = {row[0]: row[1] for row in table.rows}
    assert [*rows][-1] == "AUROC, all rates" and "300 negatives" in table.notes
    assert rows["at a false-positive rate of 0.1"].note == ""
    assert rows["at a false-positive rate of 0.01"].note == "unsure"
    assert np.isnan(rows["at a false-positive rate of 0.001"].value.value)
    assert rows["at a false-positive rate of 0.001"].note == ""


def test_what_cannot_be_measured_is_said_without_figures_of_it():
    rows = make_rows(hosts=30)
    config = CompletenessConfig(threshold={"fpr": [0.1]})
    nothing = completeness(rows.assign(is_control=("sample", np.ones(300, bool))), make_negatives(300), config, 3)
    made = section(KeptCompleteness("finder", "val", "f.json", "Completeness of finder", None, nothing), 2)()
    assert made.sentence.startswith("NOT TESTABLE: no completeness of finder on split val: ")
    assert not made.by_threshold and made.roc is None and made.funnel.name == "completeness-2-funnel"
