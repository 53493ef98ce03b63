"""What a sweep is asked: a setting and its values, as a command or a notebook gives them; the configs of its arms."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lensflow.config.load import load_config
from lensflow.config.run import RunConfig, flatten
from lensflow.config.yaml_text import parse_yaml
from lensflow.errors import ConfigError, did_you_mean

# The folder and the name do not change what is in it.
_NOT_COMPARED = ("out", "name")


@dataclass(frozen=True)
class Levels:
    """A setting and the values that a sweep gives it; the first is the reference.

    Attributes
    ----------
    setting : str
        ``plan.src_n``; ``none`` for a sweep of nothing but the null arm.
    values : tuple
        Plain JSON types.
    """

    setting: str
    values: tuple[Any, ...]

    @property
    def labels(self) -> tuple[str, ...]:
        """Names of the values, as folders take them."""
        return tuple(label_of(v) for v in self.values)


def label_of(value: Any) -> str:
    """Name of a value, as folders take it.

    Parameters
    ----------
    value : object
        Plain JSON types.
    """
    text = value if isinstance(value, str) else json.dumps(value)
    sign = "-" if re.match(r"-[\d.]", text) else ""
    return sign + re.sub(r"[^\w.+-]+", "-", text).strip("-.")[:60] or "empty"


def parse_levels(text: str) -> Levels:
    """Read ``SETTING=VALUE,VALUE``; values are YAML, so a range or a list may be one.

    Parameters
    ----------
    text : str
        ``injection.noise=true,false``, ``plan.src_n=1,4``, ``plan.src_n={min: 0.5, max: 4},1``; ``none`` alone.

    Returns
    -------
    Levels

    Raises
    ------
    ConfigError
        If it is not of this form.
    """
    setting, sign, values = text.partition("=")
    setting = setting.strip()
    if not sign and setting == "none":
        return Levels(setting, ())
    if not sign or not setting or not values.strip():
        raise ConfigError(f"sweep factor {text!r}: give SETTING=VALUE,VALUE as in injection.noise=true,false")
    found = parse_yaml(f"[{values}]", f"sweep factor {setting}")
    return Levels(setting, tuple(found))


def levels_of(factors: str | Iterable[str] | Mapping[str, Sequence[Any]]) -> list[Levels]:
    """Read factors as a notebook gives them.

    Parameters
    ----------
    factors : str, iterable of str, or mapping
        ``"injection.noise=true,false"``, several of these, or setting -> values.

    Returns
    -------
    list of Levels
    """
    if isinstance(factors, str):
        return [parse_levels(factors)]
    if isinstance(factors, Mapping):
        return [Levels(k, tuple(v) if isinstance(v, list | tuple) else (v,)) for k, v in factors.items()]
    return [parse_levels(text) for text in factors]


def with_setting(config: RunConfig, setting: str, value: Any, out: str | None = None) -> RunConfig:
    """Config with one setting replaced, validated again.

    Parameters
    ----------
    config : RunConfig
    setting : str
        Dotted; a whole setting, not a section.
    value : object
    out : str, optional
        Folder of the run.

    Returns
    -------
    RunConfig

    Raises
    ------
    ConfigError
        If there is no such setting, or the value is none.
    """
    tree = config.effective()
    *above, name = setting.split(".")
    place: Any = tree
    for k, part in enumerate(above):
        if not isinstance(place.get(part), dict):
            where = ".".join(above[: k + 1])
            why = "is not set in this config" if part in place else f"is no setting.{did_you_mean(part, place)}"
            raise ConfigError(f"sweep factor {setting}: {where} {why}")
        place = place[part]
    if name not in place:
        raise ConfigError(f"sweep factor {setting}: no such setting.{did_you_mean(name, place)}")
    place[name] = value
    return load_config(tree, out=out or config.out)


def value_of(config: RunConfig, setting: str) -> Any:
    """Value of a setting, as plain JSON types.

    Parameters
    ----------
    config : RunConfig
    setting : str
        Dotted, one that exists.
    """
    place: Any = config.effective()
    for part in setting.split("."):
        place = place[part]
    return place


def differing_settings(a: RunConfig, b: RunConfig) -> list[str]:
    """Settings in which two configs differ, but for the run's folder and name.

    Parameters
    ----------
    a, b : RunConfig

    Returns
    -------
    list of str
        Flat keys; a range counts by its ends.
    """
    one, other = (flatten(c.effective()) for c in (a, b))
    missing = object()
    return sorted(k for k in {*one, *other} - {*_NOT_COMPARED} if one.get(k, missing) != other.get(k, missing))
