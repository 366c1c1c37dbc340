"""`deploy`: images to the customer's registry, the satellite to the customer's cluster, until it is ready there.

All of it may be repeated: what is as it should be is left alone.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from constellation.bundle.configuration import Stage
from constellation.bundle.content import Content
from constellation.bundle.problems import BundleProblem
from constellation.bundle.pushing import Pushed, push_all
from libs.common.contracts.satellites import SatellitePlan
from libs.common.oci.credentials import CredentialsUnusable
from libs.common.oci.documents import BadDocument, DigestMismatch
from libs.common.oci.layout import LayoutMissing
from libs.common.oci.problems import RegistryProblem
from services.deployer.kubernetes.access import Access
from services.deployer.kubernetes.cluster import connect
from services.deployer.kubernetes.manager import KubernetesManager
from services.deployer.kubernetes.observed import Observation
from services.deployer.kubernetes.problems import ClusterError
from services.deployer.kubernetes.satellite import GATEWAY, Satellite, Site, Unfit

Say = Callable[[str], None]
_REASONS = (ClusterError, Unfit, RegistryProblem, CredentialsUnusable, LayoutMissing, DigestMismatch, BadDocument)


@dataclass(frozen=True)
class Deployed:
    """What came of it: whether anything was changed, and where calls go."""

    changed: bool
    addresses: list[str]


async def deploy(content: Content, stage: Stage, *, report_token: str | None, work: Path, say: Say) -> Deployed:
    """Deploy a bundle that was verified.

    Args:
        work: folder on the disk of the bundle.

    Raises BundleProblem: the registry or the cluster cannot be reached, or does not take it, or it was not ready in
    time. What was applied then stays, and the cluster goes on.
    """
    plan = content.plan()
    try:
        async with connect(access(stage)) as cluster:
            manager = KubernetesManager(cluster, _site(stage))
            await manager.inspect(plan.order.launch_id)  # a cluster that cannot be reached costs no upload
            pushed = await push_all(content, plan, stage, work, say)
            progress = _Progress(say)
            satellite = _satellite(content, plan, pushed, report_token)
            await manager.bring_up(satellite, deadline_seconds=stage.deadline_seconds, told=progress.take)
    except _REASONS as error:
        raise BundleProblem(str(error)) from error
    return Deployed(pushed.new > 0 or progress.changed, _addresses(plan, stage))


def access(stage: Stage) -> Access:
    return Access(stage.context or stage.kubeconfig_path.name, stage.kubeconfig_path, stage.context)


class _Progress:
    """Says what is done and how many replicas are ready, each once."""

    def __init__(self, say: Say) -> None:
        self._say = say
        self._last = ""
        self.changed = False

    def take(self, found: Observation) -> None:
        for one in found.told:
            self._say(one)
            self.changed = True
        now = ", ".join(f"{one.vanity_url} {one.ready} of {one.desired}" for one in found.entries)
        line = f"ready: {now}" + (f"; {found.obstacle}" if found.obstacle and _has_reason(found) else "")
        if now and line != self._last and not found.ready:
            self._say(line)
            self._last = line


def _has_reason(found: Observation) -> bool:
    return any(one.reason for one in found.entries) or (
        found.gateway is not None and found.gateway.reason is not None
    )


def _site(stage: Stage) -> Site:
    return Site(
        namespace=stage.namespace,
        fqdn=stage.fqdn,
        ingress_class=stage.ingress_class,
        tls_secret=stage.tls_secret,
        pull_secrets=(stage.image_pull_secret,) if stage.image_pull_secret else (),
        name_servers=(str(stage.name_server),) if stage.name_server else (),
        gateway_replicas=stage.gateway_replicas,
    )


def _satellite(content: Content, plan: SatellitePlan, pushed: Pushed, report_token: str | None) -> Satellite:
    """Raises BundleProblem when the bundle lacks an image."""
    if plan.gateway_image is None:
        raise BundleProblem("the bundle has no image for gateways; get it anew")
    images = {
        entry.revision_id: pushed.references[plan.images[str(entry.revision_id)]]
        for entry in plan.order.entries
        if str(entry.revision_id) in plan.images
    }
    secrets = content.secrets().algorithms
    return Satellite(plan, images, pushed.references[plan.gateway_image], secrets, report_token)


def _addresses(plan: SatellitePlan, stage: Stage) -> list[str]:
    """Of each entry: from outside where there is a host name, else within the cluster."""
    scheme = "https" if stage.tls_secret else "http"
    base = f"{scheme}://{stage.fqdn}" if stage.fqdn else f"http://{GATEWAY}.{stage.namespace}.svc"
    return [f"{base}/v1/algo/{entry.vanity_url}" for entry in plan.order.entries]
