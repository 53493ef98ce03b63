"""Sweeps in which exactly one factor changes: the factors, the proof, the numbers."""
