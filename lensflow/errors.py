"""Exceptions of lensflow: each names what is wrong, where, and what to do.

The command line prints them without a traceback and exits with ``exit_code``.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class LensflowError(Exception):
    """Base of all of lensflow's own errors."""

    exit_code = 1


class ConfigError(LensflowError):
    """A setting is unknown, has the wrong type, or contradicts another."""

    exit_code = 2


class SurveyError(LensflowError):
    """Survey files cannot be found or read, or the failure budget is spent."""


class CopiedStampsError(SurveyError):
    """Stamps are copies of others.

    Attributes
    ----------
    rows : ndarray of int
        Rows to leave out, so that each galaxy stands once.
    """

    def __init__(self, text: str, rows: NDArray[np.integer]):
        super().__init__(text)
        self.rows = rows

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (str(self), self.rows)


class TargetError(LensflowError):
    """The target table is empty, unreadable or lacks a column."""


class SplitError(LensflowError):
    """Something is in two splits, or hosts cannot be split as requested."""


class TagError(LensflowError):
    """A file of tags cannot be read or written."""


class ManifestError(LensflowError):
    """A manifest row cannot be rendered."""


class RenderError(LensflowError):
    """The renderer's input has no valid result (a PSF of zero width, a stamp of no pixels)."""


class ClusterError(LensflowError):
    """A cluster cannot be reached or started in time, or runs other code than the client."""


class StoreError(LensflowError):
    """A store is missing, incomplete, misaligned or cannot be written."""


class InUseError(StoreError):
    """Another process is at work in the folder."""


class DamagedStoreError(StoreError):
    """An object of a store is missing or is not what was written.

    Attributes
    ----------
    url : str
        The store.
    key : str
        The object: its key below the store, or a URL.
    what : str
        What is wrong with it.
    """

    def __init__(self, url: str, key: str, what: str):
        super().__init__(url, key, what)
        self.url, self.key, self.what = url, key, what

    def __str__(self) -> str:
        run = self.url.rstrip("/").rpartition("/")[0] or "."
        return (
            f"{self.url}: {self.key} {self.what}. `lensflow verify {run} --repair` finds all damage and repairs what "
            f"can "
            "be made again."
        )


class RenderedPixelsError(StoreError):
    """Pixels that a run does not store (``store.pixels``) cannot be rendered here to the bits that they had."""


class StaleStoreError(StoreError):
    """A store holds the result of another run; the message names the settings that differ."""


class GateError(LensflowError):
    """A gate could not be computed from its rows."""


class ConvergenceError(GateError):
    """An optimiser stopped before its gradient was small enough."""


class CompletenessError(LensflowError):
    """A completeness cannot be measured, or was requested where nothing was injected."""


class RealismError(LensflowError):
    """Injections cannot be held against real lenses: sets, features or an encoder are not what they must be."""


class ExportError(LensflowError):
    """An export, a training view or a loader refuses what it is given; or an optional package is missing."""


class GateFailed(LensflowError):
    """A required gate did not pass."""

    exit_code = 3


class CertificateError(LensflowError):
    """A run is not what its certificate says; the message names each difference."""

    exit_code = 4


class SigningError(LensflowError):
    """A key cannot be made, read or used; the message shows nothing of it."""


class LensflowWarning(UserWarning):
    """Something was repaired or assumed; the text says what."""


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return ``" Did you mean 'x'?"`` for the nearest known name, or an empty string.

    Case and underscores do not count; a name that begins with the wanted one, or the other way round, is nearest.
    """
    plain = {k: _plain(k) for k in known}
    wanted = _plain(name)
    longer = [k for k, p in plain.items() if len(wanted) > 2 and p.startswith(wanted)]
    shorter = [k for k, p in plain.items() if len(p) > 2 and wanted.startswith(p)]
    if longer or shorter:
        best = min(longer, key=len) if longer else max(shorter, key=len)
    else:
        near = difflib.get_close_matches(wanted, list(plain.values()), n=1, cutoff=0.5)
        best = next((k for k, p in plain.items() if near and p == near[0]), "")
    return f" Did you mean {best!r}?" if best else ""


def _plain(name: str) -> str:
    return "".join(c for c in name.lower() if c.isalnum())
