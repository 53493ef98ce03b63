"""A run of very many rows without pixels: tables of a small run repeated, each number a little another.

Its stores are laid out as a real run's: regions of 1,280 rows, receipts, records. Stamps have 4 x 4 pixels, all zero,
which take no space; identities are those of the small run, so that results and settings are looked for as usual.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from lensflow import schema
from lensflow.config import RunConfig
from lensflow.store import paths, receipts
from lensflow.store.create import LAYOUTS, create_store, write_attrs
from lensflow.store.objects import open_group
from lensflow.store.open import open_all_pairs, open_cutouts, open_manifest
from lensflow.store.receipts import Receipt
from lensflow.store.regions import Regions
from lensflow.store.run_folder import RunFolder, config_of
from lensflow.store.tables import TableWriter
from lensflow.store.writing import write_region

SIDE, ROWS_PER_REGION, BLOCK = 4, 1280, 100_000
_OF_STORE = ("n_rows", "rows_per_region", "finished", "complete", "bands", "lensflow_store", "schema_version")


def make_many_rows(small: RunConfig, out: Path | str, n_rows: int = 1_000_000, per_host: int = 10) -> RunConfig:
    """Write the run; a few tens of seconds for a million rows."""
    old, new = RunFolder.of(small), RunFolder(str(out))
    Path(out).mkdir(parents=True)
    config = small.effective() | {"out": str(out)}
    paths.write_text(new.config, type(small).model_validate(config).to_yaml())
    rng, n_hosts = np.random.default_rng(1), n_rows // per_host
    hosts = _repeated(open_cutouts(old.cutouts).drop_vars(["host"]), "host", n_hosts, rng)
    hosts["host_id"] = ("host", np.array([f"{k:07d}" for k in range(n_hosts)]))
    _write(hosts, old, new, "cutouts", n_hosts, "host")
    rows = open_all_pairs(old.pairs, old.manifest, old.cutouts).drop_vars(["host_id"])
    rows = _repeated(rows, "sample", n_rows, rng)
    host = np.arange(n_rows) // per_host
    rows["host_index"], rows["row_id"] = ("sample", host), ("sample", rng.permutation(2**40 + np.arange(n_rows)))
    rows["row_id"] = rows["row_id"].astype(np.uint64)
    rows["split"] = ("sample", hosts["split"].values[host])
    rows["is_control"] = ("sample", np.arange(n_rows) % per_host == 0)
    _write_manifest(rows, old, new)
    _write(rows, old, new, "pairs", n_rows, "sample")
    return config_of(str(out))


def _repeated(tables: xr.Dataset, dim: str, n: int, rng: np.random.Generator) -> xr.Dataset:
    """Tables of n rows; numbers that are no keys are a little different, so that they compress as real ones do."""
    few = tables.drop_vars([v for v in tables.variables if "y" in tables[v].dims or "psf_y" in tables[v].dims]).load()
    order = np.sort(np.arange(n) % few.sizes[dim]) if dim == "host" else np.arange(n) % few.sizes[dim]
    out = few.isel({dim: order})
    for name, values in out.data_vars.items():
        if values.dtype.kind == "f":
            factor = rng.normal(1, 1e-3, values.shape).astype(values.dtype)
            out[name] = values * factor
    return out


def _attrs(url: str) -> dict[str, Any]:
    return {k: v for k, v in open_group(url).attrs.items() if k not in _OF_STORE}


def _write_manifest(rows: xr.Dataset, old: RunFolder, new: RunFolder) -> None:
    names = [v.name for v in schema.MANIFEST]
    plan = open_manifest(old.manifest)
    writer = TableWriter(new.manifest, "manifest", rows.sizes["sample"], plan["band"].values.tolist(), {}, names=names)
    for start in range(0, rows.sizes["sample"], BLOCK):
        writer.append(rows[names].isel(sample=slice(start, start + BLOCK)))
    writer.finish(_attrs(old.manifest))


def _write(rows: xr.Dataset, old: RunFolder, new: RunFolder, store: str, n: int, dim: str) -> None:
    url, bands, attrs = new.store(store), rows["band"].values.tolist(), _attrs(old.store(store))
    create_store(url, store, n, bands, head=rows if LAYOUTS[store].head else None, stamp_size=SIDE,
                 rows_per_region=ROWS_PER_REGION, inner_chunk=32, attrs=attrs)  # fmt: skip
    for region, block in _blocks(rows, n, dim, store, len(bands)):
        written = write_region(block, url, store, region)
        receipt = Receipt(region.index, region.start, region.stop, str(attrs["fingerprint"]), written["checksums"],
                          {"rows": region.size}, {}, written["bytes"], written["objects"])  # fmt: skip
        receipts.write_receipt(new.receipts(store), receipt)
    write_attrs(url, {})


def _blocks(rows: xr.Dataset, n: int, dim: str, store: str, n_bands: int) -> Iterator[tuple[Any, xr.Dataset]]:
    sizes = {"band": n_bands, "y": SIDE, "x": SIDE}
    for region in Regions(n, ROWS_PER_REGION):
        block = rows.isel({dim: region.slice})
        for v in LAYOUTS[store].pixels:
            shape = (region.size, *(sizes[d] for d in v.dims[1:]))
            block[v.name] = (v.dims, np.zeros(shape, v.dtype))
        yield region, block
