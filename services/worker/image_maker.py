"""Makes images on the base that this worker's settings name; what becomes of them is for those who ask."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import AsyncIterator, Collection, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from uuid import uuid4

import httpx

from libs.common import logs
from libs.common.contracts.images import ImageSubject
from libs.common.oci import credentials, references
from libs.common.oci.credentials import CredentialsUnusable
from libs.common.oci.documents import BadDocument, Descriptor, DigestMismatch, Platform
from libs.common.oci.images import Image
from libs.common.oci.layers import UnfitForLayer
from libs.common.oci.layout import Layout, LayoutMissing
from libs.common.oci.problems import RegistryProblem, RegistryUnreachable
from libs.common.oci.references import ImageReference, InvalidImageReference
from libs.common.oci.registry import Registry
from libs.common.oci.transfer import FromLayout, FromRegistry, Source
from services.worker import gateway_image, images, machine_base, toolchain
from services.worker.environments import BlobDamaged, Environments, LanguageMissing
from services.worker.images import Assembled, BasePython, BaseUnfit, Revision
from services.worker.python_packages import RequirementsFailed
from services.worker.settings import WorkerSettings
from services.worker.steps import Say
from services.worker.toolchain import Interpreter, Toolchain, ToolMissing
from services.worker.trees import BadArchive
from services.worker.users import NoUserLeft

log = logs.get(__name__)

HERE = Platform.of(platform.machine())
"""What images are made for: the packages in them are those for this machine."""
USUAL_BASE = "python:{}-slim"
_OF_IMAGES = (
    InvalidImageReference,
    CredentialsUnusable,
    BadDocument,
    DigestMismatch,
    LayoutMissing,
    RegistryProblem,
    OSError,
)


class BaseUnusable(ValueError):
    """The base image cannot be read; the text says why, and what to do."""


FAILURES = (
    *_OF_IMAGES,
    BaseUnusable,
    BaseUnfit,
    UnfitForLayer,
    RequirementsFailed,
    BadArchive,
    BlobDamaged,
    LanguageMissing,
    NoUserLeft,
    ToolMissing,
)
"""What making and pushing raise, besides problems of the platform. The text says why, for people."""


@dataclass(frozen=True)
class Made:
    """An image, while the context that gave it is open."""

    image: Image
    files: Mapping[str, Path]
    """Of layers by digest; `base` has all others."""
    base: Source
    base_name: str
    """With the digest of its manifest."""


class ImageMaker:
    """See the module's documentation."""

    def __init__(
        self,
        settings: WorkerSettings,
        http: httpx.AsyncClient,
        *,
        tools: Toolchain,
        environments: Environments,
        runner: Path,
        work: Path,
        plain_http: Collection[str] = (),
    ) -> None:
        """
        Args:
            runner: folder of the runner's modules.
            work: folder for what is under way.
            plain_http: registries without TLS, besides those of the settings.
        """
        self._settings = settings
        self._http = http
        self._tools = tools
        self._environments = environments
        self._runner = runner
        self.work = work
        self._plain_http = {*settings.image_plain_http, *plain_http}
        self._epoch = int(os.environ.get("SOURCE_DATE_EPOCH") or 0)

    def registry(self, reference: ImageReference) -> Registry:
        """With the credentials that this process's user has for it. Raises CredentialsUnusable."""
        known = credentials.configured(reference.registry)
        plain = reference.registry in self._plain_http
        return Registry(self._http, reference, credentials=known, plain_http=plain)

    @asynccontextmanager
    async def revision(self, of: ImageSubject, say: Say) -> AsyncIterator[Made]:
        """The image of a revision. Raises one of FAILURES, and problems.Problem."""
        version = self._tools.python.version
        async with self._base(self._tools.python, say) as base:
            say(f"source and environment of {of.owner}/{of.name} at {of.commit}\n")
            user = f"image-{uuid4()}"
            prepared = await self._environments.prepare(of.artifact, of.language, of.owner, user=user, say=say)
            try:
                async with images.assembled(
                    Revision(of.owner, of.name, of.commit, of.language),
                    prepared,
                    base.image,
                    _python(self._settings.image_python, version),
                    runner=self._runner,
                    work=self.work,
                    epoch=self._epoch,
                ) as assembled:
                    yield base.with_layers(assembled)
            finally:
                self._environments.release(prepared, user)

    @asynccontextmanager
    async def gateway(self, say: Say) -> AsyncIterator[Made]:
        """The image of this installation. Raises as `revision`."""
        own = await toolchain.interpreter(Path(getattr(sys, "_base_executable", sys.executable)))
        python = _python(self._settings.image_python, own.version)
        async with (
            self._base(own, say) as base,
            gateway_image.assembled(base.image, python, work=self.work, epoch=self._epoch) as assembled,
        ):
            yield base.with_layers(assembled)

    @asynccontextmanager
    async def _base(self, python: Interpreter, say: Say) -> AsyncIterator[_Base]:
        """The base image for a Python. Where none is named and the usual one's registry cannot be reached, that is
        one made of this machine."""
        name = self._settings.image_base or USUAL_BASE.format(images.minor(python.version))
        say(f"base image {name}\n")
        with TemporaryDirectory(dir=self.work, prefix="base-") as folder:
            try:
                try:
                    source, named = await self._found(name, python, Path(folder))
                    image = await source.image(HERE)
                except RegistryUnreachable as error:
                    if self._settings.image_base is not None or self._settings.image_python is not None:
                        raise
                    log.warning("base_image_made_of_this_machine", wanted=name, reason=str(error))
                    say(f"{error}; the base image is made of this machine\n")
                    source, named = await self._found(machine_base.NAME, python, Path(folder))
                    image = await source.image(HERE)
            except _OF_IMAGES as error:
                raise _unusable(name, error) from error
            yield _Base(_Explained(source, name), f"{named}@{image.descriptor.digest}", image)

    async def _found(self, name: str, python: Interpreter, folder: Path) -> tuple[Source, str]:
        if name == machine_base.NAME:
            return FromLayout(await machine_base.make(python, folder)), name
        return self._source(name, folder)

    def _source(self, name: str, folder: Path) -> tuple[Source, str]:
        """What a base image's name means: a folder with a layout, a tar archive of one, else a reference."""
        path = Path(name)
        if path.is_dir():
            return FromLayout(Layout(path)), name
        if path.is_file():
            return FromLayout(Layout.unpack(path, folder / "layout")), name
        reference = references.parse(name)
        return FromRegistry(self.registry(reference), reference), str(reference).partition("@")[0]


@dataclass(frozen=True)
class _Base:
    source: Source
    name: str
    image: Image

    def with_layers(self, above: Assembled) -> Made:
        return Made(above.image, above.made, self.source, self.name)


@dataclass(frozen=True)
class _Explained:
    """A base, whose problems say that they are the base's."""

    source: Source
    name: str

    async def image(self, platform: Platform) -> Image:
        return await self.source.image(platform)

    async def fetch(self, descriptor: Descriptor, file: Path) -> None:
        try:
            await self.source.fetch(descriptor, file)
        except _OF_IMAGES as error:
            raise _unusable(self.name, error) from error

    def repository_at(self, registry: Registry) -> str | None:
        return self.source.repository_at(registry)


def _unusable(name: str, error: Exception) -> BaseUnusable:
    return BaseUnusable(
        f"the base image {name} cannot be used: {error}; set CONSTELLATION_IMAGE_BASE of the worker to one that it"
        " can read: a reference, the folder or tar archive of an OCI layout, or 'machine'"
    )


def _python(path: PurePosixPath | None, version: str) -> BasePython:
    usual = BasePython.usual(version)
    return usual if path is None else BasePython(path, version)
