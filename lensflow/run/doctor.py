"""Preflight: check what a run needs before it starts, with advice for each finding."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from lensflow.config import RunConfig
from lensflow.errors import LensflowError
from lensflow.run.looks import LOOKS, Finding, Level, Seen, Unseen
from lensflow.run.looks.machine import workers
from lensflow.store.run_folder import RunFolder

__all__ = ["Finding", "Level", "doctor"]


def doctor(config: RunConfig, cluster: Callable[[], Any] | None = None) -> list[Finding]:
    """Check everything that can be checked before a run starts; nothing of the run is written.

    Parameters
    ----------
    config : RunConfig
    cluster : callable, optional
        Gives a context manager with a Dask client (``lambda: connect(config.cluster)``); without it, the workers are
        not looked at.

    Returns
    -------
    list of Finding
        In the order of :data:`lensflow.run.looks.LOOKS`. An error of a look is a finding, not an exception.
    """
    RunFolder.of(config)  # sets up the access to S3
    seen = Seen(config)
    findings = [found for look in LOOKS for found in _guarded(look.name, look.look, seen)]
    if cluster is not None:
        findings += _guarded("workers", lambda s: workers(s, cluster), seen)
    return findings


def _guarded(check: str, look: Callable[[Seen], Iterator[Finding]], seen: Seen) -> Iterator[Finding]:
    """Pass findings on; an error becomes the last finding."""
    try:
        yield from look(seen)
    except Unseen:
        return
    except LensflowError as error:
        yield Finding(check, Level.FAIL, str(error))
    except OSError as error:
        advice = "Are the root, the endpoint and the credentials right? Credentials come from the environment or role."
        yield Finding(check, Level.FAIL, f"{type(error).__name__}: {error}", advice)
