"""Sweeps: arms that are runs of their own, the proof that they differ in one factor, and what that changes."""
