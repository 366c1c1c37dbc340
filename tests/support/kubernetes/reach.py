"""What a pod of a real cluster reaches: connections that are tried in it, with its own Python."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from kubernetes_asyncio import client, config
from kubernetes_asyncio.stream import WsApiClient

from services.deployer.kubernetes.access import Access

_SCRIPT = """
import concurrent.futures, socket, sys
def tried(place):
    host, _, port = place.rpartition(":")
    try:
        socket.create_connection((host, int(port)), 3).close()
    except socket.gaierror:
        return "unknown"
    except OSError:
        return "shut"
    return "open"
with concurrent.futures.ThreadPoolExecutor(20) as pool:
    print(*pool.map(tried, sys.argv[1:]))
"""


async def reached(access: Access, namespace: str, pod: str, places: Sequence[str]) -> list[str]:
    """Of each place, `HOST:PORT`: `open`, `shut`, or `unknown` where its name is."""
    settings = client.Configuration()
    await config.load_kube_config(str(access.kubeconfig), access.context, settings)
    async with WsApiClient(settings) as api:
        command: Any = ["python3", "-c", _SCRIPT, *places]  # declared as one word, which it cannot be
        said = await client.CoreV1Api(api).connect_get_namespaced_pod_exec(
            pod,
            namespace,
            command=command,
            stdin=False,
            stdout=True,
            stderr=True,
            tty=False,
        )
    return said.split()
