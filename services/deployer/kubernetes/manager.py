"""Satellites in one namespace of a cluster: brought up, kept so, looked at and ended.

Like every container manager it finds what is its own by marks on the thing itself, here labels, and keeps no list.
All acts are steps towards what is wanted: they may be repeated, and whoever comes later goes on.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from base64 import b64decode
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import TypeVar
from uuid import UUID

from libs.common import logs
from libs.common.contracts.launches import entry_id
from services.deployer.kubernetes import objects, printed
from services.deployer.kubernetes.cluster import Cluster
from services.deployer.kubernetes.objects import Object
from services.deployer.kubernetes.observed import Observation, is_gateway, launch_of, observe, part
from services.deployer.kubernetes.problems import ClusterError, Conflicting, NoNamespace, Refused, Unreachable
from services.deployer.kubernetes.satellite import (
    COMPONENT,
    ENTRY,
    LAUNCH,
    MANAGED_BY,
    MANAGER,
    TOKENS,
    Manifest,
    Satellite,
    Site,
    Tokens,
    Unfit,
)
from services.deployer.kubernetes.steps import Difference, Key, step

log = logs.get(__name__)

T = TypeVar("T")
Render = Callable[[Satellite, Site, Tokens], Sequence[Object]]
Manifests = list[Manifest]
Live = dict[Key, Manifest]

KINDS = (
    *("Deployment", "Ingress", "Service", "PodDisruptionBudget", "NetworkPolicy", "ConfigMap", "Secret"),
    "ServiceAccount",
)
"""Of which a satellite consists, in the order in which they are deleted."""
_OF_USERS = ("Pod", "Deployment", "Service")
"""Of which a new namespace has none. Others, such as ServiceAccounts, clusters put into each."""
MAX_TOLD = 20
MAX_LOGGED_PODS = 20
LOOK_SECONDS = 1.0
_AT_ONCE = 8
_FORCE_SECONDS = 60.0


class NotReady(ClusterError):
    """A satellite was not ready in time, with the reasons."""


class KubernetesManager:
    """The launches of one namespace. Raises ClusterError from every method.

    Args:
        render: what a satellite consists of.
    """

    kind = "kubernetes"

    def __init__(self, cluster: Cluster, site: Site, *, render: Render = objects.render) -> None:
        self._cluster = cluster
        self._site = site
        self._render = render
        self._room = asyncio.Semaphore(_AT_ONCE)

    async def ensure(self, satellite: Satellite) -> Observation:
        """Bring the satellite one step nearer to what it should be; to be repeated until it is `ready`, and then to
        keep it so. The cluster is asked about all that is to change before anything does.

        Raises:
            Unfit: it cannot be run so.
            Refused: the cluster does not take it. Nothing was changed.
            Unreachable: nothing can be said of what was changed; the next step goes on.
        """
        made = await self._have_namespace(satellite)
        try:
            live = await self._live()
            self._check_alone(satellite.launch_id, live)
            mine = _of(live, satellite.launch_id)
            next_step = step(self._render(satellite, self._site, _tokens(mine)), mine)
            new = [one.wanted.key for one in next_step.differing if one.wanted.key not in mine]
            await self._each(new, self._check_free)
            await self._rehearse([one.wanted for one in next_step.differing])
        except (Refused, Unfit):
            if made:
                await self._give_up_namespace()
            raise
        told = [await self._apply(one) for one in next_step.now]
        await self._delete(next_step.strays)
        told += [f"removed {kind} '{name}'" for kind, name in sorted(next_step.strays)]
        found = await self._observe(satellite.launch_id)
        return replace(found, ready=next_step.settled, told=tuple(told[:MAX_TOLD]))

    async def list(self) -> Mapping[UUID, Observation]:
        """All launches of the namespace, also those that nobody asked for."""
        launches = {launch_of(body) for body in (await self._live()).values()}
        found = {one: await self._observe(one) for one in launches if one is not None}
        return {launch_id: one for launch_id, one in found.items() if one.running}

    async def inspect(self, launch_id: UUID) -> Observation | None:
        """One of them; None for what is not there."""
        found = await self._observe(launch_id)
        return found if found.running else None

    async def retire(self, launch_id: UUID) -> bool:
        """One step towards the launch's end: gateways first, so that calls under way are finished; then algorithms;
        and when no pod runs any more that they keep from others, network policies and the rest. True when nothing is
        left of it."""
        live = _of(await self._live(), launch_id)
        pods = await self._pods(launch_id)
        front = [key for key, body in live.items() if key[0] == "Ingress" or is_gateway(body)]
        await self._delete(front)
        if front or any(pod["metadata"]["labels"].get(COMPONENT) == "gateway" for pod in pods):
            return False
        workloads = _workloads(live)
        await self._delete(workloads)
        if workloads or pods:
            return False
        await self._delete(live)
        return not live

    async def stop(self, launch_id: UUID, *, patience: float = 60.0) -> None:
        """End it and see that nothing is left; pods that have not ended after `patience` seconds by force.

        Raises TimeoutError for what cannot be ended.
        """
        try:
            async with asyncio.timeout(patience):
                await self._until_gone(launch_id)
        except TimeoutError:
            async with asyncio.timeout(_FORCE_SECONDS):
                await self._until_gone(launch_id, by_force=True)

    async def logs(self, launch_id: UUID, limit: int, *, vanity_url: str | None = None) -> bytes:
        """What its pods printed last, of one entry or of all and the gateways, `limit` bytes at most. Each pod's part
        begins with its name; that of the newest one is the last."""
        selector = {} if vanity_url is None else {ENTRY: str(entry_id(launch_id, vanity_url))}
        pods = await self._pods(launch_id, selector)
        pods.sort(key=lambda pod: (str(pod["metadata"].get("creationTimestamp", "")), pod["metadata"]["name"]))
        said = [(pod["metadata"]["name"], await self._log(pod, limit)) for pod in pods[-MAX_LOGGED_PODS:]]
        return printed.joined(said, limit)

    async def changes(self, launch_id: UUID) -> AsyncGenerator[None]:
        """Something of the launch has changed, or may have. Hints, until the cluster does not answer any more."""
        changed = asyncio.Event()

        async def follow(kind: str) -> None:
            try:
                async for _ in self._cluster.watch(kind, self._site.namespace, {LAUNCH: str(launch_id)}):
                    changed.set()
            finally:
                changed.set()

        tasks = [asyncio.create_task(follow(kind)) for kind in ("Pod", "Deployment")]
        try:
            while not any(task.done() for task in tasks):
                await changed.wait()
                changed.clear()
                yield
        finally:
            for task in tasks:
                task.cancel()
            ended = await asyncio.gather(*tasks, return_exceptions=True)
        raise next(error for error in ended if isinstance(error, Exception))

    async def bring_up(
        self,
        satellite: Satellite,
        *,
        deadline_seconds: float,
        told: Callable[[Observation], None] = lambda _: None,
    ) -> Observation:
        """Until it is ready.

        Args:
            told: hears of every step.

        Raises:
            NotReady: it was not within the deadline. It is left as it is.
        """
        why: str | None = None
        try:
            async with asyncio.timeout(deadline_seconds):
                while True:
                    try:
                        found = await self.ensure(satellite)
                        told(found)
                        why = found.obstacle
                        if found.ready:
                            return found
                    except Unreachable as error:
                        why = str(error)
                    await asyncio.sleep(LOOK_SECONDS)
        except TimeoutError:
            raise NotReady(f"it was not ready within {deadline_seconds:.0f} s: {why or 'no reason'}") from None

    # What is there

    async def _live(self) -> Live:
        """All with this manager's mark."""
        mark = {MANAGED_BY: MANAGER}
        found = await self._each(KINDS, lambda kind: self._cluster.list(kind, self._site.namespace, mark))
        return {(body["kind"], body["metadata"]["name"]): body for bodies, _ in found for body in bodies}

    async def _pods(self, launch_id: UUID, selector: Mapping[str, str] | None = None) -> Manifests:
        pods, _ = await self._cluster.list("Pod", self._site.namespace, {LAUNCH: str(launch_id), **(selector or {})})
        return pods

    async def _observe(self, launch_id: UUID) -> Observation:
        selector = {MANAGED_BY: MANAGER, LAUNCH: str(launch_id)}
        deployments, _ = await self._cluster.list("Deployment", self._site.namespace, selector)
        pods = await self._pods(launch_id)
        events: Sequence[Manifest] = ()
        if any(not part(one).settled for one in deployments):
            with contextlib.suppress(Refused):  # not all that may launch may read events
                events, _ = await self._cluster.list("Event", self._site.namespace, fields="type=Warning")
        return observe(launch_id, deployments, pods, sorted(events, key=_moment))

    async def _log(self, pod: Manifest, limit: int) -> bytes:
        """What its container printed last, or the one before, when the new one has not printed anything. What others
        put into pods beside it is not asked."""
        container = pod["metadata"]["labels"].get(COMPONENT)  # by which it is named, too
        ask = partial(
            self._cluster.logs,
            self._site.namespace,
            pod["metadata"]["name"],
            lines=max(10, limit // 80),
            most=limit,
            container=container,
        )
        text = await ask()
        if not text and _was_restarted(pod):
            text = await ask(previous=True)
        return text if not text or text.endswith(b"\n") else text + b"\n"

    def _check_alone(self, launch_id: UUID, live: Live) -> None:
        others = {launch_of(body) for body in live.values()} - {None, launch_id}
        if others:
            raise Refused(
                f"namespace '{self._site.namespace}' of cluster '{self._cluster.name}' holds the launch"
                f" {others.pop()} already; each launch needs a namespace of its own"
            )

    async def _check_free(self, key: Key) -> None:
        """What has the name of something new belongs to somebody else, unless it only lost its labels."""
        body = await self._cluster.get(key[0], key[1], self._site.namespace)
        if body is not None and not _was_applied(body):
            raise Refused(
                f"namespace '{self._site.namespace}' of cluster '{self._cluster.name}' has a {key[0]} '{key[1]}' that"
                " is none of this launch's; remove it, or launch in another namespace"
            )

    # What is done

    async def _have_namespace(self, satellite: Satellite) -> bool:
        """True when it was made just now, by this one and for a satellite that can be run."""
        name = self._site.namespace
        try:
            if await self._cluster.get("Namespace", name) is not None:
                return False
        except Refused:
            return False  # who may use it need not be allowed to look at it
        missing = f"there is no namespace '{name}' in cluster '{self._cluster.name}'"
        if not self._site.create_namespace:
            raise NoNamespace(missing)
        self._render(satellite, self._site, _tokens({}))
        try:
            return await self._cluster.create(objects.namespace(self._site))
        except Refused as error:
            raise NoNamespace(f"{missing}, and it cannot be made: {error}") from error

    async def _give_up_namespace(self) -> None:
        """Unless others have begun to use it meanwhile, or that cannot be told."""
        with contextlib.suppress(ClusterError):
            used = [await self._cluster.list(kind, self._site.namespace) for kind in _OF_USERS]
            if not await self._live() and not any(found for found, _ in used):
                await self._cluster.delete("Namespace", self._site.namespace)

    async def _rehearse(self, wanted: Sequence[Object]) -> None:
        """Ask the cluster whether it would take all."""

        async def ask(one: Object) -> str | None:
            try:
                await self._cluster.apply(one.body, self._site.namespace, dry_run=True, force=True)
            except NoNamespace:
                raise
            except Refused as error:
                return f"{one.words}: {error}"
            return None

        refusals = [said for said in await self._each(wanted, ask) if said is not None]
        if refusals:
            more = f"; and {len(refusals) - 3} more" if len(refusals) > 3 else ""
            raise Refused("; ".join(refusals[:3]) + more)

    async def _apply(self, one: Difference) -> str:
        """Gives what was done, in words."""
        try:
            await self._cluster.apply(one.wanted.body, self._site.namespace)
        except Conflicting as error:
            await self._cluster.apply(one.wanted.body, self._site.namespace, force=True)
            return f"set back {one.words}: {error}"
        return f"applied {one.words}"

    async def _delete(self, keys: Iterable[Key]) -> None:
        for kind, name in sorted(keys, key=lambda key: (KINDS.index(key[0]), key[1])):
            await self._cluster.delete(kind, name, self._site.namespace)

    async def _until_gone(self, launch_id: UUID, *, by_force: bool = False) -> None:
        while not await self.retire(launch_id):
            if by_force:
                await self._kill(launch_id)
            await asyncio.sleep(0.2)

    async def _kill(self, launch_id: UUID) -> None:
        """All pods, and what would make new ones."""
        await self._delete(_workloads(_of(await self._live(), launch_id)))
        for pod in await self._pods(launch_id):
            await self._cluster.delete("Pod", pod["metadata"]["name"], self._site.namespace, grace=0)

    async def _each(self, items: Iterable[object], act: Callable[..., Awaitable[T]]) -> Sequence[T]:
        """A few at once."""

        async def one(item: object) -> T:
            async with self._room:
                return await act(item)

        return await asyncio.gather(*(one(item) for item in items))


def _of(live: Live, launch_id: UUID) -> Live:
    return {key: body for key, body in live.items() if launch_of(body) == launch_id}


def _workloads(live: Live) -> Sequence[Key]:
    """What makes pods."""
    return [key for key in live if key[0] == "Deployment"]


def _tokens(mine: Live) -> Tokens:
    """Those that the launch has, or new ones."""
    body = mine.get(("Secret", TOKENS)) or {}
    data: Mapping[str, str] = body.get("data") or {}
    kept = (b64decode(data.get(key, "")).decode(errors="replace") for key in ("replica-secret", "call-token-secret"))
    replica, calls = (one or secrets.token_hex(32) for one in kept)
    return Tokens(replica, calls)


def _was_applied(body: Manifest) -> bool:
    """By this manager, at some time."""
    return any(one.get("manager") == MANAGER for one in body["metadata"].get("managedFields") or ())


def _was_restarted(pod: Manifest) -> bool:
    statuses = (pod.get("status") or {}).get("containerStatuses") or ()
    return any(one.get("restartCount", 0) for one in statuses)


def _moment(event: Manifest) -> str:
    return str(event.get("lastTimestamp") or event.get("eventTime") or "")
