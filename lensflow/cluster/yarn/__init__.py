"""Clusters on YARN."""
