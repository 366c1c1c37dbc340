"""What tokens and the userinfo endpoint say about an account (OpenID Connect Core, section 5). Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from libs.common.contracts import scopes
from libs.common.contracts.identity import Role
from services.fakts.models import User

ADMINISTRATOR = "admin"
SUPPORTED = (
    "sub",
    "iss",
    "aud",
    "exp",
    "iat",
    "auth_time",
    "nonce",
    "at_hash",
    "sid",
    "preferred_username",
    "name",
    "email",
    "organizations",
    "roles",
)


def roles(account: User, scope: Iterable[str], role: Role | None) -> list[str]:
    """The account's role in the organization that it picked, and `admin` if the token may do as an administrator."""
    found = [role.value] if role is not None else []
    return [*found, ADMINISTRATOR] if account.staff and scopes.administers(scope) else found


def of_account(
    account: User, memberships: Mapping[str, Role], scope: Iterable[str], role: Role | None
) -> dict[str, Any]:
    """The claims that the scopes give: `profile` who it is and where it belongs, `email` its address."""
    given = frozenset(scope)
    said: dict[str, Any] = {"sub": str(account.id)}
    if "profile" in given:
        said["preferred_username"] = account.name
        said["name"] = account.fullname or account.name
        said["organizations"] = sorted(memberships)
        said["roles"] = roles(account, given, role)
    if "email" in given and account.email is not None:
        said["email"] = account.email
    return said
