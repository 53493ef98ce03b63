"""Every public name says what it takes, gives and raises: of lensflow and lensflow.lensing, and of what they return."""

import inspect
import textwrap

import pytest

import lensflow
import lensflow.api
import lensflow.lensing
from lensflow.errors import StoreError
from lensflow.measure.gate import GateResult
from lensflow.run.open_run import Run
from tests.public_docs import class_faults, faults, results_of

PUBLIC = {
    # Of the api: lensflow.export is also a package, which stands for the function when it is called.
    **{f"lensflow.{name}": getattr(lensflow.api, name) for name in lensflow.__all__ if name != "__version__"},
    **{f"lensflow.lensing.{name}": getattr(lensflow.lensing, name) for name in lensflow.lensing.__all__},
}
RESULTS = {GateResult}.union(*(results_of(thing) for thing in PUBLIC.values() if inspect.isfunction(thing)))


@pytest.mark.parametrize("name", sorted(PUBLIC))
def test_a_public_name_documents_what_it_takes_gives_and_raises(name):
    thing = PUBLIC[name]
    assert not [*(class_faults(thing) if inspect.isclass(thing) else faults(thing))]


@pytest.mark.parametrize("result", sorted(RESULTS, key=str))
def test_what_a_public_function_returns_is_documented_too(result):
    assert not [*class_faults(result, made_by_users=False)]


def test_a_run_is_among_the_results_that_are_looked_at():
    assert {Run, lensflow.lensing.Rendering, lensflow.lensing.KernelPSF} <= RESULTS


def sound(width_pix: float, name: str) -> int:
    """Count something.

    Parameters
    ----------
    width_pix : float
        Width, pixels.
    name : str
        Of the file.

    Returns
    -------
    int
        The count.

    Raises
    ------
    StoreError
        If there is nothing.
    """
    if not name:
        raise StoreError("nothing")
    return int(width_pix)


def test_a_sound_docstring_has_no_fault():
    assert [*faults(sound)] == []


@pytest.mark.parametrize(
    "before, after, fault",
    [
        ("    name : str\n        Of the file.\n", "", "documents the parameters ['width_pix'], takes"),
        ("name : str", "nome : str", "documents the parameters ['width_pix', 'nome'], takes"),
        ("    name : str\n        Of the file.\n", "    name : str\n", "name: no description"),
        ("name : str", "name", "name: no type"),
        ("Width, pixels.", "Width.", "width_pix: the description does not say the unit"),
        ("Returns\n    -------", "Raises\n    ------", "section Raises appears twice"),
        ("    Returns\n    -------\n    int\n        The count.\n\n", "", "no section Returns or Yields"),
        (
            "    int\n        The count.\n",
            "    An int: the count.\n",
            "Returns has a sentence where the type should be",
        ),
        ("    StoreError\n        If", "    StoreFault\n        If", "Raises names 'StoreFault'"),
        ("    StoreError\n        If", "    ConfigError\n        If", "raises StoreError, which Raises does not name"),
        ("        If there is nothing.", "", "Raises does not say when"),
        ("Raises\n", "Raised\n", "Unknown section Raised"),
        ("Count something.", "Count something", "the summary is one line"),
    ],
)
def test_a_docstring_that_lacks_something_is_named(monkeypatch, before, after, fault):
    text = textwrap.indent(inspect.cleandoc(sound.__doc__), "    ")  # from Python 3.13 on it has no indent
    assert before in text
    monkeypatch.setattr(sound, "__doc__", text.replace(before, after))
    found = [*faults(sound)]
    assert any(fault in line for line in found), found


def test_a_class_without_one_of_its_fields_and_with_a_bare_method_is_named():
    class Half(lensflow.lensing.Rendering):
        __module__ = "lensflow.somewhere"

        def turned(self, phi_rad: float) -> float:
            """Turn it."""
            return phi_rad

        @property
        def bare(self) -> int:
            return 1

    Half.__doc__ = lensflow.lensing.Rendering.__doc__.replace("render_err : ", "error : ")
    found = [*class_faults(Half)]
    assert any("documents ['arc', 'error', 'magnification', 'band_magnification'], is made" in line for line in found)
    assert any(line.startswith("turned: documents the parameters []") for line in found)
    assert "bare: no summary" in found
