"""The registry on a loopback port, with its own database, a memory bus and a scripted Fakts."""

from __future__ import annotations

import asyncio
import os
import subprocess
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit
from uuid import UUID

import httpx
import pytest

from libs.common.bus import Bus, MemoryBus
from libs.common.contracts.builds import BuildLog, BuildResult, BuildSpec
from libs.common.contracts.catalog import Artifact, CatalogEntry
from libs.common.contracts.identity import FULL_PERMISSIONS, Permissions, Role
from services.registry.app import create_app
from services.registry.models import Build
from services.registry.registry import Registry
from services.registry.settings import RegistrySettings
from tests.support.deployer_double import DeployerDouble
from tests.support.eventually import eventually
from tests.support.fakts_double import FaktsDouble
from tests.support.postgres import Postgres
from tests.support.serving import bound, serving

SETTINGS: dict[str, Any] = {
    "language": "python3-1",
    "environment": "cpu",
    "license": "apl",
    "network_access": "full",
    "pipeline_enabled": True,
    "source_visibility": "closed",
}
CALL_ONLY = Permissions(allow_algo=True)


class Platform:
    """One running registry, and those who use it: joe manages his algorithms, ann is somebody else, root is an
    administrator, eve works for joe's organization acme."""

    def __init__(self, fakts: FaktsDouble, bus: MemoryBus, app: Any, url: str, folder: Path) -> None:
        self.fakts = fakts
        self.bus = bus
        self.app = app
        self.url = url
        self.folder = folder
        self.http = httpx.AsyncClient(base_url=url, timeout=120)
        self.keys: dict[str, str] = {}

    @property
    def registry(self) -> Registry:
        found: Registry = self.app.state.registry
        return found

    async def ask(self, method: str, path: str, who: str | None = "joe", **options: Any) -> httpx.Response:
        """A request of a user (by name), a service (`@worker`), or nobody."""
        headers = dict(options.pop("headers", {}))
        if who is not None and who.startswith("@"):
            headers["authorization"] = f"Bearer {self.fakts.service_token(who[1:])}"
        elif who is not None:
            headers["authorization"] = self.keys[who]
        return await self.http.request(method, path, headers=headers, **options)

    async def ok(self, method: str, path: str, who: str | None = "joe", **options: Any) -> Any:
        """The same for a request that must succeed; its JSON answer, or None for an empty one."""
        answer = await self.ask(method, path, who, **options)
        assert answer.is_success, f"{answer.status_code} {answer.text}"
        return answer.json() if answer.content else None

    async def refused(self, method: str, path: str, who: str | None = "joe", **options: Any) -> tuple[int, int]:
        """The same for a request that must fail; its status and the API's code."""
        answer = await self.ask(method, path, who, **options)
        assert not answer.is_success, answer.text
        body = answer.json()
        return answer.status_code, body["error"]["code"] if "error" in body else body["code"]

    async def create(self, name: str = "hello", owner: str = "joe", who: str = "joe", **settings: Any) -> Any:
        document = {"name": name, "details": {"label": name}, "settings": {**SETTINGS, **settings}}
        return await self.ok("POST", f"/v1/algorithms/{owner}", who, json=document)

    def clone(self, name: str = "hello", owner: str = "joe", user: str = "joe", secret: str | None = None) -> Clone:
        return Clone(self, f"{owner}/{name}", user, secret if secret is not None else self.keys[user])

    async def builds(self, name: str = "hello", owner: str = "joe") -> list[Any]:
        found: list[Any] = (await self.ok("GET", f"/v1/algorithms/{owner}/{name}/builds", "root"))["results"]
        return found

    async def waiting(self, name: str = "hello", owner: str = "joe") -> Any:
        """The newest build, once its source is ready to be claimed."""

        async def ready() -> Any:
            builds = await self.builds(name, owner)
            if not builds:
                return None
            row = await self.ok("GET", f"/admin/v1/builds/{builds[0]['build_id']}", "root")
            return row if await self._has_source(row["id"]) else None

        return await eventually(ready)

    async def _has_source(self, build_id: str) -> bool:
        async with self.registry.database.transaction() as session:
            build = await session.get(Build, UUID(build_id))
            return build is not None and build.source is not None

    async def claim(self, build_id: str, worker: str = "w1") -> BuildSpec:
        answer = await self.ok("POST", f"/internal/builds/{build_id}/claim", "@worker", json={"worker": worker})
        return BuildSpec.model_validate(answer)

    async def write_log(self, spec: BuildSpec, offset: int, text: str) -> httpx.Response:
        sent = BuildLog(lease_token=spec.lease_token, offset=offset, text=text)
        return await self.ask("POST", f"/internal/builds/{spec.id}/log", "@worker", json=sent.model_dump(mode="json"))

    async def finish(self, spec: BuildSpec, *, reason: str | None = None, **changes: Any) -> httpx.Response:
        """Say that a build succeeded, or failed for a reason."""
        artifact = Artifact(source=spec.source, digest="d" * 64) if reason is None else None
        result = BuildResult(lease_token=spec.lease_token, succeeded=reason is None, artifact=artifact, reason=reason)
        document = {**result.model_dump(mode="json"), **changes}
        return await self.ask("POST", f"/internal/builds/{spec.id}/result", "@worker", json=document)

    async def build(self, name: str = "hello", owner: str = "joe", *, reason: str | None = None) -> BuildSpec:
        """Do what a worker does with the newest build."""
        spec = await self.claim((await self.waiting(name, owner))["id"])
        assert (await self.write_log(spec, 0, "building\n")).status_code == 204
        assert (await self.finish(spec, reason=reason)).status_code == 204
        return spec

    async def built(self, name: str = "hello", owner: str = "joe") -> BuildSpec:
        """Compile the head, as its author does, with a worker at hand."""
        who = owner if owner in self.keys else "root"
        compiling = asyncio.create_task(self.ok("POST", f"/v1/algorithms/{owner}/{name}/compile", who, json={}))
        try:
            spec = await self.build(name, owner)
        finally:
            await compiling
        return spec

    async def publish(self, name: str = "hello", owner: str = "joe", who: str = "joe", **said: Any) -> Any:
        callability = said.pop("callability", "private")
        document = {
            "details": {"label": name},
            "settings": {"algorithm_callability": callability} if callability else {},
            "version_info": said,
        }
        return await self.ok("POST", f"/v1/algorithms/{owner}/{name}/versions", who, json=document)

    async def catalog(self, algorithm_id: str) -> CatalogEntry | None:
        """The newest entry of an algorithm, as followers of the feed see it."""
        page = await self.ok("GET", "/internal/feeds/catalog?since=0", "@gateway")
        found = [one["body"] for one in page["changes"] if one["key"] == algorithm_id]
        return CatalogEntry.model_validate(found[0]) if found and found[0] is not None else None


class Clone:
    """A working copy of a repository, and the git commands of its author."""

    def __init__(self, platform: Platform, path: str, user: str, secret: str) -> None:
        self.platform = platform
        parts = urlsplit(platform.url)
        self.url = f"http://{quote(user, safe='')}:{quote(secret, safe='')}@{parts.netloc}/git/{path}.git"
        self.folder = platform.folder / f"clone-{os.urandom(4).hex()}"

    async def start(self) -> Clone:
        await self.git("clone", "-q", self.url, str(self.folder), cwd=self.platform.folder)
        return self

    async def git(self, *arguments: str, cwd: Path | None = None) -> str:
        """A git command that must succeed; its output."""
        code, output = await self.attempt(*arguments, cwd=cwd)
        assert code == 0, f"git {arguments[0]}: {output}"
        return output

    async def attempt(self, *arguments: str, cwd: Path | None = None) -> tuple[int, str]:
        """A git command; its exit code and all it says."""
        process = await asyncio.create_subprocess_exec(
            "git",
            *("-c", "user.name=joe", "-c", "user.email=joe@example.org", "-c", "init.defaultBranch=master"),
            *arguments,
            cwd=cwd or self.folder,
            env={"PATH": os.environ["PATH"], "HOME": str(self.platform.folder), "GIT_TERMINAL_PROMPT": "0"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        output, _ = await asyncio.wait_for(process.communicate(), 180)
        assert process.returncode is not None
        return process.returncode, output.decode().strip()

    async def commit(self, name: str = "note.txt", content: str | bytes = "x") -> str:
        """Commit a file; returns the commit."""
        (self.folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())
        await self.git("add", "-A")
        await self.git("commit", "-q", "-m", f"change {name}")
        return await self.git("rev-parse", "HEAD")

    async def push(self, refs: str = "HEAD:master", *flags: str) -> str:
        return await self.git("push", "-q", *flags, "origin", refs)


Starter = Callable[..., Any]


@pytest.fixture
async def fakts() -> AsyncIterator[FaktsDouble]:
    async with FaktsDouble().serve() as running:
        yield running


@pytest.fixture
async def deployer(fakts: FaktsDouble) -> AsyncIterator[DeployerDouble]:
    """A deployer that registries find when they start: name it before `platform`."""
    async with DeployerDouble().serve() as running:
        fakts.offer("deployer", running.url)
        yield running


@pytest.fixture
async def start(postgres: Postgres, fakts: FaktsDouble, tmp_path: Path) -> AsyncIterator[Starter]:
    """Starts registries: `async with start(build_lease_seconds=1) as platform`. All share database, files and bus, as
    instances and restarts of one service do; `instead` is used in the bus's place."""
    url = await postgres.create_database(("registry", "services.registry.migrations"))
    async with AsyncExitStack() as stack:
        bus = await stack.enter_async_context(MemoryBus())
        fakts.configure("registry", database_url=url, secrets_key="a key for tests")
        keys = _people(fakts)

        @asynccontextmanager
        async def starting(*, instead: Bus | None = None, **settings: Any) -> AsyncIterator[Platform]:
            listener = bound()
            values = RegistrySettings(
                fakts_url=fakts.url,
                join_token=fakts.join_token,
                port=listener.getsockname()[1],
                data_dir=tmp_path / "data",
                **settings,
            )
            app = create_app(values, bus=instead or bus)
            async with serving(app, listener) as address:
                platform = Platform(fakts, bus, app, address, tmp_path)
                platform.keys.update(keys)
                async with platform.http:
                    yield platform

        yield starting
    await postgres.drop_database(url)


@pytest.fixture
async def platform(start: Starter) -> AsyncIterator[Platform]:
    """One registry with settings as they come."""
    async with start() as running:
        yield running


def _people(fakts: FaktsDouble) -> dict[str, str]:
    fakts.add_organization("acme")
    fakts.add_account("joe", password="joe's password", organizations={"acme": Role.OWNER})
    fakts.add_account("eve", organizations={"acme": Role.MEMBER})
    fakts.add_account("max", organizations={"acme": Role.EXECUTOR})
    fakts.add_account("ann", password="ann's password")
    fakts.add_account("root", staff=True)
    return {
        "joe": fakts.add_key("joe", permissions=FULL_PERMISSIONS, raw="simAAAA+AAAA/AAAAAAAAAAAAAA1"),
        "joe_calls": fakts.add_key("joe", permissions=CALL_ONLY),
        "eve": fakts.add_key("eve"),
        "max": fakts.add_key("max"),
        "ann": fakts.add_key("ann"),
        "root": fakts.add_key("root", admin=True),
    }
