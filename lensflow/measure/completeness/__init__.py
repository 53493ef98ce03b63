"""Completeness: which injections a scorer recovers, how surely that is known, and what it costs in false positives."""
