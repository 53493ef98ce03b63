"""Where tasks run."""

from lensflow.cluster.connect import connect

__all__ = ["connect"]
