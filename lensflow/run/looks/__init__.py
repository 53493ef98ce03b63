"""The checks of ``lensflow doctor``: a list of named looks, each a small function that yields findings.

A check that a person would want before a run goes here. Write ``def my_look(seen: Seen) -> Iterator[Finding]`` in the
module of its subject, and name it in :data:`LOOKS`. What several looks need (targets, a trial cut, the plan's table)
is read once, by :class:`Seen`.
"""

from __future__ import annotations

from lensflow.run.looks.base import Finding, Level, Look, Seen, Unseen
from lensflow.run.looks.machine import free_space, out_folder
from lensflow.run.looks.plan import plan_table, source_images
from lensflow.run.looks.plausible import brightness, einstein_radii, pixel_scale
from lensflow.run.looks.settings import gain_tables
from lensflow.run.looks.survey import brick_files, target_table, trial_cut

# In the order of a run's needs.
LOOKS: tuple[Look, ...] = (
    Look("settings", gain_tables),
    Look("targets", target_table),
    Look("survey", brick_files),
    Look("trial cut", trial_cut),
    Look("pixel scale", pixel_scale),
    Look("brightness", brightness),
    Look("plan.table", plan_table),
    Look("einstein radii", einstein_radii),
    Look("sources", source_images),
    Look("out", out_folder),
    Look("space", free_space),
)

__all__ = ["LOOKS", "Finding", "Level", "Look", "Seen", "Unseen"]
