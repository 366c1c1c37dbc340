"""Whether what was configured is there: the kubeconfig, its context, the registry. Errors name the key."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import httpx

from constellation.bundle.configuration import SETTINGS, is_plain, repository
from constellation.bundle.problems import Misconfigured
from libs.common.oci import credentials
from libs.common.oci.credentials import CredentialsUnusable
from libs.common.oci.problems import RegistryProblem
from libs.common.oci.registry import Registry
from services.deployer.kubernetes.access import Access
from services.deployer.kubernetes.cluster import connect
from services.deployer.kubernetes.problems import ClusterError

REGISTRY, PLAIN = "stage.container_registry", "stage.container_registry_plain_http"
KUBECONFIG, CONTEXT = "stage.kubernetes.kubeconfig_path", "stage.kubernetes.context"
SECONDS = 10.0


def absolute(now: Mapping[str, str]) -> dict[str, str]:
    """The configuration with a path that means the same from everywhere."""
    if KUBECONFIG not in now:
        return dict(now)
    return {**now, KUBECONFIG: str(Path(now[KUBECONFIG]).expanduser().absolute())}


async def check(now: Mapping[str, str], *, since: Mapping[str, str]) -> None:
    """Look at what is new.

    Args:
        since: the configuration before; what is the same in both is not looked at.

    Raises Misconfigured that names the key.
    """
    fresh = {one.key for one in SETTINGS if now.get(one.key) != since.get(one.key)}
    if fresh & {KUBECONFIG, CONTEXT} and KUBECONFIG in now:
        await _kubeconfig(Path(now[KUBECONFIG]), now.get(CONTEXT))
    if fresh & {REGISTRY, PLAIN} and REGISTRY in now:
        await _registry(now[REGISTRY], now.get(PLAIN))


async def _kubeconfig(path: Path, context: str | None) -> None:
    """Can it be read, and does it have the context? Its cluster is not asked."""
    try:
        path.open("rb").close()
        async with connect(Access(context or path.name, path, context)):
            return
    except OSError as error:
        raise Misconfigured(f"{KUBECONFIG}: {path} cannot be read: {error.strerror}") from error
    except ClusterError as error:
        raise Misconfigured(f"{CONTEXT if context else KUBECONFIG}: {error}") from error


async def _registry(place: str, said: str | None) -> None:
    """Does the registry answer, and does it know whoever asks?"""
    plain = is_plain(place, None if said is None else said == "true")
    reference = repository(place, "x")
    try:
        known = credentials.configured(reference.registry)
        async with httpx.AsyncClient(timeout=SECONDS) as http:
            await Registry(http, reference, credentials=known, plain_http=plain).ping(reference.repository)
    except CredentialsUnusable as error:
        raise Misconfigured(f"{REGISTRY}: {error}") from error
    except RegistryProblem as error:
        hint = "" if plain else f"; if it has no TLS, set {PLAIN}=true with it"
        raise Misconfigured(f"{REGISTRY}: {error}{hint}") from error
