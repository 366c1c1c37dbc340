"""The base of every message, and the envelope it travels in.

A message is a job or an event (`libs.common.bus`). Its kind and version name its shape. An additive change keeps
the version: receivers ignore members that they do not know. Any other change is a new class with the next version,
which receivers accept before anyone sends it.
"""

from __future__ import annotations

from typing import ClassVar, Generic, TypeVar
from uuid import UUID, uuid4

from pydantic import AwareDatetime, BaseModel, Field, SerializeAsAny


class Message(BaseModel, frozen=True):
    """What one service tells another over the bus. A concrete message sets `kind` and `version`."""

    kind: ClassVar[str]
    """Such as `build.requested`: the same for all versions."""
    version: ClassVar[int]
    """From 1."""


M = TypeVar("M", bound=Message)


class EnvelopeHead(BaseModel, frozen=True):
    """What can be read of an envelope before its kind and version are known to be understood."""

    id: UUID = Field(default_factory=uuid4)
    """Of the message. The same in every delivery of it."""
    kind: str
    version: int
    sent_at: AwareDatetime
    trace: dict[str, str] = {}
    """W3C trace context headers (https://www.w3.org/TR/trace-context/), such as `traceparent`."""
    request_id: str | None = None
    """Of the request in whose course the message was sent."""


class Envelope(EnvelopeHead, Generic[M], frozen=True):
    """A message as it is on the wire: JSON."""

    body: SerializeAsAny[M]
