"""The suite finds the rung from which on a leak is noticed, has the one below read, and holds its goal."""

from dataclasses import replace

import numpy as np
import pytest

from lensflow.errors import GateError
from lensflow.measure.zoo.leaks.base import ELSEWHERE, OWN, SETTINGS, Base
from lensflow.measure.zoo.leaks.judge import TREES, Reading
from lensflow.measure.zoo.leaks.kinds import KINDS, kinds
from lensflow.measure.zoo.leaks.required import Required
from lensflow.measure.zoo.leaks.suite import (
    GOAL_AUC,
    Row,
    climb,
    judged,
    pixels,
    reading_of,
    settings_of,
    to_read,
    with_readings,
)
from lensflow.measure.zoo.leaks.table import LeakTable
from lensflow.run.leaks import leaks_step
from lensflow.stats.estimate import Estimate

pytestmark = pytest.mark.whole

(BOARD,), (BITS,) = kinds(("checkerboard",)), kinds(("short mantissa",))


@pytest.fixture(scope="module")
def required():
    """Enough hosts for what is exact, too few for gates with a fit, which these leaks do not ask."""
    return Required(Base.make(20))


def test_a_leak_in_a_store_of_lensflow_is_noticed_at_the_lowest_rung_and_one_from_elsewhere_later(required):
    short = replace(BITS, ladder=(4.0, 13.0))
    own, elsewhere = (climb(required, short, s) for s in (OWN, ELSEWHERE))
    assert (own.passes_to, own.noticed_from) == (None, 4.0) and "recompute" in own.noticed_by
    assert (elsewhere.passes_to, elsewhere.noticed_from, elsewhere.noticed_by) == (4.0, 13.0, ("bits",))
    assert to_read([own, elsewhere]) == [(BITS.name, 4.0, "none")]


def test_the_judge_reads_bare_controls_and_finds_a_gross_leak(required):
    base = required.base
    bare = pixels(base, ELSEWHERE, None, 0.0, BOARD)
    np.testing.assert_array_equal(bare, base.pairs["ctrl"].values[base.lit])
    leaked = pixels(base, ELSEWHERE, BOARD, 0.2, BOARD)
    assert ((leaked != bare) <= (base.pairs["arc"].values[base.lit] != 0)).all()
    assert judged(base, ELSEWHERE, BOARD, 0.2, TREES).area.value > 0.9
    assert reading_of(base, (BITS.name, 4.0, "none"), TREES).area.value < 0.6


@pytest.mark.parametrize("first", range(len(BITS.ladder) + 1))
def test_the_rung_is_found_wherever_it_is(monkeypatch, required, first):
    ladder = BITS.ladder
    monkeypatch.setattr(
        Required, "noticed_by", lambda self, s, k, a, first_only=False: ["x"] if ladder.index(a) >= first else []
    )
    row = climb(required, BITS, ELSEWHERE)
    assert row.passes_to == (ladder[first - 1] if first else None)
    assert row.noticed_from == (ladder[first] if first < len(ladder) else None)
    assert row.noticed_by == (("x",) if first < len(ladder) else ())


def test_a_table_says_where_its_goal_is_missed_and_is_read_back():
    row = Row("tilt", "sky sigma", ELSEWHERE.name, None, (), 0.2)
    assert not row.misses_goal
    (read,) = with_readings([row], {("tilt", 0.2, "none"): Reading(Estimate(GOAL_AUC + 0.01, 0.5, 0.6), TREES)})
    table = LeakTable((row, read), TREES, 12, 36, {})
    assert read.misses_goal and len(table.missed) == 1 and "tilt" in table.missed[0]
    assert Row.from_dict(read.to_dict()) == read and Row.from_dict(row.to_dict()) == row
    assert "sound run" in LeakTable((), TREES, 12, 36, {OWN.name: ["core_all"]}).missed[0]


def test_too_few_hosts_are_refused_and_masks_are_not_rounded():
    with pytest.raises(GateError, match="--hosts"):
        leaks_step(3)
    assert settings_of(kinds(("hard mask",))[0]) == list(SETTINGS[:2])
    assert settings_of(BOARD) == list(SETTINGS)


@pytest.mark.slow
@pytest.mark.timeout(3000)
def test_no_leak_of_the_suite_that_passes_the_required_set_can_be_read(tmp_path):
    table = leaks_step(out=str(tmp_path))
    assert table.not_passed == {}
    assert table.missed == []
    by = {(r.kind, r.setting): r for r in table.rows}
    assert len(by) == len(table.rows) == sum(len(settings_of(k)) for k in KINDS)
    for kind in KINDS:
        own = by[kind.name, OWN.name]
        if kind.where != "mask":  # any bit of any pixel, any row
            assert own.passes_to is None, kind.name
    assert (tmp_path / "leaks.json").is_file()
