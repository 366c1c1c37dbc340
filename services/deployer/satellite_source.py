"""What a launch in a cluster is made of, as the registry and fakts tell it: plan, images, secrets, report token."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol
from uuid import UUID

from libs.common.clients.fakts import FaktsClient
from libs.common.clients.registry import RegistryClient
from libs.common.contracts.identity import Wire
from libs.common.contracts.launches import KubernetesTarget, LaunchOrder
from libs.common.contracts.satellites import SatellitePlan
from libs.common.problems import Conflict, Problem
from services.deployer.kubernetes.satellite import Satellite


class NotYet(Exception):
    """It is not to be had now; the text says why. Asking again is how to wait."""


class Images(Wire):
    """References of container images, with their digests: of each revision by its id, and that for gateways."""

    revisions: Mapping[UUID, str]
    gateway: str


class SatelliteSource(Protocol):
    async def images(self, order: LaunchOrder) -> Images:
        """The images of an order as they are now, in its container registry. Raises NotYet."""

    async def satellite(self, order: LaunchOrder, images: Images) -> Satellite:
        """What an order asks for. Raises NotYet."""


class PlatformSatellites:
    """See SatelliteSource."""

    def __init__(self, registry: RegistryClient, fakts: FaktsClient) -> None:
        self._registry = registry
        self._fakts = fakts

    async def satellite(self, order: LaunchOrder, images: Images) -> Satellite:
        try:
            plan = await self._registry.launch_plan(order.launch_id, order.deployment_id)
            secrets = await self._secrets(order, plan)
            return Satellite(plan, images.revisions, images.gateway, secrets, await self._report_token(order, plan))
        except Problem as problem:
            raise NotYet(problem.detail) from problem

    async def images(self, order: LaunchOrder) -> Images:
        target = order.target
        registry = target.container_registry if isinstance(target, KubernetesTarget) else None
        if registry is None:
            raise NotYet("the launch's target names no container_registry from which its cluster pulls images")
        try:
            found = await self._registry.images_at(registry, {entry.revision_id for entry in order.entries})
        except Problem as problem:
            raise NotYet(f"images: {problem.detail}") from problem
        references = {UUID(key): one.reference for key, one in found.images.items() if one.reference is not None}
        gateway = found.gateway.reference if found.gateway is not None else None
        if gateway is None or not found.pushed:
            raise NotYet("images: " + ("; ".join(found.waiting_for_push[:3]) or "there is none for gateways"))
        return Images(revisions=references, gateway=gateway)

    async def _secrets(self, order: LaunchOrder, plan: SatellitePlan) -> dict[UUID, dict[str, str]]:
        """Variables of the algorithms that ever had a secret, by their ids."""
        secret = {one.id for one in plan.catalog if one.secrets_version}
        revisions = {one.algorithm_id: one.revision_id for one in order.entries if one.algorithm_id in secret}
        return {key: await self._registry.environment(revision) for key, revision in sorted(revisions.items())}

    async def _report_token(self, order: LaunchOrder, plan: SatellitePlan) -> str | None:
        if plan.mothership is None:
            return None
        try:
            return await self._fakts.report_key(order.launch_id)
        except Conflict:  # an administrator revoked it
            return None
