"""Lens physics: arrays in, arrays out."""
