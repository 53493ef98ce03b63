"""Compare a finished run's manifest with a second draw of its plan."""

from __future__ import annotations

import json
from collections.abc import Collection
from typing import Any

import numpy as np
import xarray as xr

from lensflow.config import RunConfig
from lensflow.errors import ManifestError
from lensflow.manifest.build import Planner
from lensflow.manifest.declared import declared_priors
from lensflow.manifest.image_sources import bank_of
from lensflow.measure.metadata.arcs import arc_findings, render_arcs
from lensflow.measure.metadata.priors import MAX_ROWS, OTHER_SEED, prior_findings
from lensflow.measure.pixels.judging import Finding
from lensflow.measure.pixels.rendering import SAMPLE
from lensflow.measure.pixels.specimens import keys_of
from lensflow.store.open import host_tables, open_manifest, read_attrs, read_head
from lensflow.store.run_folder import RunFolder

# Arcs of images take a hundred times as long as those of Sersic profiles.
IMAGES_RENDERED = 200


def priors_of(config: RunConfig, arcs: xr.Dataset) -> list[Finding]:
    """Compare a run's manifest with another draw of the same plan, on evenly spaced hosts if there are many rows.

    The images of its arcs are compared with those of the other draw.
    """
    folder = RunFolder.of(config)
    n_twice = int((np.unique(read_head(folder.manifest, "manifest", names=("row_id",))["row_id"].values,
                             return_counts=True)[1] > 1).sum())  # fmt: skip
    opened = open_manifest(folder.manifest)
    host = read_head(folder.manifest, "manifest", names=("host_index",))["host_index"].values
    hosts = np.unique(host)
    step = max(1, -(-len(host) // MAX_ROWS))
    chosen = hosts[::step]
    manifest = opened.isel(sample=np.flatnonzero(np.isin(host, chosen))).load()
    read, _ = host_tables(folder.cutouts)
    tables = read(int(chosen.min()), int(chosen.max()) + 1).isel(host=chosen - int(chosen.min()))
    manifest["host_index"].values[:] = np.searchsorted(chosen, manifest["host_index"].values)
    flux = tables["aperture_flux_nmgy"].values[:, config.reference_band]
    given = manifest.attrs.get("given", ())
    redrawn = _redraw(config, tables, manifest.attrs.get("declared"))
    found = prior_findings(manifest, redrawn, flux, config.bands, config.reference_band, given, n_twice)
    return [*found, *arc_findings(arcs, _arcs_redrawn(config, redrawn, given))]


def _arcs_redrawn(config: RunConfig, redrawn: xr.Dataset | str, given: Collection[str]) -> xr.Dataset | str:
    """Arcs of a sample of a second draw's rows."""
    if isinstance(redrawn, str):
        return redrawn
    if given:
        return f"plan.table gives {', '.join(sorted(given))}: how diverse its arcs are is the table's matter"
    rows = np.flatnonzero(~redrawn["is_control"].values)
    few = SAMPLE if config.plan.sources is None else IMAGES_RENDERED
    rows = np.sort(rows[np.argsort(keys_of(redrawn["row_id"].values[rows]), kind="stable")[:few]])
    scale = float(read_attrs(RunFolder.of(config).cutouts, "cutouts")["pixel_scale_arcsec"])
    return render_arcs(redrawn.isel(sample=rows), config, scale, bank_of(config))


def _redraw(config: RunConfig, tables: xr.Dataset, declared: Any) -> xr.Dataset | str:
    if not declared:
        return "the manifest declares no priors (attribute declared). Plan it, or take priors out of gate.checks"
    if json.dumps(declared, sort_keys=True) != json.dumps(declared_priors(config), sort_keys=True):
        return "the manifest declares other priors than the config's plan. Take priors out of gate.checks"
    plan = config.plan.model_copy(update={"limit_hosts": None})
    other = config.model_copy(update={"seed": config.seed + OTHER_SEED, "plan": plan})
    try:
        # Hosts are left out here, and a table's rows for them are nothing to warn of. Not by a filter of warnings: that
        # is the process's, and gates run beside this.
        planner = Planner(
            other,
            lambda start, stop: tables.isel(host=slice(start, stop)),
            tables.sizes["host"],
            bank_of(config),
            warn=False,
        )
        return xr.concat(list(planner.blocks()), "sample")
    except ManifestError as error:  # of the other seed
        return f"a second draw of the plan failed: {error}"
