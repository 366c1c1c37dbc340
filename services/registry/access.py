"""Who may see and change what an owner has. Pure.

Those who belong to the owner are insiders: the owner itself, every member of an owning organization, and
administrators. Others may know of an algorithm only if it has a version that is published publicly; for them
everything else answers as if it did not exist.
"""

from __future__ import annotations

from libs.common.contracts.identity import Principal, Role
from libs.common.problems import Forbidden, NotFound

NO_SUCH_ALGORITHM = "No such algorithm"


class NoSuchAlgorithm(NotFound):
    """There is none, or none that the caller may know of."""

    code = 1000

    def __init__(self) -> None:
        super().__init__(NO_SUCH_ALGORITHM)


def insider(principal: Principal, owner: str) -> bool:
    return principal.is_admin or principal.belongs_to(owner)


def check_insider(principal: Principal, owner: str) -> None:
    """Raises NoSuchAlgorithm for outsiders."""
    if not insider(principal, owner):
        raise NoSuchAlgorithm


def manages(principal: Principal, owner: str) -> bool:
    """May change what the owner has: an administrator, or whom the owner lets, with a key that allows it."""
    allowed = principal.permissions.allow_algo_management and principal.manages(owner)
    return principal.is_admin or allowed


def check_manages(principal: Principal, owner: str, *, known: bool) -> None:
    """Raises Forbidden for those who may know that there is something, NoSuchAlgorithm for others.

    Args:
        known: others than insiders may know of it.
    """
    if manages(principal, owner):
        return
    if known or insider(principal, owner):
        raise Forbidden(_why(principal, owner))
    raise NoSuchAlgorithm


def publishes_publicly(principal: Principal, owner: str) -> bool:
    """May publish for everybody in the owner's name: in an organization's, only its owners may."""
    return principal.is_admin or principal.name == owner or principal.organizations.get(owner) is Role.OWNER


def _why(principal: Principal, owner: str) -> str:
    if principal.manages(owner):
        return "this key may not manage algorithms; use one that has 'allow_algo_management'"
    return f"only {owner} and those who manage for it may do this"
