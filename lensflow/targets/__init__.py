"""Targets: catalogue files in, one table of hosts out.

:mod:`files` reads rows in chunks, :mod:`columns` finds lensflow's columns in them, :mod:`selection` says which
rows are hosts, :mod:`duplicates` merges rows of one object, and :func:`read_targets` puts these together.
"""

from lensflow.targets.read import read_targets

__all__ = ["read_targets"]
