"""Calls of algorithms, as `POST /v1/algo/REF` of the Algorithmia API makes them: those under way, and their limits.

A call asks no database, broker or other service: keys, algorithms and replicas are followed as feeds.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Coroutine
from typing import Any
from uuid import UUID

from libs.common import logs
from libs.common.problems import Problem, TooMany
from services.gateway.admission import Admission, Admissions, Draft, Headers
from services.gateway.call import Call, Client, too_large
from services.gateway.call_tokens import CallTokens
from services.gateway.callers import Caller, Callers
from services.gateway.clock import Clock
from services.gateway.request_ids import RequestIds
from services.gateway.settings import GatewaySettings
from services.gateway.slots import Slots
from services.gateway.tally import Tally

log = logs.get(__name__)

MAX_PARALLEL = 24
"""Calls of algorithms by algorithms that one call may have under way."""

MOST_TEXT = 2000
"""Characters of an error that are kept in a record: algorithms word them, and records may have to wait."""

Record = tuple[
    str, float, str, UUID | None, UUID | None, str, float, int, str | None, str | None, str | None, str | None
]
"""The members of a CallRecord, in its order."""


class Calls:
    """Opens calls and keeps count of those under way.

    Args:
        spawn: runs a coroutine in the background.
        record: takes the record of a call that is over.
    """

    def __init__(
        self,
        settings: GatewaySettings,
        callers: Callers,
        admissions: Admissions,
        *,
        clock: Clock,
        spawn: Callable[[Coroutine[Any, Any, None]], None],
        record: Callable[[Record], None],
    ) -> None:
        self._callers = callers
        self._admissions = admissions
        self._spawn = spawn
        self._record = record
        self._ids = RequestIds()
        self._sessions = Slots()
        self._chains = Slots()
        self.clock = clock
        self.max_body = settings.max_body_bytes
        self.max_buffered = settings.max_buffered_bytes
        self.grace = settings.answer_grace_seconds
        self.tally = Tally()
        self.under_way: set[Call] = set()
        """Calls that wait or run."""

    @property
    def tokens(self) -> CallTokens | None:
        """None until the gateway has learnt their secret."""
        return self._callers.tokens

    @property
    def id_prefix(self) -> str:
        """With which the request ids of this gateway's calls begin."""
        return self._ids.prefix

    def top_level(self) -> set[str]:
        """Request ids of the calls under way that no algorithm made."""
        return {call.request_id for call in self.under_way if call.caller is not None and call.caller.claims is None}

    def open(self, client: Client, target: bytes, headers: Headers) -> Call:
        """A call whose head has arrived. It is refused at once, or takes its body and answers its client later.

        Args:
            target: the request target, path and query.
            headers: by lower-case name.
        """
        call = Call(self, client, self._ids.next())
        admission = self._admissions.known(target, headers)
        if admission is not None:
            self._admit(call, admission, headers)
            return call
        draft = Draft(target, headers)
        call.origin = headers.get(b"origin")
        try:
            admission = self._admissions.decide(draft)
        except Problem as problem:
            self._refuse(call, draft, problem)
            return call
        if admission is not None:
            self._admit(call, admission, headers)
        else:
            self._spawn(self._admit_later(call, draft))
        return call

    def enter(self, call: Call, caller: Caller) -> None:
        """Count the call among those of its account, or of its chain. Raises TooMany."""
        if caller.claims is None:
            limit = caller.principal.session_limit
            if not self._sessions.enter(caller.name, limit):
                raise TooMany(f"{caller.name} has {limit} calls under way already, which is the limit")
        elif not self._chains.enter(caller.claims.root, MAX_PARALLEL):
            raise TooMany(f"{MAX_PARALLEL} calls are under way in this chain already, which is the limit")
        self.under_way.add(call)

    def leave(self, call: Call, caller: Caller) -> None:
        self.under_way.discard(call)
        if caller.claims is None:
            self._sessions.leave(caller.name)
        else:
            self._chains.leave(caller.claims.root)

    def over(self, call: Call, status: int, kind: str | None, message: str | None) -> None:
        """Record a call that has ended, if it is known whose it was."""
        seconds = time.perf_counter() - call.arrived
        self.tally.count(status, seconds, failed=kind is not None)
        caller, admission = call.caller, call.admission
        if caller is None:
            return
        target = admission.target if admission is not None else None
        input_head = None
        if message is not None:
            kind, message, input_head = kind and kind[:MOST_TEXT], message[:MOST_TEXT], call.input_head
        self._record(
            (
                call.request_id,
                time.time(),
                caller.name,
                target.algorithm.id if target is not None else None,
                target.revision_id if target is not None else None,
                call.reference,
                seconds,
                status,
                kind,
                message,
                input_head,
                caller.claims.parent if caller.claims is not None else None,
            )
        )

    def sweep(self, now: float) -> None:
        """End the calls whose time is over."""
        for call in [call for call in self.under_way if call.deadline <= now]:
            call.expire(now)

    def _admit(self, call: Call, admission: Admission, headers: Headers) -> None:
        length = headers.get(b"content-length")
        if length is not None and int(length) > self.max_body:
            call.caller, call.reference = admission.caller, admission.reference
            call.fail(too_large(self.max_body))
        else:
            call.admit(admission)

    async def _admit_later(self, call: Call, draft: Draft) -> None:
        try:
            self._admit(call, await self._admissions.find_out(draft), draft.headers)
        except Problem as problem:
            self._refuse(call, draft, problem)
        except Exception:
            log.exception("call_not_admitted", request_id=call.request_id)
            call.fail(Problem(f"internal error; quote request id {call.request_id}"))

    def _refuse(self, call: Call, draft: Draft, problem: Problem) -> None:
        call.caller = draft.caller
        call.reference = str(draft.reference or "")
        if draft.application is not None:
            call.answer_by(draft.application, is_raw=draft.is_raw)
        call.fail(problem)
