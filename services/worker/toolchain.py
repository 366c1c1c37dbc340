"""The programs of this machine that build and run algorithms: uv, a Python, and Node.js where there is one."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from uv import find_uv_bin

from libs.common.contracts.catalog import Language
from services.worker.settings import WorkerSettings

_ASK_SECONDS = 20.0
_SYSTEM_PREFIX = Path("/usr")
_DESCRIBE = (
    "import json, sys, sysconfig; print(json.dumps({'executable': sys.executable, 'prefix': sys.base_prefix,"
    " 'library': sysconfig.get_path('platstdlib'),"
    " 'version': '.'.join(map(str, sys.version_info[:3])), 'abi': sysconfig.get_config_var('SOABI') or ''}))"
)


class ToolMissing(RuntimeError):
    """A program that the settings name is not there or does not work."""


@dataclass(frozen=True)
class Interpreter:
    """A Python that environments are made from."""

    path: Path
    prefix: Path
    library: Path
    """Its standard library."""
    version: str
    tag: str
    """Names what is compatible with packages installed for it."""


@dataclass(frozen=True)
class Node:
    path: Path
    npm: Path
    """npm's own program, which Node.js runs."""
    version: str

    @property
    def prefixes(self) -> list[Path]:
        return [self.path, next((p for p in self.npm.parents if p.name == "npm"), self.npm.parent)]


@dataclass(frozen=True)
class Toolchain:
    uv: Path
    python: Interpreter
    node: Node | None

    @property
    def languages(self) -> tuple[Language, ...]:
        """What this worker can build and run."""
        return (Language.PYTHON, *((Language.JAVASCRIPT,) if self.node else ()), Language.PIPE)

    @property
    def programs(self) -> list[Path]:
        """What sandboxes must be able to execute."""
        return [self.python.path, self.uv, *((self.node.path,) if self.node else ())]

    @property
    def visible(self) -> list[Path]:
        """What they must be able to read for it."""
        return [self.uv, self.python.prefix, *(self.node.prefixes if self.node else ())]

    @property
    def portable(self) -> list[Path]:
        """The same without what belongs to this machine's system, for running them in another one. Of a program in
        /usr only that itself: the shared libraries that it needs are the other system's."""
        python = self.python
        of_system = python.prefix == _SYSTEM_PREFIX
        return [
            *([python.path, python.library] if of_system else [python.prefix]),
            *(self.node.prefixes if self.node else ()),
        ]


async def find(settings: WorkerSettings) -> Toolchain:
    """Raises ToolMissing for what the settings name and is not usable."""
    python = await interpreter(settings.python or Path(getattr(sys, "_base_executable", sys.executable)))
    return Toolchain(_resolved(find_uv_bin()), python, await _node(settings.node))


async def interpreter(path: Path) -> Interpreter:
    """A Python. Raises ToolMissing."""
    found = shutil.which(path)
    if found is None:
        raise ToolMissing(f"there is no Python at {path}; set CONSTELLATION_PYTHON to an interpreter")
    said = json.loads(await _ask([found, "-I", "-S", "-c", _DESCRIBE]))
    executable = _resolved(said["executable"])
    tag = f"{said['abi']}-{said['version']}-{executable}"
    return Interpreter(executable, _resolved(said["prefix"]), _resolved(said["library"]), said["version"], tag)


async def _node(path: Path | None) -> Node | None:
    found, npm = _find_node(path or Path("node"))
    if found is None or npm is None:
        if path is not None:
            raise ToolMissing(f"there is no Node.js with npm at {path}; correct CONSTELLATION_NODE or remove it")
        return None
    return Node(_resolved(found), _resolved(npm), (await _ask([found, "--version"])).strip())


def _find_node(path: Path) -> tuple[str | None, str | None]:
    found = shutil.which(path)
    if found is None:
        return None, None
    return found, shutil.which("npm", path=f"{Path(found).parent}{os.pathsep}{os.environ.get('PATH', '')}")


def _resolved(path: str) -> Path:
    return Path(path).resolve()


async def _ask(command: Sequence[str]) -> str:
    process = await asyncio.create_subprocess_exec(
        *command, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, env={"PATH": os.defpath}
    )
    try:
        async with asyncio.timeout(_ASK_SECONDS):
            said, _ = await process.communicate()
    except TimeoutError:
        process.kill()
        await process.wait()
        raise ToolMissing(f"{command[0]} did not answer within {_ASK_SECONDS:.0f} s") from None
    if process.returncode != 0:
        raise ToolMissing(f"{command[0]} does not work: it ended with code {process.returncode}")
    return said.decode()
