"""`approve`: known apps are let in by themselves, acting for a named account."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from services.fakts.preflight.strategies import options as read
from services.fakts.preflight.strategies.interface import Approve, AskPerson, Decision, Preflight, Via


class ApproveAtOnce:
    """Options: `account`, whom the app acts for; `organization`, in which it acts.

    Where a person signs in to something, the point is who: then any signed-in user decides for themselves.
    """

    def __init__(self, options: Mapping[str, Any]) -> None:
        read.check_known(options, "account", "organization")
        self._account = read.text(options, "account")
        self._organization = read.optional_text(options, "organization")

    def decide(self, preflight: Preflight) -> Decision:
        if preflight.via is Via.REDIRECT:
            return AskPerson()
        return Approve(self._account, self._organization)
