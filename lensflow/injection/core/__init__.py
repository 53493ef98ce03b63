"""Core handling: masks, core-matched controls and counterfactual arcs, as pure functions on arrays and pairs."""

from lensflow.injection.core.counterfactual import add_core_blob, move_arc, rotate_arc, shuffle_arc
from lensflow.injection.core.handle import handle_core, removed_fraction
from lensflow.injection.core.handling import Handling
from lensflow.injection.core.masks import keep_weights, mask_arcs, mask_batch
from lensflow.injection.core.matching import host_pods, match_controls
from lensflow.injection.core.unmask import unmasked_arcs

__all__ = [
    "Handling",
    "add_core_blob",
    "handle_core",
    "host_pods",
    "keep_weights",
    "mask_arcs",
    "mask_batch",
    "match_controls",
    "move_arc",
    "removed_fraction",
    "rotate_arc",
    "shuffle_arc",
    "unmasked_arcs",
]
