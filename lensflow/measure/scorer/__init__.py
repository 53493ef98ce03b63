"""Evaluation of lens finders."""
