"""What a public docstring lacks, as numpydoc's own parser reads it; the judge of ``test_public_docs.py``."""

import ast
import builtins
import inspect
import re
import textwrap
import typing
import warnings
from collections.abc import Iterator

from numpydoc.docscrape import NumpyDocString

import lensflow.errors

# Ends of names that carry a unit, and the words for it in a description: the least that tells a reader.
UNITS = {
    "arcsec": "arcsec|\"",
    "pix": "pix",
    "rad": "rad|angle",
    "deg": "deg",
    "nmgy": "nmgy",
    "km_s": "km/s",
    "arcsec2": "arcsec",
    "mag": "mag",
    "s": "second|\\bs\\b",
    "gb": "gb",
}  # fmt: skip
NO_VALUE = {inspect.Signature.empty, None, "None", "NoReturn"}


def names_of(section: list) -> list[str]:
    """Parameters of a section: ``x, y : float`` is two, ``*args`` is ``args``."""
    return [name.strip().lstrip("*") for part in section for name in part.name.split(",")]


def parameters(function: object) -> list[str]:
    """Names that a caller may write, of every overload, without self and cls."""
    found: dict[str, None] = {}
    for one in typing.get_overloads(function) or [function]:
        names = list(inspect.signature(one).parameters)
        found.update(dict.fromkeys(names[1:] if names[:1] in (["self"], ["cls"]) else names))
    return list(found)


def raised(function: object) -> set[type]:
    """Errors of lensflow that the function's own lines raise."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
    names = {
        node.exc.func.id
        for node in ast.walk(tree)
        if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call) and isinstance(node.exc.func, ast.Name)
    }
    return {getattr(lensflow.errors, name) for name in names if hasattr(lensflow.errors, name)}


def parsed(text: str) -> tuple[NumpyDocString | None, list[str]]:
    """Return the parsed docstring, and what numpydoc complains of."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            return NumpyDocString(text), [str(w.message).splitlines()[0] for w in caught]
        except (ValueError, Warning) as error:
            return None, [str(error).splitlines()[0]]


def faults(function: object) -> Iterator[str]:
    """What the docstring of a function or method lacks. One without parameters needs a summary only."""
    text = inspect.getdoc(function)
    if not text:
        yield "no docstring"
        return
    doc, complaints = parsed(text)
    yield from complaints
    if doc is None:
        return
    summary = doc["Summary"]
    if len(summary) != 1 or not summary[0].endswith((".", "?")):
        yield f"the summary is one line that ends a sentence, not {' '.join(summary)!r}"
    expected, found = parameters(function), names_of([*doc["Parameters"], *doc["Other Parameters"]])
    yield from described(doc["Parameters"])
    if found != expected:
        yield f"documents the parameters {found}, takes {expected}"
    returned = inspect.signature(function).return_annotation
    if expected and returned not in NO_VALUE and not (doc["Returns"] or doc["Yields"]):
        yield "no section Returns or Yields"
    for section in ("Returns", "Yields"):
        types = [entry.type or entry.name for entry in doc[section]]
        if any(len(one) > 60 or one.endswith(".") for one in types):
            yield f"{section} has a sentence where the type should be: {' '.join(types)[:60]!r}"
    documented = set()
    for entry in doc["Raises"]:
        for name in (entry.type or entry.name).split(","):
            error = getattr(lensflow.errors, name.strip(), getattr(builtins, name.strip(), None))
            if not (isinstance(error, type) and issubclass(error, Exception)):
                yield f"Raises names {name.strip()!r}, which is no error of lensflow"
                continue
            documented.add(error)
        if not entry.desc:
            yield f"Raises does not say when {entry.type or entry.name}"
    for error in sorted(raised(function), key=str):
        if not any(issubclass(error, one) for one in documented):
            yield f"raises {error.__name__}, which Raises does not name"


def described(section: list) -> Iterator[str]:
    """What a section of parameters, attributes or fields lacks."""
    for part in section:
        if part.desc and part.desc[0].startswith("As for :"):  # that page says the rest
            continue
        if not part.type and not part.name.startswith("*"):
            yield f"{part.name}: no type"
        if not part.desc:
            yield f"{part.name}: no description"
        text = " ".join([part.type, *part.desc]).lower()
        for name in names_of([part]):
            unit = next((u for u in sorted(UNITS, key=len, reverse=True) if re.search(f"[a-z0-9]_{u}$", name)), None)
            if unit and not re.search(UNITS[unit], text):
                yield f"{name}: the description does not say the unit"


def results_of(function: object) -> set[type]:
    """Classes of lensflow that a function's annotation says it returns."""
    todo, found = [typing.get_type_hints(function).get("return")], set()
    while todo:
        one = todo.pop()
        todo += typing.get_args(one)
        if inspect.isclass(one) and one.__module__.startswith("lensflow."):
            found.add(one)
    return found


def class_faults(cls: type, made_by_users: bool = True) -> Iterator[str]:
    """What a class lacks: itself, and its public methods and properties as far as lensflow wrote them.

    A config's fields are documented by their descriptions (docs/config.md), and looked for nowhere else.
    """
    text = inspect.getdoc(cls)
    doc, complaints = parsed(text or "")
    yield from complaints
    if doc is None or not doc["Summary"]:
        yield "no docstring"
        return
    fields = [name for name in getattr(cls, "__dataclass_fields__", {}) if not name.startswith("_")]
    section = [*doc["Parameters"], *doc["Attributes"]]
    yield from described(section)
    constructed = made_by_users and inspect.isfunction(cls.__init__) and not getattr(cls, "_is_protocol", False)
    expected = fields or (parameters(cls.__init__) if constructed else [])
    if expected and not hasattr(cls, "model_fields") and sorted(names_of(section)) != sorted(expected):
        yield f"documents {names_of(section)}, is made of {expected}"
    for owner in reversed(cls.__mro__):
        if owner.__module__.split(".")[0] != "lensflow":
            continue
        for name, member in vars(owner).items():
            if name.startswith("_"):
                continue
            inner = getattr(member, "__func__", member)
            if inspect.isfunction(inner):
                yield from (f"{name}: {fault}" for fault in faults(inner))
            elif isinstance(member, property) or hasattr(member, "func"):
                lines = (inspect.getdoc(getattr(member, "fget", None) or member.func) or "").splitlines()
                if not lines or not lines[0].endswith((".", "?")):
                    yield f"{name}: no summary"
