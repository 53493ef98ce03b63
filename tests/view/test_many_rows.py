"""A million rows: opened, plotted, filtered and sorted in seconds, and every number of the page adds up."""

import time

import numpy as np
import pytest

from lensflow.view.binning import MOST_POINTS, histogram, scaled, scatter
from lensflow.view.filters import Filter, Range, ordered
from lensflow.view.rows import open_rows
from tests.many_rows import make_many_rows

pytestmark = pytest.mark.slow
SECONDS = 5.0


@pytest.fixture(scope="module")
def many(config, tmp_path_factory):
    return make_many_rows(config, tmp_path_factory.mktemp("many") / "run")


def test_what_the_first_page_needs_takes_less_than_five_seconds_of_one_core(many):
    begun = time.process_time()
    rows = open_rows(many).rows
    passing = np.flatnonzero(Filter().mask(rows))
    known = rows.read(["theta_e_arcsec", "snr_matched"])
    x, y = scaled(known["theta_e_arcsec"][passing], False), scaled(known["snr_matched"][passing], True)
    found, bins = scatter(passing, x, y), histogram(x)
    first = ordered(rows, passing, "shuffled")[:20]
    assert time.process_time() - begun < SECONDS
    assert len(rows) + rows.n_sealed == 1_000_000 and rows.n_sealed > 100_000
    assert found.count.sum() + found.n_missing == len(passing) == bins.count.sum() + bins.n_missing
    assert 10 < len(found.x) < MOST_POINTS / 2 and len(np.unique(rows.host_index[first])) > 15


def test_a_filter_and_a_sort_answer_within_a_second(many):
    rows = open_rows(many).rows
    rows.read(["theta_e_arcsec", "snr_matched"])
    begun = time.process_time()
    mask = Filter(ranges=(Range("theta_e_arcsec", 1.0, 2.0),)).mask(rows)
    best = ordered(rows, np.flatnonzero(mask), "snr_matched", True)[:20]
    assert time.process_time() - begun < 1.0
    theta_e, snr = rows.values("theta_e_arcsec"), rows.values("snr_matched")
    inside = (theta_e >= 1) & (theta_e <= 2)
    assert int(mask.sum()) == int(inside.sum()) and snr[best[0]] == np.nanmax(snr[inside])
