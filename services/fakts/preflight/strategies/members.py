"""`members`: members of certain organizations decide, and the app acts in the one that they pick."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from libs.common.contracts.identity import Role
from services.fakts.preflight.strategies import options as read
from services.fakts.preflight.strategies.interface import AskPerson, Decision, Preflight

_ROLES = (Role.OWNER, Role.MEMBER, Role.EXECUTOR)


class MembersOnly:
    """Options: `organizations`, names; `roles`, of `owner`, `member`, `executor`, any if left out."""

    def __init__(self, options: Mapping[str, Any]) -> None:
        read.check_known(options, "organizations", "roles")
        self._organizations = read.texts(options, "organizations")
        if not self._organizations:
            raise ValueError("option 'organizations' is required, a list of names")
        self._roles = read.texts(options, "roles")
        if unknown := [role for role in self._roles if role not in _ROLES]:
            raise ValueError(f"'{unknown[0]}' is no role; there are {', '.join(_ROLES)}")

    def decide(self, preflight: Preflight) -> Decision:  # noqa: ARG002 - the interface
        return AskPerson(organizations=self._organizations, roles=self._roles)
