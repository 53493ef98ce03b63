"""Handling of the galaxies' cores: what it hides, what it leaves to be seen, and the tuner."""
