"""How a cluster is reached: by a kubeconfig, or from within."""

from __future__ import annotations

import asyncio
import ssl
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from services.deployer.kubernetes.problems import Refused

if TYPE_CHECKING:
    from kubernetes_asyncio.client import ApiClient


@dataclass(frozen=True)
class Access:
    """How a cluster is reached.

    Attributes:
        name: what people call the cluster.
        kubeconfig: a file; None for the cluster in which this process runs.
        context: of the file; None for its current one.
    """

    name: str = "in-cluster"
    kubeconfig: Path | None = None
    context: str | None = None


async def open_client(access: Access) -> ApiClient:
    """A client of the cluster. Nothing is asked of it yet.

    Raises:
        Refused: the kubeconfig or a certificate in it cannot be used, or this process runs in no cluster.
    """
    # It takes 30 MB of memory, and half a second: most deployers know no cluster.
    await asyncio.to_thread(import_module, "kubernetes_asyncio.config")
    from kubernetes_asyncio import config as kube_config  # noqa: PLC0415
    from kubernetes_asyncio.client import ApiClient, Configuration  # noqa: PLC0415
    from kubernetes_asyncio.config.config_exception import ConfigException  # noqa: PLC0415

    configuration = Configuration()
    if access.kubeconfig is None:
        try:
            kube_config.load_incluster_config(client_configuration=configuration)
        except ConfigException as error:
            raise Refused(
                f"cluster '{access.name}': this process does not run in a pod of a cluster ({error}); name a"
                " kubeconfig for it in CONSTELLATION_CLUSTERS"
            ) from error
    elif not access.kubeconfig.is_file():
        raise Refused(f"cluster '{access.name}': there is no kubeconfig {access.kubeconfig}")
    try:
        if access.kubeconfig is not None:
            await kube_config.load_kube_config(
                config_file=str(access.kubeconfig),
                context=access.context,
                client_configuration=configuration,
                persist_config=False,
            )
        return ApiClient(configuration)  # which reads certificates and keys
    except Exception as error:  # whatever a file of any shape makes its reader raise
        raise Refused(_unusable(access, error)) from error


def _unusable(access: Access, error: Exception) -> str:
    said = " ".join(str(error).split())[:300] or type(error).__name__
    if isinstance(error, ssl.SSLError):
        said = f"a certificate or a key cannot be read: {said}"
    which = f" with the context '{access.context}'" if access.context else ""
    what = f"the kubeconfig {access.kubeconfig}{which}" if access.kubeconfig else "its service account"
    return f"cluster '{access.name}': {what} cannot be used: {said}"
