import gc
import os
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import dask
import numpy as np
import psutil
import pytest

from lensflow.cluster import connect, dashboard_link
from lensflow.cluster.local import BY_THE_CLOCK, check_region_fits, less_often, memory_limit
from lensflow.config import ClusterConfig
from lensflow.errors import ClusterError, LensflowWarning
from lensflow.run import helper
from lensflow.run.helper import begun_on_workers, make_ready
from lensflow.show.figures import draw_svg, new_figure, picture


def test_local_workers_are_processes_of_one_thread_that_leave_ctrl_c_to_the_client_and_end_with_the_block(
    monkeypatch, request
):
    # A shell has what it starts in the background ignore Ctrl-C.
    was = signal.signal(signal.SIGINT, signal.default_int_handler)
    request.addfinalizer(lambda: signal.signal(signal.SIGINT, was))
    before = _listening()
    monkeypatch.setenv("LENSFLOW_TEST_WORD", "as it is now")
    with connect(ClusterConfig(kind="local", workers=2, dashboard=None)) as client:
        assert {ip for ip, _ in _listening() - before} == {"127.0.0.1"}
        pids = set(client.run(os.getpid).values())
        threads = client.run(lambda: os.environ["OMP_NUM_THREADS"])
        assert len(pids) == 2 and os.getpid() not in pids and set(threads.values()) == {"1"}
        assert set(client.run(lambda: os.environ["LENSFLOW_TEST_WORD"]).values()) == {"as it is now"}
        for name, ours in less_often().items():
            assert {dask.config.get(name), *client.run(dask.config.get, name).values()} == {ours}
        # A terminal sends Ctrl-C to workers too.
        assert set(client.run(lambda: signal.getsignal(signal.SIGINT)).values()) == {signal.SIG_IGN}
        assert signal.getsignal(signal.SIGINT) == signal.default_int_handler
        servers = set(client.run(os.getppid).values())
        _check_forked(client, servers)
        _check_drawn(client, monkeypatch)
    assert not any(_alive(pid) for pid in pids | servers)


def _check_forked(client, servers):
    """All workers are forked from one process, which has what tasks need, nothing for drawing, and no thread."""
    assert len(servers) == 1 and os.getpid() not in servers
    threads = {f.read_text().strip() for f in Path(f"/proc/{min(servers)}/task").glob("*/comm")}
    assert len(threads - {"jemalloc_bg_thd"}) == 1, threads  # pyarrow's allocator, which expects forks
    for modules in client.run(lambda: sorted(sys.modules)).values():
        tasks = {"lensflow.run.cut_task", "lensflow.run.inject", "lensflow.run.measure", "lensflow.run.score"}
        assert {*tasks, "numba.np.arrayobj"} <= {*modules}
        needless = {"bokeh", "lensflow.view", "matplotlib.figure", "scipy.signal", "scipy.stats", "sklearn", "torch"}
        assert not needless & {*modules}
    # Each worker's numbers are its own, though all began with one state.
    states = client.run(lambda: np.random.get_state()[1].tolist())  # noqa: NPY002
    assert len({tuple(state) for state in states.values()}) == len(client.nthreads())


def _check_drawn(client, monkeypatch):
    """Workers draw the report's figures, to the same bytes, as many as leave a processor to the client."""

    def figure(name):
        return picture(new_figure(1.0)[0], name, f"drawn by {os.getpid()}", "")

    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    for begun in make_ready(scores=True):
        begun.result(timeout=60)
    assert all(client.run(lambda: "sklearn.ensemble" in sys.modules).values())
    ready = client.run(lambda: os.getpid() if "lensflow.show.page" in sys.modules else None)
    drawing = {pid for pid in ready.values() if pid is not None}
    assert len(drawing) == 1
    assert {t[0] for t in client.run(gc.get_threshold, workers=helper.drawing(client)).values()} == {helper.NEW_OBJECTS}
    start = begun_on_workers()
    assert start is not None
    wait = start(figure, "a")
    while not start._parts or not all(p.is_made for p in start._parts.values()):
        time.sleep(0.01)
    made = wait()
    assert {made.alt} == {f"drawn by {pid}" for pid in drawing} and made._figure is None
    assert made.svg == draw_svg(new_figure(1.0)[0], "a", made.alt)


def _alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_what_dask_does_by_the_clock_is_less_often_unless_somebody_has_set_it():
    assert less_often() == {name: ours for name, (_, ours) in BY_THE_CLOCK.items()}  # else Dask has other defaults now
    with dask.config.set({"distributed.admin.tick.interval": "1s"}):
        assert {*BY_THE_CLOCK} - {*less_often()} == {"distributed.admin.tick.interval"}


@pytest.mark.slow
def test_a_running_scheduler_is_joined_and_left_running():
    with connect(ClusterConfig(kind="local", workers=1, dashboard=None)) as owner:
        address = owner.scheduler_info()["address"]
        with connect(ClusterConfig(kind="address", address=address)) as guest:
            assert guest.submit(lambda: 42).result() == 42
        assert owner.submit(lambda: 43).result() == 43


def test_an_address_where_nobody_answers_is_said_within_its_time():
    config = ClusterConfig(kind="address", address="tcp://127.0.0.1:9", start_timeout_s=1)
    with (
        pytest.raises(ClusterError, match=r"no Dask scheduler answers at tcp://127\.0\.0\.1:9 within 1 s"),
        connect(config),
    ):
        pass


def test_memory_is_the_machines_shared_out_or_what_was_asked():
    assert memory_limit(None, 4, 16 * 10**9) == int(0.9 * 4e9)
    assert memory_limit("1GB", 4, 16 * 10**9) == 10**9
    with pytest.warns(LensflowWarning, match="may use more than"):
        memory_limit("8GB", 4, 16 * 10**9)
    with pytest.raises(ClusterError, match=r"cluster\.workers \(--workers\) to 5 or fewer"):
        memory_limit(None, 16, 4 * 10**9)


@pytest.mark.slow
def test_local_processes_can_speak_tls_and_the_dashboard_stays_on_this_machine():
    before = _listening()
    with connect(ClusterConfig(workers=1, tls=True)) as client:
        assert client.scheduler_info()["address"].startswith("tls://127.0.0.1")
        assert client.submit(lambda: 42).result() == 42
        assert {ip for ip, _ in _listening() - before} == {"127.0.0.1"}


@pytest.mark.parametrize(
    ("number", "code"),
    [
        pytest.param(signal.SIGTERM, 143, marks=pytest.mark.slow),
        pytest.param(signal.SIGINT, -2, marks=pytest.mark.cluster),
    ],
)
def test_a_signal_closes_what_was_started(number, code):
    script = (
        "import os, sys, time\n"
        "from lensflow.cluster import connect\n"
        "from lensflow.config import ClusterConfig\n"
        "if __name__ == '__main__':\n"
        "    with connect(ClusterConfig(workers=1, dashboard=None)) as client:\n"
        "        print(*client.run(os.getpid).values(), flush=True)\n"
        "        time.sleep(60)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    worker = int(process.stdout.readline())
    process.send_signal(number)
    # A busy machine takes its time to close; that it ends, with this code and without the worker, is what is asked.
    assert process.wait(180) == code
    assert not _alive(worker)


def _listening():
    """Addresses and ports at which this process and those below it listen; earlier tests may have left some."""
    me = psutil.Process()
    family = [me, *me.children(recursive=True)]
    return {(c.laddr.ip, c.laddr.port) for p in family for c in p.net_connections() if c.status == psutil.CONN_LISTEN}


@pytest.mark.parametrize(
    "settings",
    [
        {"kind": "threads", "workers": 1},
        {"kind": "threads", "workers": 1, "dashboard": None},
        pytest.param({"workers": 1, "dashboard": None}, marks=pytest.mark.slow),
        pytest.param({"workers": 1}, marks=pytest.mark.slow),
    ],
    ids=str,
)
def test_nothing_listens_beyond_this_machine_and_the_dashboards_link_is_right_or_absent(settings):
    config = ClusterConfig(**settings)
    before = _listening()
    with connect(config) as client:
        assert client.submit(lambda: 42).result() == 42
        assert {ip for ip, _ in _listening() - before} == {"127.0.0.1"}
        link = dashboard_link(client, config)
        if config.dashboard is None:
            assert link is None
        else:
            assert link.startswith("http://127.0.0.1:")
            with urllib.request.urlopen(link, timeout=60) as page:
                assert page.status == 200


def test_a_worker_that_cannot_start_is_a_cluster_error_and_leaves_no_process():
    with (
        dask.config.set({"distributed.nanny.preload": ["no_such_module_of_ours"]}),
        pytest.raises(ClusterError, match=r"1 worker\(s\) .* did not start .*no_such_module_of_ours"),
        connect(ClusterConfig(workers=1, dashboard=None)),
    ):
        pass
    family = psutil.Process().children(recursive=True)
    assert not [p for p in family if _alive(p.pid) and "multiprocessing.forkserver" in " ".join(p.cmdline())]


@pytest.mark.parametrize("limit", ["100MB", "280 MB"])
def test_a_memory_in_which_no_region_was_ever_finished_is_refused_with_the_one_that_is_needed(limit):
    with (
        pytest.raises(ClusterError, match=r"finishes no region.*Set at least 667"),
        connect(ClusterConfig(workers=1, memory_limit=limit)),
    ):
        pass
    with pytest.raises(ClusterError, match="is no size"):
        memory_limit("much", 1)


def test_regions_that_the_workers_cannot_hold_are_refused_with_the_memory_that_is_needed():
    check_region_fits(ClusterConfig(workers=1, memory_limit="1GB"), 64e6)
    check_region_fits(ClusterConfig(kind="threads"), 1e12)
    with pytest.raises(ClusterError, match=r"a worker has 0\.93 GiB, and a region of 0\.93 GiB needs about 3\.17 GiB"):
        check_region_fits(ClusterConfig(workers=1, memory_limit="1GB"), 1e9)
