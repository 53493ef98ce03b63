"""Everything that is measured on pairs, and what judges it."""
