"""Open a run as a training view."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import dask
import dask.array as da
import numpy as np
import xarray as xr
from numpy.typing import NDArray

from lensflow import schema
from lensflow.config import RunConfig, load_config
from lensflow.config.export import NEEDS_CONTROL
from lensflow.errors import ExportError
from lensflow.export.normalisation import Normalisation
from lensflow.export.run_pixels import RunPixels
from lensflow.export.samples import choose, in_order
from lensflow.export.view import TrainingView
from lensflow.run.execute import Progress, silent
from lensflow.run.export.certified import Certified, certified
from lensflow.run.export.constants import fitted
from lensflow.run.export.hosts import other_hosts, refuse_crossed_splits, rows_of_all
from lensflow.run.export.non_lenses import non_lenses
from lensflow.run.export.tagged import tags_of, without_tagged
from lensflow.run.open_run import Run, open_run
from lensflow.run.realism.stamps import RealFolder
from lensflow.store import sealing
from lensflow.store.objects import open_group
from lensflow.store.open import read_attrs, stored_regions
from lensflow.store.run_folder import RunFolder
from lensflow.store.tags import Tag


def open_view(
    run: Run | RunConfig | str | Path,
    config: RunConfig | None = None,
    *,
    split: str = "train",
    view: str | None = None,
    unseal_test: str | None = None,
    progress: Progress = silent,
    **settings: Any,
) -> TrainingView:
    """Open one split of a finished, certified run for training.

    Parameters
    ----------
    run : Run, RunConfig or path
        Finished and certified.
    config : RunConfig, optional
        Whose section ``export`` is used in place of the run's.
    split : {"train", "val", "test"}
    view : {"single", "concat", "residual", "pairs", "triplet"}, optional
        In place of ``export.view``.
    unseal_test : str, optional
        Why the test split is opened; logged as everywhere.
    progress : callable, optional
    **settings
        Other settings of ``export``, in place of the run's: ``min_snr=5``.

    Returns
    -------
    TrainingView

    Raises
    ------
    ExportError
        If the certificate's verdict is not allowed, the purpose refuses the view, or a class is empty.
    StaleStoreError
        If the certificate is of another content.
    SplitError
        If anything is in two splits.
    ConfigError
        If a setting is wrong.
    """
    return RunViews(run, config, progress, **settings).open(split, view, unseal_test)


class RunViews:
    """Views of one run: what all of them share (certificate, table of rows, constants) is read once.

    Parameters
    ----------
    run, config, progress, **settings
        As for :func:`open_view`.
    """

    def __init__(
        self,
        run: Run | RunConfig | str | Path,
        config: RunConfig | None = None,
        progress: Progress = silent,
        **settings: Any,
    ):
        own = _run_of(run).config
        self.config = with_export(own, own if config is None else config, settings)
        self.progress = progress

    def open(self, split: str = "train", view: str | None = None, unseal_test: str | None = None) -> TrainingView:
        """Open one view: :func:`open_view`.

        Parameters
        ----------
        split : {"train", "val", "test"}
        view : str, optional
            In place of ``export.view``.
        unseal_test : str, optional

        Returns
        -------
        TrainingView
        """
        config = self.config if view is None else with_export(self.config, self.config, {"view": view})
        return _opened(self, config, split, unseal_test)

    @cached_property
    def certified(self) -> Certified:
        """The run's certificate, which is of its content and whose verdict is allowed."""
        return certified(self.config)

    @cached_property
    def rows(self) -> xr.Dataset:
        """Rows of all splits, of which nothing is in two."""
        refuse_crossed_splits(self.config)
        return rows_of_all(self.config)

    @cached_property
    def tags(self) -> Mapping[int, Tag]:
        """Tags of ``export.tags``, read once; they are of these rows."""
        return tags_of(self.config, self.rows)

    @cached_property
    def normalisation(self) -> Normalisation:
        """The same for every split and view: its constants are those of the train controls."""
        return fitted(self.config, _train_hosts(self.rows), _stamp_size(RunFolder.of(self.config)), self.progress)


def _opened(views: RunViews, config: RunConfig, split: str, unseal_test: str | None) -> TrainingView:
    if split not in schema.SPLITS:
        raise ExportError(f"{split!r} is not a split; the splits are {', '.join(schema.SPLITS)}.")
    refuse_view(config)
    folder = RunFolder.of(config)
    if split == "test" and not unseal_test:
        raise ExportError(
            f"{folder.pairs}: the test split is sealed. To open it, say why (unseal_test='...', --open-test); the "
            "opening is logged beside the store."
        )
    found, every = views.certified, views.rows
    code = schema.SPLITS.index(split)
    rows = every.isel(sample=np.flatnonzero(every["split"].values == code))
    rows, tagged = without_tagged(config, rows, views.tags)
    injected = np.unique(every["host_index"].values[~every["is_control"].values])
    shares = config.export.negatives
    wants_others = config.export.view == "single" and shares.host_other > 0
    others = other_hosts(config, split, injected) if wants_others else every.isel(sample=slice(0))
    has_table = config.export.view == "single" and shares.table > 0
    table, no_negatives = non_lenses(config, split) if has_table else (None, {})
    chosen = choose(
        rows, others, config.export, split, config.seed, config.reference_band, config.diagnostics.theta_e_edges, table
    )
    more = tagged | {f"table: {k}": n for k, n in no_negatives.items()}
    counts = replace(chosen.counts, left_out=chosen.counts.left_out | more)
    if unseal_test and split == "test":  # nothing has been shown yet; from here on it is
        sealing.log_access(folder.pairs, unseal_test, rows.sizes["sample"])
    regions = stored_regions(folder.pairs, "pairs")
    samples, shards = in_order(chosen.samples, _shards(chosen.samples, regions.rows))
    normalisation, size = views.normalisation, _stamp_size(folder)
    channels, scale = _channels(config), float(read_attrs(folder.pairs, "pairs")["pixel_scale_arcsec"])
    return TrainingView(
        samples, config.export.view, config.bands, channels, (len(channels), size, size), normalisation, shards,
        RunPixels(
            folder.pairs, folder.manifest, folder.cutouts, regions, config.store, _seed(folder), config.export, scale,
            RealFolder.of(config).cutouts if has_table else "",
        ),
        found, counts, config.export.valid_channel, scale, config.name,
        {"split": split, "run": str(folder.root), "seed": config.seed, "export": config.export.model_dump(mode="json")},
    )  # fmt: skip


def training_view(run: Run | RunConfig | str | Path, **options: Any) -> xr.Dataset:
    """Open one split of a run for training as a lazy Dataset.

    Parameters
    ----------
    run : Run, RunConfig or path
        Finished and certified.
    **options
        As for :func:`open_view`: ``split``, ``view``, ``unseal_test``, settings of ``export``.

    Returns
    -------
    Dataset, dims sample, channel, y_pix, x_pix
        ``x`` float32, normalised, lazy with one Dask chunk a unit; y, weight, row_id and the other columns of samples
        in memory. ``attrs`` say what was normalised with which constants, and the certificate's verdict.

    Raises
    ------
    ExportError, StaleStoreError, SplitError, ConfigError
        As :func:`open_view`.
    """
    opened = open_view(run, **options)
    read = dask.delayed(_unit_pixels, pure=True)
    starts = opened.starts
    parts = [
        da.from_delayed(read(opened, u), (int(starts[u + 1] - starts[u]), *opened.shape), np.float32)
        for u in range(opened.n_units)
    ]
    out = opened.samples.assign(x=(("sample", "channel", "y_pix", "x_pix"), da.concatenate(parts)))
    verdict = "" if opened.certified is None else opened.certified.verdict
    return out.assign_coords(channel=list(opened.channels)).assign_attrs(
        view=opened.view, normalisation=opened.normalisation.to_json(), verdict=verdict, numbers=opened.counts.text()
    )


def _unit_pixels(view: TrainingView, unit: int) -> NDArray[np.float32]:
    return view.unit(unit).x


def with_export(own: RunConfig, given: RunConfig, settings: Mapping[str, Any]) -> RunConfig:
    """A run's config with the section ``export`` of another, and some of its settings replaced.

    Raises
    ------
    ConfigError
        If a setting is wrong.
    """
    plain = own.effective()
    section = given.export.model_dump(mode="json") | dict(settings)
    checked = load_config({**plain, "export": section})
    return own.model_copy(update={"export": checked.export})


def refuse_view(config: RunConfig) -> None:
    """Refuse views that the purpose cannot have, and negatives that are 0.

    Raises
    ------
    ExportError
    """
    e = config.export
    if e.purpose != "study" and e.view in NEEDS_CONTROL:
        raise ExportError(
            f"view {e.view} needs a control at inference and a search has none; set export.purpose: study"
        )
    if e.view == "residual" and e.residual_negatives == "control":
        raise ExportError(
            "view residual: control - control is 0 exactly, so that any network tells it; set "
            "export.residual_negatives: matched"
        )
    if e.view == "residual" and e.residual_negatives == "two_epochs":
        raise ExportError(
            "export.residual_negatives: two_epochs needs a second exposure of each host, and the store has none; "
            "choose matched"
        )
    if e.lens_light != "kept" and (e.view == "residual" or e.quantize != "none"):
        what = "view residual" if e.view == "residual" else f"quantize {e.quantize}"
        raise ExportError(
            f"export.lens_light {e.lens_light} does not go with {what}: keep the light (kept), or leave it"
        )
    if e.quantize != "none" and e.view not in ("single", "pairs"):
        raise ExportError(f"export.quantize is for views single and pairs, not {e.view}")
    if e.negatives.table > 0 and e.format == "hats":
        raise ExportError(
            "export.negatives.table: format hats holds what the survey knows of a host (inverse variance, PSF, "
            "extinction), and takes hosts of the run alone. Choose another format, or set it to 0."
        )
    if e.valid_channel and e.view not in ("single", "pairs"):
        raise ExportError(f"export.valid_channel is for views single and pairs, not {e.view}")


def _run_of(run: Run | RunConfig | str | Path) -> Run:
    if isinstance(run, Run):
        return run
    return open_run(run.out if isinstance(run, RunConfig) else run)


def _seed(folder: RunFolder) -> int:
    return int(read_attrs(folder.manifest, "manifest")["seed"])


def _stamp_size(folder: RunFolder) -> int:
    array: Any = open_group(folder.pairs)["stamp"]
    return int(array.shape[-1])


def _shards(samples: xr.Dataset, rows_per_region: int) -> NDArray[np.int64]:
    """Shard of each sample; hosts without rows are dealt to the shards that there are, neighbours together."""
    pair = samples["pair_id"].values
    shard = pair // rows_per_region
    without = np.flatnonzero(pair < 0)
    there = np.unique(shard[pair >= 0])
    host = samples["host_index"].values
    for some in (without[host[without] >= 0], without[host[without] < 0]):  # hosts, and objects of a table
        order = some[np.argsort(host[some], kind="stable")]
        for k, part in enumerate(np.array_split(order, len(there))):
            shard[part] = there[k]
    return shard


def _train_hosts(every: xr.Dataset) -> NDArray[np.int64]:
    """Train hosts with a clean injection."""
    train = every["split"].values == schema.SPLITS.index("train")
    some = train & every["is_clean"].values.astype(bool) & ~every["is_control"].values.astype(bool)
    return np.unique(every["host_index"].values[some])


def _channels(config: RunConfig) -> tuple[str, ...]:
    names = {
        "single": ("",), "pairs": ("",), "residual": ("residual_",), "concat": ("stamp_", "control_"),
        "triplet": ("stamp_", "control_", "other_"),
    }  # fmt: skip
    images = tuple(f"{prefix}{b}" for prefix in names[config.export.view] for b in config.bands)
    return (*images, "valid") if config.export.valid_channel else images
