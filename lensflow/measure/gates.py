"""All gates of a config: on the pixels of stamps and controls, and on the dataset's own rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import xarray as xr

from lensflow.config import DiagnosticsConfig, GateConfig
from lensflow.config.checks import UNPAIRED
from lensflow.errors import GateError
from lensflow.measure.gate.gate import pixel_gate
from lensflow.measure.gate.recipes import Recipe
from lensflow.measure.gate.verdicts import GateResult
from lensflow.measure.metadata.metadata_gate import metadata_gate
from lensflow.measure.metadata.rows import MetadataRows


def run_gates(
    block: xr.Dataset,
    config: GateConfig,
    band_names: Sequence[str],
    seed: int,
    edges: Sequence[float] = DiagnosticsConfig().theta_e_edges,
    unpaired: Mapping[str, MetadataRows] | None = None,
) -> list[GateResult]:
    """Run every gate of a config, required ones first.

    Parameters
    ----------
    block : Dataset
        The features of all ``config.every``, with bands ``band_names``; the order of rows does not matter.
    config : GateConfig
    band_names : sequence of str
        Names of the block's bands.
    seed : int
        Seed of the choice of hosts, folds, bootstrap and controls.
    edges : sequence of float
        Strata of theta_E, arcsec.
    unpaired : mapping of MetadataRows, optional
        Of all rows, by kind, for gates of kind ``metadata`` and ``host``
        (:func:`lensflow.measure.metadata.hosts.unpaired_rows`).

    Returns
    -------
    list of GateResult
        A fit that does not converge and features that are not finite give the verdict ERROR; too few rows, or
        rows that carry nothing that could differ, give NOT_TESTABLE.

    Raises
    ------
    GateError
        If ``band_names`` does not match the block, or a gate's features or rows are lacking.
    """
    return [run_gate(block, name, config, band_names, seed, edges, unpaired) for name in config.every]


def run_gate(
    block: xr.Dataset,
    name: str,
    config: GateConfig,
    band_names: Sequence[str],
    seed: int,
    edges: Sequence[float] = DiagnosticsConfig().theta_e_edges,
    unpaired: Mapping[str, MetadataRows] | None = None,
) -> GateResult:
    """Run one gate, as :func:`run_gates` does."""
    if block.sizes["band"] != len(band_names):
        raise GateError(f"gate {name}: {block.sizes['band']} bands in the features, named {', '.join(band_names)}")
    recipe = Recipe.of(name, band_names)
    if recipe.kind in UNPAIRED:
        if unpaired is None or recipe.kind not in unpaired:
            raise GateError(f"gate {name}: no {recipe.kind} rows of the dataset to look at")
        return metadata_gate(unpaired[recipe.kind], recipe, config, [band_names[b] for b in recipe.bands], seed)
    return pixel_gate(block, recipe, config, band_names, seed, edges)


def as_dataset(results: Sequence[GateResult]) -> xr.Dataset:
    """Put verdicts of gates side by side.

    Returns
    -------
    Dataset, dim gate
        ``auc``, ``auc_low``, ``auc_high`` (NaN of a check without a fit), ``verdict``, ``reason``, ``n_rows``,
        ``n_hosts``.
    """
    verdicts = [str(g.verdict) for g in results]
    columns = {
        "auc": ("1", "area under the ROC curve of stamps against controls", [g.area.value for g in results]),
        "auc_low": ("1", "lower end of its 95 % interval over hosts", [g.area.low for g in results]),
        "auc_high": ("1", "upper end of its 95 % interval over hosts", [g.area.high for g in results]),
        "verdict": ("", "PASS, FAIL, EXPLAINED, INCONCLUSIVE, NOT_TESTABLE or ERROR", verdicts),
        "reason": ("", "why", [g.reason for g in results]),
        "n_rows": ("1", "injection rows", [g.n_rows for g in results]),
        "n_hosts": ("1", "their hosts", [g.n_hosts for g in results]),
    }  # fmt: skip
    data = {
        k: ("gate", np.asarray(v, dtype=float) if k.startswith("auc") else np.asarray(v), {"units": u, "long_name": t})
        for k, (u, t, v) in columns.items()
    }
    return xr.Dataset(data, coords={"gate": [g.name for g in results]})
