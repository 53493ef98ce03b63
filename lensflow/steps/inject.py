"""Inject every row of the manifest: lazily for notebooks, region by region into the pairs store for runs."""

from __future__ import annotations

import dask.array as da
import numpy as np
import xarray as xr
from dask import delayed

from lensflow import schema
from lensflow.config import InjectionConfig, RunConfig, fingerprint
from lensflow.injection import inject_block
from lensflow.injection.inject import rows_of_hosts
from lensflow.injection.metrics import invariant_failures
from lensflow.steps.execute import Progress, Stopwatch, peak_rss_mb, run_tasks, silent
from lensflow.steps.plan import cutouts_content
from lensflow.steps.run_folder import RunFolder
from lensflow.store import create, paths, receipts, resume
from lensflow.store.open import open_manifest, open_pairs, read_host_block, read_manifest_block
from lensflow.store.receipts import Receipt
from lensflow.store.regions import plan_regions, region_at


def inject(
    cutouts: xr.Dataset, manifest: xr.Dataset, config: InjectionConfig | None = None, chunk: int = 64
) -> xr.Dataset:
    """Inject lazily: pairs as Dask arrays, rendered chunk by chunk when they are computed.

    Parameters
    ----------
    cutouts : Dataset
        As opened by ``open_cutouts``, or in memory.
    manifest : Dataset
        Any rows of a manifest, sorted by host.
    config : InjectionConfig, optional
    chunk : int
        Samples rendered together; the result does not depend on it.

    Returns
    -------
    Dataset with dim sample: ``arc``, ``stamp``, ``ctrl`` (sample, band, y, x), metrics and flags lazy, and the
    manifest's columns. The bits are those that :func:`inject_step` stores.
    """
    config = config or InjectionConfig()
    cutouts = cutouts.assign_coords(host_index=("host", np.arange(cutouts.sizes["host"])))
    n, shape = manifest.sizes["sample"], tuple(cutouts.sizes[d] for d in ("band", "y", "x"))
    variables = (*schema.PAIRS, schema.CTRL, *schema.METRICS, *schema.FLAGS)
    parts: dict[str, list[da.Array]] = {v.name: [] for v in variables}
    for start in range(0, n, chunk):
        rows = manifest.isel(sample=slice(start, start + chunk))
        # One narrow slice of hosts a chunk, passed as lazy arrays: Dask reads them as part of the graph.
        hosts = cutouts.isel(host=np.unique(rows["host_index"].values))
        block = delayed(_pairs_of, pure=False)(hosts, rows, config)
        for v in variables:
            size = (rows.sizes["sample"], *{1: (), 2: shape[:1], 4: shape}[len(v.dims)])
            parts[v.name].append(da.from_delayed(block[v.name].data, size, dtype=v.dtype))
    out = manifest.copy()
    for v in variables:
        out[v.name] = (v.dims, da.concatenate(parts[v.name]), v.attrs)
    out.attrs["pixel_scale_arcsec"] = cutouts.attrs["pixel_scale_arcsec"]
    return out


def _pairs_of(hosts: xr.Dataset, manifest: xr.Dataset, config: InjectionConfig) -> xr.Dataset:
    rows = rows_of_hosts(hosts, manifest["host_index"].values)
    return inject_block(hosts, manifest, config).assign(ctrl=(schema.CTRL.dims, hosts["image"].values[rows]))


def inject_step(config: RunConfig, progress: Progress = silent) -> xr.Dataset:
    """Inject the run's manifest into its pairs store, one task per region; finished regions are not done again.

    Parameters
    ----------
    config : RunConfig
        Its cutouts and manifest must exist.
    progress : callable, optional

    Returns
    -------
    Dataset
        The open pairs.

    Raises
    ------
    StaleStoreError
        If the store holds another run's pairs; the message names the differing settings.
    """
    folder = RunFolder.of(config)
    manifest = open_manifest(folder.manifest)
    inputs = {"cutouts": cutouts_content(config), "manifest": str(manifest.attrs["fingerprint"])}
    identity = resume.identity(config, "pairs", inputs)
    stamp = fingerprint(identity)
    n_rows = manifest.sizes["sample"]
    if not resume.may_resume(folder.pairs, identity):
        receipts.clear(folder.receipts("pairs"))
        pixel_scale = paths.open_group(folder.cutouts).attrs["pixel_scale_arcsec"]
        create.create_store(
            folder.pairs,
            "pairs",
            n_rows,
            config.bands,
            stamp_size=config.survey.stamp_size,
            rows_per_region=config.store.samples_per_region,
            inner_chunk=config.store.inner_chunk,
            attrs={"identity": identity, "fingerprint": stamp, "pixel_scale_arcsec": pixel_scale},
        )
    regions = plan_regions(n_rows, config.store.samples_per_region)
    todo = receipts.missing_regions(folder.receipts("pairs"), regions, stamp)
    for _ in run_tasks(_InjectTask(config, stamp, n_rows), [r.index for r in todo], "inject", progress):
        pass
    return open_pairs(folder.pairs)


class _InjectTask:
    """Inject one region and write it, the receipt last."""

    def __init__(self, config: RunConfig, stamp: str, n_rows: int):
        self.config, self.stamp, self.n_rows = config, stamp, n_rows

    def __call__(self, index: int) -> Receipt:
        watch, folder = Stopwatch(), RunFolder.of(self.config)
        region = region_at(index, self.n_rows, self.config.store.samples_per_region)
        manifest = read_manifest_block(folder.manifest, region)
        host_index = manifest["host_index"].values
        hosts = read_host_block(folder.cutouts, int(host_index.min()), int(host_index.max()) + 1)
        watch.lap("read")
        block = inject_block(hosts, manifest, self.config.injection)
        watch.lap("render and measure")
        written = create.write_region(block, folder.pairs, "pairs", region)
        watch.lap("write")
        control = manifest["is_control"].values
        receipt = Receipt(
            region=index,
            start=region.start,
            stop=region.stop,
            fingerprint=self.stamp,
            checksums=written["checksums"],
            counts={
                "rows": region.size,
                "injections": int((~control).sum()),
                "controls": int(control.sum()),
                **{f"flag: {v.name}": int(block[v.name].values.sum()) for v in schema.FLAGS},
                **invariant_failures(block, manifest),
            },
            seconds=watch.seconds,
            bytes=written["bytes"],
            peak_rss_mb=peak_rss_mb(),
        )
        receipts.write_receipt(folder.receipts("pairs"), receipt)
        return receipt
