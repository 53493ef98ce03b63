"""The public interface: the steps of a run as functions on xarray datasets, for notebooks and scripts.

The command line goes through :mod:`lensflow.run` with a config alone; both write the same bytes.
"""

from __future__ import annotations

import gc
import tempfile
from collections.abc import Mapping, Sequence
from typing import Any, overload

import numpy as np
import xarray as xr

from lensflow.cluster import connect, dashboard_link, progress_link
from lensflow.config import InjectionConfig, RunConfig, load_config
from lensflow.errors import GateError
from lensflow.injection.core import Handling, handle_core, mask_batch
from lensflow.injection.rounding import round_pixels
from lensflow.manifest.build import build_manifest
from lensflow.manifest.image_sources import bank_of
from lensflow.manifest.source_bank import SourceBank
from lensflow.measure.completeness.population.lenspop import read_lenspop
from lensflow.measure.completeness.population.target_density import target_density
from lensflow.measure.completeness.population.target_population import lens_catalogue, target_population
from lensflow.measure.core.sweep import HandlingResult, core_rows
from lensflow.measure.core.tuning import measure_handlings
from lensflow.measure.gate.brightness import BrightnessBin
from lensflow.measure.gate.brightness import gate_by_magnitude as _gate_by_magnitude
from lensflow.measure.measurement import Measured
from lensflow.run import compare_step as compare_runs
from lensflow.run import cut_step, inject_step, make_run, measure_step, open_run, rerender
from lensflow.run import materialise_step as materialise
from lensflow.run import plan_step as plan
from lensflow.run import report_step as write_report
from lensflow.run import tune_core_step as tune_core
from lensflow.run import verify_step as verify
from lensflow.run import zoo_step as zoo
from lensflow.run.completeness.another_population import injection_set, reweight
from lensflow.run.completeness.cross_test import cross_test
from lensflow.run.completeness.of_run import completeness
from lensflow.run.completeness.paired_runs import paired
from lensflow.run.export.loaders import batches, torch_dataset
from lensflow.run.export.open_view import training_view
from lensflow.run.export.run_checks import check_export
from lensflow.run.export.step import export
from lensflow.run.import_stamps import import_stamps
from lensflow.run.judge_pairs import diagnose, findings, gate, score_pairs
from lensflow.run.lazily import sum_of_chunks
from lensflow.run.lazy import CHUNK
from lensflow.run.lazy import inject as _inject
from lensflow.run.realism.of_run import compare_real
from lensflow.run.selection import open_selection
from lensflow.run.sweep.of_run import sweep
from lensflow.run.write_pairs import write as _write
from lensflow.show import brightness, core_handling
from lensflow.show.brightness import figure as brightness_figure
from lensflow.show.composite import rgb
from lensflow.show.core_handling import cost_curve as core_figure
from lensflow.show.cross_test import cross_table
from lensflow.store.open import open_cutouts, open_manifest, open_pairs, with_host_ids
from lensflow.store.tags import tagged
from lensflow.survey.crop import crop
from lensflow.survey.psf_audit import psf_audit
from lensflow.targets.in_memory import Targets
from lensflow.targets.lenses import read_lenses
from lensflow.training.train import train

__all__ = [
    "SourceBank",
    "batches",
    "brightness_figure",
    "brightness_table",
    "check_export",
    "compare_real",
    "compare_runs",
    "completeness",
    "connect",
    "core_figure",
    "core_settings",
    "core_table",
    "crop",
    "cross_table",
    "cross_test",
    "cut",
    "dashboard_link",
    "diagnose",
    "export",
    "findings",
    "gate",
    "gate_by_magnitude",
    "handle_core",
    "import_stamps",
    "inject",
    "injection_set",
    "lens_catalogue",
    "load_config",
    "make_run",
    "mask_batch",
    "materialise",
    "measure_core",
    "open_cutouts",
    "open_manifest",
    "open_pairs",
    "open_run",
    "open_selection",
    "paired",
    "plan",
    "plan_injections",
    "progress_link",
    "psf_audit",
    "read_lenses",
    "read_lenspop",
    "rerender",
    "reweight",
    "rgb",
    "score_pairs",
    "sweep",
    "tagged",
    "target_density",
    "target_population",
    "torch_dataset",
    "train",
    "training_view",
    "tune_core",
    "verify",
    "warm_up",
    "write_pairs",
    "write_report",
    "zoo",
]


def cut(config: RunConfig, targets: Targets | None = None) -> xr.Dataset:
    """Cut every target of a config's survey; one row per target, also for failed ones.

    Runs on the Dask client in force (see :func:`connect`), in threads without one.

    Parameters
    ----------
    config : RunConfig
        As :func:`load_config` gives it; its ``survey`` and ``out``.
    targets : xarray Dataset, astropy Table or pandas DataFrame, optional
        In place of ``survey.targets``, which is then left out of the config. Its columns are found, checked and
        converted from their units as those of a file are (``survey.columns``, ``survey.missing_values``): units are
        those of a Table's columns, and of ``attrs["units"]`` in a Dataset.

    Returns
    -------
    Dataset, dims host, band, y, x
        As :func:`open_cutouts` gives it.

    Raises
    ------
    ConfigError
        If targets are given twice or not at all, or with ``survey.stamps`` or ``survey.synthetic``.
    TargetError, SurveyError
        For a table or a survey that cannot be used.
    """
    return cut_step(config, targets=targets)


def plan_injections(cutouts: xr.Dataset, config: RunConfig, sources: SourceBank | None = None) -> xr.Dataset:
    """Draw the manifest for a set of cutouts: one row per injection and control, with all random numbers.

    Parameters
    ----------
    cutouts : Dataset
        As :func:`open_cutouts`, :func:`cut` or :func:`import_stamps` gave them, or a subset.
    config : RunConfig
        Its ``plan`` and ``seed``.
    sources : SourceBank, optional
        Images to draw sources from; by default what ``plan.sources`` names.

    Returns
    -------
    Dataset, dim sample
        In memory; edit or subset it, then hand it to :func:`inject` or :func:`write_pairs`.
    """
    return with_host_ids(build_manifest(cutouts, config, sources), cutouts)


def inject(
    cutouts: xr.Dataset,
    manifest: xr.Dataset,
    config: RunConfig | InjectionConfig | None = None,
    chunk: int = CHUNK,
    sources: SourceBank | None = None,
) -> xr.Dataset:
    """Inject lazily: arc, stamp, ctrl and metrics are computed on access.

    Parameters
    ----------
    cutouts : Dataset
        As opened by :func:`open_cutouts` (a chunk then reads its own hosts), or in memory.
    manifest : Dataset
        Any rows of a manifest of these cutouts, in any order, in memory or lazy.
    config : RunConfig or InjectionConfig, optional
        A RunConfig also rounds the pixels as its ``store.quantize`` says.
    chunk : int
        Samples rendered together, about 0.2 MB each in three bands of 64 x 64 pixels; results do not depend on it.
    sources : SourceBank, optional
        Where the images of rows with a ``src_id`` come from; by default what a RunConfig's ``plan.sources`` names.

    Returns
    -------
    Dataset, dims sample, band, y, x
        :func:`write_pairs` stores it. A chunk is one Dask task, and one more for each array that is computed: five for
        arc, stamp, ctrl and has_data.

    Raises
    ------
    ConfigError
        If ``chunk`` is not positive.
    ManifestError
        If there are no rows, or one is of a host that these cutouts have not, or have under another name; of a lazy
        manifest when the pairs are computed.
    """
    if isinstance(config, RunConfig):
        return _inject(cutouts, manifest, config.injection, chunk, sources or bank_of(config), config.store)
    return _inject(cutouts, manifest, config, chunk, sources)


@overload
def write_pairs(pairs: xr.Dataset, config: RunConfig, /) -> xr.Dataset: ...


@overload
def write_pairs(cutouts: xr.Dataset, manifest: xr.Dataset, config: RunConfig, /) -> xr.Dataset: ...


def write_pairs(first: xr.Dataset, second: Any, config: RunConfig | None = None, /) -> xr.Dataset:
    """Store the result of :func:`inject` in ``config.out``, region by region, resumable.

    The pairs know the cutouts and the manifest that they are made of. Cutouts that are not those of the run folder yet
    (imported stamps, a subset) are stored there first, the manifest is frozen there, and then one task a region renders
    and writes the bits of ``pairs``, whose chunks do not matter. What is stored is always what ``pairs`` is: pairs
    changed after :func:`inject`, or made with other settings than the config's, are refused.
    ``write_pairs(cutouts, manifest, config)`` is short for ``write_pairs(inject(cutouts, manifest, config), config)``.

    Parameters
    ----------
    pairs : Dataset
        As :func:`inject` gave it. To leave out or edit rows, do it in the manifest, before.
    config : RunConfig
        The one that the pairs were made with, but for ``out`` and what decides no bit.
    cutouts, manifest : Dataset
        In place of ``pairs``: what :func:`inject` takes.

    Returns
    -------
    Dataset
        As :func:`open_pairs`.

    Raises
    ------
    StoreError
        If the pairs are not exactly what :func:`inject` gave, naming what was changed; StaleStoreError if the folder
        holds other cutouts, another manifest or other pairs.
    ConfigError
        If the config would write other bits, naming the setting.
    ManifestError
        If a row cannot be rendered, or rows are not sorted by host.
    """
    if config is None:
        return _write(first, second)
    return _write(inject(first, second, config), config)


def warm_up() -> None:
    """Compile every kernel now, into the cache beside the code: once per installation, one to three minutes.

    Without it the first run does so: the command before it starts local workers, calls from Python in each process at
    the same time. A run of 16 synthetic hosts in a temporary folder goes through all of them.
    """
    thresholds = gc.get_threshold()
    # A compiler makes many objects and little garbage: looking for it is an eighth of the time.
    gc.set_threshold(200_000, 20, 100)
    try:
        with tempfile.TemporaryDirectory(prefix="lensflow-warm-up-") as folder:
            config = load_config(
                {
                    "out": f"{folder}/run",
                    "survey": {"synthetic": {"n_bricks": 1, "hosts_per_brick": 16}},
                    "cluster": {"kind": "threads", "dashboard": None},
                    "gate": {"required": False, "bootstrap": 50},
                }
            )
            cut_step(config)
            plan(config)
            inject_step(config)
            measure_step(config)
            # As the report rounds its controls.
            round_pixels(np.zeros((1, 1, 1, 1), np.float32), np.ones((1, 1), np.float32), np.zeros(1, np.uint64), 1)
    finally:
        gc.set_threshold(*thresholds)


def measure_core(pairs: xr.Dataset, config: RunConfig) -> tuple[HandlingResult, ...]:
    """Run the gates of ``config.core`` on pairs under each of its core handlings; nothing is chosen or written.

    Parameters
    ----------
    pairs : Dataset
        Opened or lazy; attrs ``pixel_scale_arcsec``.
    config : RunConfig
        Its ``core``, and the gates that this names.

    Returns
    -------
    tuple of HandlingResult
        Gates, light hidden by theta_E, testability, in the order of ``config.core.handlings``.
    """
    rows = sum_of_chunks(pairs, lambda block: core_rows(block, config), Measured.joined)
    return measure_handlings(rows.compute(), config)


def core_settings(handling: str, config: RunConfig) -> dict[str, dict[str, Any]] | None:
    """Settings, by section of the config, that make a run handle its core as :func:`tune_core` measured it.

    Parameters
    ----------
    handling : str
        Name of a core handling, as ``CoreTuning.recommended`` gives it.
    config : RunConfig
        Its ``core.taper_width_pix``.

    Returns
    -------
    dict or None
        ``{"injection": {"core_mask_radius_pix": 7.0, ...}}``, say; None for what a training does with the pairs
        (``blank``, other negatives).
    """
    how = Handling.parse(handling)
    return how.settings(config.core.taper_width_pix) if how.is_all_settings else None


def core_table(results: Sequence[HandlingResult], published: Mapping[str, float] | None = None) -> str:
    """Return results of :func:`measure_core` as a markdown table.

    Parameters
    ----------
    results : sequence of HandlingResult
        From :func:`measure_core`.
    published : mapping, optional
        Handling -> AUC that another investigation had, shown beside what the gate ``core_all`` reads in its box alone.

    Returns
    -------
    str
        Markdown, one row per handling.

    Raises
    ------
    GateError
        If ``published`` is given and a handling was measured without ``core_all``.
    """
    without = [r.name for r in results if "core_all" not in r.by_name]
    if published is not None and without:
        raise GateError(
            f"{', '.join(without)}: measured without core_all, which the published AUC are of. Add it to core.gates."
        )
    return core_handling.table(results, published=published).markdown()


def gate_by_magnitude(pairs: xr.Dataset, config: RunConfig, edges: Sequence[float]) -> tuple[BrightnessBin, ...]:
    """Run the gates on each bin of the sources' unlensed r magnitude: how a verdict depends on the population.

    Parameters
    ----------
    pairs : Dataset
        Opened or lazy, all of one run.
    config : RunConfig
        Its ``gate``; the controls are those of all rows.
    edges : sequence of float
        Ends of the bins, mag.

    Returns
    -------
    tuple of BrightnessBin
        From the brightest on; each with the gates of its rows.
    """
    return _gate_by_magnitude(pairs, lambda part: gate(part, config), edges)


def brightness_table(bins: Sequence[BrightnessBin]) -> str:
    """Return results of :func:`gate_by_magnitude` as a markdown table.

    Parameters
    ----------
    bins : sequence of BrightnessBin
        From :func:`gate_by_magnitude`.

    Returns
    -------
    str
        Markdown, one row per bin.
    """
    return brightness.table(bins).markdown()
