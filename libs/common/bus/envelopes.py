"""From a message to bytes with the sender's context around it, and back."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

import structlog
from pydantic import ValidationError

from libs.common import telemetry
from libs.common.bus.protocol import MAX_MESSAGE_BYTES
from libs.common.contracts.messages import Envelope, EnvelopeHead, Message


class Unreadable(Exception):
    """The bytes are no message that is understood here. The text says why, without quoting the message."""


def seal(message: Message) -> tuple[str, bytes]:
    """The id and the bytes of a new envelope. Raises ValueError when they are too many."""
    envelope = Envelope[Message](
        kind=message.kind,
        version=message.version,
        sent_at=datetime.now(UTC),
        trace=telemetry.inject(),
        request_id=structlog.contextvars.get_contextvars().get("request_id"),
        body=message,
    )
    raw = envelope.model_dump_json().encode()
    if len(raw) > MAX_MESSAGE_BYTES:
        raise ValueError(
            f"a {message.kind} of {len(raw)} bytes is larger than a message may be ({MAX_MESSAGE_BYTES})"
        )
    return str(envelope.id), raw


class Reader:
    """Reads envelopes of the message types that a consumer accepts."""

    def __init__(self, accepts: Sequence[type[Message]]) -> None:
        self._envelopes = {(one.kind, one.version): Envelope[one] for one in accepts}  # type: ignore[valid-type]
        if not accepts or len(self._envelopes) < len(accepts):
            raise ValueError("a consumer accepts at least one message type, and one class for each kind and version")

    def read(self, raw: bytes) -> Envelope[Message]:
        """The envelope in the bytes. Raises Unreadable."""
        try:
            head = EnvelopeHead.model_validate_json(raw)
        except ValidationError as error:
            raise Unreadable(f"not an envelope: {faults(error)}") from None
        envelope = self._envelopes.get((head.kind, head.version))
        if envelope is None:
            known = ", ".join(f"{kind} {version}" for kind, version in sorted(self._envelopes))
            raise Unreadable(f"{head.kind} {head.version} is not understood here, only {known}")
        try:
            return envelope.model_validate_json(raw)
        except ValidationError as error:
            raise Unreadable(f"not a {head.kind} {head.version}: {faults(error)}") from None


def faults(error: ValidationError) -> str:
    """What is wrong and where. The values are left out, for they may be secret."""
    found = error.errors(include_url=False, include_context=False, include_input=False)
    return "; ".join(f"{'.'.join(str(part) for part in one['loc']) or 'all'}: {one['msg']}" for one in found)
