"""`refuse`: nobody decides, and the app is told why."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from services.fakts.preflight.strategies import options as read
from services.fakts.preflight.strategies.interface import Decision, Preflight
from services.fakts.preflight.strategies.interface import Refuse as Refusal


class Refuse:
    """Options: `reason`, in words for whoever runs the app."""

    def __init__(self, options: Mapping[str, Any]) -> None:
        read.check_known(options, "reason")
        self._reason = read.text(options, "reason")

    def decide(self, preflight: Preflight) -> Decision:  # noqa: ARG002 - the interface
        return Refusal(self._reason)
