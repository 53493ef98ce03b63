"""One block of hosts and manifest rows in, one block of pairs out."""

from lensflow.injection.inject import combine, inject_block

__all__ = ["combine", "inject_block"]
