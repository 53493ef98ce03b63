"""Bricks over a network: several in flight, in order, few enough for the memory, and closed whatever happens."""

from __future__ import annotations

import threading
from contextlib import contextmanager

import numpy as np
import pytest

from lensflow.fits.transport import TransportError, is_remote
from lensflow.survey import ahead
from lensflow.survey.ahead import bricks_ahead
from lensflow.survey.layout import Layout
from tests.survey.brick_factory import SURVEY

NAMES = [f"{k:04d}p000" for k in range(12)]
POSITIONS = {name: (np.zeros(1), np.zeros(1)) for name in NAMES}


class Watched:
    """Bricks that note when they are opened and closed."""

    def __init__(self, monkeypatch, size=1, fails=""):
        self.opened, self.closed, self.most, self.size, self.fails = [], [], 0, size, fails
        self.lock = threading.Lock()
        monkeypatch.setattr(ahead, "open_brick", self.open)
        monkeypatch.setattr(ahead, "fetch_stamps", self.fetch)

    @contextmanager
    def open(self, layout, name, *_):
        with self.lock:
            self.opened.append(name)
            self.most = max(self.most, len(self.opened) - len(self.closed))
        try:
            yield type("Brick", (), {"name": name, "bytes_read": self.size, "wcs": None})
        finally:
            with self.lock:
                self.closed.append(name)

    def fetch(self, brick, *_):
        if brick.name == self.fails:
            raise TransportError(f"{brick.name} cannot be reached")


def test_the_next_bricks_are_read_while_one_is_cut_and_come_in_order(monkeypatch):
    watched, seen = Watched(monkeypatch), []
    for brick in bricks_ahead(Layout("http://server/survey"), POSITIONS, "r", SURVEY):
        assert brick.name not in watched.closed
        seen.append(brick.name)
    assert seen == NAMES and sorted(watched.opened) == sorted(watched.closed) == NAMES
    assert 1 < watched.most <= ahead.AHEAD + 1


@pytest.mark.parametrize(("size", "most"), [(ahead.AHEAD_BYTES // 2, 3), (ahead.AHEAD_BYTES * 2, 1)])
def test_large_bricks_are_fewer_at_a_time(monkeypatch, size, most):
    watched, seen = Watched(monkeypatch, size), []
    for brick in bricks_ahead(Layout("http://server/survey"), POSITIONS, "r", SURVEY):
        if len(seen) == ahead.AHEAD + 1:  # until then their size was not known
            watched.most = 0
        seen.append(brick.name)
    assert seen == NAMES and watched.most <= most + 1


def test_from_disk_one_brick_is_open_at_a_time(monkeypatch, tmp_path):
    watched = Watched(monkeypatch)
    assert [b.name for b in bricks_ahead(Layout(str(tmp_path)), POSITIONS, "r", SURVEY)] == NAMES
    assert watched.most == 1 and watched.opened == watched.closed


@pytest.mark.parametrize("root", ["http://server/survey", "/disk"])
def test_a_brick_that_cannot_be_reached_is_an_error_in_its_turn_and_all_are_closed(monkeypatch, root):
    watched, seen = Watched(monkeypatch, fails=NAMES[3]), []
    with pytest.raises(TransportError, match=NAMES[3]):
        for brick in bricks_ahead(Layout(root), POSITIONS, "r", SURVEY):
            seen.append(brick.name)
    assert seen == NAMES[:3]
    assert sorted(watched.closed) == sorted(watched.opened)


def test_who_stops_listening_leaves_no_brick_open(monkeypatch):
    watched = Watched(monkeypatch)
    bricks = bricks_ahead(Layout("http://server/survey"), POSITIONS, "r", SURVEY)
    next(bricks)
    bricks.close()
    assert sorted(watched.closed) == sorted(watched.opened)


def test_paths_of_this_machine_are_not_remote():
    assert not is_remote("/disk/survey") and not is_remote("file:///disk/survey")
    assert is_remote("https://server/survey") and is_remote("s3://bucket/survey")
