"""Whether what was configured is there: the kubeconfig, its context, the registry. Errors name the key."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from pathlib import Path

import httpx

from constellation.bundle.configuration import SETTINGS
from constellation.bundle.problems import Misconfigured
from libs.common.oci import credentials, references
from libs.common.oci.credentials import CredentialsUnusable
from libs.common.oci.problems import RegistryProblem
from libs.common.oci.references import ImageReference
from libs.common.oci.registry import Registry

REGISTRY, PLAIN = "stage.container_registry", "stage.container_registry_plain_http"
KUBECONFIG, CONTEXT = "stage.kubernetes.kubeconfig_path", "stage.kubernetes.context"
SECONDS = 10.0


async def check(now: Mapping[str, str], *, since: Mapping[str, str]) -> None:
    """Look at what is new.

    Args:
        since: the configuration before; what is the same in both is not looked at.

    Raises Misconfigured that names the key.
    """
    fresh = {one.key for one in SETTINGS if now.get(one.key) != since.get(one.key)}
    if fresh & {KUBECONFIG, CONTEXT} and KUBECONFIG in now:
        kubeconfig(Path(now[KUBECONFIG]))
    if fresh & {REGISTRY, PLAIN} and REGISTRY in now:
        await registry(now)


def kubeconfig(path: Path) -> None:
    """Can it be read? Raises Misconfigured."""
    try:
        path.read_bytes()
    except OSError as error:
        raise Misconfigured(f"{KUBECONFIG}: {path} cannot be read: {error.strerror}") from error


async def registry(now: Mapping[str, str]) -> None:
    """Does the registry answer, and does it know whoever asks? Raises Misconfigured."""
    reference, plain_http = repository(now[REGISTRY], "x"), is_plain(now)
    try:
        known = credentials.configured(reference.registry)
        async with httpx.AsyncClient(timeout=SECONDS) as http:
            await Registry(http, reference, credentials=known, plain_http=plain_http).ping(reference.repository)
    except CredentialsUnusable as error:
        raise Misconfigured(f"{REGISTRY}: {error}") from error
    except RegistryProblem as error:
        hint = "" if plain_http else f"; if it has no TLS, set {PLAIN}=true with it"
        raise Misconfigured(f"{REGISTRY}: {error}{hint}") from error


def repository(place: str, name: str) -> ImageReference:
    """A repository of the registry."""
    return references.parse(f"{place.rstrip('/')}/{name}")


def is_plain(now: Mapping[str, str]) -> bool:
    """Without TLS: where that was said, and on this machine's loopback unless it was denied."""
    if PLAIN in now:
        return now[PLAIN] == "true"
    host = repository(now[REGISTRY], "x").registry.rpartition(":")[0] or now[REGISTRY].partition("/")[0]
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"
