"""One consumer's side of a queue: reads messages, runs the handler and says what becomes of each message."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar, cast

import structlog
from opentelemetry import trace
from prometheus_client import Counter
from pydantic import ValidationError

from libs.common import logs, telemetry
from libs.common.bus.envelopes import Reader, Unreadable, faults
from libs.common.bus.protocol import Delivery, Handler, Options, set_delivery
from libs.common.contracts.messages import Message

log = logs.get(__name__)

HANDLED = Counter("constellation_bus_handled_total", "Messages handled, by outcome.", ["kind", "outcome"])

M = TypeVar("M", bound=Message)

_REASON_CHARACTERS = 500
_CANCEL_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Failure:
    """A message that was not handled: comes again after a pause (seconds), or with None is parked."""

    reason: str
    pause: float | None


class Subscription(Generic[M]):
    """A handler with what it accepts and the tasks in which it runs."""

    def __init__(
        self, queue: str, handler: Handler[M], accepts: Sequence[type[M]], prefetch: int, options: Options
    ) -> None:
        if prefetch < 1:
            raise ValueError(f"a consumer takes at least 1 message at once, not {prefetch}")
        self.queue = queue
        self.prefetch = prefetch
        self.leaving = False
        self._handler = handler
        self._reader = Reader(accepts)
        self._options = options
        self._context = contextvars.copy_context()
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def running(self) -> int:
        return len(self._tasks)

    def run(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run the work on one message as a task that `leave` waits for."""
        task = asyncio.create_task(work, context=self._context.copy())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def handle(self, message_id: str, raw: bytes, attempt: int) -> Failure | None:
        """Run the handler on one message. Call it in a task made by `run`."""
        try:
            envelope = self._reader.read(raw)
        except Unreadable as error:
            HANDLED.labels("unreadable", "parked").inc()
            log.warning("message_unreadable", queue=self.queue, message_id=message_id, reason=str(error))
            return Failure(str(error), None)
        if envelope.request_id is not None:
            structlog.contextvars.bind_contextvars(request_id=envelope.request_id)
        set_delivery(Delivery(message_id, self.queue, attempt, envelope.sent_at))
        with telemetry.tracer.start_as_current_span(
            envelope.kind, telemetry.extract(envelope.trace), trace.SpanKind.CONSUMER, record_exception=False
        ):
            try:
                await self._handler(cast(M, envelope.body))
            except asyncio.CancelledError as error:
                if was_cancelled():
                    raise
                return self._failed(envelope.kind, message_id, attempt, error)
            except Exception as error:  # whatever a handler raises is its failure, never the consumer's
                return self._failed(envelope.kind, message_id, attempt, error)
        HANDLED.labels(envelope.kind, "done").inc()
        return None

    def _failed(self, kind: str, message_id: str, attempt: int, error: BaseException) -> Failure:
        pause = self._options.retries[attempt - 1] if attempt <= len(self._options.retries) else None
        HANDLED.labels(kind, "parked" if pause is None else "retried").inc()
        log.warning(
            "message_failed",
            queue=self.queue,
            kind=kind,
            message_id=message_id,
            attempt=attempt,
            again_in=pause,
            exc_info=error,
        )
        return Failure(reason_of(error), pause)

    async def leave(self) -> None:
        """Wait for running handlers as long as the grace is, then cancel them."""
        self.leaving = True
        try:
            if self._tasks:
                await asyncio.wait(self._tasks, timeout=self._options.grace)
        finally:
            await self._cancel()

    async def _cancel(self) -> None:
        stragglers = set(self._tasks)
        if not stragglers:
            return
        for task in stragglers:
            task.cancel()
        _, deaf = await asyncio.wait(stragglers, timeout=_CANCEL_SECONDS)
        log.warning("handlers_cancelled", queue=self.queue, cancelled=len(stragglers), still_running=len(deaf))


def was_cancelled() -> bool:
    """Whether somebody cancelled the current task, and not merely something that it waited for."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def reason_of(error: BaseException) -> str:
    """The error's class and text, without secrets."""
    text = faults(error) if isinstance(error, ValidationError) else logs.redact(str(error))
    return f"{type(error).__name__}: {text}"[:_REASON_CHARACTERS]
