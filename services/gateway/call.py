"""The life of one call, from its head to the last byte of its answer.

A call is told what happens to it: by the client's connection (`receive`, `complete`, `client_lost`), by the pool
and the replica's connection (`send`, `answered`, `replica_lost`), and by the sweep of deadlines (`expire`). No task
or lock belongs to it, and no timer but for an application's latency goal: that is what makes it cheap.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Protocol

from libs.common.contracts.runner import CALLER, OUTCOME_ERROR, REQUEST_ID, TIMEOUT
from libs.common.problems import Problem, TooLarge, Unavailable
from services.gateway import answers
from services.gateway.admission import Admission
from services.gateway.answers import GatewayTimeout, ReplicaLost
from services.gateway.callers import Caller

if TYPE_CHECKING:
    from services.gateway.applications import Application
    from services.gateway.calls import Calls
    from services.gateway.replica import ReplicaConnection
    from services.gateway.table import Target

CLIENT_LEFT = 499
"""Status in the record of a call whose client did not wait for the answer."""
_COLLECT_BELOW = 256 * 1024
"""Errors up to this size are read whole, for the record."""
_COLLECT_AT_MOST = 32 * 1024 * 1024
"""The same where an application's default answers in their place."""
_INPUT_HEAD = 128
_OUTCOME_ERROR = OUTCOME_ERROR.encode()
_RESULT_TYPES = frozenset({b"application/json", b"text/plain; charset=utf-8"})
_OTHER_TYPE = b"application/octet-stream"


class Client(Protocol):
    """Who gets the answer."""

    def send_head(self, status: int, fields: bytes, first: bytes) -> None:
        """The head, with these header lines, and as much of the body as there is."""

    def send(self, chunk: bytes) -> None:
        """More of the body."""

    def finish(self) -> None:
        """That was all."""

    def abort(self) -> None:
        """The rest of the body will never come."""


class Call:
    """See the module's documentation. Attributes without a value here are set when it is made."""

    client: Client | None
    """None once nobody waits for the answer any more."""
    admission: Admission | None = None
    caller: Caller | None = None
    reference = ""
    origin: bytes | None = None
    """Of a browser, which reads the answer only if that allows it to."""
    done = False
    deadline = float("inf")
    """Set when the call may run."""
    queued = 0.0
    sendings = 0
    _body: bytes | None = None
    _size = 0
    _submitted = False
    _entered = False
    _connection: ReplicaConnection | None = None
    _collected: list[bytes] | None = None
    _begun = 0
    """Status of an answer whose head has come, unless it is collected."""
    _replied = False
    """The client has an answer, and the call runs on: it asked for none but that, or the latency goal has passed."""
    _application: Application | None = None
    """Whose default answers from now on where the call does not."""
    _is_raw = False
    _goal: asyncio.TimerHandle | None = None

    def __init__(self, calls: Calls, client: Client, request_id: str) -> None:
        self._calls = calls
        self._chunks: list[bytes] = []
        self.client = client
        self.request_id = request_id
        self.arrived = time.perf_counter()

    # From the client

    def receive(self, chunk: bytes) -> None:
        """A part of the body."""
        if self.done:
            return
        calls, count = self._calls, len(chunk)
        if self._size + count > calls.max_body:
            self.fail(too_large(calls.max_body))
        elif calls.tally.buffered + count > calls.max_buffered:
            self.fail(Unavailable("too much input is waiting here just now; try again"))
        else:
            self._size += count
            calls.tally.buffered += count
            self._chunks.append(chunk)

    def complete(self) -> None:
        """The body is there."""
        if self.done:
            return
        chunks = self._chunks
        self._body = chunks[0] if len(chunks) == 1 else b"".join(chunks)
        self._chunks = []
        if self.admission is not None:
            self._submit(self.admission)

    def client_lost(self) -> None:
        """Nobody waits any more. What runs on a replica runs on, as nothing can interrupt it there."""
        self.client = None
        if self._connection is None and not self.done:
            self._end(CLIENT_LEFT, None, "the client left before the call ran")
        elif self._connection is not None:
            self._connection.resume()

    def pause(self) -> None:
        if self._connection is not None:
            self._connection.pause()

    def resume(self) -> None:
        if self._connection is not None:
            self._connection.resume()

    # Admission

    def admit(self, admission: Admission) -> None:
        """The call may be made. It runs as soon as its body is there."""
        self.admission = admission
        self.caller = admission.caller
        self.reference = admission.reference
        if self._body is not None and not self.done:
            self._submit(admission)

    def _submit(self, admission: Admission) -> None:
        self.deadline = self._calls.clock.now + admission.timeout
        try:
            self._calls.enter(self, admission.caller)
            self._entered = True
            if admission.application is not None and not admission.is_void:
                self._begin_for(admission.application, admission)
            admission.target.pool.submit(self)
            self._submitted = True
        except Problem as problem:
            self.fail(problem)
            return
        if admission.is_void and self.client is not None:
            self._reply(200, answers.JSON_TYPE, b"", answers.void_body(self.request_id))
            self._leave_client()

    # For an application

    def answer_by(self, application: Application, *, is_raw: bool) -> None:
        """Where the call fails from now on, the application's default answers, if it has one."""
        if application.default is not None:
            self._application, self._is_raw = application, is_raw

    def redirect(self, target: Target, application: Application) -> None:
        """Do not wait for a replica of the version that was current, but for one of the version that is."""
        before = self.admission
        assert before is not None  # noqa: S101 - only admitted calls wait
        before.target.pool.leave(self)
        self._submitted = False
        self.admission = before.redirected(target, application)
        try:
            target.pool.submit(self)
            self._submitted = True
        except Problem as problem:
            self.fail(problem)

    def _begin_for(self, application: Application, admission: Admission) -> None:
        """Raises Unavailable when no replica is ready and there is another answer than to wait."""
        self.answer_by(application, is_raw=admission.is_raw)
        pool = admission.target.pool
        if self._application is not None and not pool.replicas and pool.successor is None:
            why = f": {pool.failure}" if pool.failure else ""
            raise Unavailable(f"no replica of the current version is ready{why}")
        if application.goal is not None:
            self._goal = asyncio.get_running_loop().call_later(application.goal, self._miss_goal, application.goal)

    def _miss_goal(self, seconds: float) -> None:
        """The latency goal has passed. A call that runs is recorded when it ends; one that waits is given up."""
        if self.done or self.client is None or self._begun:
            return
        late = GatewayTimeout(f"no answer within the latency goal of {seconds * 1000:g} ms")
        if self._connection is None:
            self.fail(late)
        else:
            self._reply_problem(late)
            self._leave_client()

    def _leave_client(self) -> None:
        self._replied = True
        self.client = None
        if self._connection is not None:
            self._connection.resume()

    # From the pool and the replica

    def send(self, connection: ReplicaConnection) -> None:
        """Run on this connection's replica."""
        assert self.admission is not None  # noqa: S101 - only admitted calls get this far
        self.sendings += 1
        self._connection = connection
        body = self._body or b""
        connection.send(self, self._request_head(self.admission, connection.replica.fields, len(body)), body)

    def answered(self, status: int, content_type: bytes, outcome: bytes, body: bytes) -> None:
        """The whole answer."""
        self._connection = None
        if self.done:
            return
        kind, message = answers.read_error(body) if outcome == _OUTCOME_ERROR else (None, None)
        if self.client is not None:
            if kind is not None and self._application is not None:
                self._reply_default(self._application, f"the algorithm failed: {message or kind}")
            else:
                self._reply(status, content_type if content_type in _RESULT_TYPES else _OTHER_TYPE, b"", body)
        elif not self._replied:
            self._end(CLIENT_LEFT, None, "the client left before the answer")
            return
        self._end(status, kind, message)

    def answer_begun(self, status: int, content_type: bytes, outcome: bytes, length: int, first: bytes) -> None:
        """The head of an answer that does not come in one piece."""
        if outcome == _OUTCOME_ERROR and (length <= _COLLECT_BELOW or self._application is not None):
            if length > _COLLECT_AT_MOST:
                self._give_up(ReplicaLost("the algorithm's replica answered with an error that is too long"))
                return
            self._collected = [b"%d" % status, content_type, first]
            return
        self._collected = None
        self._begun = status
        if self.client is not None:
            kind = content_type if content_type in _RESULT_TYPES else _OTHER_TYPE
            self.client.send_head(status, self._fields(kind, length), first)

    def answer_continued(self, chunk: bytes) -> None:
        if self._collected is not None:
            self._collected.append(chunk)
        elif self.client is not None:
            self.client.send(chunk)

    def answer_ended(self, last: bytes) -> None:
        if self._collected is not None:
            status, content_type, *chunks = self._collected
            self.answered(int(status), content_type, _OUTCOME_ERROR, b"".join((*chunks, last)))
            return
        self._connection = None
        if self.done:
            return
        left = self.client is None and not self._replied
        if self.client is not None:
            self.client.send(last)
            self.client.finish()
        self._end(CLIENT_LEFT if left else self._begun, None, None)

    def replica_lost(self) -> None:
        """The connection ended without an answer. It may have run, so it is not sent anywhere else."""
        self._connection = None
        self.fail(ReplicaLost("the connection to the algorithm's replica was lost during the call; it may have run"))

    def returned(self) -> None:
        """The replica did not begin the call."""
        self._connection = None
        if self.client is None and not self._is_void:
            if self._replied:
                self.fail(GatewayTimeout("the latency goal passed before the call ran"))
            else:
                self._end(CLIENT_LEFT, None, "the client left before the call ran")

    # From the sweep

    def expire(self, now: float) -> None:
        """The deadline has passed. A replica has a moment more: it keeps the deadline itself, and says so."""
        if self._connection is None:
            self.fail(
                GatewayTimeout(f"no replica of the algorithm was free within the timeout of {self._timeout:g} s")
            )
            return
        if now < self.deadline + self._calls.grace:
            return
        self._give_up(GatewayTimeout(f"the algorithm's replica did not answer within {self._timeout:g} s"))

    # The end

    def _give_up(self, problem: Problem) -> None:
        """Fail, and wait for the replica no longer."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.give_up()
        self.fail(problem)

    def fail(self, problem: Problem) -> None:
        """Answer with the problem, or break the answer off if it has begun."""
        if self.done:
            return
        if self.client is not None and self._begun:
            self.client.abort()
        elif self.client is not None:
            self._reply_problem(problem)
        self._end(problem.status, answers.error_type(problem), problem.detail)

    @property
    def input_head(self) -> str:
        return (self._body or b"")[: 4 * _INPUT_HEAD].decode(errors="replace")[:_INPUT_HEAD]

    @property
    def _is_void(self) -> bool:
        return self.admission is not None and self.admission.is_void

    @property
    def _timeout(self) -> float:
        return self.admission.timeout if self.admission is not None else 0.0

    def _end(self, status: int, kind: str | None, message: str | None) -> None:
        self.done = True
        self.client = None
        if self._goal is not None:
            self._goal.cancel()
        calls, admission = self._calls, self.admission
        calls.tally.buffered -= self._size
        if admission is not None:
            if self._submitted:
                admission.target.pool.leave(self)
            if self._entered:
                calls.leave(self, admission.caller)
        calls.over(self, status, kind, message)
        self._body = None
        self._chunks = []

    def _reply(self, status: int, content_type: bytes, more: bytes, body: bytes) -> None:
        client = self.client
        assert client is not None  # noqa: S101 - the callers looked
        client.send_head(status, self._fields(content_type, len(body)) + more, body)
        client.finish()

    def _reply_problem(self, problem: Problem) -> None:
        """Tell the client, or give it the default answer."""
        if self._application is not None:
            self._reply_default(self._application, problem.detail)
            return
        body = answers.failure_body(problem, self.request_id, time.perf_counter() - self.arrived)
        self._reply(problem.status, answers.JSON_TYPE, answers.failure_fields(problem), body)

    def _reply_default(self, application: Application, why: str) -> None:
        self._calls.tally.defaults += 1
        kind, body = application.default_answer(
            why, self.request_id, time.perf_counter() - self.arrived, is_raw=self._is_raw
        )
        self._reply(200, kind, answers.default_fields(why), body)

    def _fields(self, content_type: bytes, length: int) -> bytes:
        lines = answers.fields(content_type, length, self.request_id)
        if self.origin is not None:
            lines += b"access-control-allow-origin: %b\r\nvary: origin\r\n" % self.origin
            lines += b"access-control-expose-headers: x-request-id, x-error-message, x-default-answer\r\n"
        return lines

    def _request_head(self, admission: Admission, replica_fields: str, length: int) -> bytes:
        seconds = admission.timeout
        if self.queued:
            seconds = max(self.deadline - self._calls.clock.now, 0.001)
        return (
            f"{admission.head}content-length: {length}\r\n{REQUEST_ID}: {self.request_id}\r\n"
            f"{TIMEOUT}: {seconds:.9g}\r\n{self._token(admission, seconds)}{replica_fields}\r\n"
        ).encode("latin-1")

    def _token(self, admission: Admission, seconds: float) -> str:
        """The header line with which the algorithm can act for the caller."""
        algorithm, tokens = admission.target.algorithm, self._calls.tokens
        if tokens is None:
            return ""
        caller = admission.caller
        claims = caller.claims
        token = tokens.mint(
            account=caller.name,
            key=caller.key_id,
            root=claims.root if claims is not None else self.request_id,
            parent=self.request_id,
            depth=claims.depth + 1 if claims is not None else 1,
            expires=int(time.time() + seconds + self._calls.grace) + 1,
            algorithm=algorithm.id_text,
            data=caller.data,
            may_chain=algorithm.pipeline_enabled,
            grant=caller.grant,
        )
        return f"{CALLER}: {token}\r\n"


def too_large(limit: int) -> TooLarge:
    return TooLarge(f"the input is larger than {limit} bytes; put it in the Data API and send its address instead")
