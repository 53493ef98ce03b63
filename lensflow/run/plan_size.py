"""The size of a plan: settings that may be raised after a run was made, and whether one plan contains another."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lensflow.config import RunConfig
from lensflow.config.plan import EXTENDABLE as EXTENDABLE

# Keys that change with them.
_FOLLOWING = ("inputs.cutouts", "inputs.manifest")


def sizes_of(config: RunConfig) -> dict[str, int | None]:
    """The settings of a plan that may be raised, with their values."""
    return {name: getattr(config.plan, name) for name in EXTENDABLE}


def is_larger(old: Mapping[str, int | None], new: Mapping[str, int | None]) -> bool:
    """Whether a plan contains every row of another one: no setting is smaller. A limit of None is every host."""

    def value(sizes: Mapping[str, int | None], name: str) -> float:
        return float("inf") if sizes[name] is None else float(sizes[name] or 0)

    return all(value(old, name) <= value(new, name) for name in EXTENDABLE) and dict(old) != dict(new)


def extends(stored: Any, wanted: Mapping[str, Any]) -> bool:
    """Whether an identity is that of a stored one with a larger plan, and nothing else changed.

    Parameters
    ----------
    stored, wanted : mapping
        Identities of the manifest or the pairs, as :func:`lensflow.store.resume.identity`.
    """
    if not isinstance(stored, Mapping):
        return False
    keys = {f"plan.{name}" for name in EXTENDABLE}
    if not keys <= {*stored} or not keys <= {*wanted}:
        return False
    # A manifest made by hand is identified by its content; a larger one is undefined.
    if ("inputs.manifest" in stored) != ("inputs.manifest" in wanted):
        return False
    ignored = {*keys, *_FOLLOWING}
    rest = {*stored, *wanted} - ignored
    same = all(k in stored and k in wanted and stored[k] == wanted[k] for k in rest)
    sizes = [{name: identity[f"plan.{name}"] for name in EXTENDABLE} for identity in (stored, wanted)]
    return same and is_larger(*sizes)
