"""Events: news that any number of listeners may hear."""

from __future__ import annotations

from typing import ClassVar, Literal
from uuid import UUID

from pydantic import AwareDatetime, Field

from libs.common.contracts.identity import Wire
from libs.common.contracts.messages import Message

CALLS_TOPIC = "calls.recorded"
AUDIT_TOPIC = "audit.recorded"


class CallRecord(Wire):
    """One call, as its gateway saw it end."""

    request_id: str = Field(max_length=255)
    at: AwareDatetime
    account: str
    algorithm_id: UUID | None = None
    revision_id: UUID | None = None
    reference: str
    duration_seconds: float
    status: int = Field(ge=0, le=999)
    error_type: str | None = None
    error: str | None = None
    input_head: str | None = None
    """First 128 characters of the input, of failed calls only."""
    parent: str | None = None
    """Request id of the call whose algorithm made this one."""


class CallsRecorded(Message):
    """A gateway's calls of the last moment. Announced on `CALLS_TOPIC`."""

    kind: ClassVar[str] = "calls.recorded"
    version: ClassVar[int] = 1

    gateway: str
    records: tuple[CallRecord, ...]


class AuditRecorded(Message):
    """An administrative act. Announced on `AUDIT_TOPIC` by the service that carried it out."""

    kind: ClassVar[str] = "audit.recorded"
    version: ClassVar[int] = 1

    at: AwareDatetime
    service: str
    actor: str
    action: str
    """Such as `key.create`."""
    subject: str
    outcome: Literal["done", "refused"] = "done"
    detail: str | None = None
