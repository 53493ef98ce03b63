"""Where tasks run."""

from lensflow.cluster.connect import connect, dashboard_link, progress_link

__all__ = ["connect", "dashboard_link", "progress_link"]
