"""One block of hosts and manifest rows in, one block of pairs out."""

from lensflow.injection.inject import Room, combine, inject_block

__all__ = ["Room", "combine", "inject_block"]
