"""Requirements of Python algorithms: resolved to a lock with hashes once, installed from it everywhere.

Both are done by uv, in the sandbox: source distributions run code of their own.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from pathlib import Path

from services.worker.files import Untrusted, read_untrusted, read_within, within
from services.worker.indexes import Indexes
from services.worker.steps import Say, StepFailed, Steps, Workspace
from services.worker.toolchain import Toolchain

REQUIREMENTS = "requirements.txt"
MAX_LOCK_BYTES = 8 << 20
_MAX_NESTED = 20
_OPTION = re.compile(r"\s*(-i|--index-url|--extra-index-url|-f|--find-links)(\s*=\s*|\s+)(?P<value>\S+)\s*")
_NESTED = re.compile(r"\s*(-r|--requirement)(\s*=\s*|\s+)(?P<value>\S+)\s*")
_NOT_FOUND = re.compile(r"Because (?P<name>[\w.-]+)(?:\[[^]]*\])? was not found in the package registry")
_NO_VERSION = re.compile(r"Because there is no version of (?P<wanted>\S+) and you require")
_CAUSE = re.compile(r"(?:cause:|╰─▶|├─▶)\s*(?P<text>.+)")
_ERROR = re.compile(r"(?:error:|\u00d7)\s*(?P<text>.+)")


class RequirementsFailed(RuntimeError):
    """They cannot be resolved or installed; the text says why, in a sentence for the author."""


class PythonPackages:
    """Resolves and installs with one interpreter."""

    def __init__(self, steps: Steps, toolchain: Toolchain, indexes: Indexes, *, build_sdists: bool) -> None:
        self._steps = steps
        self._uv = str(toolchain.uv)
        self._python = str(toolchain.python.path)
        self._indexes = indexes
        self._build = [] if build_sdists else ["--no-build"]

    async def lock(self, place: Workspace, source: Path, say: Say) -> bytes:
        """Every package that `requirements.txt` in the folder `source` needs, pinned with hashes. Empty without one.

        Raises RequirementsFailed.
        """
        if within(source, REQUIREMENTS) is None:
            say(f"there is no {REQUIREMENTS}: the algorithm gets the standard library only\n")
            return b""
        output = str(self._steps.inside(place) / "lock.txt")
        command = [self._uv, "pip", "compile", REQUIREMENTS, "--generate-hashes", "--no-header", "--no-annotate"]
        command += ["--quiet", "--python", self._python, "--output-file", output, *self._build]
        try:
            await self._run(place, command, source, say)
        except StepFailed as error:
            raise RequirementsFailed(resolve_reason(error.output).replace(f"{source}/", "")) from error
        try:
            return normalised(read_untrusted(place.tmp / "lock.txt", MAX_LOCK_BYTES))
        except (Untrusted, UnicodeError) as error:
            raise RequirementsFailed(f"the requirements could not be locked: {error}") from error

    async def install(self, place: Workspace, lock: bytes, source: Path, target: Path, say: Say) -> None:
        """A virtual environment of exactly the packages of a lock in the new folder `target`, which must lie in
        the owner's cache. `source` says where else packages are, as its requirements do.

        Raises RequirementsFailed.
        """
        command = [
            self._uv,
            "venv",
            "--quiet",
            "--no-project",
            "--relocatable",
            "--python",
            self._python,
            str(target),
        ]
        try:
            await self._run(place, command, source, say)
            if lock.strip():
                requirements = place.folder / "lock.txt"
                options = "".join(f"{line}\n" for line in await asyncio.to_thread(index_options, source))
                requirements.write_bytes(options.encode() + lock)
                command = [self._uv, "pip", "sync", "--python", str(target / "bin" / "python"), "--require-hashes"]
                command += ["--compile-bytecode", *self._build, str(requirements)]
                await self._run(place, command, source, say)
        except Untrusted as error:
            raise RequirementsFailed(f"the requirements could not be read: {error}") from error
        except StepFailed as error:
            cause = _cause(error.output).replace(f"{source}/", "")
            raise RequirementsFailed(f"the requirements could not be installed: {cause}") from error

    async def _run(self, place: Workspace, command: Sequence[str], source: Path, say: Say) -> None:
        environment = {
            **self._indexes.variables,
            "UV_CACHE_DIR": str(place.cache / "uv"),
            "UV_PYTHON_DOWNLOADS": "never",
            "UV_NO_PROGRESS": "1",
            "NO_COLOR": "1",
        }
        await self._steps.run(
            place,
            command,
            cwd=source,
            environment=environment,
            readable=[source],
            say=lambda text: say(self._indexes.redact(text)),
        )


_INDEX_LINES = ("#", "-i ", "-f ", "--index-url", "--extra-index-url", "--find-links")


def normalised(lock: bytes) -> bytes:
    """A lock without comments and without addresses of indexes: those are each machine's own."""
    lines = (line.rstrip() for line in lock.decode().splitlines())
    return "".join(f"{line}\n" for line in lines if line and not line.lstrip().startswith(_INDEX_LINES)).encode()


def index_options(source: Path) -> list[str]:
    """Lines of the requirements that say where packages are, from nested files as well. Raises Untrusted. Blocks."""
    found: list[str] = []
    files = [source / REQUIREMENTS]
    for file in files:
        content = None if len(files) > _MAX_NESTED else read_within(source, file, MAX_LOCK_BYTES)
        for line in (content or b"").decode(errors="replace").splitlines():
            if option := _OPTION.fullmatch(line):
                found.append(line.strip())
                local = file.parent / option["value"]
                if option[1] in ("-f", "--find-links") and "://" not in option["value"] and local.is_dir():
                    found[-1] = f"--find-links {local}"
            elif nested := _NESTED.fullmatch(line):
                files.append(file.parent / nested["value"])
    return list(dict.fromkeys(found))


def resolve_reason(output: str) -> str:
    """Why resolving failed, in one sentence, from what uv said."""
    if found := _NOT_FOUND.search(output):
        return f"requirement '{found['name']}' was not found by the resolver"
    if found := _NO_VERSION.search(output):
        return f"no version of requirement '{found['wanted']}' was found by the resolver"
    return f"the requirements could not be resolved: {_cause(output)}"


def _cause(output: str) -> str:
    for pattern in (_CAUSE, _ERROR):
        if found := pattern.search(output):
            return found["text"].strip()[:500]
    last = [line.strip() for line in output.splitlines() if line.strip()]
    return last[-1][:500] if last else "the program gave no reason"
