"""Origin of a block of pairs, for the checks that recompute it."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from lensflow.config import InjectionConfig, StoreConfig
from lensflow.injection.inject import rows_of_hosts
from lensflow.injection.rounding import rounding_steps
from lensflow.lensing.image_light import Sources
from lensflow.stats.hostsums import column


@dataclass(frozen=True, eq=False)
class Origin:
    """The hosts and the settings of a block of pairs.

    Attributes
    ----------
    hosts : Dataset or None
        Cutouts that hold every host of the block, as :func:`lensflow.injection.inject_block` takes them. Without them
        no stamp is made again.
    injection : InjectionConfig
    store : StoreConfig
        Its rounding.
    sources : Sources, optional
        Where the images of rows with a ``src_id`` come from; without it such rows are not rendered again.
    last_key : int, optional
        Arcs are rendered again of the rows whose hash is at most this, as
        :func:`lensflow.measure.pixels.rendering.last_key` says; of all rows without.
    specimen_key : int, optional
        A few rows of a run are kept complete, those whose hash is at most this
        (:func:`lensflow.measure.pixels.specimens.specimen_key`); without, a few of each block, of which a few are left.
    same_code : bool
        Whether the code that decides pixels is that of this installation: then the arcs are the same but for the
        rounding of single precision.
    """

    hosts: xr.Dataset | None = None
    injection: InjectionConfig = field(default_factory=InjectionConfig)
    store: StoreConfig = field(default_factory=StoreConfig)
    sources: Sources | None = None
    last_key: int | None = field(default=None, kw_only=True)
    specimen_key: int | None = field(default=None, kw_only=True)
    same_code: bool = field(default=True, kw_only=True)


def arc_steps(pairs: xr.Dataset, origin: Origin | None) -> NDArray[np.float32]:
    """Steps that arcs were rounded to, nMgy, shape (sample, band); NaN where nobody can know."""
    n, bands = pairs.sizes["sample"], pairs.sizes["band"]
    step = column(pairs, "quantize_step_nmgy") if "quantize_step_nmgy" in pairs else np.zeros((n, bands))
    if origin is None:  # settings are not given: the defaults for a rounded stamp
        return (step / 4).astype(np.float32)
    coarse, thin = origin.store.stamp_steps_per_sigma, origin.store.arc_steps_per_sigma
    if not thin:
        return np.zeros((n, bands), np.float32)
    if origin.hosts is not None:
        rows = rows_of_hosts(origin.hosts, column(pairs, "host_index").astype(np.int64))
        return rounding_steps(origin.hosts["invvar"].values, rows, origin.store)[1]
    if coarse and np.log2(thin / coarse).is_integer():  # a power of two finer is a power of two finer
        return (step * (coarse / thin)).astype(np.float32)
    return np.full((n, bands), np.nan, np.float32)


def with_arc_steps(pairs: xr.Dataset, origin: Origin | None) -> xr.Dataset:
    """Pairs with ``arc_step_nmgy`` (sample, band), the steps that arcs were rounded to; NaN where nobody can know."""
    return pairs.assign(arc_step_nmgy=(("sample", "band"), arc_steps(pairs, origin)))
