"""Calls of algorithms: who may make one, of what, and how many at once.

Source: `POST /v1/algo/REF` of the Algorithmia API. A call asks no database, broker or other service: keys, algorithms
and replicas are followed as feeds. Only a miss is confirmed before it is an answer.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from typing import Any
from urllib.parse import unquote, urlsplit
from uuid import UUID

from libs.common import logs
from libs.common.contracts.identity import PrincipalKind
from libs.common.contracts.references import InvalidReference, Reference, parse
from libs.common.problems import (
    Forbidden,
    Invalid,
    NotFound,
    Problem,
    TooMany,
    Unauthenticated,
    Unavailable,
    UnsupportedMedia,
)
from services.gateway.call import Call, Client, too_large
from services.gateway.call_tokens import CallTokens
from services.gateway.callers import Caller, Callers
from services.gateway.options import InvalidOption, Options, media_type, parse_options
from services.gateway.request_ids import RequestIds
from services.gateway.settings import GatewaySettings
from services.gateway.slots import Slots
from services.gateway.table import Table, Target
from services.gateway.tally import Tally

log = logs.get(__name__)

PREFIX = b"/v1/algo/"
MAX_DEPTH = 10
MAX_PARALLEL = 24
ABSENT_SECONDS = 1.0
_REMEMBERED = 4096
"""Spellings of references, queries and media types that are kept parsed; clients make them up."""

Headers = Mapping[bytes, bytes]
Record = tuple[
    str, float, str, UUID | None, UUID | None, str, float, int, str | None, str | None, str | None, str | None
]
"""The members of a CallRecord, in its order."""


class Missing(Exception):
    """The catalog at hand has no such algorithm or version for this caller."""


class Calls:
    """Opens calls and keeps count of those under way.

    Args:
        confirm: catches up with the catalog; False when that was not possible.
        clock: the loop's time.
        spawn: runs a coroutine in the background.
        record: takes the record of a call that is over.
    """

    def __init__(
        self,
        settings: GatewaySettings,
        callers: Callers,
        table: Table,
        *,
        confirm: Callable[[], Awaitable[bool]],
        clock: Callable[[], float],
        spawn: Callable[[Coroutine[Any, Any, None]], None],
        record: Callable[[Record], None],
    ) -> None:
        self._callers = callers
        self._table = table
        self._confirm = confirm
        self._spawn = spawn
        self._record = record
        self._ids = RequestIds()
        self._max_body = settings.max_body_bytes
        self._max_buffered = settings.max_buffered_bytes
        self.clock = clock
        self.grace = settings.answer_grace_seconds
        self.tally = Tally()
        self.under_way: set[Call] = set()
        """Admitted calls that wait or run."""
        self._sessions = Slots()
        self._chains = Slots()
        self._references: dict[bytes, Reference | InvalidReference] = {}
        self._options: dict[bytes, Options] = {}
        self._media: dict[bytes, bytes | None] = {}
        self._absent: dict[tuple[Reference, bool], tuple[int, float]] = {}
        """References that were confirmed to be missing: in which state of the table, and until when."""

    @property
    def tokens(self) -> CallTokens | None:
        return self._callers.tokens

    def open(self, client: Client, target: bytes, headers: Headers) -> Call:
        """A call whose head has arrived. It is refused at once, or takes its body and answers its client later.

        Args:
            target: the request target, path and query.
            headers: by lower-case name.
        """
        call = Call(self, client, self._ids.next(), self._max_body)
        try:
            authorization = headers.get(b"authorization")
            call.origin = headers.get(b"origin")
            if not authorization:
                raise Unauthenticated("authorization required")
            call.caller = self._callers.at_hand(authorization)
            if call.caller is not None:
                self._admit(call, target, headers)
                return call
        except Missing:
            pass
        except Problem as problem:
            call.fail(problem)
            return call
        self._spawn(self._admit_later(call, target, headers))
        return call

    def buffer(self, count: int) -> bool:
        """Account for bytes of input that are kept here, or (negative) are no more. False when it is too much."""
        total = self.tally.buffered + count
        if total > self._max_buffered and count > 0:
            return False
        self.tally.buffered = total
        return True

    def enter(self, call: Call) -> None:
        """Count the call among those of its account, or of its chain. Raises TooMany."""
        caller = call.caller
        assert caller is not None  # noqa: S101 - it was admitted
        call.deadline = self.clock() + call.options.timeout
        if caller.claims is None:
            limit = caller.principal.session_limit
            if not self._sessions.enter(caller.name, limit):
                raise TooMany(f"{caller.name} has {limit} calls under way already, which is the limit")
        elif not self._chains.enter(caller.claims.root, MAX_PARALLEL):
            raise TooMany(f"{MAX_PARALLEL} calls are under way in this chain already, which is the limit")
        self.under_way.add(call)

    def leave(self, call: Call, status: int, kind: str | None, message: str | None, *, counted: bool) -> None:
        """The call is over."""
        seconds = time.perf_counter() - call.arrived
        self.tally.count(status, seconds, failed=kind is not None)
        caller = call.caller
        if caller is None:
            return
        claims = caller.claims
        if counted:
            self.under_way.discard(call)
            if claims is None:
                self._sessions.leave(caller.name)
            else:
                self._chains.leave(claims.root)
        target = call.target if call.admitted else None
        self._record(
            (
                call.request_id,
                time.time(),
                caller.name,
                target.algorithm.id if target else None,
                target.revision_id if target else None,
                str(call.reference or ""),
                seconds,
                status,
                kind,
                message,
                call.input_head if message is not None else None,
                claims.parent if claims is not None else None,
            )
        )

    def sweep(self, now: float) -> None:
        """End the calls whose time is over."""
        for call in [call for call in self.under_way if call.deadline <= now]:
            call.expire(now)

    async def _admit_later(self, call: Call, target: bytes, headers: Headers) -> None:
        """Admission of a call for which somebody must be asked."""
        try:
            if call.caller is None:
                call.caller = await self._callers.find(headers[b"authorization"])
            try:
                self._admit(call, target, headers)
            except Missing:
                confirmed = await self._confirm()
                if not call.done:
                    self._admit_confirmed(call, target, headers, confirmed=confirmed)
        except Problem as problem:
            call.fail(problem)
        except Exception:
            log.exception("call_not_admitted", request_id=call.request_id)
            call.fail(Problem(f"internal error; quote request id {call.request_id}"))

    def _admit_confirmed(self, call: Call, target: bytes, headers: Headers, *, confirmed: bool) -> None:
        try:
            self._admit(call, target, headers)
        except Missing:
            reference = call.reference
            assert reference is not None  # noqa: S101 - that is what is missing
            if not confirmed and not len(self._table):
                raise Unavailable("the platform is starting: no algorithms are known here yet") from None
            if len(self._absent) >= _REMEMBERED:
                self._absent.clear()
            self._absent[reference, call.insider] = (self._table.changes, self.clock() + ABSENT_SECONDS)
            raise _not_found(reference) from None

    def _admit(self, call: Call, target: bytes, headers: Headers) -> None:
        """Let the call run. Raises Missing when its algorithm is not found, Problem when it is refused."""
        caller = call.caller
        if call.done or caller is None:
            return
        _check_caller(caller, headers)
        path, _, query = target.partition(b"?")
        call.reference = reference = self._reference(path)
        call.options = self._options.get(query) or self._parse_options(query)
        call.target = self._find(call, caller, reference)
        call.media = self._media_type(headers)
        length = headers.get(b"content-length")
        if length is not None and int(length) > self._max_body:
            raise too_large(self._max_body)
        call.admit()

    def _find(self, call: Call, caller: Caller, reference: Reference) -> Target:
        algorithm = self._table.find(reference)
        target = None
        if algorithm is not None:
            call.insider = caller.principal.belongs_to(algorithm.owner) or (
                call.options.sudo and caller.principal.is_admin
            )
            target = self._table.target(algorithm, reference.version, insider=call.insider)
        if algorithm is None or target is None:
            changes, until = self._absent.get((reference, call.insider), (-1, 0.0))
            if changes == self._table.changes and until > self.clock():
                raise _not_found(reference)
            raise Missing
        principal = caller.principal
        if principal.admin_key and not principal.permissions.allow_algo and not call.options.sudo:
            raise Forbidden("an admin key calls no algorithms; use a standard key, or the option sudo=true")
        if not caller.may_call(algorithm.owner, algorithm.name) and not (call.options.sudo and principal.is_admin):
            raise Forbidden(f"this key may not call algo://{algorithm.owner}/{algorithm.name}")
        return target

    def _reference(self, path: bytes) -> Reference:
        known = self._references.get(path)
        if known is None:
            try:
                known = parse(unquote(path[len(PREFIX) :].decode("latin-1")))
            except InvalidReference as error:
                known = error
            if len(self._references) >= _REMEMBERED:
                self._references.clear()
            self._references[path] = known
        if isinstance(known, InvalidReference):
            raise Invalid(str(known), code=2015)
        return known

    def _parse_options(self, query: bytes) -> Options:
        try:
            options = parse_options(query.decode("latin-1"))
        except InvalidOption as error:
            raise Invalid(str(error), code=2015) from None
        if len(self._options) >= _REMEMBERED:
            self._options.clear()
        self._options[query] = options
        return options

    def _media_type(self, headers: Headers) -> bytes:
        given = headers.get(b"content-type", b"")
        try:
            media = self._media[given]
        except KeyError:
            found = media_type(given.decode("latin-1"))
            media = found.encode() if found is not None else None
            if len(self._media) >= _REMEMBERED:
                self._media.clear()
            self._media[given] = media
        if media is None:
            named = f"'{given[:80].decode('latin-1')}'" if given else "missing"
            raise UnsupportedMedia(
                f"the Content-Type is {named}; send text/plain, application/json or application/octet-stream"
            )
        if headers.get(b"content-encoding", b"identity").lower() != b"identity":
            raise UnsupportedMedia("send the input as it is, without a Content-Encoding")
        return media


def _check_caller(caller: Caller, headers: Headers) -> None:
    """Raises Forbidden when the credential allows no calls, or none from where this one comes from."""
    principal, claims = caller.principal, caller.claims
    if claims is not None:
        if not claims.may_chain:
            raise Forbidden("this algorithm may not call algorithms")
        if claims.depth >= MAX_DEPTH:
            raise Forbidden(f"algorithms call one another {MAX_DEPTH} deep here, which is the limit")
        return
    if principal.kind is not PrincipalKind.ACCOUNT:
        raise Forbidden("services do not call algorithms")
    if not (principal.permissions.allow_algo or principal.admin_key):
        raise Forbidden("this key may not call algorithms; use one that has 'allow_algo'")
    origin = headers.get(b"origin")
    if origin is None:
        return
    if not principal.permissions.allow_web_algo:
        raise Forbidden("this key may not call algorithms from a browser; use one that has 'allow_web_algo'")
    wanted = principal.permissions.referer_host
    if wanted and wanted.lower() not in (_host(origin), _host(headers.get(b"referer", b""))):
        raise Forbidden("this key may not call algorithms from this web site")


def _host(url: bytes) -> str:
    try:
        return (urlsplit(url.decode("latin-1")).hostname or "").lower()
    except ValueError:
        return ""


def _not_found(reference: Reference) -> NotFound:
    return NotFound(f"algorithm algo://{reference} not found", code=1000)
