"""What a strategy is told, and what it may answer. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, Protocol

from services.fakts.where import Zone

ENTRY_POINTS = "constellation.fakts.strategies"


class Via(StrEnum):
    """How an app asks."""

    DEVICE = "device"
    """Protocol 2, RFC 8628."""
    CHALLENGE = "challenge"
    """Protocol 1."""
    REDIRECT = "redirect"
    """OAuth's authorization endpoint (RFC 6749, section 4.1): a person signs in to something."""
    RETRIEVE = "retrieve"
    """Protocol 1, for apps that nobody is to approve: only what a rule approves by itself is let in."""


class Needs(StrEnum):
    """Who may approve."""

    USER = "user"
    STAFF = "staff"
    NOBODY = "nobody"
    """It was decided at once."""


@dataclass(frozen=True, slots=True)
class Preflight:
    """An app that asks to be let in."""

    via: Via
    identifier: str
    version: str
    scopes: frozenset[str]
    kind: str
    """`requested_client_kind`."""
    role: str
    """`requested_client_role`: `interface` or `agent`."""
    device: str
    address: str
    """Of the app, as far as the edge knows; else empty."""
    zone: Zone
    organization: str | None
    """The organization that the app asks to act in, by name."""
    at: datetime
    """Now, in UTC."""
    manifest: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Approve:
    """Let it in at once, acting for a user, and in an organization if one is named."""

    account: str
    organization: str | None = None


@dataclass(frozen=True, slots=True)
class AskPerson:
    """A person decides: any who is signed in, or only such."""

    needs: Needs = Needs.USER
    organizations: tuple[str, ...] = ()
    """Only members of these; the app acts in the one that the person picks. Empty for anybody."""
    roles: tuple[str, ...] = ()
    """Only members with one of these roles. Empty for any."""


@dataclass(frozen=True, slots=True)
class Refuse:
    reason: str
    """In words for whoever runs the app."""


Decision = Approve | AskPerson | Refuse


class Strategy(Protocol):
    """Made for each decision from the options of its rule. It decides from what it is told, and changes nothing."""

    def __init__(self, options: Mapping[str, Any]) -> None:
        """Raises ValueError, in words for an administrator, for options that it does not take."""

    def decide(self, preflight: Preflight) -> Decision | None:
        """The decision, or None to leave it to the rules that follow."""
