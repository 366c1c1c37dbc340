"""Sources and environments out of container images, for running them where there is no container engine.

Of an image only the layers above its base are used. The base's system and Python are this machine's instead: a
Python of the same minor version, and the libraries that the packages were made for.
"""

from __future__ import annotations

import asyncio
import hashlib
import platform
import re
import tarfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath

from libs.common.contracts.catalog import Artifact, Language
from libs.common.oci.documents import Descriptor, Platform
from libs.common.oci.images import Image
from libs.common.oci.layout import Layout
from services.worker import toolchain, trees
from services.worker.cache import Cache
from services.worker.environments import LanguageMissing, Prepared
from services.worker.folders import Folders
from services.worker.images import ALGORITHM, ENVIRONMENT, layers_of, minor
from services.worker.steps import Say
from services.worker.toolchain import Interpreter, ToolMissing
from services.worker.trees import BadArchive

_PYTHON = re.compile(rf"{str(ENVIRONMENT).lstrip('/')}/bin/python(\d+\.\d+)")
_CONFIGURATION = "pyvenv.cfg"


@dataclass(frozen=True)
class Source:
    """What replicas of one artifact are made of."""

    image: Image
    python: Interpreter | None
    """This machine's, of an algorithm in Python."""


async def source(layout: Layout, image: Image, language: Language, default: Interpreter) -> Source:
    """An image, if this machine can run what is in it. Raises LanguageMissing, BadArchive."""
    here = Platform.of(platform.machine())
    if image.platform != here:
        raise LanguageMissing(f"it is made for {image.platform}, and this machine is {here}")
    environment = layers_of(image).get("environment")
    if language is not Language.PYTHON or environment is None:
        return Source(image, None)
    wanted = await asyncio.to_thread(_minor_of, layout.path(environment.digest))
    if minor(default.version) == wanted:
        return Source(image, default)
    try:
        found = await toolchain.interpreter(Path(f"python{wanted}"))
    except ToolMissing:
        raise LanguageMissing(
            f"it needs Python {wanted}, and this machine has {default.version}; install python{wanted}, or set"
            " CONSTELLATION_PYTHON to one"
        ) from None
    return Source(image, found)


class UnpackedImages:
    """Gives what replicas run, by artifact. Everything is unpacked once."""

    def __init__(self, folders: Folders, layout: Layout, sources: Mapping[str, Source]) -> None:
        """
        Args:
            sources: by digest of the artifact.
        """
        self._layout = layout
        self._sources = sources
        self._trees = Cache(folders.trees)
        self._environments = Cache(folders.environments)

    async def prepare(
        self,
        artifact: Artifact,
        language: Language,  # noqa: ARG002 - the interface
        owner: str,  # noqa: ARG002 - the interface
        *,
        user: str,
        say: Say,
    ) -> Prepared:
        """Tree and environment of an artifact. Raises BadArchive."""
        one = self._sources[artifact.digest]
        layers = layers_of(one.image)
        environment, moved = None, {}
        if (layer := layers.get("environment")) is not None:
            name = _name(layer.digest, one.python.tag if one.python is not None else "")
            if not self._environments.has(name):
                say("unpacking the environment\n")
            make = partial(_make_environment, self._layout, layer, one.python)
            environment = await self._environments.take(name, user, make)
            moved[str(ENVIRONMENT)] = environment
        layer = layers["algorithm"]
        make = partial(_make_tree, self._layout, layer, moved)
        tree = await self._trees.take(_name(layer.digest, str(environment)), user, make)
        return Prepared(tree, environment)

    def release(self, prepared: Prepared, user: str) -> None:
        self._trees.give_back(prepared.tree.name, user)
        if prepared.environment is not None:
            self._environments.give_back(prepared.environment.name, user)

    def keep(self, prepared: Prepared, user: str) -> None:
        self._trees.keep(prepared.tree.name, user)
        if prepared.environment is not None:
            self._environments.keep(prepared.environment.name, user)


async def _make_tree(layout: Layout, layer: Descriptor, moved: Mapping[str, Path], target: Path) -> None:
    most = partial(_unpack, moved=moved, max_bytes=trees.MAX_BYTES, max_members=trees.MAX_MEMBERS)
    await asyncio.to_thread(most, layout, layer, ALGORITHM, target)
    await asyncio.to_thread(trees.freeze, target)


async def _make_environment(layout: Layout, layer: Descriptor, python: Interpreter | None, target: Path) -> None:
    """As `images.py` makes a virtual environment anew for the image's Python, it is made anew for this machine's.
    It may be of any size, as those that workers install."""
    await asyncio.to_thread(_unpack, layout, layer, ENVIRONMENT, target, left_out=_of_python if python else None)
    if python is not None:
        programs = target / "bin"
        programs.mkdir(exist_ok=True)
        (programs / "python").symlink_to(python.path)
        for name in ("python3", f"python{minor(python.version)}"):
            (programs / name).symlink_to("python")
        said = f"home = {python.path.parent}\nversion = {python.version}\ninclude-system-site-packages = false\n"
        (target / _CONFIGURATION).write_text(said)
    await asyncio.to_thread(trees.freeze, target)


def _unpack(
    layout: Layout,
    layer: Descriptor,
    folder: PurePosixPath,
    target: Path,
    *,
    moved: Mapping[str, Path] | None = None,
    left_out: Callable[[str], bool] | None = None,
    max_bytes: int | None = None,
    max_members: int | None = None,
) -> None:
    """What a layer has in a folder. Raises BadArchive, DigestMismatch, LayoutMissing."""
    inside = f"{str(folder).lstrip('/')}/"

    def place(name: str) -> str | None:
        if not name.startswith(inside) or (left_out is not None and left_out(name.removeprefix(inside))):
            return None
        return name.removeprefix(inside)

    trees.extract(
        layout.verify_blob(layer), target, place=place, moved=moved, max_bytes=max_bytes, max_members=max_members
    )


def _of_python(name: str) -> bool:
    return name == _CONFIGURATION or re.fullmatch(r"bin/python[0-9.]*", name) is not None


def _minor_of(layer: Path) -> str:
    """The minor version of the Python that an environment is for. Raises BadArchive."""
    try:
        with tarfile.open(layer, "r:*") as members:
            for member in members:
                if (found := _PYTHON.fullmatch(member.name)) is not None:
                    return found[1]
    except (tarfile.TarError, EOFError, OSError) as error:
        raise BadArchive(f"the environment cannot be read: {error}") from error
    raise BadArchive("the environment has no Python")


def _name(digest: str, tied_to: str) -> str:
    return hashlib.sha256(f"{digest}\n{tied_to}\n".encode()).hexdigest()[:40]
