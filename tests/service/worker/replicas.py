"""What tests of replicas order, and what they look at."""

from __future__ import annotations

import contextlib
import socket
from pathlib import Path
from uuid import UUID

from libs.common.contracts.catalog import Artifact, Language
from libs.common.contracts.replicas import Address, ReplicaState
from services.worker import processes, sandbox
from services.worker.environments import artifact_digest
from tests.service.worker.platform_double import Platform, Running

READY, DRAINING, STOPPED, FAILED = (
    ReplicaState.READY,
    ReplicaState.DRAINING,
    ReplicaState.STOPPED,
    ReplicaState.FAILED,
)


ALGORITHM = """
import os, socket, time
import urllib.request

def apply(input):
    if "sleep" in input:
        time.sleep(input["sleep"])
        return "slept"
    if "env" in input:
        return os.environ.get(input["env"])
    if "connect" in input:
        try:
            socket.create_connection(tuple(input["connect"]), timeout=30).close()
            return "connected"
        except OSError as error:
            return f"refused: {error}"
    if "chain" in input:
        request = urllib.request.Request(os.environ["ALGORITHMIA_API"] + input["chain"], data=b'"hello"')
        return urllib.request.urlopen(request, timeout=120).read().decode()
    if "print" in input:
        print(input["print"], flush=True)
    if "exit" in input:
        os._exit(input["exit"])
    return ["seen", input]
"""


def artifact_of(platform: Platform, code: str = ALGORITHM, *, name: str = "any") -> Artifact:
    """One that needs no build: without requirements there is nothing to lock."""
    source = platform.source({"src/__init__.py": "", f"src/{name}.py": code})
    return Artifact(source=source, digest=artifact_digest(source, None, Language.PYTHON))


def sandboxed(worker: Running) -> list[int]:
    """Processes of all of this worker's sandboxes."""
    mark = worker.worker_id[:8]
    return [pid for pid, name in processes.marked(sandbox.MARK).items() if name.startswith(mark)]


def owners(worker: Running) -> set[int]:
    """Users of these processes."""
    found = set()
    for pid in sandboxed(worker):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # ended meanwhile
            found.add(Path(f"/proc/{pid}").stat().st_uid)
    return found


def run_folders(worker: Running) -> list[Path]:
    return [path for path in (worker.settings.data_dir / "run").iterdir() if path.name != "door"]


def javascript(platform: Platform) -> UUID:
    """An ordered replica of an algorithm in JavaScript."""
    script = "exports.apply = (input, cb) => cb(null, Buffer.isBuffer(input) ? input : {got: input});\n"
    digest = platform.source({"src/shout.js": script})
    artifact = Artifact(source=digest, digest=artifact_digest(digest, None, Language.JAVASCRIPT))
    return platform.order(artifact, name="shout", language=Language.JAVASCRIPT)


def is_busy(address: Address | None) -> bool:
    """A call is under way, as the runner's own page says."""
    assert address is not None
    assert address.unix is not None
    with socket.socket(socket.AF_UNIX) as control:
        control.settimeout(30)
        control.connect(str(Path(address.unix).parent / "c"))
        control.sendall(b"GET /health HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: 0\r\n\r\n")
        answer = b""
        while piece := control.recv(4096):
            answer += piece
    return b'"busy"' in answer
