"""Compiled loops over the pixels of samples."""
