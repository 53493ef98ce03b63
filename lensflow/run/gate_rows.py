"""What measurements take from pairs, block by block, and how the blocks are joined."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from lensflow.measure.gate import FeatureBlock
from lensflow.measure.metadata.arcs import ArcImages
from lensflow.measure.metadata.hosts import join_unpaired
from lensflow.measure.metadata.rows import MetadataRows
from lensflow.measure.pixels import Summaries
from lensflow.survey.portraits import Portraits


@dataclass(frozen=True, eq=False)
class GateRows:
    """Rows as the gates look at them.

    Attributes
    ----------
    features : FeatureBlock
        Of the hosts that the gates use.
    unpaired : mapping of MetadataRows
        By kind: of the hosts that a gate fits, and sums over all rows.
    masks : FeatureBlock or None
        With and without the arcs' mask; None where there is none.
    portraits : Portraits
        Of all hosts.
    arcs : ArcImages or None
        Of the sample of rows that is rendered again; None where the priors are not checked.
    """

    features: FeatureBlock
    unpaired: Mapping[str, MetadataRows]
    masks: FeatureBlock | None
    portraits: Portraits
    arcs: ArcImages | None = None

    @staticmethod
    def joined(parts: Sequence[GateRows]) -> GateRows:
        """Rows of all blocks, in their order."""
        masks = [p.masks for p in parts if p.masks is not None]
        arcs = [p.arcs for p in parts if p.arcs is not None]
        return GateRows(
            FeatureBlock.concat(p.features for p in parts),
            join_unpaired(p.unpaired for p in parts),
            FeatureBlock.concat(masks) if masks else None,
            Portraits.concat(p.portraits for p in parts),
            ArcImages.concat(arcs) if arcs else None,
        )


@dataclass(frozen=True, eq=False)
class Measured:
    """What one reading of pairs gives diagnostics and gates; None for what was not asked for."""

    summaries: Summaries | None
    rows: GateRows | None

    @staticmethod
    def joined(parts: Sequence[Measured]) -> Measured:
        """Join the blocks of a run, in their order."""
        summaries = [p.summaries for p in parts if p.summaries is not None]
        rows = [p.rows for p in parts if p.rows is not None]
        return Measured(Summaries.joined(summaries) if summaries else None, GateRows.joined(rows) if rows else None)
