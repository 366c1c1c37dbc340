"""What the bus writes into and reads from a message's properties. The body is the envelope, untouched."""

from __future__ import annotations

from datetime import UTC, datetime
from hashlib import sha256
from typing import Any

from aio_pika import DeliveryMode, Message
from aio_pika.abc import AbstractIncomingMessage

from libs.common.bus.protocol import DeadLetter

_ATTEMPT, _REASON, _PARKED_AT = "attempt", "reason", "parked_at"


def outgoing(message_id: str, raw: bytes, attempt: int = 1, **headers: str) -> Message:
    """A message that survives the broker's restart."""
    return Message(
        raw,
        headers={_ATTEMPT: attempt, **headers},
        message_id=message_id,
        content_type="application/json",
        delivery_mode=DeliveryMode.PERSISTENT,
    )


def parked(message: AbstractIncomingMessage, reason: str) -> Message:
    """The message as it lies in the dead letters."""
    headers = {_REASON: reason, _PARKED_AT: datetime.now(UTC).isoformat()}
    return outgoing(id_of(message), message.body, attempt_of(message), **headers)


def id_of(message: AbstractIncomingMessage) -> str:
    """The message's id. One that came without has its content's digest."""
    return message.message_id or sha256(message.body).hexdigest()[:32]


def attempt_of(message: AbstractIncomingMessage) -> int:
    attempt = message.headers.get(_ATTEMPT)
    return attempt if isinstance(attempt, int) and attempt > 0 else 1


def dead_letter(queue: str, message: AbstractIncomingMessage) -> DeadLetter:
    reason = message.headers.get(_REASON)
    return DeadLetter(
        id=id_of(message),
        queue=queue,
        reason=str(reason) if reason is not None else _brokers_reason(message.headers.get("x-death")),
        attempts=attempt_of(message),
        parked_at=_parked_at(message),
        body=message.body.decode(errors="replace"),
    )


def _parked_at(message: AbstractIncomingMessage) -> datetime | None:
    try:
        return datetime.fromisoformat(str(message.headers.get(_PARKED_AT)))
    except ValueError:
        return None


def _brokers_reason(deaths: Any) -> str:
    """Why the broker itself parked a message (https://www.rabbitmq.com/docs/dlx)."""
    why = deaths[0].get("reason") if deaths else None
    if why == "delivery_limit":
        return "taken again and again, never finished: its handler ends the process or outlives the connection"
    if why == "maxlen":
        return "the queue is full: its listener is too far behind"
    return f"parked by the broker: {why or 'no reason given'}"
