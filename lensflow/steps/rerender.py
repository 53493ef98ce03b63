"""Make one row of a run anew, from the manifest and the host alone, and compare it with what is stored."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr

from lensflow import schema
from lensflow.config import RunConfig
from lensflow.errors import StoreError
from lensflow.injection import inject_block
from lensflow.manifest.image_sources import bank_of
from lensflow.steps.inject import as_stored
from lensflow.steps.run_folder import RunFolder
from lensflow.store import paths, resume
from lensflow.store.open import read_host_block, read_manifest_block, read_pairs_block, read_row_ids
from lensflow.store.regions import Region


def rerender(out: str, row_id: int) -> xr.Dataset:
    """Inject one row again and compare every pixel, metric and flag with the stored ones.

    Parameters
    ----------
    out : str
        The run's folder, any fsspec URL.
    row_id : int
        As in the manifest.

    Returns
    -------
    Dataset of one sample
        As :func:`lensflow.open_pairs`, made anew. Attrs: ``identical`` (bool), ``differing`` (names of the variables
        whose bits are not the stored ones), ``same_code`` (whether the code that decides pixels is that of the run).

    Raises
    ------
    StoreError
        If the run has no such row, or no pairs.
    """
    folder = RunFolder(out.rstrip("/"))
    config, identity = _settings(folder)
    at = np.flatnonzero(read_row_ids(folder.manifest) == np.uint64(row_id))
    if at.size == 0:
        raise StoreError(f"{folder.manifest}: no row with row_id {row_id}. Row ids: open_manifest(...)['row_id']")
    where = Region(0, int(at[0]), int(at[0]) + 1)
    manifest = read_manifest_block(folder.manifest, where)
    host = int(manifest["host_index"].values[0])
    hosts = read_host_block(folder.cutouts, host, host + 1)
    again = as_stored(inject_block(hosts, manifest, config.injection, bank_of(config)), hosts, manifest, config.store)
    stored = read_pairs_block(folder.pairs, folder.manifest, folder.cutouts, where)
    names = [v.name for v in (*schema.PAIRS, schema.CTRL, *schema.METRICS, *schema.ROUNDING, *schema.FLAGS)]
    differing = [n for n in names if again[n].values.tobytes() != stored[n].values.astype(again[n].dtype).tobytes()]
    said = {
        "identical": not differing,
        "differing": differing,
        "same_code": identity.get("lensflow.code") == resume.code_fingerprint(),
    }
    row = manifest.assign({n: again[n] for n in names})
    row.attrs = said
    return row


def _settings(folder: RunFolder) -> tuple[RunConfig, Mapping[str, Any]]:
    """Settings that the stored pairs were made with, from the store itself: a config file may have changed since."""
    identity: Any = paths.open_group(folder.pairs).attrs.get("identity")
    if not isinstance(identity, Mapping):
        raise StoreError(f"{folder.pairs}: not a pairs store of lensflow")
    tree: dict[str, Any] = {"out": folder.root}
    for key, value in identity.items():
        *above, name = key.split(".")
        if above[:1] in (["inputs"], ["lensflow"]):
            continue
        place = tree
        for part in above:
            place = place.setdefault(part, {})
        place[name] = value
    return RunConfig.model_validate(tree), identity
