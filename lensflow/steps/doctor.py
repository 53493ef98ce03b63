"""Preflight: look at what a run will need before it starts, and say what to do about each finding."""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np
import psutil
import xarray as xr

from lensflow import __version__
from lensflow.config import RunConfig
from lensflow.errors import LensflowError
from lensflow.manifest.estimate import estimate, size_without_cutouts
from lensflow.manifest.image_sources import bank_of
from lensflow.schema import Status, reason_names
from lensflow.steps.sources import count_targets, survey_layout, table_targets
from lensflow.store import paths
from lensflow.survey.bricks import open_brick
from lensflow.survey.cutouts import cut_block
from lensflow.survey.layout import BAND_PRODUCTS, Layout
from lensflow.survey.transport import TransportError

# Bricks whose files are looked at, spread over the table; hosts that are cut for trial.
SAMPLE_BRICKS = 8
TRIAL_HOSTS = 3
# Without these files no stamp has pixels; without the others the run goes on, and flags what it assumes.
_NEEDED = ("image", "invvar")


class Level(StrEnum):
    """How grave a finding is: only FAIL stops a run."""

    OK = "ok"
    WARN = "warning"
    FAIL = "fail"


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    Attributes
    ----------
    check : str
        What was looked at, in a word or two.
    level : Level
    what : str
        What was found, with names and numbers.
    advice : str
        The way out; empty where there is nothing to do.
    """

    check: str
    level: Level
    what: str
    advice: str = ""


def doctor(config: RunConfig, cluster: Callable[[], Any] | None = None) -> list[Finding]:
    """Check targets, survey files, bands, access, space and workers of a run; nothing of the run is written.

    Parameters
    ----------
    config : RunConfig
    cluster : callable, optional
        Gives a context manager with a Dask client (``lambda: connect(config.cluster)``); without it, the workers are
        not looked at.

    Returns
    -------
    list of Finding
        In the order of a run's needs. An error of a check is a finding, not an exception.
    """
    findings = [*_guarded("settings", lambda: _settings(config))]
    targets = None
    if config.survey.root is not None:
        targets, found = _targets(config)
        findings += found
        if targets is not None:
            findings += _guarded("survey", lambda: _survey_files(config, targets))
            findings += _guarded("trial cut", lambda: _trial_cut(config, targets))
    findings += _guarded("out", lambda: _out(config))
    if targets is not None or config.survey.root is None:
        findings += _guarded("space", lambda: _space(config, targets))
    findings += _guarded("sources", lambda: _sources(config))
    if cluster is not None:
        findings += _guarded("workers", lambda: _workers(config, cluster))
    return findings


def _guarded(check: str, findings: Callable[[], Iterator[Finding]]) -> Iterator[Finding]:
    """Hand on findings; an error on the way becomes the last of them."""
    try:
        yield from findings()
    except LensflowError as error:
        yield Finding(check, Level.FAIL, str(error))
    except (PermissionError, FileNotFoundError, ConnectionError, TimeoutError) as error:
        advice = "Are the root, the endpoint and the credentials right? Credentials come from the environment or role."
        yield Finding(check, Level.FAIL, f"{type(error).__name__}: {error}", advice)


def _settings(config: RunConfig) -> Iterator[Finding]:
    injection = config.injection
    tables = {"invvar": ("sky_mag_arcsec2",), "exposure": ("exptime_s", "electrons_per_s_per_nmgy")}[injection.gain]
    missing = [f"injection.{t}.{b}" for t in tables for b in config.bands if b not in getattr(injection, t)]
    if injection.noise and missing:
        yield Finding("settings", Level.FAIL, f"no value for {', '.join(missing)}", "Give one for every band.")
    else:
        yield Finding("settings", Level.OK, f"bands {', '.join(config.bands)}, seed {config.seed}")


def _targets(config: RunConfig) -> tuple[xr.Dataset | None, list[Finding]]:
    try:
        targets = table_targets(config)
    except LensflowError as error:
        return None, [Finding("targets", Level.FAIL, str(error))]
    n = targets.sizes["host"]
    if n == 0:
        return None, [Finding("targets", Level.FAIL, f"{config.survey.targets}: no host is left", "See its counts.")]
    bricks = np.unique(targets["brickname"].values).size
    read, removed, merged = (targets.attrs[k] for k in ("n_read", "n_removed", "n_duplicates"))
    note = f"{n:,} hosts in {bricks:,} bricks ({read:,} rows read, {removed:,} cut, {merged:,} duplicates merged)"
    return targets, [Finding("targets", Level.OK, note)]


def _survey_files(config: RunConfig, targets: xr.Dataset) -> Iterator[Finding]:
    """Look for the files of a sample of bricks, open each, and report by product."""
    layout = survey_layout(config)
    bricks = np.unique(targets["brickname"].values)
    sample = [str(b) for b in bricks[np.linspace(0, bricks.size - 1, min(SAMPLE_BRICKS, bricks.size)).astype(int)]]
    yield Finding("survey", Level.OK, f"looking at {len(sample)} of {bricks.size:,} bricks below {layout.root}")
    wanted = [(p, b) for p in BAND_PRODUCTS for b in config.bands] + [("maskbits", "")]
    for product, band in wanted:
        yield _product(layout, product, band, sample)


def _product(layout: Layout, product: str, band: str, sample: list[str]) -> Finding:
    name = f"{product}-{band}" if band else product
    problems = [text for brick in sample if (text := _problem(layout, brick, product, band))]
    if not problems:
        return Finding("survey", Level.OK, f"{name}: readable in all {len(sample)}")
    there = len(sample) - len(problems)
    what = f"{name}: readable in {there} of {len(sample)}; {problems[0]}"
    if product in _NEEDED and there == 0:
        return Finding("survey", Level.FAIL, what, "Are survey.root and survey.layout right? Is the band there?")
    advice = {
        "psfsize": "Hosts without it take their PSF from the catalogue or r; survey.psfsize_arcsec assumes one.",
        "nexp": "Coverage is then judged by invvar.",
        "maskbits": "Masks are then taken as 0.",
    }.get(product, "Hosts there lack the band.")
    return Finding("survey", Level.WARN, what, advice)


def _problem(layout: Layout, brick: str, product: str, band: str) -> str:
    try:
        with open_brick(layout, brick, (band,) if band else (), (product,)) as opened:
            return str(opened.problem(product, band) or "")
    except TransportError as error:
        return str(error)


def _trial_cut(config: RunConfig, targets: xr.Dataset) -> Iterator[Finding]:
    """Cut a few hosts, in memory, through the code of the run."""
    n = targets.sizes["host"]
    rows = np.linspace(0, n - 1, min(TRIAL_HOSTS, n)).astype(int)
    block = cut_block(targets.isel(host=rows), survey_layout(config), config.bands, config.survey)
    for i, name in enumerate(block["host_id"].values):
        status = Status(int(block["status"].values[i]))
        reasons = [
            r for k, b in enumerate(config.bands) for r in reason_names(int(block["band_reasons"].values[i, k]), b)
        ] or reason_names(int(block["reasons"].values[i]))
        what = f"host {name}: {status.name}" + (f" ({', '.join(reasons)})" if reasons else "")
        level = Level.OK if status == Status.OK else Level.WARN
        yield Finding("trial cut", level, what, "" if level is Level.OK else "docs/cutouts.md lists the reasons.")
    for line in block.attrs["messages"]:
        yield Finding("trial cut", Level.WARN, line)


def _out(config: RunConfig) -> Iterator[Finding]:
    probe = paths.join(config.out, f".lensflow-doctor-{uuid.uuid4().hex}")
    paths.write_text(probe, "probe\n")
    try:
        back = paths.read_text(probe)
    finally:
        paths.remove(probe)
    if back != "probe\n":
        yield Finding("out", Level.FAIL, f"{config.out}: what was written does not come back", "Choose another out.")
        return
    yield Finding("out", Level.OK, f"{config.out}: can be written and read")


def _space(config: RunConfig, targets: xr.Dataset | None) -> Iterator[Finding]:
    """Hold the bytes of a run in which every target can carry an arc against those that are free."""
    size = size_without_cutouts(config, count_targets(config, targets))
    cost = estimate(size, config)
    need = cost.bytes_cutouts + cost.bytes_manifest + cost.bytes_pairs
    text = f"about {need / 2**30:.1f} GiB for at most {size.rows:,} rows of {size.n_hosts:,} hosts"
    if not paths.is_local(config.out):
        yield Finding("space", Level.OK, text)
        return
    free = shutil.disk_usage(paths.local_path(config.out)).free
    enough = free > 1.2 * need
    advice = "" if enough else "Choose another out, or plan fewer rows (lensflow plan --dry-run)."
    yield Finding("space", Level.OK if enough else Level.FAIL, f"{text}, {free / 2**30:.1f} GiB are free", advice)


def _sources(config: RunConfig) -> Iterator[Finding]:
    bank = bank_of(config)
    if bank is None:
        return
    first = bank.get(bank.ids[0])
    size = f"half-light radius {first.half_light_radius_arcsec:.2f} arcsec"
    yield Finding("sources", Level.OK, f"{len(bank):,} images; the first, {first.source_id}, has {size}")


def _workers(config: RunConfig, cluster: Callable[[], Any]) -> Iterator[Finding]:
    with cluster() as client:
        client.wait_for_workers(1, timeout=60)
        workers = client.scheduler_info(n_workers=-1)["workers"]
        threads = sum(w["nthreads"] for w in workers.values())
        limits = [w["memory_limit"] for w in workers.values()]
        note = f"{len(workers)} workers, {threads} threads, {min(limits) / 2**30:.1f} GiB each"
        yield Finding("workers", Level.OK, note)
        machine = psutil.virtual_memory().total
        if config.cluster.kind == "local" and sum(limits) > machine:
            what = f"the workers may take {sum(limits) / 2**30:.0f} GiB of this machine's {machine / 2**30:.0f}"
            yield Finding("workers", Level.WARN, what, "Lower cluster.memory_limit or cluster.workers.")
        try:
            client.get_versions(check=True)
        except ValueError as error:
            advice = "Give client, scheduler and workers the same image or environment."
            yield Finding("versions", Level.FAIL, f"client and workers differ: {error}", advice)
            return
        # Each worker is asked on its own: one without lensflow would fail the others' answers too.
        answers = client.run(_version_here, on_error="return")
        wrong = {a: str(v) for a, v in answers.items() if v != __version__}
        if wrong:
            address, version = next(iter(wrong.items()))
            what = f"lensflow {__version__} here, {version} on worker {address} and {len(wrong) - 1} others"
            yield Finding("versions", Level.FAIL, what, "Install the same lensflow on the workers.")
        else:
            yield Finding("versions", Level.OK, f"lensflow {__version__} and the same libraries on all workers")


def _version_here() -> str:
    from lensflow import __version__ as version

    return str(version)
