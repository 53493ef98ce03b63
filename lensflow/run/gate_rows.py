"""Features for the gates from pairs, block by block, for stored runs and for pairs in a notebook."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from lensflow.config import RunConfig
from lensflow.injection.core import unmasked_arcs
from lensflow.manifest.image_sources import bank_of
from lensflow.measure.gate import chosen_hosts, feature_rows
from lensflow.measure.gate.mask_edge import MAX_PAIRS as MAX_MASKED
from lensflow.measure.gate.mask_edge import Mask, mask_rows
from lensflow.measure.measurement import Measured
from lensflow.measure.metadata.hosts import Keep, unpaired_rows
from lensflow.measure.metadata.rows import MetadataRows
from lensflow.measure.metadata.splits import galaxies_once, unpaired_once
from lensflow.stats.kept_rows import KeptRows
from lensflow.survey.twins import Twins

FEATURES, MASKS, PORTRAITS, ARCS = "features", "masks", "portraits", "arcs"


@dataclass(frozen=True, eq=False)
class GateRows:
    """Rows that the gates of a config will use, chosen before any pixel is read.

    Attributes
    ----------
    config : RunConfig
    gate_hosts, mask_hosts : ndarray of int64
        Hosts whose rows are kept for the gates, and for the gate of the mask's edge (none without a mask).
    keep : Keep
        Hosts whose rows of both classes are kept for gates that do not pair them.
    """

    config: RunConfig
    gate_hosts: NDArray[np.int64]
    mask_hosts: NDArray[np.int64]
    keep: Keep

    @classmethod
    def of(cls, config: RunConfig, host_index: NDArray[Any], is_control: NDArray[Any]) -> GateRows:
        """Choose from the hosts and classes of all rows, shape (n,)."""
        host, control = host_index.astype(np.int64), is_control.astype(bool)
        of_mask = host[~control] if config.injection.core_mask_radius_pix > 0 else host[:0]
        return cls(
            config,
            chosen_hosts(host[~control], config.gate.max_pairs, config.seed),
            chosen_hosts(of_mask, MAX_MASKED, config.seed),
            Keep.of(config.gate, host, control, config.seed),
        )

    @property
    def mask(self) -> Mask:
        """The mask that the settings put on the arcs' cores; radius 0 for none."""
        return Mask(*self.config.injection.core_mask)

    def of_block(self, pairs: xr.Dataset, portraits: KeptRows) -> Measured:
        """Take from one block, in memory.

        Parameters
        ----------
        pairs : Dataset
            With ``first_of_class`` where a host's rows may lie in several blocks.
        portraits : KeptRows
            Of its hosts.
        """
        gate, host = self.config.gate, pairs["host_index"].values
        out: dict[str, Any] = {
            FEATURES: KeptRows(
                feature_rows(pairs, gate.every, gate.core_box_pix, self.mask.radius_pix, np.isin(host, self.gate_hosts))
            ),
            PORTRAITS: portraits,
            **unpaired_rows(pairs, gate, self.keep),
        }
        if self.mask.radius_pix > 0:
            # With the mask and without: these rows are rendered again.
            masked = np.isin(host, self.mask_hosts) & ~pairs["is_control"].values
            of_mask = pairs.isel(sample=np.flatnonzero(masked))
            out[MASKS] = KeptRows(mask_rows(of_mask, unmasked_arcs(of_mask, bank_of(self.config)), self.mask))
        return Measured(out)


@dataclass(frozen=True, eq=False)
class GateInput:
    """Input of the gates' fits: every galaxy once, even if several hosts show it."""

    features: xr.Dataset
    unpaired: dict[str, MetadataRows]
    masks: xr.Dataset | None

    @classmethod
    def of(cls, measured: Measured, twins: Twins) -> GateInput:
        """From what all blocks gave, and the hosts that show the same pixels."""
        unpaired = {k: v for k, v in measured.items() if isinstance(v, MetadataRows)}
        masks = galaxies_once(measured[MASKS].rows, twins) if MASKS in measured else None
        return cls(galaxies_once(measured[FEATURES].rows, twins), unpaired_once(unpaired, twins), masks)
