"""The part of the client of administrators' HTTP API that groups algorithms into satellites and launches them."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator

from constellation.rest import ApiError, Document, Rest, path

_UNFINISHED = {"deploying", "rolling_back", "stopping"}
_LOOK_SECONDS = 0.3


class LaunchesApi:
    """Every method raises ApiError."""

    _rest: Rest

    def satellites(self, search: str | None = None) -> Iterator[Document]:
        return self._rest.pages("/admin/v1/satellites", {"q": search} if search else None)

    def satellite(self, satellite_id: str) -> Document:
        return self._rest.get(_satellite(satellite_id))

    def satellite_versions(self, satellite_id: str) -> Iterator[Document]:
        """Newest first."""
        return self._rest.pages(f"{_satellite(satellite_id)}/versions")

    def create_satellite(self, name: str, algorithms: list[Document]) -> Document:
        """Args:
        algorithms: each with `algorithm` (OWNER/NAME/HASH), `vanity_url` and `replicas`.
        """
        return self._rest.send("POST", "/admin/v1/satellites", {"name": name, "algorithms": algorithms})

    def change_satellite(self, satellite_id: str, change: Document, *, version: int | None = None) -> Document:
        """Change `name` or `algorithms`. The answer's `running` is what still runs of earlier versions.

        Args:
            version: the one that the change was made on. If there is a newer one by now, nothing is changed.
        """
        headers = {"if-match": f'"{version}"'} if version is not None else {}
        return self._rest.send("PUT", _satellite(satellite_id), change, headers=headers)

    def renew_satellite_keys(self, satellite_id: str) -> Document:
        """A version with the same algorithms that accepts the API keys of today."""
        return self._rest.send("POST", f"{_satellite(satellite_id)}/versions")

    def remove_satellite(self, satellite_id: str) -> Document:
        return self._rest.send("DELETE", _satellite(satellite_id))

    def launches(self, satellite_id: str | None = None, search: str | None = None) -> Iterator[Document]:
        where = "/admin/v1/launches" if satellite_id is None else f"{_satellite(satellite_id)}/launches"
        return self._rest.pages(where, {"q": search} if search else None)

    def launch(self, launch_id: str) -> Document:
        return self._rest.get(_launch(launch_id))

    def create_launch(self, satellite_id: str, launch: Document) -> Document:
        """Args:
        launch: `name`, and if need be `satellite_version`, `description` and `target`.
        """
        return self._rest.send("POST", f"{_satellite(satellite_id)}/launches", launch)

    def change_launch(self, launch_id: str, change: Document) -> Document:
        return self._rest.send("PATCH", _launch(launch_id), change)

    def remove_launch(self, launch_id: str) -> Document:
        """Remove the configuration only. The answer's `running` is what still runs."""
        return self._rest.send("DELETE", _launch(launch_id))

    def order_launch(self, launch_id: str, act: str, body: Document | None = None) -> Document:
        """Order something of a launch; the answer is the deployment.

        Args:
            act: deploy, stop, rollback, promote, pause or resume.
        """
        return self._rest.send("POST", f"{_launch(launch_id)}/{act}", body or {})

    def launch_orders(self, launch_id: str) -> Iterator[Document]:
        """Who ordered what of a launch, newest first."""
        return self._rest.pages(f"{_launch(launch_id)}/orders")

    def launch_usage(self, launch_id: str) -> Document:
        """What was called at a launch apart from the platform, in the last seven days."""
        return self._rest.get(f"{_launch(launch_id)}/usage")

    def launch_errors(self, launch_id: str) -> Iterator[Document]:
        """Calls that failed at a launch apart from the platform, newest first."""
        return self._rest.pages("/admin/v1/calls", {"launch_id": launch_id, "errors": "true"})

    def deployment(self, deployment_id: str) -> Document:
        return self._rest.get(path("admin", "v1", "deployments", deployment_id))

    def deployment_events(self, deployment_id: str) -> Iterator[Document]:
        """Newest first."""
        return self._rest.pages(path("admin", "v1", "deployments", deployment_id, "events"))

    def deployment_log(self, deployment_id: str, vanity_url: str | None = None) -> Document:
        """What the pods of a launch in a cluster printed, of one entry or of all."""
        asked = {"vanity_url": vanity_url} if vanity_url is not None else {}
        return self._rest.get(path("admin", "v1", "deployments", deployment_id, "log"), params=asked)

    def replica_log(self, replica_id: str, offset: int = 0) -> Document:
        """A part of what a replica printed, from `offset` on."""
        return self._rest.get(path("admin", "v1", "replicas", replica_id, "log"), params={"offset": offset})

    def follow_deployment(
        self, deployment_id: str, on_change: Callable[[Document], None], *, seconds: float = 3600.0
    ) -> Document:
        """Wait until a launch's deployment is over, and tell of every change meanwhile. Returns it."""
        end, said = time.monotonic() + seconds, ""
        while True:
            found = self.deployment(deployment_id)
            told = json.dumps([found["state"], found["reason"], found["entries"]])
            if told != said:
                on_change(found)
                said = told
            if found["state"] not in _UNFINISHED:
                return found
            if time.monotonic() >= end:
                raise ApiError(f"deployment {deployment_id} is {found['state']} after {seconds:g} s; it goes on")
            time.sleep(_LOOK_SECONDS)


def _satellite(satellite_id: str) -> str:
    return path("admin", "v1", "satellites", satellite_id)


def _launch(launch_id: str) -> str:
    return path("admin", "v1", "launches", launch_id)
