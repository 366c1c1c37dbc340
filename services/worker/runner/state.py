"""The replica's state, in a file beside its sockets, for the worker that started it or comes after."""

from __future__ import annotations

import contextlib
import json
import os
import time

STARTING = "starting"
READY = "ready"
BUSY = "busy"
"""Said by `/health` alone: ready, with a call under way."""
DRAINING = "draining"
STOPPED = "stopped"
FAILED = "failed"


class StateFile:
    """`{"state", "reason", "pid", "since"}`; `since` in seconds of the epoch. Replaced whole at each change."""

    def __init__(self, path: str) -> None:
        self._path = path
        self.value = STARTING
        self.reason: str | None = None

    def write(self, value: str, reason: str | None = None) -> None:
        self.value = value
        self.reason = reason
        members = {"state": value, "reason": reason, "pid": os.getpid(), "since": time.time()}
        fresh = f"{self._path}.new"
        with contextlib.suppress(OSError):  # a full disk: the control socket still says it
            descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o640)
            with os.fdopen(descriptor, "w") as file:
                json.dump(members, file)
            os.replace(fresh, self._path)
