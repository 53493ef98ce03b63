"""Diagnostics, gates and lens finders on pairs in a notebook, on an opened or lazy Dataset."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from lensflow.config import RunConfig
from lensflow.errors import StoreError
from lensflow.manifest.image_sources import bank_of
from lensflow.measure.gate import GateResult
from lensflow.measure.measurement import Measured
from lensflow.measure.metadata.hosts import first_of_class
from lensflow.measure.pixels import KINDS, Block, Finding, measure
from lensflow.measure.pixels import findings as _findings
from lensflow.measure.scorer.gates import judge_scores, scored_hosts
from lensflow.measure.scorer.scorer import as_scorer, score_block
from lensflow.run.gate_rows import PORTRAITS, GateInput, GateRows
from lensflow.run.judge import run_all_gates
from lensflow.run.kinds import kinds_of, settings_of
from lensflow.run.lazily import LazyResults, LazyVerdicts, sum_of_chunks
from lensflow.run.measure import origin_of_rows
from lensflow.run.score import with_split
from lensflow.run.twins import Controls, portraits_of_pairs
from lensflow.stats.kept_rows import KeptRows
from lensflow.store.resume import code_fingerprint


def diagnose(pairs: xr.Dataset, config: RunConfig, cutouts: xr.Dataset | None = None) -> LazyResults:
    """Measure pairs, opened or lazy; nothing is computed until a result is accessed.

    :func:`findings` says what is amiss. ``dask.compute(lf.diagnose(pairs, config), lf.gate(pairs, config))`` reads, or
    renders, every chunk of the pairs once for both.

    Parameters
    ----------
    pairs : Dataset
        As :func:`lensflow.api.open_pairs` or :func:`lensflow.api.inject` gave them, or some of their rows.
    config : RunConfig
        Its ``diagnostics``; ``injection``, ``store`` and ``seed`` are those that the pairs were made with.
    cutouts : Dataset, optional
        The hosts that the pairs were made from. Every stamp is made again from them; without, none is.

    Returns
    -------
    mapping of Dataset
        Name -> results with units, ``x_low`` and ``x_high`` where ``x`` has an interval. ``.compute()`` gives a dict.

    Raises
    ------
    StoreError
        If the pairs have no pixels, or no rows.
    ConfigError
        If a measurement of ``diagnostics.also`` cannot be imported.
    """
    _refuse_without_rows(pairs)
    folder = str(Path.cwd())
    kinds = kinds_of(config, folder)
    # Pairs that were made here say nothing of their code: it is this one.
    code = pairs.attrs.get("pixel_code", code_fingerprint())
    rows = np.asarray(pairs["row_id"]), np.asarray(pairs["is_control"])
    origin = origin_of_rows(config, *rows, code, bank_of(config))

    def measured(block: xr.Dataset) -> Measured:
        made_from = replace(origin, hosts=_hosts_of(block, cutouts))
        return measure(Block(block, config.diagnostics, made_from), kinds_of(config, folder))

    root = sum_of_chunks(pairs, measured, Measured.joined)
    return LazyResults(root, lambda found: found.results(settings_of(config)), [k.name for k in kinds])


def _refuse_without_rows(pairs: xr.Dataset) -> None:
    if not pairs.sizes["sample"]:
        raise StoreError("the pairs have no rows: there is nothing to measure.")


def findings(results: Mapping[str, xr.Dataset], config: RunConfig | None = None) -> list[Finding]:
    """Compare results of :func:`diagnose` with their expected values.

    Parameters
    ----------
    results : mapping of Dataset
        By name of the diagnostic.
    config : RunConfig, optional
        Whose ``diagnostics.also`` made some of them.

    Returns
    -------
    list of Finding
        Each number with its interval beside its expectation: OK, ALARM or NOT_TESTED, and where it is worst.
    """
    return _findings(results, kinds_of(config) if config else KINDS)


def _hosts_of(block: xr.Dataset, cutouts: xr.Dataset | None) -> xr.Dataset | None:
    """Hosts of a block's rows, in memory; None without cutouts."""
    if cutouts is None:
        return None
    index = np.unique(block["host_index"].values)
    return cutouts.isel(host=index).assign_coords(host_index=("host", index)).load()


def gate(pairs: xr.Dataset, config: RunConfig, cutouts: xr.Dataset | None = None) -> LazyVerdicts:
    """Test whether given features alone distinguish stamps from controls; computed when a verdict is accessed.

    Hosts that show one galaxy (:mod:`lensflow.survey.twins`) count as one.

    Parameters
    ----------
    pairs : Dataset
        As :func:`lensflow.api.open_pairs` or :func:`lensflow.api.inject` gave them, or some of their rows.
    config : RunConfig
        Its ``gate`` and ``seed``; ``injection.core_mask_radius_pix`` says where a mask's edge is looked for.
    cutouts : Dataset, optional
        The hosts that the pairs were made from. Gates of the core are then also cut by the hosts' bad pixels and by
        where their PSF sizes come from.

    Returns
    -------
    sequence of GateResult
        One per gate of the config, and ``mask_edge`` where the arcs are masked. ``.to_dataset()`` puts them side by
        side, ``.compute()`` gives a tuple.

    Raises
    ------
    StoreError
        If the pairs have no pixels, or no rows.
    GateError
        When computed: if the pairs were masked otherwise than the config says.
    """
    _refuse_without_rows(pairs)
    if cutouts is not None:
        row = pairs["host_index"].values
        known = {k: cutouts[k].values[row] for k in ("bad_pixel_frac", "psf_source")}
        pairs = pairs.assign({k: (("sample", *cutouts[k].dims[1:]), v) for k, v in known.items()})
    host, control = pairs["host_index"].values.astype(np.int64), pairs["is_control"].values.astype(bool)
    rows = GateRows.of(config, host, control)
    if "host" in config.gate.unpaired_kinds:
        pairs = pairs.assign(first_of_class=("sample", first_of_class(host, control)))

    def measured(block: xr.Dataset) -> Measured:
        return rows.of_block(block, portraits_of_pairs(block))

    controls = Controls.of(pairs)

    def judged(found: Measured) -> tuple[GateResult, ...]:
        return tuple(run_all_gates(GateInput.of(found, controls.twins(found[PORTRAITS].rows)), config))

    return LazyVerdicts(sum_of_chunks(pairs, measured, Measured.joined), judged)


def score_pairs(pairs: xr.Dataset, scorer: Any, config: RunConfig, split: str | None = None) -> LazyVerdicts:
    """Evaluate a trained lens finder, or anything that scores images, on pairs; nothing is written.

    Parameters
    ----------
    pairs : Dataset
        Opened or lazy; rows of other splits are left out.
    scorer : callable, or a scikit-learn estimator
        Images (n, band, y, x), float32 in nMgy/pixel, to n scores; see
        :func:`lensflow.measure.scorer.scorer.as_scorer`.
    config : RunConfig
        Its section ``scorer``.
    split : {"train", "val", "test"}, optional
        Replaces ``config.scorer.split``. The test split must have been opened with ``unseal_test``.

    Returns
    -------
    sequence of GateResult
        ``synthetic_auroc`` and ``core_drop``, computed when they are asked for.

    Raises
    ------
    GateError
        When computed: if the scorer fails, or does not return one number per image.
    StoreError
        If the test split is asked for and sealed.
    """
    config = with_split(config, split)
    if config.scorer.split == "test" and pairs.attrs.get("n_sealed"):
        raise StoreError("the test split is sealed: open it with open_pairs(..., split='test', unseal_test='why')")
    injected, index = ~pairs["is_control"].values, pairs["host_index"].values
    hosts = scored_hosts(index[injected], pairs["split"].values[injected], config.scorer, config.seed)
    name, radius = getattr(scorer, "__name__", type(scorer).__name__), config.scorer.core_radius_pix
    call, light = as_scorer(scorer, name), config.scorer.lens_light
    wanted = pairs.isel(sample=np.flatnonzero(np.isin(index, hosts)))
    edges = config.diagnostics.theta_e_edges
    return LazyVerdicts(
        sum_of_chunks(wanted, lambda block: score_block(block, call, radius, lens_light=light), KeptRows.concat),
        lambda scores: tuple(judge_scores(scores.rows, config.scorer, name, config.seed, edges)),
    )
