"""A client of the platform's public and administrators' HTTP APIs, for the command line and for the bundled examples.

Synchronous, one method per thing that somebody wants done. Answers are the server's JSON objects; lists are read page
by page while they are iterated.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx

from constellation import push
from constellation.bundles import BundlesApi
from constellation.data import Data
from constellation.images import ImagesApi
from constellation.launches import LaunchesApi
from constellation.push import Pushed, PushFailed, Remote
from constellation.rest import ANSWER_SECONDS, PAGE, ApiError, Document, Key, Rest, limit, now, path
from libs.common.connect import calls
from libs.common.connect.calls import Answer
from libs.common.connect.errors import CallFailed

OnLog = Callable[[str], None]

LOG_WAIT_SECONDS = 20.0
_APPEAR_SECONDS = 20.0
_START_SECONDS = 5.0
_LOOK_SECONDS = 0.3
_NO_BUILD, NOTHING_NEW = 1010, 1007


class Api(LaunchesApi, ImagesApi, BundlesApi):
    """Acts for one API key or login. Use it as a context, or close it.

    Every method raises ApiError.

    Args:
        url: the platform's public address.
        transport: how requests are carried; the network's by default.
    """

    def __init__(self, url: str, key: Key, *, transport: httpx.BaseTransport | None = None) -> None:
        self._key = key
        self._rest = Rest(url, key, transport=transport)
        self.data = Data(self._rest)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        self._rest.close()

    @property
    def url(self) -> str:
        return self._rest.url

    # Algorithms

    def algorithms(self, owner: str | None = None) -> Iterator[Document]:
        """All that the key may know of, or those of one owner."""
        return self._rest.pages("/v1/algorithms" if owner is None else path("v1", "users", owner, "algorithms"))

    def algorithm(self, owner: str, name: str) -> Document:
        """The algorithm, with its newest version."""
        return self._rest.get(_algorithm(owner, name))

    def create_algorithm(self, owner: str, name: str, *, details: Document, settings: Document) -> Document:
        body = {"name": name, "details": details, "settings": settings}
        return self._rest.send("POST", path("v1", "algorithms", owner), body)

    def versions(self, owner: str, name: str) -> Iterator[Document]:
        """Builds that succeeded and publications of them, newest first."""
        return self._rest.pages(f"{_algorithm(owner, name)}/versions")

    def publish(
        self,
        owner: str,
        name: str,
        *,
        version_type: str = "minor",
        callability: str | None = None,
        info: Mapping[str, Any] | None = None,
    ) -> Document:
        """Publish the newest successful build.

        Args:
            version_type: major, minor or revision.
            callability: public or private; None keeps what versions before have.
            info: further members of `version_info`, such as `release_notes` and `sample_input`.
        """
        settings = {} if callability is None else {"algorithm_callability": callability}
        body = {"settings": settings, "version_info": {"version_type": version_type, **(info or {})}}
        return self._rest.send("POST", f"{_algorithm(owner, name)}/versions", body)

    def failed_calls(self, owner: str, name: str) -> list[Document]:
        """Calls of the last days that ended with an error, newest first."""
        return self._rest.get_list(f"{_algorithm(owner, name)}/errors")

    def call(
        self,
        reference: str,
        content: bytes,
        media_type: str,
        *,
        seconds: float = calls.DEFAULT_SECONDS,
        stdout: bool = False,
    ) -> Answer:
        """Call an algorithm. An error of the algorithm has its `kind`.

        Args:
            reference: OWNER/NAME[/VERSION], or any other spelling that the platform takes.
            media_type: TEXT, JSON or BINARY.
            seconds: for the algorithm's run.
        """
        response = self._rest.request(
            "POST",
            calls.path(reference),
            content=content,
            params=calls.options(seconds, stdout=stdout),
            headers={"Content-Type": media_type},
            timeout=limit(seconds + calls.GRACE_SECONDS),
        )
        try:
            return calls.answer(self._rest.document(response), response.status_code)
        except CallFailed as error:
            raise ApiError(str(error), status=error.status, kind=error.kind, trace=error.stack) from None

    # Sources and builds

    def push(self, folder: Path, owner: str, name: str, *, message: str, seconds: float = 300.0) -> Pushed:
        """Bring a folder's files to the algorithm's repository: see `constellation.push`."""
        remote = Remote(f"{self._rest.url}{path('git', owner, f'{name}.git')}", now(self._key))
        try:
            return push.push(folder, remote, author=owner, message=message, seconds=seconds)
        except PushFailed as error:
            raise ApiError(str(error)) from error

    def builds(self, owner: str, name: str) -> Iterator[Document]:
        """Newest first."""
        return self._rest.pages(f"{_algorithm(owner, name)}/builds")

    def build_log(self, build_id: str, offset: int = 0, *, wait: float = 0.0) -> Document:
        """The log from `offset` on, with how the build is doing. Waits up to `wait` seconds for more of it."""
        where = path("admin", "v1", "builds", build_id, "log")
        return self._rest.get(where, params={"offset": offset, "wait": wait}, timeout=limit(ANSWER_SECONDS + wait))

    def build_of(self, owner: str, name: str, pushed: Pushed) -> Document:
        """The build that a push started. One that pushed nothing new to a commit without a good build starts one."""
        seconds = _APPEAR_SECONDS if pushed.changed else 0.0
        found = self._find_build(owner, name, pushed.commit, seconds)
        if found is None or (not pushed.changed and found["status"] == "failed"):
            self._start_build(owner, name)
            found = self._find_build(owner, name, pushed.commit, _APPEAR_SECONDS)
        if found is None:
            raise ApiError(f"the platform builds no commit {pushed.commit}; was another one pushed meanwhile?")
        return found

    def follow_build(self, build_id: str, on_log: OnLog, *, seconds: float = 1800.0) -> Document:
        """Wait until a build is finished, and give its log to `on_log` as it grows. Returns the last log document:
        its `status` is `succeeded` or `failed`, the latter with a `reason`."""
        end, offset = time.monotonic() + seconds, 0
        while True:
            left = end - time.monotonic()
            part = self.build_log(build_id, offset, wait=max(0.0, min(LOG_WAIT_SECONDS, left)))
            if part["text"]:
                on_log(part["text"])
            offset = part["next_offset"]
            if part["finished"]:
                return part
            if left <= 0:
                raise ApiError(f"build {build_id} has not finished within {seconds:g} s; it goes on")

    def await_newest_build(self, owner: str, name: str) -> None:
        """Wait for a build that is under way. Raises ApiError when it fails."""
        newest = next(self.builds(owner, name), None)
        if newest is not None and newest["status"] == "in-progress":
            ended = self.follow_build(newest["build_id"], lambda _: None)
            if ended["status"] == "failed":
                raise ApiError(f"the build of {newest['commit_sha']} failed: {ended['reason']}")

    def _find_build(self, owner: str, name: str, commit: str, seconds: float) -> Document | None:
        """The newest build of a commit, once there is one."""
        end = time.monotonic() + seconds
        while True:
            for build in islice(self.builds(owner, name), PAGE):
                if build["commit_sha"] == commit:
                    return build
            if time.monotonic() >= end:
                return None
            time.sleep(_LOOK_SECONDS)

    def _start_build(self, owner: str, name: str) -> None:
        """Have the head of master built. The answer comes when that is finished, so nobody waits for it."""
        try:
            self._rest.request("POST", f"{_algorithm(owner, name)}/compile", json={}, timeout=limit(_START_SECONDS))
        except ApiError as error:
            if not (isinstance(error.__cause__, httpx.ReadTimeout) or error.code == _NO_BUILD):
                raise

    # Accounts and keys

    def users(self) -> Iterator[Document]:
        return self._rest.pages("/admin/v1/users")

    def create_user(self, name: str, *, email: str, full_name: str | None = None) -> Document:
        return self._rest.send("POST", "/v1/users", {"username": name, "email": email, "fullname": full_name})

    def change_user(self, name: str, change: Document) -> Document:
        """Change `staff`, `session_limit` or `password`."""
        return self._rest.send("PATCH", path("admin", "v1", "users", name), change)

    def organizations(self) -> Iterator[Document]:
        return self._rest.pages("/admin/v1/organizations")

    def create_organization(self, name: str, *, label: str, contact: str, email: str) -> Document:
        body = {"org_name": name, "org_label": label, "org_contact_name": contact, "org_email": email}
        return self._rest.send("POST", "/v1/organizations", body)

    def members(self, organization: str) -> Iterator[Document]:
        return self._rest.pages(path("v1", "organizations", organization, "members"))

    def put_member(self, organization: str, user: str, role: str | None = None) -> bool:
        """Add a user, or change its role. False when it was a member already."""
        where = path("v1", "organizations", organization, "members", user)
        return self._rest.request("PUT", where, json={} if role is None else {"role": role}).status_code == 201

    def all_keys(self) -> Iterator[Document]:
        """API keys of all accounts."""
        return self._rest.pages("/admin/v1/keys")

    def keys(self, owner: str, *, organization: bool = False) -> Iterator[Document]:
        """API keys of one account. None of them shows the key itself."""
        return self._rest.pages(_keys(owner, organization))

    def create_key(self, owner: str, key: Document, *, organization: bool = False) -> Document:
        """Make an API key, which only this answer shows, as `api_key`.

        Args:
            key: `key_label`, and if need be `key_type`, `permissions` and `expires_at`.
        """
        return self._rest.send("POST", _keys(owner, organization), key)

    def revoke_key(self, owner: str, key_id: str, *, organization: bool = False) -> None:
        self._rest.request("DELETE", _keys(owner, organization) + path(key_id))

    # Apps

    def apps(self, search: str = "") -> Iterator[Document]:
        """Apps that were let in, the revoked among them; `search` is a part of an app's or account's name."""
        return self._rest.pages("/admin/v1/apps", {"q": search} if search else None)

    def waiting_apps(self) -> Iterator[Document]:
        """Apps that wait for a decision, oldest first."""
        return self._rest.pages("/admin/v1/codes")

    def approve_app(self, code: str, *, declined: Sequence[str] = (), organization: str | None = None) -> Document:
        """Let an app in, acting for the key's user.

        Args:
            code: that the app shows, or the attempt's id.
            declined: keys of optional requirements that it is not given.
        """
        body = {"declined": list(declined), "organization": organization}
        return self._rest.send("POST", path("admin", "v1", "codes", code, "approve"), body)

    def deny_app(self, code: str, *, reason: str = "") -> Document:
        return self._rest.send("POST", path("admin", "v1", "codes", code, "deny"), {"reason": reason})

    def revoke_app(self, app_id: str) -> None:
        self._rest.request("DELETE", path("admin", "v1", "apps", app_id))

    def rules(self) -> Document:
        """The rules of approval, and the names of the strategies that they may use."""
        return self._rest.get("/admin/v1/rules")

    def replace_rules(self, rules: Sequence[Any]) -> Document:
        return self._rest.send("PUT", "/admin/v1/rules", {"rules": list(rules)})

    # The platform

    def workers(self) -> Iterator[Document]:
        return self._rest.pages("/admin/v1/workers")

    def drain_worker(self, worker_id: str, *, drain: bool = True) -> Document:
        """Empty a node, or let it take replicas again."""
        return self._rest.send("POST" if drain else "DELETE", path("admin", "v1", "workers", worker_id, "drain"))

    def create_mandate(self, mandate: Document) -> Document:
        """Make a key with which services or apps join, which only this answer shows, as `key`."""
        return self._rest.send("POST", "/admin/v1/mandates", mandate)

    def audit(self, **chosen: str | None) -> Iterator[Document]:
        """Administrative acts, newest first; `actor`, `action` and `subject` choose among them."""
        return self._rest.pages(
            "/admin/v1/audit", {name: value for name, value in chosen.items() if value is not None}
        )

    def calls(self, **chosen: str | None) -> Iterator[Document]:
        """Recent calls, newest first; `account`, `algorithm_id`, `errors` and `since` choose among them."""
        return self._rest.pages(
            "/admin/v1/calls", {name: value for name, value in chosen.items() if value is not None}
        )


def _algorithm(owner: str, name: str) -> str:
    return path("v1", "algorithms", owner, name)


def _keys(owner: str, organization: bool) -> str:
    return path("v1", "organizations" if organization else "users", owner, "keys")
