"""`constellation image build`: one revision of the platform as a container image, in a registry or a folder.

Runs where a worker could run, with a worker's settings and its right to read sources, but takes no builds and no
replicas. Environments are made as workers make them, in this process's own data folder.
"""

from __future__ import annotations

import os
import platform
from collections.abc import AsyncIterator, Callable, Collection
from contextlib import asynccontextmanager
from dataclasses import dataclass
from importlib.metadata import version as package_version
from pathlib import Path
from tempfile import TemporaryDirectory
from uuid import uuid4

import httpx

from libs.common import problems
from libs.common.clients.feeds import FeedClient
from libs.common.clients.registry import RegistryClient
from libs.common.contracts import references as algorithms
from libs.common.contracts.catalog import CATALOG_FEED, CatalogEntry
from libs.common.contracts.catalog import Revision as Built
from libs.common.contracts.joining import SERVICE_PREFIX
from libs.common.join import JoinRefused, Membership, membership
from libs.common.oci import credentials, references
from libs.common.oci.documents import BadDocument, DigestMismatch, Platform
from libs.common.oci.layers import UnfitForLayer
from libs.common.oci.layout import Layout, LayoutMissing
from libs.common.oci.problems import RegistryProblem
from libs.common.oci.references import ImageReference
from libs.common.oci.registry import Registry
from libs.common.oci.transfer import FromLayout, FromRegistry, Source, push, save
from services.worker import indexes, sandbox, toolchain
from services.worker.environments import BlobDamaged, Environments, LanguageMissing
from services.worker.folders import AlreadyRunning, Folders
from services.worker.images import BasePython, BaseUnfit, Revision, assembled
from services.worker.node_packages import NodePackages
from services.worker.python_packages import PythonPackages, RequirementsFailed
from services.worker.sandbox import Limits, SandboxUnavailable
from services.worker.settings import WorkerSettings
from services.worker.steps import Say, Steps
from services.worker.toolchain import Toolchain, ToolMissing
from services.worker.trees import BadArchive
from services.worker.users import NoUserLeft, Users

_REASONS = (
    algorithms.InvalidReference,
    references.InvalidImageReference,
    credentials.CredentialsUnusable,
    BadDocument,
    DigestMismatch,
    LayoutMissing,
    RegistryProblem,
    UnfitForLayer,
    BaseUnfit,
    RequirementsFailed,
    BadArchive,
    BlobDamaged,
    LanguageMissing,
    NoUserLeft,
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
    revision = Revision(entry.owner, entry.name, built.commit, built.language)
    folders = Folders(settings.data_dir)
    with folders.locked(), TemporaryDirectory(dir=folders.root, prefix="image-") as name:
        work = Path(name)
        tools = await toolchain.find(settings)
        base_name = settings.image_base or f"python:{_minor(tools.python.version)}-slim"

        def at(reference: ImageReference) -> Registry:
            known = credentials.configured(reference.registry)
            return Registry(http, reference, credentials=known, plain_http=reference.registry in plain_http)

        source = _source(base_name, work, at)
        say(f"base image {base_name}\n")
        base = await source.image(Platform.of(platform.machine()))
        environments = await _environments(settings, folders, tools, RegistryClient(http, member))
        user = f"image-{uuid4()}"
        say(f"source and environment of {entry.owner}/{entry.name} at {built.commit}\n")
        prepared = await environments.prepare(built.artifact, built.language, entry.owner, user=user, say=say)
        try:
            usual = BasePython.usual(tools.python.version)
            python = BasePython(settings.image_python or usual.path, tools.python.version)
            epoch = int(os.environ.get("SOURCE_DATE_EPOCH") or 0)
            made = assembled(revision, prepared, base, python, runner=folders.copy_runner(), work=work, epoch=epoch)
            async with made as image:
                if goal is not None:
                    say(f"pushing {goal}\n")
                    await push(image.image, source, image.made, at(goal), goal, work)
                if target.layout is not None:
                    say(f"writing {target.layout}\n")
                    label = f"{entry.owner}/{entry.name}:{built.version or built.commit}"
                    await save(image.image, source, image.made, Layout.create(target.layout), label, work)
                return image.image.descriptor.digest
        finally:
            environments.release(prepared, user)


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


def _source(name: str, work: Path, at: Callable[[ImageReference], Registry]) -> Source:
    """What a base image's name means: a folder with a layout, a tar archive of one, else a reference."""
    path = Path(name)
    if path.is_dir():
        return FromLayout(Layout(path))
    if path.is_file():
        return FromLayout(Layout.unpack(path, work / "base"))
    reference = references.parse(name)
    return FromRegistry(at(reference), reference)


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


def _minor(version: str) -> str:
    return ".".join(version.split(".")[:2])
