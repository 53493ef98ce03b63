"""The reference training: what a network learns from a run's pairs, and whether it may be believed."""
