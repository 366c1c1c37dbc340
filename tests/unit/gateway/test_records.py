"""Records of calls on their way to the bus."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest

from libs.common.bus import Bus, BusUnavailable
from libs.common.contracts.events import CALLS_TOPIC, CallsRecorded
from libs.common.loops import tasks
from services.gateway.calls import Record
from services.gateway.records import BATCH, BATCHES, Records
from tests.support.eventually import PATIENCE


class BusDouble:
    def __init__(self) -> None:
        self.messages: list[CallsRecorded] = []
        self.down = False
        self.hangs = False

    async def announce(self, topic: str, message: CallsRecorded) -> None:
        assert topic == CALLS_TOPIC
        if self.down:
            raise BusUnavailable("down")
        if self.hangs:
            await asyncio.Event().wait()
        self.messages.append(message)

    @property
    def ids(self) -> list[str]:
        return [record.request_id for message in self.messages for record in message.records]


def record(number: int, **members: Any) -> Record:
    values = {
        "request_id": f"{number}",
        "at": 1_800_000_000.0,
        "account": "joe",
        "algorithm_id": None,
        "revision_id": None,
        "reference": "joe/echo",
        "seconds": 0.5,
        "status": 200,
        "kind": None,
        "message": None,
        "input_head": None,
        "parent": None,
        **members,
    }
    return cast("Record", tuple(values.values()))


@pytest.fixture
def double() -> BusDouble:
    return BusDouble()


@pytest.fixture
def bus(double: BusDouble) -> Bus:
    return cast("Bus", double)


async def test_records_are_announced_in_their_order_and_in_parts(double: BusDouble, bus: Bus) -> None:
    records = Records(10_000, lambda: "gateway-1")
    for number in range(BATCH + 10):
        records.add(record(number))
    await records.flush(bus)
    assert [len(message.records) for message in double.messages] == [BATCH, 10]
    assert double.messages[0].gateway == "gateway-1"
    assert double.ids == [f"{number}" for number in range(BATCH + 10)]
    assert (records.waiting, records.dropped) == (0, 0)


async def test_one_flush_sends_a_bounded_number(double: BusDouble, bus: Bus) -> None:
    records = Records(10_000, lambda: "")
    for number in range(BATCH * BATCHES + 1):
        records.add(record(number))
    await records.flush(bus)
    assert (len(double.ids), records.waiting) == (BATCH * BATCHES, 1)


async def test_without_a_bus_they_wait(double: BusDouble, bus: Bus) -> None:
    records = Records(10_000, lambda: "")
    for number in range(3):
        records.add(record(number))
    double.down = True
    with pytest.raises(BusUnavailable):
        await records.flush(bus)
    records.add(record(3))
    double.down = False
    await records.flush(bus)
    assert double.ids == ["0", "1", "2", "3"]


async def test_the_oldest_are_dropped_and_counted(double: BusDouble, bus: Bus) -> None:
    records = Records(5, lambda: "")
    for number in range(8):
        records.add(record(number))
    assert (records.waiting, records.dropped) == (5, 3)
    double.down = True
    with pytest.raises(BusUnavailable):
        await records.flush(bus)
    double.down = False
    await records.flush(bus)
    assert double.ids == ["3", "4", "5", "6", "7"]
    assert records.dropped == 3


async def test_texts_are_kept_as_a_database_takes_them(double: BusDouble, bus: Bus) -> None:
    records = Records(5, lambda: "")
    records.add(record(1, kind="InputError", message="m" * 5000 + "\0", input_head="a\0b"))
    await records.flush(bus)
    [one] = double.messages[0].records
    assert (len(one.error or ""), one.error_type, one.input_head) == (2000, "InputError", "a\ufffdb")
    records.add(record(2, kind="K\0" * 5000))
    await records.flush(bus)
    [one] = double.messages[1].records
    assert one.error_type == "K\ufffd" * 100


async def test_a_reference_is_kept_up_to_a_length(double: BusDouble, bus: Bus) -> None:
    records = Records(5, lambda: "")
    records.add(record(1, reference="joe/echo/" + "9" * 60_000))
    await records.flush(bus)
    [one] = double.messages[0].records
    assert one.reference == "joe/echo/" + "9" * 291


async def test_one_that_is_no_record_is_dropped_alone_and_counted(double: BusDouble, bus: Bus) -> None:
    records = Records(10, lambda: "")
    for number, status in enumerate((200, -10, 200)):
        records.add(record(number, status=status))
    double.down = True
    with pytest.raises(BusUnavailable):
        await records.flush(bus)
    double.down = False
    await records.flush(bus)
    assert (double.ids, records.waiting, records.dropped) == (["0", "2"], 0, 1)
    records.add(record(3, status=-10))
    records.add(record(4))
    assert [one.request_id for one in records.take(10)] == ["4"]
    assert (records.waiting, records.dropped) == (0, 2)


async def test_what_there_still_is_at_the_end_is_announced(double: BusDouble, bus: Bus) -> None:
    records = Records(10_000, lambda: "")
    async with tasks(records.run(bus)):
        await asyncio.sleep(0)
        for number in range(BATCH * 2 + 1):
            records.add(record(number))
    assert double.ids == [f"{number}" for number in range(BATCH * 2 + 1)]
    assert records.waiting == 0


@pytest.mark.parametrize("hangs", [False, True])
async def test_a_bus_that_takes_nothing_holds_up_the_end_for_a_moment_only(
    double: BusDouble, bus: Bus, monkeypatch: pytest.MonkeyPatch, hangs: bool
) -> None:
    monkeypatch.setattr("services.gateway.records.FAREWELL_SECONDS", 0.05)
    records = Records(10, lambda: "")
    double.down, double.hangs = not hangs, hangs
    async with asyncio.timeout(PATIENCE):
        async with tasks(records.run(bus)):
            await asyncio.sleep(0)
            records.add(record(1))
    assert (double.ids, records.waiting) == ([], 1)
