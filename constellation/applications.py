"""The part of the client of administrators' HTTP API that switches versions behind the names that callers use."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

from constellation.rest import ApiError, Document, Rest, path

_LOOK_SECONDS = 0.3


class ApplicationsApi:
    """Versions are `OWNER/NAME/HASH`. Every method raises ApiError."""

    _rest: Rest

    def applications(self, search: str | None = None) -> Iterator[Document]:
        return self._rest.pages("/admin/v1/applications", {"q": search} if search else None)

    def application(self, name: str) -> Document:
        """With its versions, and what runs of each."""
        return self._rest.get(_application(name))

    def create_application(self, application: Document) -> Document:
        """Args:
        application: `name`, and if need be `default_answer`, `latency_goal_ms` and `description`.
        """
        return self._rest.send("POST", "/admin/v1/applications", application)

    def change_application(self, name: str, change: Document) -> Document:
        """What is absent stays; None takes the default answer or the latency goal away."""
        return self._rest.send("PATCH", _application(name), change)

    def remove_application(self, name: str) -> Document:
        """End all that runs for it, too."""
        return self._rest.send("DELETE", _application(name))

    def link_version(self, name: str, version: str, replicas: int) -> Document:
        """Start a version beside the others."""
        body = {"algorithm": version, "replicas": replicas}
        return self._rest.send("POST", f"{_application(name)}/versions", body)

    def unlink_version(self, name: str, version: str) -> Document:
        return self._rest.send("DELETE", _version(name, version))

    def set_replicas(self, name: str, version: str, replicas: int) -> Document:
        return self._rest.send("PATCH", _version(name, version), {"replicas": replicas})

    def set_version(self, name: str, version: str) -> Document:
        """Make a linked version current. The answer's `switching_to` names it while it is not ready yet."""
        return self._rest.send("POST", f"{_application(name)}/set-version", {"algorithm": version})

    def stop_inactive(self, name: str) -> Document:
        """End the replicas of all versions but the current one."""
        return self._rest.send("POST", f"{_application(name)}/stop-inactive")

    def follow_switch(self, name: str, on_change: Callable[[str], None], *, seconds: float = 3600.0) -> Document:
        """Wait until an application has switched to the version that it is to, and tell of every change meanwhile.
        Returns the application."""
        end, said = time.monotonic() + seconds, ""
        while True:
            found = self.application(name)
            awaited = found["switching_to"]
            if awaited is None:
                return found
            words = next((progress(one) for one in found["versions"] if one["algorithm"] == awaited), awaited)
            if words != said:
                on_change(words)
                said = words
            if time.monotonic() >= end:
                raise ApiError(f"{awaited} is not ready after {seconds:g} s; '{name}' switches when it is")
            time.sleep(_LOOK_SECONDS)


def progress(version: Document) -> str:
    """How a linked version is doing, in words."""
    running = version["running"]
    if running is None:
        return f"{version['algorithm']}: {version['state']}"
    reason = f" ({running['reason']})" if running["reason"] else ""
    return f"{version['algorithm']}: {version['state']}, {running['ready']} of {running['desired']} ready{reason}"


def _application(name: str) -> str:
    return path("admin", "v1", "applications", name)


def _version(name: str, version: str) -> str:
    return _application(name) + path("versions", *version.removeprefix("algo://").split("/"))
