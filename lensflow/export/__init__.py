"""From a run to training data: views, loaders, formats and the check of an export.

The package is also the function: ``lf.export(run, out)`` is :func:`lensflow.export.step.export`. Python binds the name
of a package to its module as soon as anything of it is imported, so that the module is made callable.
"""

import sys
from types import ModuleType
from typing import Any


class _Callable(ModuleType):
    def __call__(self, *args: Any, **options: Any) -> Any:
        """Export a run: :func:`lensflow.export.step.export`."""
        from lensflow.export.step import export

        return export(*args, **options)


sys.modules[__name__].__class__ = _Callable
