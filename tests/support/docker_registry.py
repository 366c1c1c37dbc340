"""A private registry of the OCI distribution API: Debian's `docker-registry`, on a loopback port, without TLS."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.support.ports import free_ports

START_SECONDS = 60.0
STOP_SECONDS = 60.0
PASSWORD = "correct horse"
BCRYPT = "$2y$05$abcdefghijklmnopqrstuuHNbAKRhpaujgo33bRWs.NLUTJO3lOy2"
"""The same as files of users hold it."""
_PROGRAM = "/usr/bin/docker-registry"


class DockerRegistry:
    """`auth` is that section of its configuration. Blocks; ends with the `with` block, and its data too."""

    def __init__(self, directory: Path, *, auth: Mapping[str, Any] | None = None) -> None:
        (self.port,) = free_ports(1)
        self.host = f"127.0.0.1:{self.port}"
        self.data = directory / "data"
        self._directory = directory
        self._process: subprocess.Popen[bytes] | None = None
        self.data.mkdir(parents=True)
        configuration = {
            "version": 0.1,
            "log": {"level": "info"},
            "storage": {
                "filesystem": {"rootdirectory": str(self.data)},
                "delete": {"enabled": True},
                "maintenance": {"uploadpurging": {"enabled": False}},
            },
            "http": {"addr": self.host, "secret": "the same after each start"},
            **({"auth": auth} if auth else {}),
        }
        (directory / "config.yml").write_text(json.dumps(configuration))  # JSON is YAML

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
        shutil.rmtree(self._directory, ignore_errors=True)

    def start(self) -> None:
        """Start it and wait until it answers, on the same port with the same data."""
        with (self._directory / "log").open("ab") as out:
            self._process = subprocess.Popen(
                [_PROGRAM, "serve", str(self._directory / "config.yml")],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        deadline = time.monotonic() + START_SECONDS
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"docker-registry did not start:\n{self.log()[-3000:]}")
            time.sleep(0.02)

    def stop(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait(STOP_SECONDS)

    def freeze(self) -> None:
        """It takes connections and answers nothing, until `thaw`."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def log(self) -> str:
        return (self._directory / "log").read_text(errors="replace")

    def blob(self, digest: str) -> Path:
        """Where it keeps a blob's bytes."""
        name = digest.removeprefix("sha256:")
        return self.data / "docker" / "registry" / "v2" / "blobs" / "sha256" / name[:2] / name / "data"

    def _answers(self) -> bool:
        try:
            with urllib.request.urlopen(f"http://{self.host}/v2/", timeout=10):
                return True
        except urllib.error.HTTPError:
            return True
        except OSError:
            return False
