"""What replicas and builds are made of: unpacked sources and installed dependencies, made once per worker.

Names say contents. A tree is named by its artifact's digest. An environment is named by lock, interpreter and
owner: two owners never share one, because packages run code of their own when they are installed.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import httpx

from libs.common import logs
from libs.common.contracts.catalog import Artifact, Language
from services.worker import metrics
from services.worker.cache import Cache, evict
from services.worker.folders import Folders
from services.worker.node_packages import MODULES, NodePackages
from services.worker.python_packages import PythonPackages
from services.worker.steps import Say, Steps, Workspace
from services.worker.toolchain import Toolchain
from services.worker.trees import unpack

log = logs.get(__name__)

Fetch = Callable[[str], AsyncIterator[bytes]]
"""Gives the bytes of a blob by its digest."""

_FETCH_ATTEMPTS = 2


class BlobDamaged(RuntimeError):
    """The registry sent other bytes than the digest names, repeatedly."""


class LanguageMissing(RuntimeError):
    """This worker has no programs for the language."""


@dataclass(frozen=True)
class Prepared:
    """What one replica or check uses."""

    tree: Path
    environment: Path | None

    @property
    def paths(self) -> list[Path]:
        return [self.tree, *((self.environment,) if self.environment else ())]


class Environments:
    """Makes, keeps and evicts trees and environments."""

    def __init__(
        self,
        folders: Folders,
        *,
        steps: Steps,
        toolchain: Toolchain,
        python: PythonPackages,
        node: NodePackages | None,
        fetch: Fetch,
        budget_mib: int,
    ) -> None:
        self._steps = steps
        self._toolchain = toolchain
        self._python = python
        self._node = node
        self._fetch = fetch
        self._budget = budget_mib << 20
        self._trees = Cache(folders.trees)
        self._environments = Cache(folders.environments)

    async def prepare(
        self,
        artifact: Artifact,
        language: Language,
        owner: str,
        *,
        user: str,
        say: Say,
        local: Mapping[str, Path] | None = None,
    ) -> Prepared:
        """Tree and environment of an artifact; they stay until `release(prepared, user)`.

        Args:
            local: files of blobs that are here already, by digest.

        Raises:
            RequirementsFailed, BadArchive, BlobDamaged, LanguageMissing: it cannot be made, with the reason.
            problems.Problem: the registry does not give it.
        """
        fetch = _Blobs(self._fetch, local or {})
        name = self._environment_name(artifact, language, owner)
        tree_name, linked = artifact.digest, {}
        if language is Language.JAVASCRIPT and name is not None:
            tree_name = f"{artifact.digest}-{name[:16]}"
            linked = {MODULES: self._environments.folder / name / MODULES}
        tree = await self._trees.take(tree_name, user, partial(_make_tree, fetch, artifact.source, linked))
        environment = None
        try:
            if name is not None:
                make = partial(
                    self._make_environment,
                    fetch=fetch,
                    lock_digest=artifact.lock,
                    language=language,
                    owner=owner,
                    tree=tree,
                    say=say,
                )
                if self._environments.has(name):
                    say("an environment with these requirements is here already\n")
                    metrics.ENVIRONMENTS.labels(language, "found").inc()
                environment = await self._environments.take(name, user, make)
        except BaseException:
            self._trees.give_back(tree.name, user)
            raise
        prepared = Prepared(tree, environment)
        if fetch.used:
            try:
                await self.trim()
            except BaseException:
                self.release(prepared, user)
                raise
        return prepared

    def release(self, prepared: Prepared, user: str) -> None:
        self._trees.give_back(prepared.tree.name, user)
        if prepared.environment is not None:
            self._environments.give_back(prepared.environment.name, user)

    def keep(self, prepared: Prepared, user: str) -> None:
        """`user` has it from an earlier run of this program."""
        self._trees.keep(prepared.tree.name, user)
        if prepared.environment is not None:
            self._environments.keep(prepared.environment.name, user)

    async def trim(self) -> None:
        """Keep to the disk budget."""
        await evict([self._trees, self._environments, self._steps.packages], self._budget)

    def _environment_name(self, artifact: Artifact, language: Language, owner: str) -> str | None:
        if language is Language.PYTHON:
            program = self._toolchain.python.tag
        elif language is Language.JAVASCRIPT:
            if self._toolchain.node is None:
                raise LanguageMissing("this worker has no Node.js; install it and npm, or set CONSTELLATION_NODE")
            if artifact.lock is None:
                return None
            program = f"node-{self._toolchain.node.version}"
        else:
            return None
        return hashlib.sha256(f"{artifact.lock or ''}\n{program}\n{owner}\n".encode()).hexdigest()[:40]

    async def _install_node(self, place: Workspace, lock: bytes, tree: Path, say: Say) -> Path:
        if self._node is None:
            raise LanguageMissing("this worker has no Node.js")
        return await self._node.install(place, lock, tree, say)

    async def _make_environment(
        self,
        target: Path,
        *,
        fetch: _Blobs,
        lock_digest: str | None,
        language: Language,
        owner: str,
        tree: Path,
        say: Say,
    ) -> None:
        """The result is moved here from where the owner's programs made it: for Python from the owner's cache, so
        that both can share files. Renaming never follows a link that they may have put in its place."""
        async with self._steps.workspace(owner) as place:
            lock = b"" if lock_digest is None else await fetch.read(lock_digest, place.folder)
            try:
                if language is Language.JAVASCRIPT:
                    made = await self._install_node(place, lock, tree, say)
                    await asyncio.to_thread(made.rename, target / MODULES)
                else:
                    made = place.cache / f"environment-{place.folder.name}"
                    await self._python.install(place, lock, tree, made, say)
                    await asyncio.to_thread(made.rename, target)
                    await asyncio.to_thread(_seal, target)
            except BaseException:
                metrics.ENVIRONMENTS.labels(language, "failed").inc()
                raise
            metrics.ENVIRONMENTS.labels(language, "made").inc()


class _Blobs:
    """Blobs for one preparation: those that are here, else the registry's, checked against their digests."""

    def __init__(self, fetch: Fetch, local: Mapping[str, Path]) -> None:
        self._fetch = fetch
        self._local = local
        self.used = False

    async def file(self, digest: str, folder: Path) -> Path:
        self.used = True
        if digest in self._local:
            return self._local[digest]
        path = folder / f".{digest}"
        await download(self._fetch, digest, path)
        return path

    async def read(self, digest: str, folder: Path) -> bytes:
        return (await self.file(digest, folder)).read_bytes()


async def download(fetch: Fetch, digest: str, path: Path) -> None:
    """Write a blob to a file. Raises BlobDamaged, and what the registry client raises."""
    for _ in range(_FETCH_ATTEMPTS):
        seen = hashlib.sha256()
        try:
            with path.open("wb") as file:
                async for chunk in fetch(digest):
                    seen.update(chunk)
                    await asyncio.to_thread(file.write, chunk)
        except httpx.HTTPError as error:
            log.warning("blob_cut_off", digest=digest, reason=type(error).__name__)
            continue
        if seen.hexdigest() == digest:
            return
        log.warning("blob_damaged", digest=digest)
    await asyncio.to_thread(path.unlink)
    raise BlobDamaged(f"the registry sent damaged bytes for blob {digest}, {_FETCH_ATTEMPTS} times")


def artifact_digest(source: str, lock: str | None, language: Language) -> str:
    """Names the tree and environment of a revision: the same source, lock and language always give the same."""
    return hashlib.sha256(f"{language}\n{source}\n{lock or ''}\n".encode()).hexdigest()


async def _make_tree(fetch: _Blobs, source: str, linked: Mapping[str, Path], target: Path) -> None:
    archive = await fetch.file(source, target.parent)
    try:
        await asyncio.to_thread(unpack, archive, target, linked=linked)
    finally:
        if archive.parent == target.parent:
            archive.unlink(missing_ok=True)


def _seal(folder: Path) -> None:
    """The user who made it can add nothing to it afterwards."""
    if os.geteuid() == 0:
        os.chown(folder, 0, 0, follow_symlinks=False)
    folder.chmod(0o755)
