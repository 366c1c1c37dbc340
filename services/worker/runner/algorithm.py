"""A Python algorithm: its module imported, its load() run, its apply() ready to be called."""

from __future__ import annotations

import importlib
import os
import sys

from .adk import Capture, load_served
from .answers import LOADING_ERROR, Failure

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from .spec import Spec

    Run = Callable[[Any, str], Any]
    """Takes the input and its kind (one of protocol.KINDS), gives the result."""


def load_python(spec: Spec) -> Run:
    """Import the algorithm and run its load(). Whatever it raises comes through."""
    return import_python(spec)()


def import_python(spec: Spec) -> Callable[[], Run]:
    """Import `src/NAME.py` below the working directory, which must be the algorithm's root. Gives what runs
    its load(). Raises what the import raises, and Failure if there is no apply."""
    source = os.path.join(spec.root, "src", spec.name)
    if not os.path.exists(source + ".py") and not os.path.isdir(source):
        raise Failure(f"there is no src/{spec.name}.py in the algorithm's repository", LOADING_ERROR)
    sys.path.insert(0, spec.root)
    sys.argv = [source + ".py"]
    capture = Capture()
    capture.install()
    module = importlib.import_module(f"src.{spec.name}")
    if capture.served is not None:
        return lambda: bind(*load_served(capture))
    apply = getattr(module, "apply", None)
    if not callable(apply):
        raise Failure(
            f"src/{spec.name}.py defines no apply function. Define apply(input), or serve one with ADK(apply).init()",
            LOADING_ERROR,
        )
    load = getattr(module, "load", None)
    return lambda: bind(apply, load() if callable(load) else None)


def bind(apply: Callable[..., Any], loaded: object) -> Run:
    """Call apply with what load() gave where it has a place for that. A falsy one is left out if it can be,
    as the ADK does."""
    places, required = _places(apply)
    if places >= 2 and (required >= 2 or _is_truthy(loaded)):
        return lambda value, _kind: apply(value, loaded)
    return lambda value, _kind: apply(value)


def _places(apply: Callable[..., Any]) -> tuple[int, int]:
    """How many positional arguments it takes, and how many it must be given."""
    import inspect  # noqa: PLC0415 - once, at the start

    try:
        parameters = inspect.signature(apply).parameters.values()
    except (TypeError, ValueError):  # written in C
        return 1, 1
    places = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    return len(places), sum(p.default is p.empty for p in places)


def _is_truthy(value: object) -> bool:
    """Arrays and data frames refuse to say; they are something."""
    try:
        return bool(value)
    except Exception:
        return True
