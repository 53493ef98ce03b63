"""The measurements of a config: lensflow's own, and those added by import path in ``diagnostics.also``."""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lensflow.config import RunConfig
from lensflow.errors import ConfigError
from lensflow.run.importable import load

if TYPE_CHECKING:
    from lensflow.measure.pixels import Finding, Kind, Settings

_EXAMPLE = "my_package.centroids:CENTROIDS"


def kinds_of(config: RunConfig, folder: str | None = None) -> tuple[Kind[Finding], ...]:
    """Import the measurements that a config adds.

    Parameters
    ----------
    config : RunConfig
    folder : str, optional
        Where modules are looked for after Python's own places; by default the working folder.

    Returns
    -------
    tuple of Kind
        Those of lensflow, then the added ones.

    Raises
    ------
    ConfigError
        If one cannot be imported, is no Kind, or has the name of another.
    """
    from lensflow.measure.pixels import DIAGNOSTICS, KINDS, Kind  # a command that finds nothing to do needs none

    found: list[Kind[Finding]] = []
    for path in config.diagnostics.also:
        kind = load(path, folder or str(Path.cwd()), "diagnostics.also", _EXAMPLE)
        if not isinstance(kind, Kind):
            raise ConfigError(
                f"diagnostics.also {path!r}: a {type(kind).__name__}, not a lensflow.measure.pixels.Kind "
                "(docs/add-a-measurement.md)"
            )
        if kind.name in (*DIAGNOSTICS, *(k.name for k in found)):
            raise ConfigError(f"diagnostics.also {path!r}: there is a measurement {kind.name!r} already; rename it")
        found.append(kind)
    return (*KINDS, *found)


def settings_of(config: RunConfig) -> Settings:
    """Return what the results of a run depend on besides its pairs."""
    from lensflow.measure.pixels import Settings

    return Settings(config.diagnostics, config.seed, config.injection)


def code_of_added(config: RunConfig) -> dict[str, str]:
    """Fingerprint of the modules of each added measurement and its judge: results of other code are recomputed."""
    if not config.diagnostics.also:
        return {}
    own = kinds_of(config)[-len(config.diagnostics.also) :]
    return {kind.name: _code(kind.measure, kind.judge) for kind in own}


def _code(*functions: Callable[..., Any]) -> str:
    files = sorted({str(inspect.getsourcefile(inspect.unwrap(getattr(f, "__func__", f)))) for f in functions})
    digest = hashlib.sha256()
    for file in files:
        digest.update(Path(file).read_bytes())
    return digest.hexdigest()[:16]
