"""Bricks one after another, the next ones read meanwhile: over a network, requests of several bricks are in flight."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from functools import cache

import numpy as np
from numpy.typing import NDArray

from lensflow.config import SurveyConfig
from lensflow.fits.transport import is_remote
from lensflow.survey.bricks import Brick, open_brick
from lensflow.survey.cutouts import fetch_stamps
from lensflow.survey.layout import PRODUCTS, Layout

# Bricks that are read while another is cut, and the bytes that they may hold: fewer of large ones, at least one.
AHEAD, AHEAD_BYTES = 6, 256_000_000

Positions = Mapping[str, tuple[NDArray[np.float64], NDArray[np.float64]]]
_Opened = tuple[ExitStack, Brick]


def bricks_ahead(layout: Layout, positions: Positions, bands: Sequence[str], survey: SurveyConfig) -> Iterator[Brick]:
    """Open bricks in the order given, each once, with all that its hosts need.

    From disk a brick is opened when its turn comes. Over a network the next ones are opened and fetched meanwhile.

    Parameters
    ----------
    layout : Layout
    positions : mapping
        Brick -> ra_deg and dec_deg of its hosts.
    bands : sequence of str
    survey : SurveyConfig

    Yields
    ------
    Brick
        Closed when the next one is asked for.

    Raises
    ------
    TransportError
        If the survey cannot be reached, when the brick's turn comes.
    """

    def start(name: str) -> _Opened:
        with ExitStack() as stack:
            brick = stack.enter_context(open_brick(layout, name, bands, PRODUCTS, survey.access))
            fetch_stamps(brick, *positions[name], survey)
            return stack.pop_all(), brick
        raise AssertionError  # for mypy: an exit stack may swallow errors, this one does not

    if not is_remote(layout.root):
        for name in positions:
            stack, brick = start(name)
            with stack:
                yield brick
        return
    waiting, ahead, largest = iter(positions), deque[Future[_Opened]](), 1
    try:
        while True:
            while not ahead or len(ahead) < min(AHEAD, AHEAD_BYTES // largest):
                if (following := next(waiting, None)) is None:
                    break
                ahead.append(_pool().submit(start, following))
            if not ahead:
                return
            stack, brick = ahead.popleft().result()
            largest = max(largest, brick.bytes_read)
            with stack:
                yield brick
    finally:
        for future in ahead:
            future.cancel()
        for future in ahead:
            if not future.cancelled() and future.exception() is None:
                future.result()[0].close()


@cache
def _pool() -> ThreadPoolExecutor:
    """Threads of this process that stay: fsspec keeps a filesystem, and its connections, for each thread."""
    return ThreadPoolExecutor(AHEAD, thread_name_prefix="lensflow-brick")
