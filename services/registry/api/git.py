"""Git's smart HTTP protocol: `/git/OWNER/NAME.git` (gitprotocol-http).

The route is public because git has an authentication of its own: whoever says nothing is asked, with 401.
"""

from __future__ import annotations

import re
from functools import partial
from uuid import UUID

from fastapi import Request, Response

from libs.common import web
from libs.common.auth import public
from libs.common.contracts.identity import Principal
from libs.common.contracts.references import NAME
from libs.common.openapi import PLAIN, answers
from libs.common.problems import NotFound, Problem, TooLarge, UnsupportedMedia
from services.registry import access, git_access, store
from services.registry.access import NoSuchAlgorithm
from services.registry.api.requests import registry
from services.registry.git_backend import BackendAnswer, plain
from services.registry.registry import Registry

FETCH, PUSH = "git-upload-pack", "git-receive-pack"
_CONTENT = [f"application/x-{service}-{kind}" for service in (FETCH, PUSH) for kind in ("advertisement", "result")]
routes = web.router(public, default_response_class=Response, responses={**PLAIN, **answers(*_CONTENT)})
_PROTOCOL = re.compile(r"[a-z0-9=:._-]{1,100}")
_ENCODINGS = ("", "gzip", "x-gzip", "identity")


@routes.get("/git/{owner}/{repository}/info/refs")
async def advertise(request: Request, owner: str, repository: str) -> Response:
    """What the repository has, for the service that the client names."""
    return await _serve(request, owner, repository, request.query_params.get("service", ""), "info/refs")


@routes.post(f"/git/{{owner}}/{{repository}}/{FETCH}")
async def fetch(request: Request, owner: str, repository: str) -> Response:
    return await _serve(request, owner, repository, FETCH, FETCH)


@routes.post(f"/git/{{owner}}/{{repository}}/{PUSH}")
async def push(request: Request, owner: str, repository: str) -> Response:
    return await _serve(request, owner, repository, PUSH, PUSH)


@routes.get("/git/{rest:path}")
async def anything_else(request: Request) -> Response:
    """Git's older protocol, and whatever else asks: like everything here not without authentication."""
    return await _serve(request, "", "", "", "")


async def _serve(request: Request, owner: str, repository: str, service: str, path: str) -> Response:
    parts = registry(request)
    try:
        who = await git_access.principal(
            request.headers.get("authorization"),
            parts.runtime.authenticator,
            parts.runtime.directory,
            parts.fakts,
        )
        if service not in (FETCH, PUSH):
            raise NotFound("only git's smart HTTP protocol is spoken here, below /git/OWNER/NAME.git")
        _check_headers(request, parts, service)
        name = repository.removesuffix(".git")
        if not (NAME.fullmatch(owner) and NAME.fullmatch(name)):
            raise NoSuchAlgorithm
        async with parts.database.transaction() as session:
            row = await store.named(session, owner, name)
            access.check_manages(who, owner, known=False)
            push_id = await parts.pushes.begin(session, row.id, who.name) if path == PUSH else None
    except Problem as problem:
        return plain(problem)
    ended = partial(parts.pushes.settle, push_id, row.id) if push_id is not None else None
    return BackendAnswer(parts.git, parts.git_limits, _variables(request, parts, row.id, who, path), ended)


def _check_headers(request: Request, parts: Registry, service: str) -> None:
    limit = parts.git_limits.body_bytes
    length = request.headers.get("content-length", "0")
    if not length.isdecimal() or int(length[:20]) > limit:
        raise TooLarge(f"a push may bring at most {limit >> 20} MiB; push in smaller steps")
    expected = f"application/x-{service}-request"
    if request.method == "POST" and request.headers.get("content-type") != expected:
        raise UnsupportedMedia(f"send what git sends here, with content-type {expected}")
    encoding = request.headers.get("content-encoding", "")
    if encoding not in _ENCODINGS:
        raise UnsupportedMedia(f"content encoding '{encoding}' is not understood here; use gzip or none")


def _variables(request: Request, parts: Registry, algorithm_id: UUID, who: Principal, path: str) -> dict[str, str]:
    """The request as CGI describes it. `who` is text of ours; what the client says is checked or is data to git."""
    headers, protocol = request.headers, request.headers.get("git-protocol", "")
    variables = {
        "GIT_PROJECT_ROOT": str(parts.repositories.folder.absolute()),
        "GIT_HTTP_EXPORT_ALL": "1",
        "PATH_INFO": f"/{parts.repositories.path(algorithm_id).name}/{path}",
        "QUERY_STRING": request.url.query if path == "info/refs" else "",
        "REQUEST_METHOD": request.method,
        "CONTENT_TYPE": headers.get("content-type", ""),
        "CONTENT_LENGTH": headers.get("content-length", ""),
        "HTTP_CONTENT_ENCODING": headers.get("content-encoding", ""),
        "REMOTE_USER": who.name,
    }
    return {**variables, "GIT_PROTOCOL": protocol} if _PROTOCOL.fullmatch(protocol) else variables
