import os
import signal

import pytest

from lensflow.cluster import connect
from lensflow.config import ClusterConfig
from lensflow.errors import LensflowError


def test_local_workers_are_processes_of_one_thread_that_end_with_the_block():
    with connect(ClusterConfig(kind="local", workers=2, dashboard=None)) as client:
        pids = set(client.run(os.getpid).values())
        threads = client.run(lambda: os.environ["OMP_NUM_THREADS"])
        assert len(pids) == 2 and os.getpid() not in pids and set(threads.values()) == {"1"}
    assert not any(_alive(pid) for pid in pids)


def test_ctrl_c_in_the_terminal_leaves_the_workers_to_the_client():
    with connect(ClusterConfig(kind="local", workers=1, dashboard=None)) as client:
        handlers = client.run(lambda: signal.getsignal(signal.SIGINT))
        assert set(handlers.values()) == {signal.SIG_IGN}
    assert signal.getsignal(signal.SIGINT) == signal.default_int_handler


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_a_running_scheduler_is_joined_and_left_running():
    with connect(ClusterConfig(kind="local", workers=1, dashboard=None)) as owner:
        address = owner.scheduler_info()["address"]
        with connect(ClusterConfig(kind="address", address=address)) as guest:
            assert guest.submit(lambda: 42).result() == 42
        assert owner.submit(lambda: 43).result() == 43


def test_an_address_where_nobody_answers_is_said_within_its_time():
    with (
        pytest.raises(LensflowError, match=r"no Dask scheduler answers at tcp://127\.0\.0\.1:9"),
        connect(ClusterConfig(kind="address", address="tcp://127.0.0.1:9")),
    ):
        pass
