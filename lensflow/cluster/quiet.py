"""Silence Dask's needless messages: tracebacks of errors that the client prints, failed heartbeats while closing."""

from __future__ import annotations

import logging
from collections.abc import Iterator

from lensflow.errors import LensflowError


def _of_lensflow(kind: type[BaseException] = LensflowError) -> Iterator[str]:
    """Prefixes of lensflow's own errors when printed."""
    yield f"{kind.__name__}("
    for sub in kind.__subclasses__():
        yield from _of_lensflow(sub)


class _Quiet(logging.Filter):
    """Drops "Compute Failed" of lensflow's own errors, and heartbeats of a worker that is being closed."""

    def filter(self, record: logging.LogRecord) -> bool:
        text = str(record.msg)
        if text.startswith("Compute Failed"):
            return not any(str(a).startswith(tuple(_of_lensflow())) for a in record.args or ())
        return not text.startswith("Failed to communicate with scheduler during heartbeat")


_quiet = _Quiet()


def install() -> None:
    """Install the filter in this process; can be called repeatedly."""
    logger = logging.getLogger("distributed.worker")
    if _quiet not in logger.filters:
        logger.addFilter(_quiet)
