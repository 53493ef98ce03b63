"""A scheduler and workers that somebody else runs, over TLS."""

import time

import dask
import distributed
import pytest

from lensflow.cluster import agreement, connect
from lensflow.config import ClusterConfig
from lensflow.errors import ClusterError, ConfigError
from tests.cluster.external import client_files, external_cluster, make_tls


@pytest.fixture(scope="module")
def external(tmp_path_factory):
    with external_cluster(tmp_path_factory.mktemp("external"), workers=1) as cluster:
        yield cluster


def joining(settings, **changes):
    return connect(ClusterConfig(**{**settings, **changes}))


@pytest.mark.slow
def test_an_external_scheduler_over_tls_is_joined_and_left_running(external):
    for answer in (42, 43):
        with joining(external.cluster) as client:
            assert client.submit(lambda x: x, answer).result() == answer
            assert client.scheduler_info()["address"].startswith("tls://")
    assert all(p.poll() is None for p in external.processes)


@pytest.mark.slow
def test_dasks_own_tls_settings_serve_where_the_config_names_no_files(external):
    plain = {"kind": "address", "address": external.address}
    with pytest.raises(ClusterError, match=r"cluster\.tls_ca_file.*make-tls"), joining(plain):
        pass
    tls = external.tls
    files = {"ca-file": "ca.pem", "client.cert": "client.pem", "client.key": "client.key"}
    settings = {f"distributed.comm.tls.{key}": f"{tls}/{name}" for key, name in files.items()}
    with dask.config.set(settings), joining(plain) as joined:
        assert joined.submit(lambda: 7).result() == 7


def test_a_certificate_of_another_ca_is_refused_and_said_to_be_so(external, tmp_path):
    start = time.monotonic()
    with (
        pytest.raises(ClusterError, match=r"TLS handshake failed.*tls_ca_file"),
        joining(external.cluster, **client_files(make_tls(tmp_path / "other"))),
    ):
        pass
    assert time.monotonic() - start < 30  # far above what it takes: the bound that is promised


def test_a_client_without_encryption_gets_nowhere(external, monkeypatch):
    monkeypatch.setattr("lensflow.cluster.address.ANSWER_SECONDS", 2)
    plain = {"kind": "address", "address": external.address.replace("tls://", "tcp://")}
    with pytest.raises(ClusterError, match="does it speak tcp"), joining(plain):
        pass


@pytest.mark.parametrize(("content", "said"), [(None, "cannot read"), ("hello", "not a PEM file")])
def test_a_wrong_tls_file_is_named(external, tmp_path, content, said):
    path = tmp_path / "client.pem"
    if content:
        path.write_text(content)
    with (
        pytest.raises(ClusterError, match=rf"cluster\.tls_cert:.*{said}"),
        joining(external.cluster, tls_cert=str(path)),
    ):
        pass


@pytest.mark.slow
def test_workers_that_do_not_come_end_the_wait_with_a_reason(external, monkeypatch):
    with joining(external.cluster):
        pass  # its one worker is there
    # How long the scheduler takes to answer says what else the machine does; how long workers are waited for is asked.
    patiently = lambda *args, **options: distributed.Client(*args, **{**options, "timeout": 120})  # noqa: E731
    monkeypatch.setattr("lensflow.cluster.address.Client", patiently)
    with (
        pytest.raises(ClusterError, match=r"1 of the 5 worker\(s\) of cluster\.min_workers joined.* in 0 s"),
        joining(external.cluster, min_workers=5, start_timeout_s=0.2),
    ):
        pass


@pytest.mark.parametrize("library", ["lensflow", "numpy", "numba"])
def test_another_version_at_the_workers_is_refused_by_name(external, monkeypatch, library):
    real = agreement._versions

    def other(info):
        mine = info["host"]["OS"] and not hasattr(other, "seen")
        other.seen = True
        return {**real(info), library: "0.0.1"} if mine else real(info)

    monkeypatch.setattr(agreement, "_versions", other)
    with pytest.raises(ClusterError, match=rf"{library}: 0\.0\.1 here, .* at worker tls://"), joining(external.cluster):
        pass


def test_other_sources_of_the_same_version_are_refused(external, monkeypatch):
    monkeypatch.setattr(agreement, "code_digest", _Elsewhere())
    with (
        pytest.raises(ClusterError, match=r"lensflow's sources: here here, there at worker"),
        joining(external.cluster),
    ):
        pass


class _Elsewhere:
    """Another digest in this process than, unpickled, at a worker."""

    here = True

    def __call__(self):
        return "here" if self.here else "there"

    def __reduce__(self):
        return _at_worker, ()


def _at_worker():
    other = _Elsewhere()
    other.here = False
    return other


def test_an_address_without_encryption_on_another_machine_must_be_asked_for():
    with pytest.raises(ValueError, match="insecure: true"):
        ClusterConfig(kind="address", address="tcp://10.0.0.7:8786")
    assert ClusterConfig(kind="address", address="tcp://10.0.0.7:8786", insecure=True).address
    assert ClusterConfig(kind="address", address="tcp://127.0.0.1:8786").address


@pytest.mark.parametrize("address", ["10.0.0.7:8786", "http://x:1", "tls://", "tls://host"])
def test_an_address_that_is_none_is_refused(address):
    with pytest.raises(ValueError, match="tls://host:port"):
        ClusterConfig(kind="address", address=address)


def test_switching_the_kind_drops_the_address_and_checks_anew():
    config = ClusterConfig(kind="address", address="tls://a:1")
    assert config.switched(kind="local", workers=3) == ClusterConfig(workers=3)
    assert ClusterConfig().switched(kind="address", address="tls://a:1") == config
    with pytest.raises(ConfigError, match="address is needed"):
        ClusterConfig().switched(kind="address")
    with pytest.raises(ConfigError, match=r"cluster\.kind"):
        ClusterConfig().switched(kind="slurm")
