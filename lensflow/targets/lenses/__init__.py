"""Tables of real lenses: formats with traps in, one table with tiers and counted exclusions out.

:mod:`formats` recognises a table by its header, :mod:`rows` reads it as it stands, :mod:`redshifts`, :mod:`positions`
and :mod:`evidence` say what a text means, :mod:`merging` puts rows of one object together, and :func:`read_lenses` does
all of it and counts.
"""

from lensflow.targets.lenses.columns import LensNote, note_names
from lensflow.targets.lenses.evidence import EXCLUDED_REFERENCES
from lensflow.targets.lenses.read import read_lenses

__all__ = ["EXCLUDED_REFERENCES", "LensNote", "note_names", "read_lenses"]
