"""A Kubernetes API server over HTTP, on a loopback port:

    async with KubernetesDouble().serve() as cluster:
        access = Access("double", cluster.kubeconfig(folder / "config"))

It keeps to the API as far as satellites use it: namespaces, label and field selectors, pages, server-side apply with
owners of fields and conflicts, dry runs, deletion with what is owned, watches with bookmarks and 410, the schemas of
the release (kubernetes-validate), rights, and Status objects for what it refuses. What it refuses, a cluster refuses.
"""

from __future__ import annotations

import asyncio
import contextlib
import copy
import json
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Self

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from tests.support.kubernetes import apply as fields
from tests.support.kubernetes import schemas
from tests.support.kubernetes.asked import Asked, Refusal
from tests.support.kubernetes.controllers import Controllers, Outcome
from tests.support.kubernetes.defaults import complete
from tests.support.kubernetes.store import Body, Store, key_of, matches, moment
from tests.support.serving import serving

RELEASE = "1.36"
TURN_SECONDS = 0.03
BOOKMARK_SECONDS = 0.5
_NAME = re.compile(r"[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?")


class KubernetesDouble:
    """See the module's documentation."""

    def __init__(self) -> None:
        self.url = ""
        self.store = Store()
        self.controllers = Controllers(self.store)
        self.users: dict[str, str] = {"admin-token": "admin"}
        """Whose a token is."""
        self.allowed: Callable[[str, str, str, str | None], bool] = lambda user, verb, resource, namespace: True
        """By user, verb, resource and namespace."""
        self.requests: list[tuple[str, str]] = []
        """Verb and resource of all that was asked, besides watches; `dry-` before the verb of a dry run."""
        self.failing: Refusal | None = None
        """What every request is answered with."""
        self._dropped = 0
        self.watches = 0
        """Connections that follow."""
        self.begun = 0
        """Connections that began to follow."""
        self.broken_off: str | None = None
        """All that every connection is told that begins to follow, before it ends."""
        self.add_namespace("default")
        routes = [Route("/{path:path}", self._answer, methods=["GET", "POST", "PATCH", "DELETE"])]
        self._app = Starlette(routes=routes)

    @asynccontextmanager
    async def serve(self) -> AsyncIterator[Self]:
        turning = asyncio.create_task(self._turn())
        try:
            async with serving(self._app, grace=1) as self.url:
                yield self
        finally:
            turning.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await turning

    def kubeconfig(self, file: Path, *, token: str = "admin-token") -> Path:
        cluster = {"name": "double", "cluster": {"server": self.url}}
        context = {"name": "double", "context": {"cluster": "double", "user": "tester"}}
        user = {"name": "tester", "user": {"token": token}}
        said = {"apiVersion": "v1", "kind": "Config", "clusters": [cluster], "contexts": [context], "users": [user]}
        file.write_text(json.dumps({**said, "current-context": "double"}))
        return file

    # What a test sets and looks at

    def add_namespace(self, name: str) -> None:
        self.store.put({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})

    def bodies(self, kind: str, namespace: str = "sat") -> list[Body]:
        return [*self.store.find(kind, namespace)]

    def body(self, kind: str, name: str, namespace: str | None = "sat") -> Body:
        return self.store.objects[kind, namespace, name]

    def image_does(self, part: str, outcome: Outcome) -> None:
        """Containers of images with this in their reference."""
        self.controllers.outcomes[part] = outcome

    def edit(self, kind: str, name: str, change: Callable[[Body], object], *, manager: str = "kubectl-edit") -> None:
        """Somebody changes an object of the namespace `sat` with another tool."""
        body = copy.deepcopy(self.body(kind, name))
        change(body)
        self._write(body, manager)

    def drop_watches(self) -> None:
        """End all connections that follow."""
        self._dropped += 1
        self.store.wake()

    # Requests

    async def _answer(self, request: Request) -> Response:
        try:
            if self.failing is not None:
                raise self.failing
            user = self._user(request)
            asked = Asked(request)
            self._authorize(user, asked.verb, asked)
            if asked.verb != "watch":
                self.requests.append((f"{'dry-' if asked.dry_run else ''}{asked.verb}", asked.resource))
            acts: Mapping[str, Callable[[Asked, str], Awaitable[Response]]] = {
                "get": self._get,
                "list": self._list,
                "watch": self._watch,
                "patch": self._patch,
                "create": self._create,
                "delete": self._delete,
            }
            return await acts[asked.verb](asked, user)
        except Refusal as refusal:
            return JSONResponse(refusal.body, refusal.code)

    def _user(self, request: Request) -> str:
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        if scheme != "Bearer" or token not in self.users:
            raise Refusal(401, "Unauthorized", "Unauthorized")
        return self.users[token]

    def _authorize(self, user: str, verb: str, asked: Asked) -> None:
        if not self.allowed(user, verb, asked.resource, asked.namespace):
            where = f' in the namespace "{asked.namespace}"' if asked.namespace else " at the cluster scope"
            named = f' "{asked.name}"' if asked.name else ""
            raise Refusal(
                403,
                "Forbidden",
                f'{asked.resource}{named} is forbidden: User "{user}" cannot {verb} resource "{asked.plural}" in API'
                f' group "{asked.group}"{where}',
            )

    async def _get(self, asked: Asked, user: str) -> Response:
        body = self._found(asked)
        return JSONResponse(body) if asked.part is None else await self._log(asked, body)

    async def _log(self, asked: Asked, pod: Body) -> Response:
        """Nothing of sidecars. What is more than the limit is left out at the end."""
        names = [one["name"] for one in pod["spec"]["containers"]]
        name = asked.query.get("container")
        if name is None and len(names) > 1:
            said = f"a container name must be specified for pod {asked.name}, choose one of: [{' '.join(names)}]"
            raise Refusal(400, "BadRequest", said)
        if name is not None and name not in names:
            raise Refusal(400, "BadRequest", f"container {name} is not valid for pod {asked.name}")
        text = await self.controllers.log(pod, previous=asked.query.get("previous") == "true")
        lines = text.splitlines(keepends=True)[-int(asked.query.get("tailLines", "1000")) :]
        printed = "".join(lines) if name in (None, names[0]) else ""
        return PlainTextResponse(printed.encode()[: int(asked.query.get("limitBytes", "1000000000"))])

    async def _list(self, asked: Asked, user: str) -> Response:
        found = [one for one in self.store.find(asked.kind, asked.namespace, asked.labels) if _has(one, asked.fields)]
        start, most = int(asked.query.get("continue") or 0), int(asked.query.get("limit") or 0) or len(found)
        page = [{key: value for key, value in one.items() if key not in ("kind", "apiVersion")} for one in found]
        metadata: Body = {"resourceVersion": str(self.store.version)}
        if start + most < len(found):
            metadata["continue"] = str(start + most)
        version = f"{asked.group}/v1" if asked.group else "v1"
        said = {"kind": f"{asked.kind}List", "apiVersion": version, "metadata": metadata}
        return JSONResponse({**said, "items": page[start : start + most]})

    async def _watch(self, asked: Asked, user: str) -> Response:
        since = int(asked.query.get("resourceVersion") or self.store.version)
        return StreamingResponse(self._follow(asked, since), media_type="application/json")

    async def _follow(self, asked: Asked, since: int) -> AsyncIterator[str]:
        self.begun += 1
        if self.broken_off is not None:
            yield self.broken_off
            return
        self.watches += 1
        dropped = self._dropped
        loop = asyncio.get_running_loop()
        end = loop.time() + float(asked.query.get("timeoutSeconds") or 60)
        try:
            while loop.time() < end and dropped == self._dropped:
                if since < self.store.compacted:
                    gone = Refusal(410, "Expired", "too old resource version").body
                    yield json.dumps({"type": "ERROR", "object": gone}) + "\n"
                    return
                changed = self.store.changed
                for one in [one for one in self.store.history if one.version > since]:
                    since = one.version
                    if (one.kind, one.namespace) == (asked.kind, asked.namespace) and matches(one.body, asked.labels):
                        yield json.dumps({"type": one.type, "object": one.body}) + "\n"
                try:
                    async with asyncio.timeout(BOOKMARK_SECONDS):
                        await changed.wait()
                except TimeoutError:
                    mark = {"kind": asked.kind, "metadata": {"resourceVersion": str(since)}}
                    yield json.dumps({"type": "BOOKMARK", "object": mark}) + "\n"
        finally:
            self.watches -= 1

    async def _patch(self, asked: Asked, user: str) -> Response:
        if asked.request.headers.get("content-type") != "application/apply-patch+yaml":
            raise Refusal(415, "UnsupportedMediaType", "the double takes server-side apply only")
        body: Body = await asked.request.json()
        before = self.store.objects.get(asked.key)
        if before is None:
            self._authorize(user, "create", asked)
            self._check_namespace(asked)
        _check(body, asked)
        owners = copy.deepcopy(self.store.owners.get(asked.key, {}))
        live = copy.deepcopy(before) if before is not None else {}
        try:
            made = fields.apply(live, body, owners, asked.manager, force=asked.query.get("force") == "true")
        except fields.Conflict as conflict:
            raise _conflict(conflict, str(body["apiVersion"])) from None
        if asked.namespace is not None:
            made["metadata"]["namespace"] = asked.namespace
        if before is not None and "status" in before:
            made["status"] = before["status"]
        made = complete(made)
        if before is not None:
            _check_change(before, made)
        if asked.dry_run:
            return JSONResponse(made, 200 if before is not None else 201)
        return JSONResponse(self.store.put(made, owners), 200 if before is not None else 201)

    async def _create(self, asked: Asked, user: str) -> Response:
        body: Body = await asked.request.json()
        asked.name = body["metadata"]["name"]
        if asked.key in self.store.objects:
            raise Refusal(409, "AlreadyExists", f'{asked.resource} "{asked.name}" already exists')
        self._check_namespace(asked)
        _check(body, asked)
        if asked.namespace is not None:
            body["metadata"]["namespace"] = asked.namespace
        return JSONResponse(self._write(complete(body), asked.manager), 201)

    async def _delete(self, asked: Asked, user: str) -> Response:
        body = self._found(asked)
        options: Body = await asked.request.json() if await asked.request.body() else {}
        if asked.kind == "Pod":
            self.controllers.end(body, grace=options.get("gracePeriodSeconds"))
        elif asked.kind == "Namespace":
            fresh = copy.deepcopy(body)
            fresh["metadata"]["deletionTimestamp"] = moment()
            self.store.put(fresh)
        else:
            self.store.remove(asked.key)
        return JSONResponse({"kind": "Status", "apiVersion": "v1", "status": "Success"})

    def _found(self, asked: Asked) -> Body:
        body = self.store.objects.get(asked.key)
        if body is None:
            raise Refusal(404, "NotFound", f'{asked.resource} "{asked.name}" not found')
        return body

    def _check_namespace(self, asked: Asked) -> None:
        if asked.namespace is None:
            return
        body = self.store.objects.get(("Namespace", None, asked.namespace))
        if body is None:
            raise Refusal(404, "NotFound", f'namespaces "{asked.namespace}" not found')
        if "deletionTimestamp" in body["metadata"]:
            why = f"unable to create new content in namespace {asked.namespace} because it is being terminated"
            raise Refusal(403, "Forbidden", f'{asked.resource} "{asked.name}" is forbidden: {why}')

    def _write(self, body: Body, manager: str) -> Body:
        owners = copy.deepcopy(self.store.owners.get(key_of(body), {}))
        fields.update(self.store.objects.get(key_of(body), {}), body, owners, manager)
        return self.store.put(body, owners)

    async def _turn(self) -> None:
        while True:
            self.controllers.turn()
            await asyncio.sleep(TURN_SECONDS)


def _check(body: Body, asked: Asked) -> None:
    """Against the schemas, and what they do not say."""
    name = body["metadata"]["name"]
    if name != asked.name:
        raise Refusal(400, "BadRequest", f"the name of the object ({name}) does not match the name on the URL")
    if not _NAME.fullmatch(name):
        raise Refusal(
            422, "Invalid", f'{asked.kind} "{name}" is invalid: metadata.name: a lowercase RFC 1123 subdomain'
        )
    hosts = [rule.get("host", "") for rule in body.get("spec", {}).get("rules", [])]
    if body["kind"] == "Ingress" and not all(_NAME.fullmatch(host or "x") for host in hosts):
        said = "spec.rules[0].host: a lowercase RFC 1123 subdomain must consist of lower case characters"
        raise Refusal(422, "Invalid", f'Ingress "{name}" is invalid: {said}')
    if (fault := schemas.fault(body, RELEASE)) is not None:
        raise Refusal(422, "Invalid", f'{asked.kind} "{name}" is invalid: {fault}')


def _check_change(before: Body, after: Body) -> None:
    """What must stay as it is."""
    name = f'{after["kind"]} "{after["metadata"]["name"]}"'
    if before.get("immutable") and before.get("data") != after.get("data"):
        raise Refusal(
            422, "Invalid", f"{name} is invalid: data: Forbidden: field is immutable when `immutable` is set"
        )
    if after["kind"] == "Deployment" and before["spec"]["selector"] != after["spec"]["selector"]:
        raise Refusal(422, "Invalid", f"{name} is invalid: spec.selector: field is immutable")


def _conflict(conflict: fields.Conflict, version: str) -> Refusal:
    by_manager: dict[str, list[str]] = {}
    for manager, path in conflict.causes:
        by_manager.setdefault(manager, []).append(path)
    count = len(conflict.causes)
    words = "; ".join(
        f'conflict with "{manager}" using {version}: {", ".join(paths)}' for manager, paths in by_manager.items()
    )
    causes = [
        {"reason": "FieldManagerConflict", "message": f'conflict with "{manager}" using {version}', "field": path}
        for manager, path in conflict.causes
    ]
    said = f"Apply failed with {count} conflict{'s' if count > 1 else ''}: {words}"
    return Refusal(409, "Conflict", said, causes)


def _has(body: Body, wanted: Mapping[str, str]) -> bool:
    for path, value in wanted.items():
        found: Any = body
        for part in path.split("."):
            found = found.get(part) if isinstance(found, dict) else None
        if found != value:
            return False
    return True
