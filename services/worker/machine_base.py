"""A base image out of this machine's own Python, for where no registry of images can be reached.

It has the interpreter where the official images have it (`/usr/local/bin/python3.N`), its standard library, a shell,
and the shared libraries of the system that these and the modules of wheels (PEP 600) load; nothing else. It is as
new, and as trusted, as the machine.
"""

from __future__ import annotations

import asyncio
import os
import platform
import re
import ssl
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path, PurePosixPath

from libs.common.oci.documents import Platform
from libs.common.oci.images import Start, compose, scratch
from libs.common.oci.layers import Entry, write_layer
from libs.common.oci.layout import Layout
from services.worker.images import BasePython, minor
from services.worker.toolchain import Interpreter

NAME = "machine"
"""The name of this base in settings."""
_SECONDS = 60.0
_LIBRARY = re.compile(r"(?:=>\s*)?(?P<path>/\S+)\s+\(0x")
_LEFT_OUT = frozenset(
    {
        *("test", "tests", "__pycache__", "site-packages", "dist-packages", "idlelib", "ensurepip", "lib2to3"),
        *("tkinter", "turtledemo", "pydoc_data"),
    }
)
_OF_WHEELS = ("greenlet._greenlet", "pydantic_core._pydantic_core")
"""Modules of this installation that need what wheels may count on, C++'s libraries too."""
_ETC = {
    "passwd": "root:x:0:0:root:/root:/bin/sh\nnonroot:x:65532:65532:nonroot:/tmp:/bin/sh\n",
    "group": "root:x:0:\nnonroot:x:65532:\n",
    "nsswitch.conf": "hosts: files dns\n",
}


async def make(python: Interpreter, folder: Path) -> Layout:
    """The image in a layout, made in an existing folder. The same machine gives the same bytes.

    Raises OSError and UnfitForLayer.
    """
    files = [*await asyncio.to_thread(lambda: list(_python(python))), *await _system(python)]
    layer = await asyncio.to_thread(write_layer, files, folder / "layer", created_by="the machine's Python")
    start = Start(["/bin/sh"], "root", "/", environment={"PYTHON_VERSION": python.version})
    layout = Layout.create(folder / "layout")
    layout.add_file(layer.file, layer.descriptor)
    layout.add_image(compose(scratch(Platform.of(platform.machine())), [layer.stacked], start), NAME)
    return layout


def _python(python: Interpreter) -> Iterator[Entry]:
    usual = BasePython.usual(python.version).path
    yield Entry(usual, source=python.path, executable=True)
    for name in ("python", "python3"):
        yield Entry(usual.with_name(name), target=usual.name)
    home = usual.parents[1] / "lib" / f"python{minor(python.version)}"
    for folder, names, files in os.walk(python.library):
        names[:] = [name for name in names if name not in _LEFT_OUT and not name.startswith("config-")]
        for name in files:
            path = Path(folder, name)
            if not name.endswith((".a", ".pyc", ".exe")) and path.is_file():
                yield _file(home / path.relative_to(python.library), path)


async def _system(python: Interpreter) -> list[Entry]:
    """Shell, shared libraries, certificates and what programs look for in /etc."""
    shell = Path("/bin/sh")
    modules = [Path(found.origin) for name in _OF_WHEELS if (found := find_spec(name)) and found.origin]
    programs = [python.path, shell, *python.library.glob("lib-dynload/*.so"), *modules]
    certificates = ssl.get_default_verify_paths().cafile
    others = {shell, *await _libraries(programs), *([Path(certificates)] if certificates else [])}
    entries = [_file(PurePosixPath(path), path) for path in sorted(others)]
    entries += [Entry(PurePosixPath("/etc", name), source=text.encode()) for name, text in _ETC.items()]
    return [*entries, Entry(PurePosixPath("/tmp"))]  # noqa: S108 - the container's


def _file(name: PurePosixPath, path: Path) -> Entry:
    """A file under the name by which it is asked for, whatever links lead to it here."""
    real = path.resolve()
    return Entry(name, source=real, executable=os.access(real, os.X_OK))


async def _libraries(programs: Sequence[Path]) -> set[Path]:
    """The shared libraries of programs, under the names by which the loader asks for them (ldd(1))."""
    asked = await asyncio.create_subprocess_exec(
        "ldd",
        *map(str, programs),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        async with asyncio.timeout(_SECONDS):
            said, _ = await asked.communicate()
    except TimeoutError:
        asked.kill()
        await asked.wait()
        raise OSError(f"ldd did not answer within {_SECONDS:.0f} s") from None
    return {Path(found["path"]) for found in _LIBRARY.finditer(said.decode())}
