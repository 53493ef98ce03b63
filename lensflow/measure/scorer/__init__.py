"""A lens finder, judged."""
