"""The network of a node whose pods really run: names of Services, and their addresses.

A name service for pods (headless Services have the addresses of their ready pods, others their own; a name that has
none does not exist, as CoreDNS says it), and a proxy in the place of kube-proxy, which listens on each Service's own
address and passes connections on to ready pods in turn. Pods that are ending are not ready for it; their connections
stay. Not done: network policies, Ingress, UDP Services, session affinity, names of the world outside.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import socket
import struct
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import cast

from tests.support.kubernetes.store import Body, Store

DOMAIN = "svc.cluster.local"
RANGE = "10.96.0.0/16"
"""Of addresses of Services, which must be this host's own."""
_A, _AAAA, _IN = 1, 28, 1
_NXDOMAIN = 3
_CHUNK = 1 << 16


def endpoints(store: Store, service: Body) -> list[Body]:
    """The pods to which a Service leads."""
    selector = service["spec"]["selector"]
    namespace = service["metadata"]["namespace"]
    return [pod for pod in store.find("Pod", namespace, selector) if _serves(pod)]


def _serves(pod: Body) -> bool:
    conditions = pod.get("status", {}).get("conditions") or ()
    ready = any(one["type"] == "Ready" and one["status"] == "True" for one in conditions)
    return ready and "deletionTimestamp" not in pod["metadata"]


class Names(asyncio.DatagramProtocol):
    """The name service (RFC 1035, over UDP)."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.DatagramTransport, transport)  # asyncio's own is no instance

    def datagram_received(self, data: bytes, peer: tuple[str, int]) -> None:
        end = data.index(b"\0", 12) + 5
        question = data[12:end]
        kind, _ = struct.unpack("!HH", question[-4:])
        found = self._addresses(".".join(_labels(question)).lower())
        answers = [
            struct.pack("!HHHIH4s", 0xC00C, _A, _IN, 1, 4, socket.inet_aton(address))
            for address in (found or ())
            if kind == _A
        ]
        flags = 0x8580 | (_NXDOMAIN if found is None else 0)
        head = data[:2] + struct.pack("!HHHHH", flags, 1, len(answers), 0, 0)
        self._transport.sendto(head + question + b"".join(answers), peer)

    def _addresses(self, name: str) -> list[str] | None:
        """None for a name that does not exist."""
        service, _, rest = name.partition(".")
        namespace, _, domain = rest.partition(".")
        body = self._store.objects.get(("Service", namespace, service))
        if domain != DOMAIN or body is None:
            return None
        if body["spec"]["clusterIP"] != "None":
            return [body["spec"]["clusterIP"]]
        return [pod["status"]["podIP"] for pod in endpoints(self._store, body)] or None


def _labels(question: bytes) -> Iterator[str]:
    position = 0
    while size := question[position]:
        yield question[position + 1 : position + 1 + size].decode()
        position += 1 + size


@asynccontextmanager
async def names(store: Store, address: str) -> AsyncIterator[None]:
    """Answer pods on port 53 of an address."""
    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_datagram_endpoint(lambda: Names(store), local_addr=(address, 53))
    try:
        yield
    finally:
        transport.close()


class Proxy:
    """Listens for the Services of a store; `once` makes it so."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._servers: dict[tuple[str, int], asyncio.Server] = {}
        self._turns = itertools.count()
        self._connections: set[asyncio.Task[None]] = set()

    async def once(self) -> None:
        wanted = {
            (service["spec"]["clusterIP"], port["port"]): (service, port["targetPort"])
            for service in self._store.find("Service", None)
            if service["spec"]["clusterIP"] != "None"
            for port in service["spec"]["ports"]
        }
        for place in self._servers.keys() - wanted.keys():
            self._servers.pop(place).close()
        for place in wanted.keys() - self._servers.keys():
            self._servers[place] = await self._listen(place, *wanted[place])

    async def close(self) -> None:
        for server in self._servers.values():
            server.close()
        for task in self._connections:
            task.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    async def _listen(self, place: tuple[str, int], service: Body, target: str | int) -> asyncio.Server:
        async def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.current_task()
            assert task is not None
            self._connections.add(task)
            try:
                await self._pass(service, target, reader, writer)
            finally:
                self._connections.discard(task)
                writer.close()

        return await asyncio.start_server(take, *place)

    async def _pass(
        self, service: Body, target: str | int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        """A connection that no pod takes is closed."""
        pods = endpoints(self._store, service)
        if not pods:
            return
        pod = pods[next(self._turns) % len(pods)]
        with contextlib.suppress(OSError):
            there, back = await asyncio.open_connection(pod["status"]["podIP"], port_of(pod, target))
            try:
                await asyncio.gather(_pump(reader, back), _pump(there, writer))
            finally:
                back.close()


def port_of(pod: Body, port: str | int) -> int:
    """The number of a port that may be named."""
    if isinstance(port, int):
        return port
    named = [one for container in pod["spec"]["containers"] for one in container.get("ports", ())]
    return next(int(one["containerPort"]) for one in named if one["name"] == port)


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while chunk := await reader.read(_CHUNK):
            writer.write(chunk)
            await writer.drain()
        if writer.can_write_eof():
            writer.write_eof()
