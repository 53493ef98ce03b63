"""A URL that knows with which storage settings it is reached.

Paths of inputs and the folder of a run carry their settings with them, into every path below them and to every worker:
no process has settings of its own, so the same URL never means another server because of what was read before.
"""

from __future__ import annotations

from typing import Any

import yaml

from lensflow.config.base import Section
from lensflow.config.work import StorageConfig


class _Input:
    """Mark of a setting that names files that a run reads: ``Annotated[str, INPUT]``, or a list or dict of them."""


INPUT = _Input()


class Place(str):
    """A path or URL, and the storage settings that it is reached with.

    Parameters
    ----------
    url : str
    storage : StorageConfig, optional
        Of S3; without them the environment's server is asked with the environment's credentials.

    Notes
    -----
    Kept by ``str(place)``, ``place.rstrip("/")``, :func:`join` and :func:`parent`; what other methods of str return is
    a plain string.
    """

    storage: StorageConfig

    def __new__(cls, url: str, storage: StorageConfig | None = None) -> Place:
        """Take a URL; of a place, its own settings where none are given."""
        place = super().__new__(cls, url)
        place.storage = storage if storage is not None else carried_by(url)
        return place

    def __str__(self) -> str:
        """The place itself: settings must not be lost where a path is made a string to be safe."""
        return self

    def rstrip(self, chars: str | None = None, /) -> Place:
        """As str's, and reached as before."""
        return Place(super().rstrip(chars), self.storage)


# yaml writes no subclass of str by itself; a place is written as its URL, as in a config that is read from YAML.
for _name in ("SafeDumper", "Dumper", "CSafeDumper", "CDumper"):
    if hasattr(yaml, _name):
        getattr(yaml, _name).add_representer(Place, lambda dumper, place: dumper.represent_str(str.__str__(place)))


def carried_by(url: str) -> StorageConfig:
    """Settings that a URL carries; the defaults for a plain string.

    Parameters
    ----------
    url : str

    Returns
    -------
    StorageConfig
    """
    return url.storage if isinstance(url, Place) else StorageConfig()


def like(url: str, text: str) -> str:
    """Another URL that is reached as a given one is.

    Parameters
    ----------
    url : str
        Place or plain string.
    text : str
        The other URL.

    Returns
    -------
    str
        A place if ``url`` is one.
    """
    return Place(text, url.storage) if isinstance(url, Place) else text


def join(root: str, *parts: str) -> str:
    """Join a root and parts with single slashes; the settings of the root are kept.

    Parameters
    ----------
    root : str
        Path, URL or place.
    *parts : str

    Returns
    -------
    str
    """
    return like(root, "/".join([str(root).rstrip("/"), *parts]))


def parent(url: str) -> str:
    """Folder of a path or URL, reached as it is; ``.`` for a name alone.

    Parameters
    ----------
    url : str

    Returns
    -------
    str
    """
    return like(url, str(url).rstrip("/").rpartition("/")[0] or ".")


def of_inputs(storage: StorageConfig) -> StorageConfig:
    """Settings for everything outside ``out`` that a run reads: of ``storage``, only ``anonymous`` applies."""
    return StorageConfig(anonymous=bool(storage.anonymous))


def with_places(section: Section, storage: StorageConfig) -> Section:
    """A section of the config whose inputs are places, and so those of its sections.

    Parameters
    ----------
    section : Section
    storage : StorageConfig
        For its inputs.

    Returns
    -------
    Section
        The same one where it names no input.
    """
    changed: dict[str, Any] = {}
    for name, field in type(section).model_fields.items():
        value = getattr(section, name)
        if isinstance(value, Section):
            other: Any = with_places(value, storage)
        elif INPUT in field.metadata:
            other = _placed(value, storage)
        else:
            continue
        if other is not value:
            changed[name] = other
    return section.model_copy(update=changed) if changed else section


def _placed(value: Any, storage: StorageConfig) -> Any:
    match value:
        case str():
            return Place(value, storage)
        case tuple() | list():
            return type(value)(_placed(v, storage) for v in value)
        case dict():
            return {k: _placed(v, storage) for k, v in value.items()}
    return value
