"""Training views, loaders, formats and the check of an export; what opens runs for them is :mod:`lensflow.run.export`.

The package is also the function: ``lf.export(run, out)`` is :func:`lensflow.run.export.step.export`. Python binds the
name of a package to its module as soon as anything of it is imported, so that the module is made callable.
"""

import sys
from importlib import import_module
from types import ModuleType
from typing import Any


class _Callable(ModuleType):
    def __call__(self, *args: Any, **options: Any) -> Any:
        """Export a run: :func:`lensflow.run.export.step.export`."""
        # By name: nothing below imports what stands above it.
        return import_module("lensflow.run.export.step").export(*args, **options)


sys.modules[__name__].__class__ = _Callable
