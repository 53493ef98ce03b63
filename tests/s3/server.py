"""A real S3 server on this machine: Ceph (one monitor, one OSD on a file, one RGW), in a folder of its own."""

from __future__ import annotations

import contextlib
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

PROGRAMS = ("ceph", "ceph-authtool", "ceph-mon", "ceph-osd", "monmaptool", "radosgw", "radosgw-admin")
INSTALL = "tests/s3/install.sh installs it on Debian and Ubuntu"
ACCESS_KEY, SECRET_KEY = "TESTACCESS", "TESTSECRETTESTSECRET"
START_S = 90

# Debugging: what is said at the usual levels is kept in memory in case of a crash, a part of every request's time.
CONFIG = """
[global]
fsid = {fsid}
mon host = [v2:127.0.0.1:{mon2}/0,v1:127.0.0.1:{mon1}/0]
auth cluster required = cephx
auth service required = cephx
auth client required = cephx
auth_allow_insecure_global_id_reclaim = false
osd pool default size = 1
osd pool default min size = 1
osd pool default pg num = 4
osd pool default pgp num = 4
osd crush chooseleaf type = 0
mon allow pool size one = true
mon warn on pool no redundancy = false
mon max pg per osd = 1000
mon data avail warn = 2
mon data avail crit = 1
log file = {folder}/log/$name.log
admin socket = {folder}/run/$name.asok
pid file = {folder}/run/$name.pid
run dir = {folder}/run
ms bind ipv6 = false
public network = 127.0.0.0/8
ms bind port min = {osd}
ms bind port max = {osd_end}
keyring = {folder}/keyring
debug auth = 0/0
debug bdev = 0/0
debug bluefs = 0/0
debug bluestore = 0/0
debug mon = 0/0
debug monc = 0/0
debug objecter = 0/0
debug osd = 0/0
debug paxos = 0/0
debug prioritycache = 0/0
debug rgw = 0/0
debug rocksdb = 0/0
debug tp = 0/0
[mon]
mon data = {folder}/mon
[osd]
osd data = {folder}/osd
osd objectstore = bluestore
bluestore block size = 4294967296
osd memory target = 939524096
bluestore cache autotune = false
bluestore cache size = 134217728
[client.rgw]
rgw frontends = beast endpoint=127.0.0.1:{port} tcp_nodelay=1
rgw data = {folder}/rgw
rgw_enable_apis = s3, admin
rgw_dynamic_resharding = false
rgw_enable_usage_log = false
rgw_run_sync_thread = false
"""


class CannotStart(RuntimeError):
    """The server is not installed, or did not come up."""


@dataclass(frozen=True)
class Server:
    """A running server."""

    folder: Path
    port: int

    @property
    def endpoint_url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


def environment(access_key: str = ACCESS_KEY, secret_key: str = SECRET_KEY) -> dict[str, str]:
    """Credentials as a process takes them, and none from anywhere else."""
    return {
        "AWS_ACCESS_KEY_ID": access_key,
        "AWS_SECRET_ACCESS_KEY": secret_key,
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
    }


@contextlib.contextmanager
def running_server() -> Iterator[Server]:
    """Start the server and stop it at the end.

    Raises
    ------
    CannotStart
    """
    missing = [p for p in PROGRAMS if shutil.which(p) is None]
    if missing:
        raise CannotStart(f"no S3 server here: {', '.join(missing)} not found; {INSTALL}")
    # Not pytest's own folder: the daemons' sockets need short paths.
    folder = Path(tempfile.mkdtemp(prefix="lensflow-s3-"))
    try:
        yield _start(folder)
    finally:
        _stop(folder)


def _start(folder: Path) -> Server:
    for part in ("mon", "osd", "rgw", "log", "run"):
        (folder / part).mkdir()
    port, mon1, mon2 = _free_ports(3)
    osd = random.randrange(20_000, 30_000, 100)
    fsid = str(uuid.uuid4())
    (folder / "ceph.conf").write_text(
        CONFIG.format(folder=folder, fsid=fsid, port=port, mon1=mon1, mon2=mon2, osd=osd, osd_end=osd + 99)
    )
    at = {**os.environ, "CEPH_CONF": str(folder / "ceph.conf")}
    monmap, keyring = folder / "monmap", folder / "keyring"

    def do(*command: object) -> str:
        done = subprocess.run(list(map(str, command)), env=at, capture_output=True, text=True, timeout=START_S)
        if done.returncode:
            raise CannotStart(f"{command[0]} failed: {done.stderr.strip()[-300:]}")
        return done.stdout

    do("monmaptool", "--create", "--fsid", fsid, "--addv", "a", f"[v2:127.0.0.1:{mon2},v1:127.0.0.1:{mon1}]", monmap)
    do("ceph-authtool", "--create-keyring", keyring, "--gen-key", "-n", "mon.", "--cap", "mon", "allow *")
    admin = ["--cap", "mon", "allow *", "--cap", "osd", "allow *", "--cap", "mgr", "allow *"]
    do("ceph-authtool", keyring, "--gen-key", "-n", "client.admin", *admin)
    of_rgw = ["--cap", "mon", "allow rw", "--cap", "osd", "allow rwx"]
    do("ceph-authtool", keyring, "--gen-key", "-n", "client.rgw", *of_rgw)
    do("ceph-mon", "-i", "a", "--mkfs", "--monmap", monmap, "--keyring", keyring)
    do("ceph-mon", "-i", "a")
    of_osd = ["--cap", "mon", "allow profile osd", "--cap", "osd", "allow *"]
    do("ceph-authtool", keyring, "--gen-key", "-n", "osd.0", *of_osd)
    do("ceph", "auth", "import", "-i", keyring)
    do("ceph", "osd", "new", str(uuid.uuid4()), "0")
    osd_uuid = json.loads(do("ceph", "osd", "dump", "-f", "json"))["osds"][0]["uuid"]
    do("ceph-osd", "-i", "0", "--mkfs", "--osd-uuid", osd_uuid)
    do("ceph", "osd", "crush", "add", "osd.0", "1.0", "root=default", "host=h0")
    do("ceph-osd", "-i", "0")
    do("radosgw", "-n", "client.rgw")
    server = Server(folder, port)
    _wait_for(server)
    do(
        *("radosgw-admin", "user", "create", "--uid=lensflow", "--display-name=lensflow"),
        *(f"--access-key={ACCESS_KEY}", f"--secret-key={SECRET_KEY}"),
    )
    return server


def _wait_for(server: Server) -> None:
    end = time.monotonic() + START_S
    while time.monotonic() < end:
        try:
            urllib.request.urlopen(server.endpoint_url, timeout=2).close()
            return
        except (urllib.error.URLError, OSError):
            time.sleep(0.1)
    log = server.folder / "log" / "client.rgw.log"
    raise CannotStart(f"radosgw did not answer in {START_S} s: {log.read_text()[-300:] if log.exists() else 'no log'}")


def _stop(folder: Path) -> None:
    """End the daemons of this folder, the gateway first, and delete everything."""
    for name in ("client.rgw", "osd.0", "mon.a"):
        with contextlib.suppress(OSError, ValueError):
            os.kill(int((folder / "run" / f"{name}.pid").read_text()), signal.SIGKILL)
    shutil.rmtree(folder, ignore_errors=True)


def _free_ports(number: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(number)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


def make_bucket(server: Server, name: str, at: Mapping[str, str]) -> None:
    """Make a bucket, without a location constraint: RGW refuses one."""
    client = _client(server.endpoint_url, at["AWS_ACCESS_KEY_ID"], at["AWS_SECRET_ACCESS_KEY"])
    client.create_bucket(Bucket=name)


@cache
def _client(endpoint_url: str, access_key: str, secret_key: str) -> Any:
    import botocore.session

    session = botocore.session.Session()
    session.set_credentials(access_key, secret_key)
    return session.create_client("s3", endpoint_url=endpoint_url, region_name="us-east-1")
