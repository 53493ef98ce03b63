"""Checks of the output location and the workers."""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import psutil

from lensflow._version import __version__
from lensflow.cluster.local import check_region_fits
from lensflow.manifest.estimate import estimate, size_without_cutouts
from lensflow.run.looks.base import Finding, Level, Seen
from lensflow.run.sources import count_targets
from lensflow.store import paths
from lensflow.store.run_folder import largest_region_bytes


def out_folder(seen: Seen) -> Iterator[Finding]:
    """Write a small object to ``out``, read it back and remove it."""
    out = seen.config.out
    probe = paths.join(out, f".lensflow-doctor-{uuid.uuid4().hex}")
    paths.write_text(probe, "probe\n")
    try:
        back = paths.read_text(probe)
    finally:
        paths.remove(probe)
    if back != "probe\n":
        yield Finding("out", Level.FAIL, f"{out}: what was written does not come back", "Choose another out.")
        return
    yield Finding("out", Level.OK, f"{out}: can be written and read")


def free_space(seen: Seen) -> Iterator[Finding]:
    """Compare the size of a run in which every target carries an arc with the free space."""
    config = seen.config
    _ = seen.table  # an unreadable table has been reported already
    given = seen.targets if seen.stamps is None else seen.stamps
    size = size_without_cutouts(config, count_targets(config, given))
    cost = estimate(size, config)
    need = cost.bytes_cutouts + cost.bytes_manifest + cost.bytes_pairs
    text = f"about {need / 2**30:.1f} GiB for at most {size.rows:,} rows of {size.n_hosts:,} hosts"
    if not paths.is_local(config.out):
        yield Finding("space", Level.OK, text)
        return
    place = paths.local_path(config.out).absolute()
    free = shutil.disk_usage(next(p for p in (place, *place.parents) if p.is_dir())).free
    enough = free > 1.2 * need
    advice = "" if enough else "Choose another out, or plan fewer rows (lensflow plan --dry-run)."
    yield Finding("space", Level.OK if enough else Level.FAIL, f"{text}, {free / 2**30:.1f} GiB are free", advice)


def workers(seen: Seen, cluster: Callable[[], Any]) -> Iterator[Finding]:
    """Start or join the cluster; ask for its memory, and whether it runs this code."""
    check_region_fits(seen.config.cluster, largest_region_bytes(seen.config))
    with cluster() as client:
        client.wait_for_workers(1, timeout=60)
        known = client.scheduler_info(n_workers=-1)["workers"]
        threads = sum(w["nthreads"] for w in known.values())
        limits = [w["memory_limit"] for w in known.values() if w["memory_limit"]]
        each = f"{min(limits) / 2**30:.1f} GiB each" if limits else "no limit of memory"
        yield Finding("workers", Level.OK, f"{len(known)} workers, {threads} threads, {each}")
        machine = psutil.virtual_memory().total
        if seen.config.cluster.kind == "local" and sum(limits) > machine:
            what = f"the workers may take {sum(limits) / 2**30:.0f} GiB of this machine's {machine / 2**30:.0f}"
            yield Finding("workers", Level.WARN, what, "Lower cluster.memory_limit or cluster.workers.")
        try:
            client.get_versions(check=True)
        except ValueError as error:
            advice = "Give client, scheduler and workers the same image or environment."
            yield Finding("versions", Level.FAIL, f"client and workers differ: {error}", advice)
            return
        # Each worker is asked separately: one without lensflow would make the others fail too.
        answers = client.run(_version_here, on_error="return")
        wrong = {a: str(v) for a, v in answers.items() if v != __version__}
        if wrong:
            address, version = next(iter(wrong.items()))
            what = f"lensflow {__version__} here, {version} on worker {address} and {len(wrong) - 1} others"
            yield Finding("versions", Level.FAIL, what, "Install the same lensflow on the workers.")
        else:
            yield Finding("versions", Level.OK, f"lensflow {__version__} and the same libraries on all workers")


def _version_here() -> str:
    from lensflow._version import __version__ as version

    return str(version)
