"""Render one row of a run again, from the manifest and the host alone, and compare it with the stored one."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr

from lensflow import schema
from lensflow.config import RunConfig
from lensflow.errors import StoreError, did_you_mean
from lensflow.injection import inject_block
from lensflow.injection.rounding import as_stored
from lensflow.manifest.image_sources import bank_of
from lensflow.store import resume
from lensflow.store.open import (
    read_attrs,
    read_head,
    read_host_block,
    read_manifest_block,
    read_pairs_block,
    read_row_ids,
)
from lensflow.store.regions import Region
from lensflow.store.run_folder import STORES, RunFolder, settings_of_identity


def rerender(out: str, row: int | str) -> xr.Dataset:
    """Inject one row again and compare every pixel, metric and flag with the stored ones.

    Parameters
    ----------
    out : str
        The run's folder, any fsspec URL.
    row : int or str
        ``"HOST:REPLICATE"``, ``"HOST:c0"`` for the host's first control, the row's number in the manifest, or its
        row_id.

    Returns
    -------
    Dataset of one sample
        As :func:`lensflow.open_pairs`, rendered again. Attrs: ``name`` (row number, host, position, replicate, split),
        ``identical`` (bool), ``differing`` (names of the variables whose bits are not the stored ones), ``same_code``
        (whether the code that decides pixels is that of the run).

    Raises
    ------
    StoreError
        If the run has no such row, or no pairs.
    """
    folder = RunFolder(out.rstrip("/"))
    config = settings_in(folder)
    identity: Any = read_attrs(folder.pairs, "pairs").get("identity")
    at = find_row(folder, row)
    where = Region(0, at, at + 1)
    manifest = read_manifest_block(folder.manifest, where)
    host = int(manifest["host_index"].values[0])
    hosts = read_host_block(folder.cutouts, host, host + 1)
    again = as_stored(inject_block(hosts, manifest, config.injection, bank_of(config)), hosts, manifest, config.store)
    stored = read_pairs_block(folder.pairs, folder.manifest, folder.cutouts, where)
    names = [v.name for v in (*schema.PAIRS, schema.CTRL, *schema.METRICS, *schema.ROUNDING, *schema.FLAGS)]
    names += [v.name for v in schema.COMPONENT_METRICS if v.name in stored]
    differing = [n for n in names if again[n].values.tobytes() != stored[n].values.astype(again[n].dtype).tobytes()]
    attrs = {
        "name": name_of_row(folder, at, manifest),
        "identical": not differing,
        "differing": differing,
        "same_code": identity.get("lensflow.code") == resume.code_fingerprint(),
    }
    out_row = manifest.assign({n: again[n] for n in names})
    out_row.attrs = attrs
    return out_row


def find_row(folder: RunFolder, row: int | str) -> int:
    """Position of a row in the manifest.

    Parameters
    ----------
    folder : RunFolder
    row : int or str
        As for :func:`rerender`.

    Raises
    ------
    StoreError
        If there is no such row; the message says which there are.
    """
    text, url = str(row).strip(), folder.manifest
    if text.isdigit():
        ids = read_row_ids(url)
        if int(text) < len(ids):
            return int(text)
        at = np.flatnonzero(ids == np.uint64(text)) if int(text) < 2**64 else np.empty(0, int)
        if at.size == 0:
            raise StoreError(
                f"{url}: no row with row_id {text}, and {len(ids):,} rows, numbered from 0. A row can also be named by "
                "its host and replicate: HOST:3."
            )
        return int(at[0])
    host, _, number = text.rpartition(":")
    replicate = number.removeprefix("c")
    if not host or not replicate.isdigit():
        raise StoreError(f"{text!r} names no row: give HOST:REPLICATE, HOST:c0 for a control, or a row's number")
    names = read_head(folder.cutouts, "cutouts", names=("host_id",))["host_id"].values
    hosts = np.flatnonzero(names == host)
    if hosts.size == 0:
        raise StoreError(f"{folder.cutouts}: no host {host!r}.{did_you_mean(host, names.tolist())}")
    head = read_head(url, "manifest", names=("host_index", "is_control"))
    rows = np.flatnonzero(head["host_index"].values == hosts[0])
    if rows.size == 0:
        raise StoreError(f"{url}: host {host} has no row; `lensflow cut`'s summary says why hosts are left out")
    block = read_manifest_block(url, Region(0, int(rows[0]), int(rows[-1]) + 1))
    of = {_short_name(block, int(k)): int(r) for r in rows for k in [r - rows[0]]}
    wanted = ("c" if number.startswith("c") else "") + str(int(replicate))
    if wanted not in of:
        raise StoreError(f"{url}: host {host} has no replicate {wanted}; it has {', '.join(sorted(of))}")
    return of[wanted]


def _short_name(rows: xr.Dataset, k: int) -> str:
    return ("c" if rows["is_control"].values[k] else "") + str(int(rows["replicate"].values[k]))


def name_of_row(folder: RunFolder, at: int, manifest: xr.Dataset) -> str:
    """Describe the row: number, host, sky position, replicate, split."""
    index = int(manifest["host_index"].values[0])
    host = read_head(folder.cutouts, "cutouts", slice(index, index + 1), ("host_id", "ra_deg", "dec_deg"))
    ra, dec = (float(host[n].values[0]) for n in ("ra_deg", "dec_deg"))
    place = f", RA {ra:.5f}, Dec {dec:+.5f}" if np.isfinite(ra) and np.isfinite(dec) else ""
    kind = "control" if manifest["is_control"].values[0] else "replicate"
    split = (*schema.SPLITS, "guard")[int(manifest["split"].values[0])]
    return (
        f"row {at} (host {host['host_id'].values[0]}{place}, {kind} {int(manifest['replicate'].values[0])}, {split}, "
        f"row_id {int(manifest['row_id'].values[0])})"
    )


def settings_in(folder: RunFolder, store: str = "pairs") -> RunConfig:
    """Settings that a store was made with, from the store itself: a config file may have changed since."""
    identity: Any = read_attrs(folder.store(store), store).get("identity")
    return settings_of_identity(identity, folder.root)


def settings_in_stores(folder: RunFolder) -> RunConfig | None:
    """Settings of a run as its last readable store has them; None without one."""
    for store in reversed(STORES):
        try:
            return settings_in(folder, store)
        except StoreError:
            continue
    return None
