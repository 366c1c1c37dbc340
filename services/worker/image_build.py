"""`constellation image build`: one revision of the platform as a container image, in a registry or a folder.

Runs where a worker could run, with a worker's settings and its right to read sources, but takes no builds and no
replicas. Environments are made as workers make them, in this process's own data folder.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from dataclasses import dataclass
from importlib.metadata import version as package_version
from pathlib import Path

import httpx

from libs.common import problems
from libs.common.clients.feeds import FeedClient
from libs.common.clients.registry import RegistryClient
from libs.common.contracts import references as algorithms
from libs.common.contracts.catalog import CATALOG_FEED, CatalogEntry
from libs.common.contracts.catalog import Revision as Built
from libs.common.contracts.images import ImageSubject
from libs.common.contracts.joining import SERVICE_PREFIX
from libs.common.join import JoinRefused, Membership, membership
from libs.common.oci import references
from libs.common.oci.layout import Layout
from libs.common.oci.transfer import push, save
from services.worker import indexes, sandbox, toolchain
from services.worker.environments import Environments
from services.worker.folders import AlreadyRunning, Folders
from services.worker.image_maker import FAILURES, ImageMaker
from services.worker.node_packages import NodePackages
from services.worker.python_packages import PythonPackages
from services.worker.sandbox import Limits, SandboxUnavailable
from services.worker.settings import WorkerSettings
from services.worker.steps import Say, Steps
from services.worker.toolchain import Toolchain, ToolMissing
from services.worker.users import Users

_REASONS = (
    *FAILURES,
    algorithms.InvalidReference,
    AlreadyRunning,
    ToolMissing,
    SandboxUnavailable,
    JoinRefused,
    TimeoutError,
    problems.Problem,
)


class ImageNotBuilt(Exception):
    """Why, in a sentence for whoever asked."""


@dataclass(frozen=True)
class Target:
    """Where the image goes: to a registry, into a layout's folder, or both."""

    reference: str | None = None
    layout: Path | None = None


async def build(
    settings: WorkerSettings, wanted: str, target: Target, *, plain_http: Collection[str] = (), say: Say
) -> str:
    """Build the image of `OWNER/NAME[/VERSION]` and put it where it should go. Gives its digest.

    Args:
        settings: of a worker; `image_base` and `image_python` say what the image is based on.
        plain_http: registries, as HOST or HOST:PORT, that are spoken to without TLS.

    Raises ImageNotBuilt.
    """
    try:
        async with httpx.AsyncClient(timeout=60.0) as http, _platform(http, settings) as member:
            return await _build(settings, wanted, target, http, member, set(plain_http), say)
    except _REASONS as error:
        raise ImageNotBuilt(str(error)) from error
    except httpx.HTTPError as error:
        raise ImageNotBuilt(f"Fakts at {settings.fakts_url} does not answer: {error}") from error


async def _build(
    settings: WorkerSettings,
    wanted: str,
    target: Target,
    http: httpx.AsyncClient,
    member: Membership,
    plain_http: set[str],
    say: Say,
) -> str:
    goal = references.parse(target.reference) if target.reference else None
    entry, built = await _find(FeedClient(http, member, "registry", CATALOG_FEED), wanted)
    subject = ImageSubject(
        revision_id=built.id,
        owner=entry.owner,
        name=entry.name,
        commit=built.commit,
        language=built.language,
        artifact=built.artifact,
    )
    folders = Folders(settings.data_dir)
    with folders.locked():
        tools = await toolchain.find(settings)
        maker = ImageMaker(
            settings,
            http,
            tools=tools,
            environments=await _environments(settings, folders, tools, RegistryClient(http, member)),
            runner=folders.copy_runner(),
            work=folders.work,
            plain_http=plain_http,
        )
        async with maker.revision(subject, say) as made:
            if goal is not None:
                say(f"pushing {goal}\n")
                await push(made.image, made.base, made.files, maker.registry(goal), goal, maker.work)
            if target.layout is not None:
                say(f"writing {target.layout}\n")
                label = f"{entry.owner}/{entry.name}:{built.version or built.commit}"
                layout = Layout.create(target.layout)
                await save(made.image, made.base, made.files, layout, label, maker.work)
            return made.image.descriptor.digest


@asynccontextmanager
async def _platform(http: httpx.AsyncClient, settings: WorkerSettings) -> AsyncIterator[Membership]:
    """Joined as a worker that nobody is sent to: it offers no address, and no capacity."""
    async with membership(
        http,
        fakts_url=settings.fakts_url,
        token=settings.join_token.get_secret_value(),
        identifier=f"{SERVICE_PREFIX}worker",
        version=package_version("constellation"),
        requires=("registry",),
        patience=5.0,
    ) as member:
        await member.wait_for("registry")
        yield member


async def _find(catalog: FeedClient, wanted: str) -> tuple[CatalogEntry, Built]:
    """Raises ImageNotBuilt and InvalidReference."""
    reference = algorithms.parse(wanted)
    found: CatalogEntry | None = None
    since, epoch, more = 0, "", True
    while more:
        page = await catalog.fetch(since=since, epoch=epoch, wait=0.0)
        since, epoch, more = page.version, page.epoch, page.more
        for change in page.changes:
            if change.body is not None:
                entry = CatalogEntry.model_validate(change.body)
                if reference.algorithm in (str(entry.id), f"{entry.owner}/{entry.name}"):
                    found = entry
    if found is None:
        raise ImageNotBuilt(f"there is no algorithm {reference.algorithm}")
    revision = algorithms.resolve(reference.version, found.revisions, insider=True)
    if revision is None:
        named = f"'{reference.version}'" if reference.version else "public version"
        raise ImageNotBuilt(
            f"{reference.algorithm} has no {named} that was built; name one as OWNER/NAME/VERSION, or a commit as"
            " OWNER/NAME/HASH"
        )
    return found, revision


async def _environments(
    settings: WorkerSettings, folders: Folders, tools: Toolchain, registry: RegistryClient
) -> Environments:
    packages = indexes.configured(settings, os.environ)
    box = await sandbox.detect(
        settings.sandbox,
        folders.work,
        folders.mounts,
        programs=tools.programs,
        visible=[*tools.visible, *packages.readable, *settings.sandbox_visible],
        hidden=[folders.root, *settings.sandbox_hidden],
        uid=settings.sandbox_uid,
    )
    users = Users(settings.sandbox_uid, own_users=box.confinement.own_users)
    limits = Limits(
        processes=settings.replica_processes,
        open_files=settings.replica_open_files,
        file_mib=settings.replica_file_mib,
    )
    steps = Steps(box, folders, users, limits, mark=folders.worker_id()[:8])
    return Environments(
        folders,
        steps=steps,
        toolchain=tools,
        python=PythonPackages(steps, tools, packages, build_sdists=settings.build_sdists),
        node=None if tools.node is None else NodePackages(steps, tools.node, packages, os.environ),
        fetch=registry.read_blob,
        budget_mib=settings.cache_mib,
    )
