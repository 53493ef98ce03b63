"""Handling of the galaxies' cores: the light it hides, what gates still see, and the tuner."""
