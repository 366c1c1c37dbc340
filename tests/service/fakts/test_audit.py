"""What administrators did becomes news on the bus, whenever the bus is there."""

from __future__ import annotations

from pydantic import SecretStr
from sqlalchemy import func, select

from libs.common.bus import MemoryBus
from libs.common.contracts.events import AUDIT_TOPIC, AuditRecorded
from services.fakts.models import AuditEntry
from services.fakts.settings import FaktsSettings
from tests.service.fakts.running import RunningFakts, running
from tests.support.eventually import eventually


async def waiting(fakts: RunningFakts) -> int:
    async with fakts.context.database.transaction() as session:
        return await session.scalar(select(func.count()).select_from(AuditEntry)) or 0


async def test_acts_are_announced_with_who_did_what_to_whom(settings: FaktsSettings) -> None:
    heard: list[AuditRecorded] = []

    async def hear(message: AuditRecorded) -> None:
        heard.append(message)

    async with (
        MemoryBus() as bus,
        bus.listen("test", [AUDIT_TOPIC], hear, accepts=[AuditRecorded]),
        running(settings, bus=bus) as fakts,
    ):
        await fakts.user("jane")
        await fakts.ask("POST", "/v1/users", 409, json={"username": "jane", "email": "x@example.org"})
        await fakts.key("jane")
        await fakts.ask("DELETE", "/v1/users/jane", 204)
        await eventually(lambda: len(heard) >= 3)
        assert [(one.action, one.actor, one.service) for one in heard] == [
            ("user.create", "admin", "fakts"),
            ("key.create", "admin", "fakts"),
            ("user.delete", "admin", "fakts"),
        ]
        assert heard[1].subject.startswith("jane/k/")

        async def none_waits() -> bool:
            return await waiting(fakts) == 0

        await eventually(none_waits)


async def test_without_a_bus_news_wait_and_come_with_it(settings: FaktsSettings) -> None:
    unreachable = settings.model_copy(update={"bus_url": SecretStr("amqp://guest:guest@127.0.0.1:1/")})
    async with running(unreachable) as fakts:
        await fakts.user("jane")
        assert await waiting(fakts) == 1
    heard: list[AuditRecorded] = []

    async def hear(message: AuditRecorded) -> None:
        heard.append(message)

    async with (
        MemoryBus() as bus,
        bus.listen("test", [AUDIT_TOPIC], hear, accepts=[AuditRecorded]),
        running(settings, bus=bus),
    ):
        await eventually(lambda: heard)
        assert (heard[0].action, heard[0].subject) == ("user.create", "jane")
