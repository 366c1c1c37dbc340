"""The strategies that are installed."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import cast

from services.fakts.preflight.strategies.interface import ENTRY_POINTS, Strategy


class UnknownStrategy(ValueError):
    """The message says which there are."""


def find(name: str) -> type[Strategy]:
    """The strategy of that name. A package that is installed now is found after a restart.

    Raises:
        UnknownStrategy: no installed package has it, or its module cannot be imported.
    """
    found = installed().get(name)
    if found is None:
        raise UnknownStrategy(f"there is no strategy '{name}'; installed: {', '.join(sorted(installed()))}")
    try:
        return cast("type[Strategy]", found.load())
    except (ImportError, AttributeError) as error:
        raise UnknownStrategy(f"the strategy '{name}' cannot be loaded: {error}") from error


@cache
def installed() -> Mapping[str, EntryPoint]:
    """By name. Reading what is installed takes a while, so it is read once."""
    return {point.name: point for point in entry_points(group=ENTRY_POINTS)}
