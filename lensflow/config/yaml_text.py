"""YAML restricted for configs: unique keys, small, flat, and numbers as they look.

PyYAML alone keeps the last of two equal keys, expands aliases without bound, and reads ``010`` as 8 and ``1:30`` as 90.
"""

from __future__ import annotations

import contextlib
import re
from typing import Any

import yaml

from lensflow.errors import ConfigError

# Far beyond any config; larger files are refused before they take time to parse.
MAX_BYTES = 262_144
MAX_DEPTH = 30
MAX_NODES = 50_000
MAX_DIGITS = 300
_FAST = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def parse_yaml(text: str, where: str) -> Any:
    """Parse the one document of a YAML text.

    Parameters
    ----------
    text : str
    where : str
        Named in errors: the file.

    Raises
    ------
    ConfigError
        If it is not YAML, gives a key twice, nests deeper than MAX_DEPTH, holds more than MAX_NODES values once its
        aliases are expanded, or a number of more than MAX_DIGITS digits.
    """
    if len(text) > MAX_BYTES:
        raise ConfigError(f"{where}: larger than {MAX_BYTES:,} bytes: this is no config.")
    with contextlib.suppress(yaml.YAMLError):  # reported below, with the line
        _check_size(text, where)
    try:
        return yaml.load(text, Loader=_Loader)
    except yaml.YAMLError as error:
        raise ConfigError(f"{where}: not valid YAML: {_without_its_name(error)}") from None
    except RecursionError:  # where libyaml's own limit ended the look at the size
        raise ConfigError(f"{where}: nested more than {MAX_DEPTH} deep; no setting is.") from None
    except (ValueError, TypeError, OverflowError, ArithmeticError) as error:
        # A date such as 2020-13-45, a !!tag that does not fit its value.
        raise ConfigError(f"{where}: not valid YAML: {type(error).__name__}: {error}. Quote text.") from None


def _without_its_name(error: yaml.YAMLError) -> str:
    """Reason and place without YAML's name for a text that it was given, and a way out of what is no YAML at all."""
    said = re.sub(r' *in "<[a-z ]+>", ', "  at ", str(error))
    if "'\\t'" in said:
        return f"{said}\nA tab: indent with spaces."
    return f"{said}\nIs it a text file?" if "special characters are not allowed" in said else said


def _check_size(text: str, where: str) -> None:
    """Refuse deep nesting, recursive aliases, and aliases that multiply, before anything is built."""
    open_nodes: list[tuple[str | None, int]] = []  # anchor, values so far when it was opened
    sizes: dict[str, int] = {}
    total = 0
    for event in yaml.parse(text, Loader=_FAST):
        anchor = getattr(event, "anchor", None)
        if isinstance(event, yaml.AliasEvent):
            if any(name == anchor for name, _ in open_nodes):
                raise ConfigError(f"{where}: *{anchor} contains itself ({_line(event.start_mark)}).")
            total += sizes.get(str(anchor), 1)
        elif isinstance(event, yaml.ScalarEvent):
            total += 1
            if anchor is not None:
                sizes[anchor] = 1
        elif isinstance(event, yaml.CollectionStartEvent):
            open_nodes.append((anchor, total))
            total += 1
            if len(open_nodes) > MAX_DEPTH:
                line = _line(event.start_mark)
                raise ConfigError(f"{where}: nested more than {MAX_DEPTH} deep ({line}); no setting is.")
        elif isinstance(event, yaml.CollectionEndEvent):
            name, before = open_nodes.pop()
            if name is not None:
                sizes[name] = total - before
        if total > MAX_NODES:
            line = _line(event.start_mark)
            raise ConfigError(f"{where}: more than {MAX_NODES:,} values, counted with its aliases ({line}).")


def _line(mark: Any) -> str:
    return f"line {mark.line + 1}"


class _Loader(yaml.SafeLoader):
    """Safe, with unique keys and the whole numbers of YAML 1.2: decimal, 0x and 0o."""

    def compose_mapping_node(self, anchor: Any) -> Any:
        node = super().compose_mapping_node(anchor)
        seen: dict[Any, Any] = {}
        for key, _ in node.value:
            # A key that is not a scalar is refused by PyYAML or by the validation.
            if isinstance(key, yaml.ScalarNode):
                name = key.value if key.tag.endswith(":merge") else self.construct_object(key)
                if name in seen:
                    raise yaml.constructor.ConstructorError(
                        None,
                        None,
                        f"{key.value!r} is given twice, in {_line(seen[name])} and {_line(key.start_mark)}: only one "
                        "can hold. Put both together, or delete one.",
                    )
                seen[name] = key.start_mark
        return node

    def construct_whole_number(self, node: Any) -> int:
        digits = self.construct_scalar(node).replace("_", "")
        if len(digits) > MAX_DIGITS:
            line = _line(node.start_mark)
            raise yaml.constructor.ConstructorError(None, None, f"a number of {len(digits):,} digits ({line})")
        base = {"0x": 16, "0o": 8}.get(digits.lstrip("+-")[:2].lower(), 10)
        return int(digits, base)


_Loader.yaml_implicit_resolvers = {
    first: [(tag, known) for tag, known in found if tag not in ("tag:yaml.org,2002:int", "tag:yaml.org,2002:float")]
    for first, found in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(
        r"^(?:[-+]?(?:[0-9][0-9_]*\.[0-9_]*|\.[0-9][0-9_]*|[0-9]+(?=[eE]))(?:[eE][-+]?[0-9]+)?"
        r"|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))$"
    ),
    list("-+0123456789."),
)
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:int",
    re.compile(r"^(?:[-+]?[0-9][0-9_]*|[-+]?0x[0-9a-fA-F_]+|[-+]?0o[0-7_]+)$"),
    list("-+0123456789"),
)
_Loader.add_constructor("tag:yaml.org,2002:int", _Loader.construct_whole_number)
