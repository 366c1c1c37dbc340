"""What routes share: the algorithm that a path names, bodies, paging, links."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, TypeVar
from uuid import UUID

import orjson
from fastapi import APIRouter, Depends, Request
from pydantic import BaseModel, ValidationError

from libs.common.contracts.references import NAME
from libs.common.db import Session
from libs.common.pages import Page
from libs.common.problems import Invalid, TooLarge
from services.registry import store
from services.registry.access import NoSuchAlgorithm
from services.registry.models import Algorithm
from services.registry.pages import Paging
from services.registry.registry import Registry
from services.registry.views import Links

M = TypeVar("M", bound=BaseModel)
Endpoint = TypeVar("Endpoint", bound=Callable[..., Any])

MAX_BODY_BYTES = 4 << 20
BY_ID = "/v1/algorithms/{algorithm_id:uuid}"
BY_NAME = "/v1/algorithms/{owner}/{name}"


def registry(request: Request) -> Registry:
    found: Registry = request.app.state.registry
    return found


Parts = Annotated[Registry, Depends(registry)]


def of_algorithm(routes: APIRouter, method: str, tail: str, **options: Any) -> Callable[[Endpoint], Endpoint]:
    """Register a route below an algorithm, which is named by its id or by owner and name."""

    def register(endpoint: Endpoint) -> Endpoint:
        for path in (BY_ID, BY_NAME):
            routes.add_api_route(f"{path}{tail}", endpoint, methods=[method], **options)
        return endpoint

    return register


async def subject(request: Request, session: Session) -> Algorithm:
    """The algorithm that the path names. Raises NoSuchAlgorithm."""
    path = request.path_params
    if "algorithm_id" in path:
        return await store.by_id(session, UUID(str(path["algorithm_id"])))
    if not (NAME.fullmatch(path["owner"]) and NAME.fullmatch(path["name"])):
        raise NoSuchAlgorithm
    return await store.named(session, path["owner"], path["name"])


Subject = Annotated[Algorithm, Depends(subject)]


async def body(request: Request, model: type[M]) -> M:
    """The request's JSON body, whatever media type it claims; no body is an empty object.

    Raises Invalid with code 2013 when it is no JSON object, 6001 when it does not fit; TooLarge.
    """
    raw = bytearray()
    async for chunk in request.stream():
        raw += chunk
        if len(raw) > MAX_BODY_BYTES:
            raise TooLarge(f"the body is larger than {MAX_BODY_BYTES} bytes")
    try:
        document = orjson.loads(raw or b"{}")
    except ValueError:
        raise Invalid("the body is not valid JSON", code=2013) from None
    if not isinstance(document, dict):
        raise Invalid("the body must be a JSON object", code=2013)
    if _has_nul(document):
        raise Invalid("text must not contain NUL characters")
    try:
        return model.model_validate(document)
    except ValidationError as error:
        faults = error.errors(include_url=False, include_input=False, include_context=False)
        said = (f"{'.'.join(str(part) for part in fault['loc'])}: {fault['msg']}" for fault in faults)
        raise Invalid("; ".join(said)) from None


def paging(request: Request, *kinds: Callable[[Any], Any], marker: str = "marker") -> Paging:
    """`limit` and the marker of a request. Raises Invalid."""
    query = request.query_params
    return Paging.parse(query.get("limit"), query.get(marker), *kinds)


def flag(request: Request, name: str) -> bool | None:
    """A boolean query parameter, or None. Raises Invalid."""
    text = request.query_params.get(name)
    if text is None or text == "":
        return None
    match text.lower():
        case "true" | "1":
            return True
        case "false" | "0":
            return False
    raise Invalid(f"'{name}' must be true or false")


def links(request: Request) -> Links:
    """Addresses as this client can use them: at the platform's public address, else where the request came."""
    public = registry(request).runtime.member.configuration.public_url
    return Links(public or str(request.base_url))


def next_link(request: Request, page: Page[Any]) -> str | None:
    """The address of the page after this one."""
    if page.marker is None:
        return None
    url = request.url.include_query_params(marker=page.marker)
    return links(request).to(f"{url.path}?{url.query}")


def _has_nul(value: Any) -> bool:
    if isinstance(value, str):
        return "\0" in value
    if isinstance(value, dict):
        return any(_has_nul(part) for pair in value.items() for part in pair)
    return isinstance(value, list) and any(_has_nul(part) for part in value)
