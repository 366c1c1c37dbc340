"""The only door to a Kubernetes cluster: get, list, create, apply, delete, watch.

As kubernetes.io/docs/reference/using-api says. Objects are applied on the server under the field manager
`constellation`. Whatever goes wrong is a ClusterError in words that an operator can act on.
"""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import aiohttp

from libs.common import logs
from services.deployer.kubernetes.access import Access, open_client
from services.deployer.kubernetes.problems import (
    ClusterError,
    Conflicting,
    Expired,
    NoNamespace,
    Refused,
    Unreachable,
)
from services.deployer.kubernetes.satellite import MANAGER, Manifest

if TYPE_CHECKING:
    from kubernetes_asyncio.client import ApiClient

log = logs.get(__name__)

ASK_SECONDS = 30.0
WATCH_SECONDS = 240
PAGE = 500
WATCH_ATTEMPTS = 5
WATCH_PAUSE_SECONDS = 1.0
"""From the beginning of one connection to that of the next one, at least."""
LOG_BYTES = 16 << 20
"""Of one log, that are read at a time."""
_CONNECT_SECONDS = 10.0
_LINE_SECONDS = WATCH_SECONDS + 30.0
_NO_ANSWER = (aiohttp.ClientError, TimeoutError, OSError)
_RESOURCES: Mapping[str, tuple[str, str]] = {
    "Namespace": ("/api/v1", "namespaces"),
    "ServiceAccount": ("/api/v1", "serviceaccounts"),
    "Secret": ("/api/v1", "secrets"),
    "ConfigMap": ("/api/v1", "configmaps"),
    "Service": ("/api/v1", "services"),
    "Pod": ("/api/v1", "pods"),
    "Event": ("/api/v1", "events"),
    "Deployment": ("/apis/apps/v1", "deployments"),
    "NetworkPolicy": ("/apis/networking.k8s.io/v1", "networkpolicies"),
    "Ingress": ("/apis/networking.k8s.io/v1", "ingresses"),
    "PodDisruptionBudget": ("/apis/policy/v1", "poddisruptionbudgets"),
}


@dataclass(frozen=True)
class Change:
    """An object was added, modified or deleted; `body` is None where all may be different and is to be listed."""

    body: Manifest | None


@asynccontextmanager
async def connect(access: Access) -> AsyncIterator[Cluster]:
    """A cluster by its kubeconfig. Nothing is asked of it yet.

    Raises:
        Refused: the kubeconfig cannot be used, or this process runs in no cluster.
    """
    client = await open_client(access)
    try:
        yield Cluster(client, access.name)
    finally:
        await client.close()


class Cluster:
    """Every question has a deadline. Each raises Unreachable and Refused besides what it names."""

    def __init__(self, client: ApiClient, name: str) -> None:
        self._client = client
        self.name = name

    async def get(self, kind: str, name: str, namespace: str | None = None) -> Manifest | None:
        """One object; None when there is none."""
        try:
            return await self._ask("GET", _path(kind, namespace, name))
        except _NotFound:
            return None

    async def list(
        self, kind: str, namespace: str, selector: Mapping[str, str] | None = None, fields: str | None = None
    ) -> tuple[list[Manifest], str]:
        """Objects with these labels, and the version of the list."""
        found: list[Manifest] = []
        query: dict[str, Any] = {"limit": PAGE, **_selecting(selector)}
        if fields is not None:
            query["fieldSelector"] = fields
        while True:
            try:
                page = await self._ask("GET", _path(kind, namespace), query=query)
            except Expired:  # the list changed too much meanwhile
                found.clear()
                query.pop("continue", None)
                continue
            said = {"apiVersion": page["apiVersion"], "kind": kind}  # which its items leave out
            found += [{**said, **item} for item in page["items"]]
            if not (more := page["metadata"].get("continue")):
                return found, str(page["metadata"].get("resourceVersion", ""))
            query["continue"] = more

    async def create(self, body: Manifest) -> bool:
        """Make an object that is in no namespace. False when there is one of its name already."""
        query = {"fieldManager": MANAGER, "fieldValidation": "Strict"}
        try:
            await self._ask("POST", _path(body["kind"], None), query=query, body=body)
        except Conflicting:
            return False
        return True

    async def apply(
        self, body: Manifest, namespace: str | None = None, *, dry_run: bool = False, force: bool = False
    ) -> Manifest:
        """Make an object so, or only ask whether the cluster would.

        Args:
            force: take over fields that others have set to other values.

        Raises:
            Conflicting: others have set such fields.
            NoNamespace: there is no such namespace.
        """
        query: dict[str, Any] = {"fieldManager": MANAGER, "fieldValidation": "Strict", "force": str(force).lower()}
        if dry_run:
            query["dryRun"] = "All"
        name = body["metadata"]["name"]
        path = _path(body["kind"], namespace, name)
        try:
            return await self._ask("PATCH", path, query=query, body=body, content="application/apply-patch+yaml")
        except _NotFound as error:
            raise NoNamespace(f"there is no namespace '{namespace}' in cluster '{self.name}': {error}") from error

    async def delete(self, kind: str, name: str, namespace: str | None = None, *, grace: int | None = None) -> None:
        """Have an object deleted with what it owns. What is gone is gone.

        Args:
            grace: seconds that a pod has to end, instead of its own.
        """
        body: Manifest = {"apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": "Background"}
        if grace is not None:
            body["gracePeriodSeconds"] = grace
        try:
            await self._ask("DELETE", _path(kind, namespace, name), body=body)
        except _NotFound:
            return

    async def logs(
        self,
        namespace: str,
        pod: str,
        *,
        lines: int,
        most: int,
        container: str | None = None,
        previous: bool = False,
    ) -> bytes:
        """The last lines that a pod's container printed, or the one before it. Empty for what has printed nothing.

        Args:
            most: bytes; the last ones of these lines.
            container: must be named where the pod has several.
        """
        query = {"tailLines": lines, "limitBytes": LOG_BYTES, "previous": str(previous).lower()}
        if container is not None:
            query["container"] = container
        async with self._open(f"{_path('Pod', namespace, pod)}/log", query, seconds=ASK_SECONDS) as answer:
            if answer.status in (400, 404):  # it has not started, or is gone
                return b""
            await _check(answer, self.name)
            end, size = await _end(answer, most)
        if size < LOG_BYTES or lines == 1:
            return end
        fewer = max(1, lines // 8)  # for of what is more, a cluster leaves out what is newest
        return await self.logs(namespace, pod, lines=fewer, most=most, container=container, previous=previous)

    async def watch(self, kind: str, namespace: str, selector: Mapping[str, str]) -> AsyncIterator[Change]:
        """Changes from now on, without an end. What it misses it makes up for by a Change without a body.

        Raises:
            Unreachable: the cluster did not answer several times in a row.
        """
        loop = asyncio.get_running_loop()
        version: str | None = None
        failures = 0
        while True:
            begun = loop.time()
            try:
                if version is None:
                    _, version = await self.list(kind, namespace, selector)
                    yield Change(None)
                async for what, body in self._events(kind, namespace, selector, version):
                    failures = 0
                    version = body["metadata"].get("resourceVersion", version)
                    if what != "BOOKMARK":
                        yield Change({**body, "kind": kind})
            except Expired:
                version = None
            except Unreachable:
                failures += 1
                if failures >= WATCH_ATTEMPTS:
                    raise
                await asyncio.sleep(min(10.0, 0.2 * 2.0**failures))
            await asyncio.sleep(begun + WATCH_PAUSE_SECONDS - loop.time())

    async def _events(
        self, kind: str, namespace: str, selector: Mapping[str, str], version: str
    ) -> AsyncIterator[tuple[str, Manifest]]:
        """What happened, and to what. Of one connection, until the cluster ends it."""
        query = {
            "watch": "true",
            "allowWatchBookmarks": "true",
            "resourceVersion": version,
            "timeoutSeconds": WATCH_SECONDS,
            **_selecting(selector),
        }
        async with self._open(_path(kind, namespace), query, seconds=None) as answer:
            await _check(answer, self.name)
            while (event := await self._event(answer)) is not None:
                what, body = event
                if what == "ERROR":
                    raise _error(int(body.get("code", 500)), body, self.name)
                yield what, body

    async def _event(self, answer: aiohttp.ClientResponse) -> tuple[str, Manifest] | None:
        """The next one; None at the end."""
        try:
            if not (line := await answer.content.readline()):
                return None
            said = json.loads(line)
            return said["type"], said["object"]
        except (ValueError, LookupError, TypeError) as error:  # a connection may end in the middle of a line
            raise Unreachable(f"cluster '{self.name}' broke off what it told: {error}") from error

    async def _ask(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, Any] | None = None,
        body: Manifest | None = None,
        content: str = "application/json",
    ) -> Manifest:
        async with self._open(
            path, query or {}, seconds=ASK_SECONDS, method=method, body=body, content=content
        ) as said:
            await _check(said, self.name)
            text = await said.read()
        try:
            answer: Manifest = json.loads(text)
        except ValueError as error:
            raise Refused(f"cluster '{self.name}' does not answer as a cluster does: {error}") from error
        return answer

    @asynccontextmanager
    async def _open(
        self,
        path: str,
        query: Mapping[str, Any],
        *,
        seconds: float | None,
        method: str = "GET",
        body: Manifest | None = None,
        content: str = "application/json",
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """An answer, good or not, that is read as it comes."""
        try:
            answer: aiohttp.ClientResponse = await self._client.call_api(
                path,
                method,
                query_params=dict(query),
                header_params={"Accept": "application/json, */*", "Content-Type": content},
                body=body,
                auth_settings=["BearerToken"],
                _preload_content=False,
                _return_http_data_only=True,
                _request_timeout=aiohttp.ClientTimeout(
                    total=seconds, sock_connect=_CONNECT_SECONDS, sock_read=_LINE_SECONDS
                ),
            )
        except _NO_ANSWER as error:
            raise Unreachable(_unreached(self.name, error)) from error
        except Exception as error:  # whatever a credential raises that cannot be renewed
            raise Refused(f"cluster '{self.name}' cannot be asked: {error}") from error
        try:
            async with answer:
                yield answer
        except _NO_ANSWER as error:
            raise Unreachable(_unreached(self.name, error)) from error


class _NotFound(Refused):
    """Status 404."""


def _unreached(cluster: str, error: Exception) -> str:
    if isinstance(error, aiohttp.ClientConnectorCertificateError | ssl.SSLError):
        return f"cluster '{cluster}' shows a certificate that its kubeconfig does not vouch for: {error}"
    said = "it did not answer in time" if isinstance(error, TimeoutError) else str(error) or type(error).__name__
    return f"cluster '{cluster}' cannot be reached: {said}"


def _path(kind: str, namespace: str | None, name: str | None = None) -> str:
    group, plural = _RESOURCES[kind]
    place = f"{group}/namespaces/{namespace}/{plural}" if namespace is not None else f"{group}/{plural}"
    return place if name is None else f"{place}/{name}"


def _selecting(selector: Mapping[str, str] | None) -> dict[str, str]:
    if not selector:
        return {}
    return {"labelSelector": ",".join(f"{key}={value}" for key, value in sorted(selector.items()))}


async def _check(answer: aiohttp.ClientResponse, cluster: str) -> None:
    if answer.status >= 400:
        raise _error(answer.status, _status(await answer.read()), cluster)


async def _end(answer: aiohttp.ClientResponse, most: int) -> tuple[bytes, int]:
    """Its last bytes, and how many there are in all."""
    kept, size = bytearray(), 0
    async for piece in answer.content.iter_any():
        size += len(piece)
        kept += piece
        del kept[: max(0, len(kept) - most)]
    return bytes(kept), size


def _status(body: bytes | str | None) -> Mapping[str, Any]:
    """The object of kind Status that goes with an error."""
    try:
        found = json.loads(body or b"")
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _error(status: int | None, said: Mapping[str, Any], cluster: str) -> ClusterError:
    message = str(said.get("message") or "it gives no reason")
    if status in _BY_STATUS:
        kind, words = _BY_STATUS[status]
        return kind(words.format(cluster=cluster, message=message))
    return Unreachable(f"cluster '{cluster}' cannot do it now (status {status}): {message}")


_INVALID = (Refused, "cluster '{cluster}' does not take it: {message}")
_BY_STATUS: Mapping[int | None, tuple[type[ClusterError], str]] = {
    401: (
        Refused,
        "cluster '{cluster}' does not accept the credential in its kubeconfig ({message}); renew it there",
    ),
    403: (Refused, "cluster '{cluster}' does not allow it: {message}"),
    404: (_NotFound, "{message}"),
    409: (Conflicting, "{message}"),
    410: (Expired, "{message}"),
    **dict.fromkeys((400, 405, 413, 415, 422), _INVALID),
}
