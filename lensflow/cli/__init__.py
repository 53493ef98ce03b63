"""The ``lensflow`` command: parses, calls the library, prints."""

from lensflow.cli.common import console, errors
from lensflow.cli.root import app, main

__all__ = ["app", "console", "errors", "main"]
