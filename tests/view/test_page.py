"""The page in a real browser: pictures, plots and cards belong together; names stay text; nothing kills the page."""

import contextlib
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from lensflow.store.tags import read_tags
from lensflow.view.grid import ACROSS, DOWN
from lensflow.view.results import results_of
from lensflow.view.rows import open_rows
from tests.view.browser import HEIGHT, MISSING, browser

pytestmark = pytest.mark.skipif(bool(MISSING), reason=MISSING)
whole, slow = pytest.mark.whole, pytest.mark.slow  # each of the slow ones starts a server of its own
READY = "window.Bokeh && Bokeh.documents.length && {where}.text.length > 3"


@contextlib.contextmanager
def serving(run, folder, *options):
    """Address of the page of a run, served by the command in a process of its own."""
    command = [sys.executable, "-m", "lensflow", "view", str(run), "--no-browser", "--port", "0", *options]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=folder,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    ) as process:  # fmt: skip
        try:
            line = process.stdout.readline()
            assert "http://127.0.0.1:" in line, line + process.stderr.read()
            yield "http://127.0.0.1:" + line.rsplit("http://127.0.0.1:", 1)[1].strip(), process
        finally:
            if process.poll() is None:
                process.terminate()


@pytest.fixture(scope="module")
def chromium():
    with browser() as found:
        yield found


@pytest.fixture(scope="module")
def address(measured, tmp_path_factory):
    with serving(measured.out, tmp_path_factory.mktemp("served"), "--tags", "tags.csv") as (url, _):
        yield url


@pytest.fixture
def tab(chromium, address):
    found = opened(chromium, address)
    yield found
    assert found.errors == []
    found.close()


def opened(chromium, address):
    found = chromium.tab()
    found.open(address)
    found.wait(READY.format(where="Bokeh.documents[0].get_model_by_name('where')"))
    return found


def said(tab, name):
    return tab.run(f"{tab.model(name)}.text")


@whole
def test_the_first_page_shows_rows_and_says_what_is_sealed(tab, config):
    rows = open_rows(config).rows
    injections = int((~rows.is_control).sum())
    assert f"of {injections:,} rows" in said(tab, "where")
    assert f"its {rows.n_sealed:,} rows are left out" in said(tab, "head")
    images = tab.run(f"{tab.model('grid')}.renderers[0].data_source.data.image.length")
    assert images == ACROSS * DOWN
    points = tab.run(f"{tab.model('scatter')}.renderers[1].data_source.data.x.length")
    assert points == injections
    tab.wait(f"!{tab.model('map-note')}.text.startsWith('Reading')")


@whole
def test_a_click_on_a_picture_shows_its_row_and_a_tag_is_saved(tab, config, tmp_path_factory):
    place = tab.place("grid")
    tab.click(place["x"] + 60, place["y"] + 60)
    card = tab.wait(f"{tab.model('card')}.text.includes('row_id') && {tab.model('card')}.text")
    rows = open_rows(config).rows
    shown = int(card.split("row_id ")[1].split(":")[0])
    assert shown in rows.row_id.tolist()
    current = f"{tab.model('scatter')}.renderers[4].data_source.data"
    k = rows.places_of([shown])[0]
    assert tab.run(f"{current}.x[0]") == pytest.approx(rows.values("theta_e_arcsec")[k])
    assert tab.run(f"{current}.y[0]") == pytest.approx(np.log10(rows.values("snr_matched")[k]))
    tab.run(f"{tab.model('tag')}.value = 'ring'")
    tab.run(f"{tab.model('tag-one')}.trigger_event(new (Bokeh.require('core/bokeh_events').ButtonClick)())")
    tab.wait(f"{tab.model('card')}.text.includes('Tag: ring')")
    file = next(tmp_path_factory.getbasetemp().glob("served*/tags.csv"))
    found = read_tags(str(file))
    assert found[shown].tag == "ring" and found[shown].host_id == rows.host_id[k]


@whole
def test_a_selection_in_the_scatter_is_what_the_pictures_show(tab, config):
    place = tab.place("scatter")
    x0, x1, y0, y1 = (place["x"] + place["width"] * 0.1, place["x"] + place["width"] * 0.6,
                      place["y"] + place["height"] * 0.1, place["y"] + place["height"] * 0.7)  # fmt: skip
    ends = tab.run(f"(() => {{ const f = {tab.model('scatter')}; return [f.x_range.start, f.x_range.end, "
                   "f.y_range.start, f.y_range.end] })()")  # fmt: skip
    before = said(tab, "where")
    tab.drag(x0, y0, x1, y1)
    tab.wait(f"{tab.model('where')}.text != {before!r}")
    rows = open_rows(config).rows
    with np.errstate(divide="ignore"):
        x, y = rows.values("theta_e_arcsec"), np.log10(rows.values("snr_matched"))

    def within(rim):
        """Rows in the dragged box, `rim` pixels wider on each side: radii lie on a grid, many on one line."""
        w, h = rim / place["width"], rim / place["height"]
        low, high = (ends[0] + (ends[1] - ends[0]) * share for share in (0.1 - w, 0.6 + w))
        bottom, top = (ends[2] + (ends[3] - ends[2]) * share for share in (0.3 - h, 0.9 + h))
        return int(((x >= low) & (x <= high) & (y >= bottom) & (y <= top)).sum())

    # The plot selects while the mouse moves: the words of the last move count, not of the first.
    shown = f"Number({tab.model('where')}.text.split(' of ')[1].split(' ')[0].replaceAll(',', ''))"
    tab.wait(f"{shown} >= {within(-2)} && {shown} <= {within(2)}")
    assert within(-2) > 0 and within(2) < len(x)
    assert "selected in the plot" in said(tab, "head")


@whole
def test_a_click_on_a_cell_of_completeness_shows_its_stamps_and_frames_it(tab, measured):
    tab.wait(f"!{tab.model('map-note')}.text.startsWith('Reading')")
    tab.run(f"{tab.model('parts')}.active = 1")
    tab.wait(f"{tab.model('histogram-0')} && Bokeh.index.find_one({tab.model('map')}).frame.bbox.height > 50")
    rows = open_rows(measured).rows
    of = results_of(measured, rows).maps[0]
    x, y = np.unravel_index(np.argmax(of.n_valid), of.n_valid.shape)
    place, (across, up) = tab.place("map"), of.n_valid.shape
    assert place["y"] + place["height"] < HEIGHT  # on the screen without scrolling
    tab.click(place["x"] + place["width"] * (x + 0.5) / across, place["y"] + place["height"] * (up - y - 0.5) / up)
    expected = len(of.rows_of(x, y))
    tab.wait(f"{tab.model('where')}.text.endsWith('of {expected} rows')")
    tab.wait(f"{tab.model('head')}.text.includes('{expected} of them in the cell {of.axes[0]} {of.labels[0][x]}')")
    frame = tab.run(f"{tab.model('map')}.renderers[2].data_source.data")
    assert (list(frame["x"]), list(frame["y"])) == ([of.labels[0][x]], [of.labels[1][y]])
    assert (
        tab.run(f"{tab.model('map')}.renderers[0].data_source.data.text.filter(t => t).length")
        == (of.n_valid > 0).sum()
    )
    tab.run(f"{tab.model('clear')}.trigger_event(new (Bokeh.require('core/bokeh_events').ButtonClick)())")
    tab.wait(f"{tab.model('map')}.renderers[2].data_source.data.x.length == 0")


@whole
def test_names_that_are_script_html_and_mathematics_stay_text(chromium, hostile, tmp_path):
    with serving(hostile.out, tmp_path) as (url, _):
        tab = opened(chromium, url)
        place = tab.place("grid")
        tab.click(place["x"] + 60, place["y"] + 60)
        tab.wait(f"{tab.model('card')}.text.includes('row_id')")
        scatter = tab.place("scatter")
        for share in np.linspace(0.1, 0.9, 9):
            tab.move(scatter["x"] + scatter["width"] * share, scatter["y"] + scatter["height"] * 0.5)
        tab.wait(f"!{tab.model('map-note')}.text.startsWith('Reading')")
        text = tab.text()
        assert "<script>document.title='owned'</script>" in text and "owned" not in tab.run("document.title[0]")
        assert tab.run("document.title") != "owned" and "$$x^2$$" in text
        inside = "(n => { const all = n => [n, ...[...n.children].flatMap(all), ...(n.shadowRoot ? " \
                 "[...n.shadowRoot.children].flatMap(all) : [])]; return all(n) })(document.body)"  # fmt: skip
        assert tab.run(f"{inside}.filter(n => n.nodeName == 'SCRIPT' && n.textContent.includes('owned')).length") == 0
        assert tab.errors == []
        tab.close()


@slow
def test_a_second_tab_has_filters_of_its_own(chromium, tab, address):
    other = opened(chromium, address)
    before = said(tab, "where")
    other.run(f"{other.model('kind')}.value = 'controls'")
    other.wait(f"{other.model('where')}.text != {before!r}")
    assert said(tab, "where") == before
    other.close()


@slow
def test_a_damaged_run_has_a_page_with_what_can_be_read(chromium, copy, tmp_path):
    for store, some in (("pairs.zarr/stamp/c", slice(0, 2)), ("cutouts.zarr/host_table/c", slice(None))):
        for victim in sorted(p for p in Path(copy.out, store).rglob("*") if p.is_file())[some]:
            data = bytearray(victim.read_bytes())
            data[40] ^= 0xFF
            victim.write_bytes(data)
    with serving(copy.out, tmp_path) as (url, _):
        tab = opened(chromium, url)
        tab.run(f"{tab.model('sort')}.value = 'row'")
        tab.wait(f"{tab.model('head')}.text.includes('cannot be read')")
        tab.run(f"{tab.model('scatter-x')}.value = 'bad_pixel_frac'")  # a column of the hosts' damaged table
        tab.wait(f"{tab.model('head')}.text.includes('host_table')")
        tab.run(f"{tab.model('scatter-x')}.value = 'lens_q'")
        tab.wait(f"!{tab.model('head')}.text.includes('host_table')")
        tab.close()


@slow
def test_a_run_that_is_planned_only_says_what_comes_next(chromium, copy, tmp_path):
    shutil.rmtree(f"{copy.out}/pairs.zarr")
    with serving(copy.out, tmp_path) as (url, _):
        tab = chromium.tab()
        tab.open(url)
        tab.wait("window.Bokeh && Bokeh.documents.length && Bokeh.documents[0].get_model_by_name('head').text.length")
        assert "nothing is injected yet" in said(tab, "head") and "lensflow inject" in said(tab, "head")
        tab.close()


@slow
def test_ctrl_c_ends_it_without_a_word_and_a_taken_port_is_refused(config, tmp_path):
    with serving(config.out, tmp_path) as (url, process):
        port = int(url.split(":")[2].split("/")[0])
        with socket.create_connection(("127.0.0.1", port), 5):
            pass
        again = subprocess.run([sys.executable, "-m", "lensflow", "view", config.out, "--no-browser", "--port",
                                str(port)], capture_output=True, text=True, cwd=tmp_path, check=False)  # fmt: skip
        assert again.returncode == 2 and "--port 0 for any free" in " ".join(again.stderr.split())
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 0 and process.stderr.read() == ""
    assert not [*tmp_path.iterdir()]  # nothing was tagged: nothing is written
