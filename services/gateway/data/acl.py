"""Who may do what with hosted data. Pure.

A collection's list says who reads beside its owner: nobody (`[]`), the owner's algorithms for any caller
(`["algo://.my/*"]`, the default), or everybody (`["user://*"]`). Writing is always the owner's. What is an
organization's is its members' too: owners and members write, executors read.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any

from libs.common.contracts.identity import Role
from services.gateway.data.paths import DataPath

OWN_ALGORITHMS = "algo://.my/*"
EVERYBODY = "user://*"
DEFAULT = (OWN_ALGORITHMS,)
_LISTS: tuple[tuple[str, ...], ...] = ((), DEFAULT, (EVERYBODY,))


class InvalidAcl(ValueError):
    """The value is no access list; the message says which there are."""


class Access(IntEnum):
    NONE = 0
    READ = 1
    WRITE = 2


@dataclass(frozen=True, slots=True)
class Visitor:
    """Who asks for data."""

    account: str
    """Name of the account for which it is done."""
    organizations: Mapping[str, Role] = field(default_factory=dict)
    reads: bool = False
    """The credential lets its holder see the data that the account may see."""
    writes: bool = False
    """... and change it."""
    algorithm: str = ""
    """`OWNER/NAME` of the algorithm that acts for the account, if one does."""
    session: str = ""
    """Request id of the top-level call that it serves."""

    def belongs_to(self, owner: str) -> bool:
        return self.account == owner or owner in self.organizations

    def manages(self, owner: str) -> bool:
        return self.account == owner or self.organizations.get(owner) in (Role.OWNER, Role.MEMBER)

    @property
    def general(self) -> Access:
        """What the credential allows with the account's own data."""
        if self.writes:
            return Access.WRITE
        return Access.READ if self.reads else Access.NONE


def access(visitor: Visitor, path: DataPath, acl: tuple[str, ...]) -> Access:
    """What a visitor may do with a collection, and what is in it.

    Args:
        acl: of the collection; without meaning for special ones.
    """
    if path.is_session:
        return Access.WRITE
    if path.algorithm:
        if path.algorithm == visitor.algorithm:
            return Access.WRITE
        return min(visitor.general, Access.READ) if visitor.algorithm else visitor.general
    if visitor.manages(path.owner) and visitor.writes:
        return Access.WRITE
    if visitor.reads and visitor.belongs_to(path.owner):
        return Access.READ
    return Access.READ if open_to(visitor, path.owner).intersection(acl) else Access.NONE


def open_to(visitor: Visitor, owner: str) -> frozenset[str]:
    """Entries of lists that let a visitor read what is another account's."""
    if visitor.algorithm.partition("/")[0] == owner:
        return frozenset({OWN_ALGORITHMS, EVERYBODY})
    return frozenset({EVERYBODY}) if visitor.reads else frozenset()


def parse(value: Any) -> tuple[str, ...]:
    """The list in `{"read": [...]}`, the member `acl` of a request. Raises InvalidAcl."""
    entries = value.get("read") if isinstance(value, dict) else None
    if isinstance(entries, list):
        for known in _LISTS:
            if tuple(entries) == known:
                return known
    raise InvalidAcl(f'acl is {{"read": LIST}} with one of the lists [], ["{OWN_ALGORITHMS}"], ["{EVERYBODY}"]')
