"""`signed-in`: any signed-in user decides."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from services.fakts.preflight.strategies import options as read
from services.fakts.preflight.strategies.interface import AskPerson, Decision, Preflight


class AnySignedInUser:
    """No options."""

    def __init__(self, options: Mapping[str, Any]) -> None:
        read.check_known(options)

    def decide(self, preflight: Preflight) -> Decision:  # noqa: ARG002 - the interface
        return AskPerson()
