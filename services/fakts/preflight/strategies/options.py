"""Reading the options of a rule. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def check_known(options: Mapping[str, Any], *known: str) -> None:
    """Raises ValueError for an option that the strategy does not have."""
    for name in options:
        if name not in known:
            takes = f"it takes {', '.join(known)}" if known else "it takes none"
            raise ValueError(f"there is no option '{name}'; {takes}")


def text(options: Mapping[str, Any], name: str) -> str:
    """Raises ValueError."""
    value = options.get(name)
    if not isinstance(value, str) or not value.strip():
        raise ValueError(f"option '{name}' is required, a text")
    return value


def optional_text(options: Mapping[str, Any], name: str) -> str | None:
    """Raises ValueError."""
    return None if options.get(name) is None else text(options, name)


def texts(options: Mapping[str, Any], name: str) -> tuple[str, ...]:
    """One text or a list of them; empty if there is none. Raises ValueError."""
    value = options.get(name, ())
    values = [value] if isinstance(value, str) else value
    if not isinstance(values, list | tuple) or not all(isinstance(one, str) and one for one in values):
        raise ValueError(f"option '{name}' is a text or a list of texts")
    return tuple(values)
