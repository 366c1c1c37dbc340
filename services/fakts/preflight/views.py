"""What a person sees of an app that asks to be let in."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy.ext.asyncio import AsyncSession

from libs.common.contracts.joining import Manifest
from services.fakts.models import Approval, Client
from services.fakts.preflight import admission, approvals
from services.fakts.preflight.composition import UNAVAILABLE
from services.fakts.preflight.strategies.interface import Needs


@dataclass(frozen=True)
class Need:
    """A requirement, for a person to see."""

    key: str
    service: str
    optional: bool
    description: str | None
    offered: bool


@dataclass(frozen=True)
class ApprovalView:
    """An attempt, for a person who decides."""

    approval: Approval
    client: Client
    manifest: Manifest
    scope: tuple[str, ...]
    requirements: tuple[Need, ...]
    needs: Needs
    organizations: tuple[str, ...] | None
    """Names of the organizations one of which must be picked; None where any of the person's may be, or none."""
    roles: tuple[str, ...]
    """Roles one of which the person must hold there; empty for any."""
    address: str
    expires_at: datetime

    @property
    def missing(self) -> tuple[str, ...]:
        """Required services that are not offered: approving would fail."""
        return tuple(need.service for need in self.requirements if not need.offered and not need.optional)


async def of_approval(session: AsyncSession, approval: Approval) -> ApprovalView:
    """What a person needs to know to decide."""
    client = await approvals.client_of(session, approval)
    manifest = Manifest.model_validate(client.manifest)
    found = await admission.composition(session, client, approval.address, ())
    return ApprovalView(
        approval=approval,
        client=client,
        manifest=manifest,
        scope=tuple(approval.scope.split()),
        requirements=tuple(
            Need(one.key, one.service, one.optional, one.description, found.statuses[one.key] != UNAVAILABLE)
            for one in manifest.requirements or ()
        ),
        needs=Needs(approval.needs),
        organizations=tuple(approval.organizations) if approval.organizations is not None else None,
        roles=tuple(approval.roles or ()),
        address=approval.address,
        expires_at=approval.expires_at,
    )
