"""Result files: each stores its key and the fingerprint of its code, and is read only if both match."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from lensflow.errors import StoreError
from lensflow.store import paths, resume


@dataclass(frozen=True)
class ResultsFile:
    """Content of a result file.

    Attributes
    ----------
    key : str
        Fingerprint of the settings and pixels that the results belong to.
    code : str
        Fingerprint of the code that made them.
    results : object
        As :func:`lensflow.stats.codec.encode` made them.
    """

    key: str
    code: str
    results: Any

    @property
    def is_of_this_code(self) -> bool:
        """Whether this installation's code made them."""
        return self.code == resume.measuring_code_fingerprint()


def read_results(url: str, command: str = "run again") -> ResultsFile | None:
    """Read a result file; None if there is none.

    Parameters
    ----------
    url : str
    command : str
        The command that computes them again, for the error.

    Raises
    ------
    StoreError
        If the file is something else.
    """
    if not paths.exists(url):
        return None
    stored = paths.read_json(url)
    if not isinstance(stored, dict) or "results" not in stored:
        raise StoreError(f"{url}: not results of lensflow. Delete it and {command}.")
    return ResultsFile(str(stored.get("key", "")), str(stored.get("code", "")), stored["results"])


def current_results(url: str, key: str, any_code: bool = False) -> Any:
    """Results stored under a key by this installation's code (or by any); None if there are none."""
    found = read_results(url)
    if found is None or found.key != key or not (any_code or found.is_of_this_code):
        return None
    return found.results


def keep_results(url: str, key: str, results: Any) -> None:
    """Write results under their key, with the fingerprint of the code that made them.

    Parameters
    ----------
    url, key : str
    results : object
        Plain JSON, or what :func:`lensflow.stats.codec.encode` takes once it is encoded.
    """
    paths.write_json(url, {"key": key, "code": resume.measuring_code_fingerprint(), "results": results})
