"""Seconds until the first page of `lensflow view` is complete in a browser, and what its parts take.

    python benchmarks/view.py [ROWS]

A run of ROWS rows (default 1,000,000) on a tenth as many hosts is made in a temporary folder: tables as of a real run,
stamps without light (tests/many_rows.py). The command is started as a user starts it, in a new process, and a headless
Chromium opens the address that it prints: the clock runs from the start of the command until pictures, scatter and
histograms are drawn; processor seconds are those of the command's process. In this process then: reading the keys, the
two columns of the first plot, a filter, a sort.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import psutil
import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))

from lensflow.store.run_folder import config_of
from lensflow.view.binning import histogram, scaled, scatter
from lensflow.view.filters import Filter, Range, ordered
from lensflow.view.rows import Rows, open_rows
from tests.many_rows import make_many_rows
from tests.run.completeness_run import completeness_run
from tests.view.browser import Browser, browser

# Bokeh has drawn the plots, and the grid says which rows it shows.
DRAWN = (
    "window.Bokeh && Bokeh.documents.length && Bokeh.documents[0].get_model_by_name('where') &&"
    " Bokeh.documents[0].get_model_by_name('where').text.length > 3 && Bokeh.documents[0].is_idle"
)


def first_page(run: str, chromium: Browser) -> tuple[float, float, float]:
    """Seconds from the command's start to its address, and to the whole page; and of its processor by then."""
    start = time.perf_counter()
    command = [sys.executable, "-m", "lensflow", "view", run, "--no-browser", "--port", "0", "--tags", f"{run}/t.csv"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            address = process.stdout.readline().split(": ", 1)[1].strip()
            served = time.perf_counter() - start
            tab = chromium.tab()
            tab.open(address)
            tab.wait(DRAWN)
            whole, used = time.perf_counter() - start, psutil.Process(process.pid).cpu_times()
            return served, whole, used.user + used.system
        finally:
            process.terminate()


def timed(name: str, work: Callable[[], object]) -> None:
    start = time.perf_counter()
    work()
    print(f"{name:48} {time.perf_counter() - start:6.2f} s")


def parts(rows: Rows) -> None:
    passing = np.flatnonzero(~rows.is_control)
    timed("the two columns of the first plot", lambda: rows.read(["theta_e_arcsec", "snr_matched"]))
    x, y = (scaled(rows.values(n)[passing], k == 1) for k, n in enumerate(("theta_e_arcsec", "snr_matched")))
    timed("hexagons", lambda: scatter(passing, x, y))
    timed("two histograms", lambda: (histogram(x), histogram(y)))
    timed("a filter of two ranges", lambda: Filter(ranges=(Range("theta_e_arcsec", 1, 2),)).mask(rows))
    timed("sorting by SNR", lambda: ordered(rows, passing, "snr_matched"))
    timed("one more column", lambda: rows.read(["lens_q"]))


def main() -> None:
    n_rows = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
    with tempfile.TemporaryDirectory(prefix="lensflow-view-") as folder, browser() as chromium:
        small = completeness_run(
            pytest.TempPathFactory(Path(folder, "small"), 3, "all", lambda *a: None, _ispytest=True)
        )
        timed(f"made {n_rows:,} rows", lambda: make_many_rows(small, f"{folder}/many", n_rows))
        for _ in range(3):
            served, whole, used = first_page(f"{folder}/many", chromium)
            print(f"address after {served:.2f} s, whole page after {whole:.2f} s, {used:.2f} s of processor")
        config = config_of(f"{folder}/many")
        timed("opening: keys", lambda: open_rows(config))
        found = open_rows(config).rows
        assert found is not None
        parts(found)


if __name__ == "__main__":
    main()
