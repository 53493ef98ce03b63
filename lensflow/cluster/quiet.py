"""What a Dask process need not say: the traceback of an error that the client prints itself, a heartbeat to nobody."""

from __future__ import annotations

import logging
from collections.abc import Iterator

from lensflow.errors import LensflowError


def _of_lensflow(kind: type[BaseException] = LensflowError) -> Iterator[str]:
    """How the errors that are raised on purpose begin when printed."""
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
    """Quieten this process; as often as one likes."""
    logger = logging.getLogger("distributed.worker")
    if _quiet not in logger.filters:
        logger.addFilter(_quiet)
