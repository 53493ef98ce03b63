"""The page's widgets without a browser: what they ask of the model, and what they show of its answers."""

import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from bokeh.document import Document
from bokeh.events import Tap

from lensflow.errors import ConfigError
from lensflow.view.grid import ACROSS, DOWN
from lensflow.view.page import Page
from lensflow.view.results import Map, Results
from lensflow.view.serve import _bind
from lensflow.view.shared import Shared
from lensflow.view.tags import Tags
from tests.view.conftest import HOSTILE


@pytest.fixture
def page(config, tmp_path):
    return built(config, tmp_path)


def built(config, tmp_path):
    shared = Shared(config, Tags(tmp_path / "tags.csv"))
    document = Document()
    found = Page(shared, document)
    found.look.when_results = lambda do: None  # for results.py
    found.build()
    document.validate()
    assert found.problem == ""
    return found


def points(page):
    return set(zip(*(np.asarray(page.plots._points.data[k]).tolist() for k in "xy"), strict=True))


def test_widgets_change_what_is_shown_everywhere(page):
    rows = page.rows
    assert len(points(page)) == int((~rows.is_control).sum()) == len(page.passing)
    page.controls.theta_e[0].value = float(np.nanmedian(rows.values("theta_e_arcsec")))
    assert 0 < len(page.passing) < int((~rows.is_control).sum()) and len(points(page)) == len(page.passing)
    assert f"of {len(page.passing):,} rows" in page.grid.where.text
    page.controls._reset()
    assert len(page.passing) == int((~rows.is_control).sum()) and page.controls.theta_e[0].value is None
    page.controls.sort.value, page.controls.descending.active = "snr_matched", [0]
    snr = rows.values("snr_matched")
    assert page.grid.shown[0] == np.nanargmax(snr)
    page.plots.x.value = "lens_q"
    assert page.plots.figure.xaxis[0].axis_label == "lens_q" and page.problem == ""


def test_a_selection_is_what_the_pictures_show_until_it_is_cleared(page):
    mask = np.zeros(len(page.rows), bool)
    mask[page.passing[:3]] = True
    page.choose(mask, "in the cell")
    assert sorted(page.grid.shown) == page.passing[:3].tolist() and "3 of them in the cell" in _head(page)
    assert len(page.plots._chosen.data["x"]) == 3 and not page.clear.disabled
    page.choose(None, "")
    assert len(page.shown_places()) == len(page.passing) and page.clear.disabled


def test_a_tapped_cell_selects_its_rows_and_is_framed_until_something_else_is_selected(page):
    place = np.full(len(page.rows), -1)
    some = page.passing[[2, 5, 6]]
    place[some], place[page.passing[1]] = 3, 2
    counts = np.ones((2, 2), np.int64)
    labels = (("[0, 1)", "[1, 2)"), ("[20, 23)", "[23, 26)"))
    of = Map("toy", ("theta_e_arcsec", "src_mag_r"), labels, counts / 2, counts, counts, place)
    page.show_results(Results(maps=(of,)))
    page.maps._tapped(Tap(page.maps.figure, x=1.7, y=1.2))
    assert sorted(page.grid.shown) == some.tolist() and "3 of them in the cell theta_e_arcsec [1, 2)" in _head(page)
    assert page.maps._frame.data == {"x": ["[1, 2)"], "y": ["[23, 26)"]}
    page.maps._tapped(Tap(page.maps.figure, x=1.7, y=-0.3))  # on the axis
    assert sorted(page.grid.shown) == some.tolist()
    page.choose(None, "")
    assert page.maps._frame.data == {"x": [], "y": []} and len(page.grid.shown) > 3
    page.maps.show_maps(Results(maps=(replace(of, problem="made of pixels <b>"),)))
    page.maps._tapped(Tap(page.maps.figure, x=1.7, y=1.2))
    assert len(page.grid.shown) > 3 and "pixels &lt;b&gt;" in page.maps.note.text


def _head(page):
    page._say_head()
    return page.head.text


@pytest.mark.parametrize("kind", range(5))
def test_every_kind_of_picture_is_drawn_with_its_caption(page, kind):
    page.grid.kind.active = kind
    drawn = page.grid._images.data["image"]
    assert len(drawn) == ACROSS * DOWN == len(page.grid._texts.data["text"]) and page.problem == ""
    assert len(page.grid.shown) == (DOWN if kind == 4 else ACROSS * DOWN)
    assert {d.shape for d in map(np.asarray, drawn)} == {(136, 136)}


def test_tags_are_shown_on_cards_and_pictures_and_filter(page):
    place = int(page.grid.shown[2])
    page.pick(place)
    page.tag_bar.tag.value, page.tag_bar.note.value = " ring ", "a\nline"
    page.tag_bar._put(page.tag_bar._current())
    assert "Tag: ring" in page.card.text and "[ring]" in page.grid._texts.data["text"][2]
    found = page.shared.tags.every()[int(page.rows.row_id[place])]
    assert (found.tag, found.note, found.host_id) == ("ring", "a line", page.rows.host_ids(np.array([place]))[0])
    page.controls.tag.value = "ring"
    assert page.passing.tolist() == [place]
    page.tag_bar._remove()
    assert page.shared.tags.every() == {} and "Tag:" not in page.card.text


def test_tags_that_do_not_say_whose_rows_they_are_are_said_in_the_head(page):
    place = int(page.grid.shown[0])
    page.shared.tags.path.write_text(f"row_id,host_id,tag,note\n{page.rows.row_id[place]},h,ring,\n")
    page.pick(place)
    assert "Tag: ring" in page.card.text and "1 of 1 tags do not say of which plan" in _head(page)
    page.shared.tags.path.write_text(f"row_id,host_id,tag,note,of_plan\n{page.rows.row_id[place]},h,ring,,{'0' * 16}\n")
    page.guarded(lambda: page.pick(place))()
    assert "are of another plan" in page.head.text and page.head.text.count("are of another plan") == 1


def test_hostile_names_are_escaped_wherever_html_is_made(hostile, tmp_path):
    page = built(hostile, tmp_path)
    page.pick(int(page.grid.shown[0]))
    page.tag_bar.tag.value = HOSTILE
    page.tag_bar._put(page.tag_bar._current())
    for div in (page.head, page.card, page.tag_bar.where, page.grid.where, page.grid.legend, page.plots.note):
        assert "<script" not in div.text and div.disable_math
    assert "&lt;script&gt;" in page.head.text and "&lt;script&gt;" in page.card.text


def test_a_column_that_cannot_be_read_is_a_message_and_the_page_goes_on(copy, tmp_path):
    from pathlib import Path

    page = built(copy, tmp_path)
    for victim in (p for p in Path(copy.out, "cutouts.zarr/host_table/c").rglob("*") if p.is_file()):
        victim.write_bytes(b"nothing")
    page.plots.x.value = "bad_pixel_frac"
    assert "host_table" in page.problem and "host_table" in page.head.text
    page.plots.x.value = "lens_q"
    assert page.problem == "" and len(points(page)) == len(page.passing)


FIRST_PAGE = """
import sys
from bokeh.document import Document
import lensflow.cli.root, lensflow.view.serve
from lensflow.store.run_folder import config_of
from lensflow.view.page import Page
from lensflow.view.shared import Shared
from lensflow.view.tags import Tags
page = Page(Shared(config_of(sys.argv[1]), Tags(sys.argv[2])), Document())
page.build()
assert len(page.grid.shown) and not page.problem
print(*{m.partition(".")[0] for m in sys.modules})
"""


def test_a_first_page_does_not_wait_for_what_it_does_not_need(config, tmp_path):
    command = [sys.executable, "-c", FIRST_PAGE, str(config.out), str(tmp_path / "tags.csv")]
    found = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    assert not {*found} & {"dask", "distributed", "numba", "scipy", "matplotlib", "sklearn"}


@pytest.mark.parametrize("port", [-1, 65_536, 99_999_999])
def test_a_port_that_there_is_not_is_refused_with_those_that_there_are(port):
    with pytest.raises(ConfigError, match=rf"--port {port}: a port lies between 0 and 65535"):
        _bind(port)
