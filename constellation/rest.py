"""Requests to one platform with one key or login: authorised, paged, and with one kind of error."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeVar
from urllib.parse import quote

import httpx

Document = dict[str, Any]
Key = str | Callable[[str | None], str]
"""An API key, or what gives an access token that is good now, and another one than a token that was
refused. What it raises is passed on."""
T = TypeVar("T")

CONNECT_SECONDS = 10.0
ANSWER_SECONDS = 60.0
PAGE = 100


class ApiError(Exception):
    """The platform refused, or could not be reached. `str()` is what it said.

    Args:
        status: of HTTP; None when there was no answer.
        code: the API's own number of the error.
        kind: of an algorithm's error, such as `InputError`.
        trace: of an algorithm's error, for its owner.
    """

    def __init__(
        self,
        message: str,
        *,
        status: int | None = None,
        code: int | None = None,
        kind: str | None = None,
        trace: str | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.kind = kind
        self.trace = trace


class Rest:
    """Every method raises ApiError.

    Args:
        url: the platform's public address.
        transport: how requests are carried; the network's by default.
    """

    def __init__(self, url: str, key: Key, *, transport: httpx.BaseTransport | None = None) -> None:
        self.url = url.rstrip("/")
        if isinstance(key, str) and not (key.isascii() and key.isprintable() and key.strip()):
            # Nothing that would quote it may be tried.
            raise ApiError("the API key is empty or has characters that no key has; was it copied whole?")

        try:
            self._http = httpx.Client(
                base_url=self.url,
                auth=Authorization(key),
                timeout=limit(ANSWER_SECONDS),
                transport=transport,
            )
        except httpx.InvalidURL as error:
            raise ApiError(f"'{url}' is no address of a platform: {error}") from None

    def close(self) -> None:
        self._http.close()

    def pages(self, path: str, query: Mapping[str, Any] | None = None) -> Iterator[Document]:
        """All entries of a list. Lists of the management API go on at a `marker`, administrators' at a `cursor`."""
        place: dict[str, str] = {}
        while True:
            page = self.get(path, params={**(query or {}), "limit": PAGE, **place})
            yield from page["results"] if "results" in page else page["items"]
            place = {name: page[name] for name in ("marker", "cursor") if page.get(name)}
            if not place:
                return

    def get(self, path: str, **options: Any) -> Document:
        return self.document(self.request("GET", path, **options))

    def get_list(self, path: str) -> list[Document]:
        """A list that comes in one piece."""
        return self._parsed(self.request("GET", path), list)

    def send(self, method: str, path: str, body: Document | None = None, **options: Any) -> Document:
        return self.document(self.request(method, path, json=body, **options))

    def document(self, response: httpx.Response) -> Document:
        return self._parsed(response, dict)

    def request(self, method: str, path: str, **options: Any) -> httpx.Response:
        """A successful answer."""
        try:
            response = self._http.request(method, path, **options)
        except httpx.TransportError as error:
            raise ApiError(self._unreachable(error)) from error
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise ApiError(f"the request to {self.url} failed: {error}") from error
        if not response.is_success:
            raise _refusal(response)
        return response

    @contextmanager
    def streamed(self, path: str, **options: Any) -> Iterator[httpx.Response]:
        """A successful answer whose body is read as it arrives."""
        try:
            with self._http.stream("GET", path, **options) as response:
                if not response.is_success:
                    response.read()
                    raise _refusal(response)
                yield response
        except httpx.TransportError as error:
            raise ApiError(self._unreachable(error)) from error

    def _parsed(self, response: httpx.Response, kind: type[T]) -> T:
        value = _json(response)
        if not isinstance(value, kind):
            raise ApiError(f"{response.url} did not answer as the platform does; is the address right?")
        return value

    def _unreachable(self, error: httpx.TransportError) -> str:
        if isinstance(error, httpx.TimeoutException):
            return f"{self.url} did not answer in time"
        return f"{self.url} cannot be reached ({error}); is the platform running there?"


def is_token(key: str) -> bool:
    """It is an access token (a JWT), not an API key."""
    return key.count(".") == 2


def now(key: Key) -> str:
    """The key itself, or the token of this moment."""
    return key if isinstance(key, str) else key(None)


class Authorization(httpx.Auth):
    """Shows a key, or a token, which is renewed when it is refused."""

    def __init__(self, key: Key) -> None:
        self._key = key

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        whole = isinstance(request.stream, httpx.ByteStream)  # a body that arrives in pieces is sent once
        shown = now(self._key)
        request.headers["Authorization"] = f"{'Bearer' if is_token(shown) else 'Simple'} {shown}"
        response = yield request
        if response.status_code == 401 and whole and not isinstance(self._key, str):
            request.headers["Authorization"] = f"Bearer {self._key(shown)}"
            yield request


def path(*parts: str) -> str:
    """A path of these parts, whatever characters they have."""
    return "".join(f"/{quote(part, safe='*')}" for part in parts)


def limit(seconds: float) -> httpx.Timeout:
    """For an answer that may take this long."""
    return httpx.Timeout(seconds, connect=CONNECT_SECONDS)


def _refusal(response: httpx.Response) -> ApiError:
    """The error of a response, in whichever of the platform's shapes it has."""
    document, status = _json(response), response.status_code
    if isinstance(document, dict):
        error = document.get("error")
        if isinstance(error, dict) and error.get("message"):
            return ApiError(str(error["message"]), status=status, code=_number(error), kind=error.get("error_type"))
        if isinstance(error, str):
            return ApiError(error, status=status)
        if document.get("detail"):
            return ApiError(str(document["detail"]), status=status, code=_number(document))
    return ApiError(f"{response.url} answered {status} {response.reason_phrase}".strip(), status=status)


def _json(response: httpx.Response) -> Any:
    """The body, or None when it is no JSON."""
    try:
        return response.json()
    except ValueError:
        return None


def _number(error: Mapping[str, Any]) -> int | None:
    code = error.get("code")
    return code if isinstance(code, int) else None
