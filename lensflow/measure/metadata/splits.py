"""The check ``splits``: nothing is in two splits, by name, position, number or pixels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import xarray as xr

from lensflow import schema
from lensflow.errors import SplitError
from lensflow.measure.gate.verdicts import GateResult, Verdict
from lensflow.measure.metadata.rows import MetadataRows
from lensflow.measure.pixels import Finding, Status
from lensflow.measure.pixels.judging import not_tested
from lensflow.stats.estimate import Estimate
from lensflow.survey.twins import MOVED_PIX, Twin, Twins
from lensflow.targets.splits import check_splits

# Pairs that are named; the others are counted.
_NAMED = 5


def judge_splits(
    gate: GateResult,
    hosts: xr.Dataset,
    manifest: xr.Dataset,
    guard_arcsec: float,
    twins: Twins | None,
    same_image: Mapping[str, str] | None = None,
) -> GateResult:
    """Judge a run by its tables and its hosts' pixels; parameters as ``checks.run_checks``."""
    try:
        counts = check_splits(hosts, manifest, guard_arcsec, same_image)
    except SplitError as error:
        return gate.decided(Verdict.FAIL, str(error))
    used = hosts["split"].values != schema.GUARD
    placed = np.isfinite(hosts["ra_deg"].values) & np.isfinite(hosts["dec_deg"].values)
    lost = int((used & ~placed).sum())
    texts = {
        "hosts": "hosts, none of them in two splits",
        "cells": "sky cells, none of them in two splits",
        "close_pairs": f"pairs of hosts within {guard_arcsec:.4g} arcsec, none of them across splits",
        "rows": "rows, each in its host's split and none on a host of the guard band",
        "sources": "source images, none of them in two splits",
        "arcs": "arcs of analytic sources, none with lens and source of one of another split",
    }
    found = [
        Finding("splits", name, Status.OK, "", Estimate(float(counts[name])), np.nan, text)
        for name, text in texts.items()
    ]
    pixels = pixel_findings(twins, hosts)
    gate = replace(gate, findings=tuple(f.to_dict() for f in (*found, *pixels)))
    for finding in pixels:
        if finding.status is Status.ALARM:
            return gate.decided(Verdict.FAIL, f"{finding.text} {finding.where}")
    summary = (
        f"{counts['hosts']:,} hosts, {counts['cells']:,} sky cells, {counts['sources']:,} source images: none in two "
        f"splits; {counts['close_pairs']:,} pairs of hosts within {guard_arcsec:.3g} arcsec, none across splits; "
        f"{counts['rows']:,} rows, each in its host's split; "
        + "; ".join(f"{f.text} {f.where}".strip() for f in pixels if f.status is Status.OK)
    )
    missing = "; ".join(f.text for f in pixels if f.status is Status.NOT_TESTED)
    if missing:
        return gate.decided(Verdict.NOT_TESTABLE, f"{missing}. Else: {summary}")
    if np.unique(hosts["split"].values[used]).size < 2:
        return gate.decided(Verdict.PASS, f"all hosts are in one split; {summary}")
    if lost:
        why = (
            f"{lost} host(s) have no position on the sky, so whether hosts of different splits share pixels cannot be "
            "known for corners of stamps. Give positions (survey.stamps.hosts: a table with ra_deg, dec_deg; "
            "import_stamps takes them), "
            f"or put all hosts into one split, or take splits out of gate.checks. Else: {summary}"
        )
        return gate.decided(Verdict.NOT_TESTABLE, why)
    return gate.decided(Verdict.PASS, summary)


def pixel_findings(twins: Twins | None, hosts: xr.Dataset) -> list[Finding]:
    """Report hosts with the same pixels: across splits an alarm, within one split advice."""
    name = "pixels of the hosts"
    if twins is None:
        why = "the pixels of the hosts were not compared with each other"
        return [not_tested("splits", name, why)]
    split = hosts["split"].values
    across = [t for t in twins.found if split[t.a] != split[t.b]]
    within = [t for t in twins.found if split[t.a] == split[t.b] and t.one_galaxy]
    overlap = [t for t in twins.found if split[t.a] == split[t.b] and not t.one_galaxy]
    out = []

    def say(check: str, status: Status, found: Sequence[Twin], text: str) -> None:
        where = _named(found, hosts) if found else ""
        out.append(Finding("splits", check, status, where, Estimate(len(found)), 0.0, text))

    if across:
        text = (
            f"{len(across)} pair(s) of hosts of different splits show the same pixels. Leave one of each out, or put "
            "both into one split (splits.cells: region):"
        )
        say(name, Status.ALARM, across, text)
    else:
        text = (
            f"no two of {twins.n_hosts:,} hosts' stamps in different splits show the same pixels "
            f"({twins.n_compared:,} pairs compared pixel by pixel)"
        )
        if twins.n_blank:
            text += f", {twins.n_blank:,} of them without any pixel to compare"
        if twins.n_left:
            text += f", {twins.n_left:,} further pairs of similar light were not compared"
        say(name, Status.OK, [], text)
    if within:
        text = (
            f"{len(within)} pair(s) of hosts within a split show one galaxy, which counts twice; folds and "
            "bootstraps of the gates take each pair for one host. Leave one of each out:"
        )
        say("one galaxy under two names", Status.OK, within, text)
    if overlap:
        text = (
            f"{len(overlap)} pair(s) of hosts within a split show a part of the same sky, moved by more than "
            f"{MOVED_PIX} pixels; folds of the gates may divide them:"
        )
        say("stamps that overlap", Status.OK, overlap, text)
    if twins.n_unknown:
        text = f"beyond the {twins.n_compared:,} pairs that were looked at, {twins.n_unknown:,} share pixels to the bit"
        say("shared pixels", Status.NOT_TESTED, [], text)
    return out


def _named(found: Sequence[Twin], hosts: xr.Dataset) -> str:
    names, split = hosts["host_id"].values, hosts["split"].values

    def host(k: int) -> str:
        return f"{names[k]!s} ({(*schema.SPLITS, 'guard')[int(split[k])]})"

    first = "; ".join(f"{host(t.a)} and {host(t.b)}: {t.describe()}" for t in found[:_NAMED])
    return first + (f"; and {len(found) - _NAMED} more" if len(found) > _NAMED else "")


def galaxies_once(rows: xr.Dataset, twins: Twins) -> xr.Dataset:
    """Rows of a gate with hosts that show one galaxy under one number: no fold divides them."""
    return rows.assign(host_index=("sample", twins.first_of(rows["host_index"].values)))


def unpaired_once(rows: Mapping[str, MetadataRows], twins: Twins) -> dict[str, MetadataRows]:
    """Rows of both classes with hosts that show one galaxy under one number."""
    return {k: r.with_hosts(twins.first_of(r.rows["host_index"].values)) for k, r in rows.items()}
