"""Result files: each stores its key, the fingerprint of its code, and a digest of both and of its numbers.

Results are taken as current only if key and code match, and are not read at all if the digest does not fit.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import Any

from lensflow.errors import StoreError
from lensflow.store import paths, resume

DIGEST = "digest"


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
    has_digest : bool
        Whether the file brings a digest, which then fits; files of older versions bring none.
    """

    key: str
    code: str
    results: Any
    has_digest: bool = True

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
        If the file is something else, or was edited or damaged after it was written.
    """
    if not paths.exists(url):
        return None
    stored = paths.read_json(url)
    if not isinstance(stored, dict) or "results" not in stored:
        raise StoreError(f"{url}: not results of lensflow. Delete it and {command}.")
    digest = stored.pop(DIGEST, None)
    if digest is not None and digest != digest_of(stored):
        raise StoreError(
            f"{url}: was edited or damaged after it was written: its digest does not fit its content. Delete it and "
            f"{command}."
        )
    return ResultsFile(str(stored.get("key", "")), str(stored.get("code", "")), stored["results"], digest is not None)


def digest_of(content: Any) -> str:
    """SHA-256 of what a result file holds beside its digest.

    Anybody can compute it: it shows accidents and edits, not forgery. A signed certificate that binds the file does.
    """
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def current_results(url: str, key: str, any_code: bool = False) -> Any:
    """Results stored under a key by this installation's code (or by any); None if there are none."""
    found = read_results(url)
    if found is None or found.key != key or not (any_code or found.is_of_this_code):
        return None
    return found.results


def keep_results(url: str, key: str, results: Any) -> None:
    """Write results under their key, with the fingerprint of the code that made them and a digest of all.

    Parameters
    ----------
    url, key : str
    results : object
        Plain JSON, or what :func:`lensflow.stats.codec.encode` takes once it is encoded.
    """
    content = {"key": key, "code": resume.measuring_code_fingerprint(), "results": results}
    # Of the content as it is read: tuples become lists, keys text.
    paths.write_json(url, {**content, DIGEST: digest_of(json.loads(json.dumps(content, allow_nan=False)))})
