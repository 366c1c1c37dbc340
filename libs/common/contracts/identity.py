"""Who may do what: the identity feed that fakts publishes, and the principal a service acts for.

Fakts owns accounts and keys. Every other service follows the feed `identity` and decides locally,
so a call or a request costs no question to fakts, and a revocation arrives with the next change.

Feed entries:

* ``account:<name>`` holds an :class:`Account` (a user or an organization).
* ``key:<sha256 hex of the API key>`` holds a :class:`Key`. A revoked key has no entry.
* ``ended:<id>`` holds an :class:`Ended`: access tokens whose `sid` or `client_id` is the id are refused.
* ``issuer:<id>`` holds a :class:`TrustedIssuer`. One that is no longer trusted has no entry.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Literal
from uuid import UUID

from pydantic import AwareDatetime, BaseModel, ConfigDict

IDENTITY_FEED = "identity"


class Wire(BaseModel):
    """A model on the wire: immutable, and tolerant of members that a newer sender adds."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class AccountKind(StrEnum):
    USER = "user"
    ORGANIZATION = "organization"


class Role(StrEnum):
    """What a member of an organization may do there. An owner may do all that an executor and a member may."""

    OWNER = "owner"
    MEMBER = "member"
    EXECUTOR = "executor"


class Permissions(Wire):
    """What one API key allows (the `permissions` of the Algorithmia key object). A new key allows nothing."""

    allow_algo: bool = False
    algo_acl: tuple[str, ...] = ("algo://*",)
    allow_data: bool = False
    allow_data_write: bool = False
    allow_web_algo: bool = False
    referer_host: str | None = None
    allow_algo_management: bool = False


class Account(Wire):
    id: UUID
    name: str
    kind: AccountKind
    active: bool = True
    staff: bool = False
    """A cluster administrator."""
    session_limit: int = 80
    """Calls that this account may have under way at once."""
    organizations: Mapping[str, Role] = {}
    """Memberships of a user, by organization name."""


class Key(Wire):
    id: UUID
    owner: str
    """Name of the account that the key acts for."""
    admin: bool = False
    """A PlatformAdminKey: reaches administrators' routes only."""
    permissions: Permissions = Permissions()
    expires_at: AwareDatetime | None = None


class Ended(Wire):
    """A login or a client was revoked before its access tokens expired."""

    until: AwareDatetime
    """No access token of it lives longer; then the entry goes."""


class TrustedIssuer(Wire):
    """A provider outside of the platform whose own tokens are accepted."""

    id: UUID
    issuer: str
    """Claim `iss` of its tokens."""


class Vouched(Wire):
    """What fakts found a trusted issuer's token to say."""

    issuer_id: UUID
    account: Account
    expires: float
    """Unix time in seconds."""


class PrincipalKind(StrEnum):
    ACCOUNT = "account"
    SERVICE = "service"
    ALGORITHM = "algorithm"
    SATELLITE = "satellite"


@dataclass(frozen=True, slots=True)
class Principal:
    """For whom a request is carried out, after authentication.

    ``kind`` SERVICE: ``name`` is the service name (``registry``), ``instance`` its instance id.
    ``kind`` ALGORITHM: an algorithm that calls with its caller's identity; ``name`` is the caller.
    ``kind`` SATELLITE: a launch apart from the platform that reports; ``name`` is `contracts/satellites.py` reporter.
    """

    kind: PrincipalKind
    name: str
    account_id: UUID | None = None
    key_id: UUID | None = None
    instance: str | None = None
    staff: bool = False
    admin_key: bool = False
    session_limit: int = 80
    permissions: Permissions = field(default_factory=Permissions)
    organizations: Mapping[str, Role] = field(default_factory=dict)
    scopes: frozenset[str] | None = None
    """Of the access token, beyond which it does not go; None for every other credential."""

    @property
    def is_service(self) -> bool:
        return self.kind is PrincipalKind.SERVICE

    @property
    def is_admin(self) -> bool:
        """May use administrators' routes: an admin key, or an administrator who signed in or let an app do this."""
        return self.admin_key or (self.staff and self.key_id is None)

    def belongs_to(self, owner: str) -> bool:
        """Is the owner itself, or a member of it in any role."""
        return self.name == owner or owner in self.organizations

    def manages(self, owner: str) -> bool:
        """May change what `owner` owns: the owner itself, or an organization's owner or member."""
        return self.name == owner or self.organizations.get(owner) in (Role.OWNER, Role.MEMBER)


FULL_PERMISSIONS = Permissions(
    allow_algo=True,
    allow_data=True,
    allow_data_write=True,
    allow_web_algo=True,
    allow_algo_management=True,
)

MemberRole = Literal["owner", "member", "executor", "invited"]
