"""`connect` for programs without async: the same App, driven by an event loop in a thread of its own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any, Unpack

import httpx
from anyio.from_thread import BlockingPortal, start_blocking_portal

from libs.common.connect import calls
from libs.common.connect.app import Algorithm, App
from libs.common.connect.calls import Answer
from libs.common.connect.connect import Options, connect
from libs.common.contracts.joining import Manifest


class SyncApp:
    """An App whose methods wait. Any thread may use it."""

    def __init__(self, app: App, portal: BlockingPortal) -> None:
        self._app = app
        self._portal = portal

    @property
    def url(self) -> str:
        return self._app.url

    @property
    def account(self) -> str | None:
        return self._app.account

    @property
    def scopes(self) -> frozenset[str]:
        return self._app.scopes

    @property
    def statuses(self) -> Mapping[str, str]:
        return self._app.statuses

    def token(self) -> str:
        return self._portal.call(self._app.token)

    def algo(self, reference: str, *, seconds: float = calls.DEFAULT_SECONDS, stdout: bool = False) -> SyncAlgorithm:
        return SyncAlgorithm(self._app.algo(reference, seconds=seconds, stdout=stdout), self._portal)

    def service(self, key: str) -> str:
        return self._portal.call(self._app.service, key)

    def request(self, method: str, path: str, *, service: str | None = None, **options: Any) -> httpx.Response:
        return self._portal.call(partial(self._app.request, method, path, service=service, **options))

    def logout(self) -> None:
        self._portal.call(self._app.logout)


class SyncAlgorithm:
    """An Algorithm whose calls wait."""

    def __init__(self, algorithm: Algorithm, portal: BlockingPortal) -> None:
        self._algorithm = algorithm
        self._portal = portal

    def pipe(self, value: Any) -> Answer:
        answer: Answer = self._portal.call(self._algorithm.pipe, value)
        return answer


@contextmanager
def connect_sync(
    url: str | None = None, manifest: Manifest | Mapping[str, Any] | None = None, **options: Unpack[Options]
) -> Iterator[SyncApp]:
    """Enter a platform as an app. Arguments, and what is raised, are those of `connect`."""
    with (
        start_blocking_portal() as portal,
        portal.wrap_async_context_manager(connect(url, manifest, **options)) as app,
    ):
        yield SyncApp(app, portal)
