"""Cells hold the rows that completeness counted; results of the sealed split and of other pixels are not shown."""

import shutil

import numpy as np

from lensflow.view.results import results_of
from lensflow.view.rows import open_rows


def test_each_cell_has_the_rows_that_it_was_counted_from(measured):
    rows = open_rows(measured).rows
    found = results_of(measured, rows)
    assert len(found.maps) == 1, found.messages
    of = found.maps[0]
    assert not of.problem and of.n_valid.sum() > 10
    snr = rows.values("snr_matched")
    for x, y in np.ndindex(of.n_valid.shape):
        places = of.rows_of(x, y)
        assert (rows.split[places] == 1).all() and not rows.is_control[places].any()
        assert len(places) >= of.n_valid[x, y]
        if len(places) == of.n_valid[x, y] > 0:
            assert int((snr[places] >= 10).sum()) == of.n_recovered[x, y]
    assert sum(len(of.rows_of(*c)) == of.n_valid[c] > 0 for c in np.ndindex(of.n_valid.shape)) > 0


def test_completeness_of_the_sealed_split_is_not_shown_but_said(measured):
    found = results_of(measured, open_rows(measured).rows)
    assert not any("split test" in m.title for m in found.maps)
    assert any("split test: sealed" in m for m in found.messages)
    unsealed = results_of(measured, open_rows(measured, "a test").rows)
    assert any("split test" in m.title for m in unsealed.maps)


def test_without_results_the_page_says_which_command_makes_them(copy):
    shutil.rmtree(f"{copy.out}/summaries/completeness", ignore_errors=True)
    found = results_of(copy, open_rows(copy).rows)
    assert found.maps == () and dict(found.worst) == {}
    assert any("lensflow gate" in m for m in found.messages)
