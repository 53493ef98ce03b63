"""What a block of pairs was made from, for the checks that make it again."""

from __future__ import annotations

from dataclasses import dataclass, field

import xarray as xr

from lensflow.config import InjectionConfig, StoreConfig


@dataclass(frozen=True, eq=False)
class Origin:
    """The hosts and the settings of a block of pairs.

    Attributes
    ----------
    hosts : Dataset
        Cutouts that hold every host of the block, as :func:`lensflow.injection.inject_block` takes them.
    injection : InjectionConfig
    store : StoreConfig
        Its rounding.
    """

    hosts: xr.Dataset
    injection: InjectionConfig
    store: StoreConfig = field(default_factory=StoreConfig)
