"""Small runs without what takes seconds of each and is tested elsewhere: figures, and the slow reference."""

import inspect
import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from itertools import count
from typing import Any

import matplotlib.figure
import pytest
from PIL import Image

from lensflow.measure.pixels import psf_check, reference
from lensflow.measure.realism import power, verdict
from lensflow.show import figures_findings, figures_images, figures_statistics
from lensflow.show.figures import Picture

_ALL_IMAGES = reference.REFERENCE_ROWS, psf_check.ROWS
_FIGURES = (figures_findings, figures_images, figures_statistics)


def _one_pixel() -> bytes:
    one = io.BytesIO()
    Image.new("L", (1, 1)).save(one, format="png")
    return one.getvalue()


@contextmanager
def not_drawn() -> Iterator[None]:
    """Every figure that is saved is a picture of one pixel."""
    png = _one_pixel()

    def save(_: Any, place: Any, format: str = "png", **__: Any) -> None:
        place.write(png if format == "png" else b'<svg viewBox="0 0 1 1"></svg>')

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(matplotlib.figure.Figure, "savefig", save)
        patch.setattr("lensflow.show.figures._svg_file", lambda _: '<svg viewBox="0 0 1 1"></svg>')
        patch.setattr("lensflow.run.report.begun_on_workers", lambda: None)
        yield


@contextmanager
def no_figures() -> Iterator[None]:
    """Pages have pictures of one pixel, whatever they are to show: tests/show has the figures themselves."""
    png, numbers = _one_pixel(), count()

    def instead(name: str) -> Callable[..., Picture]:
        return lambda *_, **__: Picture(f"{name}-{next(numbers)}", png, f"In place of {name}.")

    with not_drawn(), pytest.MonkeyPatch.context() as patch:
        for module in _FIGURES:
            for name, function in inspect.getmembers(module, inspect.isfunction):
                if function.__module__ == module.__name__ and "Picture" in str(function.__annotations__.get("return")):
                    patch.setattr(module, name, instead(name))
        yield


@contextmanager
def few_images() -> Iterator[None]:
    """No row is rendered by brute force, and impulses of two PSFs only: tests/measure/pixels has both whole."""
    with _images(0, 2):
        yield


@contextmanager
def all_images() -> Iterator[None]:
    """As many as there are in a worker process, which knows nothing of :func:`few_images`."""
    with _images(*_ALL_IMAGES):
        yield


@contextmanager
def _images(reference_rows: int, psf_rows: int) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reference, "REFERENCE_ROWS", reference_rows)
        patch.setattr(psf_check, "ROWS", psf_rows)
        yield


@contextmanager
def few_skies() -> Iterator[None]:
    """The power of a comparison with real lenses from a few simulated skies: tests/measure/realism has hundreds."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(verdict, "power", partial(power.power, skies=30))
        yield
