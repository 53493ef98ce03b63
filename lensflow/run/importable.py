"""Import an object by its path, or load a saved estimator, on client and workers; fingerprint its code."""

from __future__ import annotations

import hashlib
import importlib
import inspect
import io
import sys
import warnings
from operator import attrgetter
from pathlib import Path
from types import ModuleType
from typing import Any

import cloudpickle

from lensflow.errors import ConfigError, StoreError, did_you_mean
from lensflow.store import paths
from lensflow.training.checkpoint import ENDING
from lensflow.training.scorer import fingerprint_of, load_scorer

SCORER_EXAMPLE = "lensflow.measure.scorer.scorer:blue_ring"
# Ending of an estimator that was saved in a file, and of a network that `lensflow train` made.
SAVED, TRAINED = ".joblib", ENDING
FILES = (SAVED, TRAINED)
# The saved estimator that this process loaded last, by its bytes: tasks score a region each, and a forest takes longer
# to load than a region to score.
_last: dict[str, tuple[str, Any]] = {}


def load(path: str, folder: str, what: str = "scorer", example: str = SCORER_EXAMPLE) -> Any:
    """Import the object that ``package.module:name`` names, or load the scorer in a file: joblib, or a checkpoint.

    Parameters
    ----------
    path : str
        A path or fsspec URL that ends in ``.joblib`` is a file, of a scorer only. Loading it runs code that is in it,
        as importing does. One that ends in ``.safetensors`` is a network of ``lensflow train``.
    folder : str
        Where modules are looked for after Python's own places: the folder that the command runs in. It must be the
        same on the workers, or the module installed there.
    what, example : str
        For errors.

    Raises
    ------
    ConfigError
        If the path is not of this form, there is no such module, name or file, or another version of scikit-learn
        saved it.
    """
    if what == "scorer" and path.endswith(TRAINED):
        return load_scorer(_bytes(path, folder), path, lambda model: load(model, folder, "training.model"))
    if what == "scorer" and path.endswith(SAVED):
        return _saved(path, folder)
    module, name = _module(path, folder, what, example)
    try:
        return attrgetter(name)(module)
    except AttributeError as error:
        raise ConfigError(
            f"{what} {path!r}: {module.__name__} has no {name!r}.{did_you_mean(name, dir(module))}"
        ) from error


def source_of(path: str, folder: str) -> str | None:
    """Fingerprint of a scorer: the text of its module, and the object with what it refers to there (weights).

    Of a saved estimator or network: the bytes of its file. Other modules, and files that are read while scoring, do
    not count. None if it cannot be computed.
    """
    if path.endswith(TRAINED):
        return fingerprint_of(_bytes(path, folder))
    if path.endswith(SAVED):
        import sklearn

        return hashlib.sha256(_bytes(path, folder) + sklearn.__version__.encode()).hexdigest()[:16]
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


def _saved(path: str, folder: str) -> Any:
    import joblib  # with scikit-learn, a second that few processes need to spend
    import sklearn
    from sklearn.exceptions import InconsistentVersionWarning

    content = _bytes(path, folder)
    digest = hashlib.sha256(content).hexdigest()
    known, scorer = _last.get("of", ("", None))
    if digest == known:
        return scorer
    try:
        with warnings.catch_warnings():
            # Another version may give other scores, or none, and only warns.
            warnings.simplefilter("error", InconsistentVersionWarning)
            found = joblib.load(io.BytesIO(content))
    except InconsistentVersionWarning as warning:
        raise ConfigError(
            f"scorer {path}: saved by scikit-learn {warning.original_sklearn_version}, here is {sklearn.__version__}. "
            "Save it again with this version, or install that one."
        ) from warning
    except Exception as error:  # any error raised while unpickling
        raise ConfigError(
            f"scorer {path}: cannot be loaded ({type(error).__name__}: {error}). A file of joblib.dump is needed, and "
            "the modules of what is in it, on every worker."
        ) from error
    _last["of"] = (digest, found)  # at once: threads load different ones
    return found


def _bytes(path: str, folder: str) -> bytes:
    url = str(Path(folder) / paths.local_path(path)) if paths.is_local(path) else path
    try:
        content = paths.read_object(url)
    except StoreError as error:
        raise ConfigError(f"scorer {path}: cannot be read ({error})") from error
    if content is None:
        raise ConfigError(f"scorer {path}: there is no such file (looked for at {url})")
    return content


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
