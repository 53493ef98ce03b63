#!/usr/bin/env bash
# Install the S3 server of the tests (Ceph RGW), where that is possible. Fails, saying why, where it is not.
set -u
have() { command -v radosgw >/dev/null && command -v ceph-mon >/dev/null && command -v ceph-osd >/dev/null; }
have && exit 0
command -v apt-get >/dev/null || { echo "no apt-get here: install radosgw, ceph-mon and ceph-osd by hand"; exit 1; }
[ "$(id -u)" = 0 ] || { echo "installing radosgw, ceph-mon and ceph-osd needs root"; exit 1; }
export DEBIAN_FRONTEND=noninteractive
timeout 120 apt-get update -q >/dev/null 2>&1
timeout 300 apt-get install -q -y --no-install-recommends radosgw ceph-mon ceph-osd >/dev/null 2>&1
have || { echo "radosgw, ceph-mon and ceph-osd cannot be installed here"; exit 1; }
