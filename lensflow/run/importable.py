"""Import an object by its path on client and workers, and fingerprint its code."""

from __future__ import annotations

import hashlib
import importlib
import inspect
import sys
from operator import attrgetter
from pathlib import Path
from types import ModuleType
from typing import Any

import cloudpickle

from lensflow.errors import ConfigError, did_you_mean

SCORER_EXAMPLE = "lensflow.measure.scorer.scorer:blue_ring"


def load(path: str, folder: str, what: str = "scorer", example: str = SCORER_EXAMPLE) -> Any:
    """Import the object that ``package.module:name`` names.

    Parameters
    ----------
    path : str
    folder : str
        Where modules are looked for after Python's own places: the folder that the command runs in. It must be the
        same on the workers, or the module installed there.
    what, example : str
        For errors.

    Raises
    ------
    ConfigError
        If the path is not of this form, or there is no such module or name in it.
    """
    module, name = _module(path, folder, what, example)
    try:
        return attrgetter(name)(module)
    except AttributeError as error:
        raise ConfigError(
            f"{what} {path!r}: {module.__name__} has no {name!r}.{did_you_mean(name, dir(module))}"
        ) from error


def source_of(path: str, folder: str) -> str | None:
    """Fingerprint of a scorer: the text of its module, and the object with what it refers to there (weights).

    Other modules, and files that are read while scoring, do not count. None if it cannot be computed.
    """
    module, _ = _module(path, folder, "scorer", SCORER_EXAMPLE)
    found = load(path, folder)
    try:
        digest = hashlib.sha256(Path(str(inspect.getsourcefile(module))).read_bytes())
        cloudpickle.register_pickle_by_value(module)
        try:
            digest.update(cloudpickle.dumps(found))
        finally:
            cloudpickle.unregister_pickle_by_value(module)
    except Exception:  # objects that cannot be pickled raise various errors
        return None
    return digest.hexdigest()[:16]


def _module(path: str, folder: str, what: str, example: str) -> tuple[ModuleType, str]:
    module, colon, name = path.partition(":")
    if not (module and colon and name):
        raise ConfigError(f"{what} {path!r}: name it as package.module:name, as in {example}")
    if folder not in sys.path:
        sys.path.append(folder)
    try:
        return importlib.import_module(module), name
    except Exception as error:  # any error raised while importing a module
        raise ConfigError(
            f"{what} {path!r}: {module} cannot be imported ({type(error).__name__}: {error}). It is looked for in "
            f"{folder} and among installed packages, on every worker."
        ) from error
