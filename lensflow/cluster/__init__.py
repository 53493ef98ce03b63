"""Where tasks run."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lensflow.cluster.client import connect, dashboard_link, progress_link

__all__ = ["connect", "dashboard_link", "progress_link"]


def __getattr__(name: str) -> Any:
    # On first use: a command starts the process that workers are forked from before it imports Dask itself.
    if name in __all__:
        return getattr(import_module("lensflow.cluster.client"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
