"""The optional packages of a training, imported where they are needed."""

from __future__ import annotations

import importlib
from typing import Any

from lensflow.errors import ExportError


def need(package: str, what: str = "a training") -> Any:
    """Import a package of the extra ``train``.

    Parameters
    ----------
    package : str
        Module: ``torch``, ``safetensors.torch``.
    what : str
        Who needs it, for the message.

    Returns
    -------
    module

    Raises
    ------
    ExportError
        If it is not installed; the message says how to install it.
    """
    try:
        return importlib.import_module(package)
    except ImportError as error:
        name = package.partition(".")[0]
        raise ExportError(f'{what} needs the package {name}; pip install "lensflow[train]" ({error})') from error
