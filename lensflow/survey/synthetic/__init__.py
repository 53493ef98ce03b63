"""A small survey in the real file layout, from a seed."""
