"""What an upstream provider's claims about a person mean here. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from libs.common.contracts.identity import Role
from services.fakts.preflight.patterns import check, covers

_ORDER = (Role.OWNER, Role.MEMBER, Role.EXECUTOR)
_EMAIL = re.compile(r"[^@\s]+@[^@\s]+")
_MAX_NAME, _MAX_EMAIL, _MAX_TEXT = 30, 254, 200
_TRIES = 100

Claim = Annotated[str, Field(min_length=1, max_length=255)]


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ClaimNames(_Section):
    """Which claims describe a person. A name with dots leads into nested claims."""

    username: Claim = "preferred_username"
    email: Claim = "email"
    fullname: Claim = "name"


class Match(_Section):
    """A claim that has one of these values, or holds one if it is a list. `*` stands for any text."""

    claim: Claim
    values: Annotated[tuple[Annotated[str, AfterValidator(check)], ...], Field(min_length=1)]

    def fits(self, claims: Mapping[str, Any]) -> bool:
        return any(covers(self.values, text) for text in texts(claims, self.claim))


class MembershipRule(Match):
    """Whoever fits is in the organization."""

    organization: str
    role: Literal[Role.OWNER, Role.MEMBER, Role.EXECUTOR] = Role.MEMBER


def texts(claims: Mapping[str, Any], name: str) -> list[str]:
    """The values of a claim as text: of a list its members, of a boolean `true` or `false`, of an absent one none."""
    value: Any = claims
    if name in claims:
        value = claims[name]
    else:
        for part in name.split("."):
            value = value.get(part) if isinstance(value, Mapping) else None
    values = value if isinstance(value, list | tuple) else [value]
    return [str(one).lower() if isinstance(one, bool) else str(one) for one in values if isinstance(one, str | int)]


def admitted(claims: Mapping[str, Any], admit: Sequence[Match]) -> bool:
    """May the person come in?"""
    return not admit or any(match.fits(claims) for match in admit)


def memberships(claims: Mapping[str, Any], rules: Sequence[MembershipRule]) -> dict[str, Role | None]:
    """For every organization that the rules name, the highest role that fits; None for no member."""
    roles: dict[str, Role | None] = {}
    for rule in rules:
        known = roles.setdefault(rule.organization, None)
        if rule.fits(claims) and (known is None or _ORDER.index(rule.role) < _ORDER.index(known)):
            roles[rule.organization] = rule.role
    return roles


def email(claims: Mapping[str, Any], names: ClaimNames) -> str | None:
    """The address, unless the provider says that it is not verified (OpenID Connect Core, section 5.1)."""
    found = next(iter(texts(claims, names.email)), "")
    unverified = claims.get("email_verified") in (False, "false")
    return found if _EMAIL.fullmatch(found) and len(found) <= _MAX_EMAIL and not unverified else None


def fullname(claims: Mapping[str, Any], names: ClaimNames) -> str | None:
    found = next(iter(texts(claims, names.fullname)), "")
    return "".join(filter(str.isprintable, found))[:_MAX_TEXT].strip() or None


def account_names(claims: Mapping[str, Any], names: ClaimNames) -> Iterator[str]:
    """Legal names for the person's account, the best first: the claim's, or the address's, then with numbers."""
    said = next(iter(texts(claims, names.username)), "") or (email(claims, names) or "")
    plain = re.sub(r"[^A-Za-z0-9]+", "_", said.partition("@")[0])
    base = re.sub(r"^[^A-Za-z]+", "", plain).rstrip("_")[:_MAX_NAME] or "user"
    yield base
    for number in range(2, _TRIES):
        yield f"{base[: _MAX_NAME - len(str(number))]}{number}"
