"""The page of a run's progress: what the scheduler serves is what the client has done, and no run depends on it."""

import json
import urllib.request

import dask
import pytest

from lensflow.cluster import connect, progress_link
from lensflow.cluster.announce import Announcer, announcer_of
from lensflow.cluster.panel import ROUTES, TOPIC, with_page
from lensflow.config import ClusterConfig
from lensflow.measure.gate import GateResult
from lensflow.measure.gate.verdicts import Verdict
from lensflow.run.execute import announce_verdict, reduce_tasks, run_tasks
from lensflow.store.receipts import Receipt
from tests.view.browser import MISSING, browser


def receipt(index):
    counts = {"OK": 7, "FAILED": int(index == 2), "NO_PSF": 0}
    return Receipt(index, 8 * index, 8 * index + 8, "f", {}, counts, {}, 0, {})


@pytest.fixture(scope="module")
def page():
    """Address, after a stage of receipts, a sum, and a verdict."""
    config = ClusterConfig(kind="threads", workers=1, dashboard="127.0.0.1:0")
    with connect(config) as client:
        assert len(list(run_tasks(receipt, range(5), "cut"))) == 5
        assert reduce_tasks(lambda k: k, range(4), sum, "measure") == 6
        announce_verdict(GateResult("core_r", {}, "0" * 16, 0.65, Verdict.PASS, "<b>AUC</b> below 0.65"))
        yield progress_link(client, config)


def get(url):
    with urllib.request.urlopen(url, timeout=30) as answer:
        return answer.read().decode(), answer.headers


def test_the_scheduler_serves_stages_with_rows_and_outcomes(page):
    state = json.loads(get(f"{page}/state.json")[0])
    cut, measure = state["stages"]
    assert {k: cut[k] for k in ("name", "done", "total", "rows")} == {"name": "cut", "done": 5, "total": 5, "rows": 40}
    assert cut["counts"] == {"OK": 35, "FAILED": 1}  # what no row is, is not said
    assert (measure["name"], measure["done"], measure["total"]) == ("measure", 4, 4)
    assert cut["seconds"] >= 0 and state["age_s"] < 60
    assert state["verdicts"] == [{"name": "core_r", "verdict": "PASS", "reason": "<b>AUC</b> below 0.65"}]


def test_the_page_is_there_and_puts_no_text_into_html(page):
    text, headers = get(page)
    assert "text/html" in headers["Content-Type"] and "state.json" in text
    assert "innerHTML" not in text and "document.write" not in text


@pytest.mark.whole
@pytest.mark.skipif(bool(MISSING), reason=MISSING)
def test_a_browser_shows_stages_verdicts_and_outcomes_on_a_screen_of_any_width(page):
    with browser() as chromium:
        tab = chromium.tab()
        tab.open(page)
        tab.wait("document.querySelectorAll('#stages tr').length == 2 && !!document.querySelector('#counts td')")
        rows = [line.split("\t") for line in tab.run("document.body.innerText").splitlines()]
        assert ["cut", "", "5 of 5", "40"] in [r[:4] for r in rows] and ["cut: OK", "35"] in rows
        assert ["core_r", "PASS", "<b>AUC</b> below 0.65"] in rows  # text, no HTML
        for width in (1000, 390):
            tab.resize(width, 700)
            assert tab.run("document.documentElement.scrollWidth") <= width, width
        assert tab.errors == []
        tab.close()


def test_the_dashboards_own_pages_are_still_there(page):
    assert get(page.replace("/lensflow", "/health"))[0] == "ok"
    with dask.config.set({ROUTES: ["a", "b"]}):
        assert with_page(dask.config.get(ROUTES)) == ["a", "b", "lensflow.cluster.panel"]
    assert with_page(with_page(["a"])) == with_page(["a"])


class Gone:
    """A client whose scheduler is gone."""

    def __init__(self):
        self.sent = []

    def log_event(self, topic, state):
        assert topic == TOPIC
        self.sent.append(state)
        raise OSError("gone")


def test_a_scheduler_that_is_gone_stops_no_run_and_many_regions_are_few_events():
    client = Gone()
    announcer = Announcer(client)
    announcer.begin("inject", 10_000)
    for index in range(10_000):
        announcer.advance("inject", receipt(index))
    assert client.sent[-1]["stages"][0]["done"] == 10_000
    assert 2 <= len(client.sent) < 50


def test_a_stage_that_runs_again_begins_again():
    client = Gone()
    announcer = Announcer(client)
    for total in (3, 2):
        announcer.begin("measure", total)
        for _ in range(total):
            announcer.advance("measure")
    assert [(s["done"], s["total"]) for s in client.sent[-1]["stages"]] == [(2, 2)]
    assert announcer_of(client) is announcer_of(client)
