"""A report has the same bytes whoever draws it."""

import os
import signal
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import pytest

from lensflow.cluster import connect
from lensflow.config import ClusterConfig
from lensflow.config.completeness import CompletenessConfig
from lensflow.measure.completeness.summary import completeness
from lensflow.run import helper, report
from lensflow.run.helper import begun_on_workers
from lensflow.show.begin import here, made_now
from lensflow.show.completeness_page import KeptCompleteness
from lensflow.show.page import begin, render
from tests.measure.completeness.synthetic_rows import make_negatives, make_rows
from tests.show.gates_factory import ONE_OF_EACH
from tests.small_run import finished_copy

pytestmark = pytest.mark.whole

NOW = datetime(2030, 1, 2, 3, 4, tzinfo=UTC)


def dying_once(mark, client, make, *given):
    """The first worker that draws is killed."""
    if os.getpid() != client:
        try:
            Path(mark).mkdir()
            os.kill(os.getpid(), signal.SIGKILL)
        except FileExistsError:
            pass
    return made_now(make, *given)


def test_a_report_has_the_same_bytes_whoever_draws_it_and_if_a_worker_dies_while_it_draws(tmp_path, monkeypatch):
    config = finished_copy(tmp_path / "run")
    of = CompletenessConfig(threshold={"fpr": [0.1]}, bootstrap=50)
    tables = completeness(make_rows(hosts=60, per_host=10), make_negatives(300), of, 3)
    kept = KeptCompleteness("finder", "val", "f.json", "Completeness of finder", None, tables)

    def record(stamps=True):
        return replace(report._record(config, stamps), gates=ONE_OF_EACH)

    def page(start):
        shown = []
        html = render(replace(record(), completeness=(kept,)), NOW, shown, start)
        return html, [p.file for p in shown]

    alone = page(here)
    assert len({name for name, _ in alone[1] if name.endswith(".svg")}) >= 9
    monkeypatch.setattr(os, "cpu_count", lambda: 4)
    with connect(ClusterConfig(kind="local", workers=2, dashboard=None)) as client:
        start = begun_on_workers()
        begin(record(stamps=False), start.beside)
        early = set(start._parts)
        assert page(start) == alone
        # Read again, the same results are the same parts.
        assert len(early) >= 4 and {n.split("-")[1] for n in {*start._parts} - early} == {
            "curves", "funnel", "plane", "roc", "strata", "tables"
        }  # fmt: skip
        monkeypatch.setattr(helper, "made_now", partial(dying_once, str(tmp_path / "died"), os.getpid()))
        assert page(begun_on_workers()) == alone
        assert (tmp_path / "died").exists()
        monkeypatch.undo()
        client.cluster.scale(1)
        client.wait_for_workers(1)
        assert page(begun_on_workers()) == alone
    assert page(start) == alone  # what is left of it when the cluster is closed
