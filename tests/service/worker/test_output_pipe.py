"""Reading what a program prints, with one owner for the descriptor."""

from __future__ import annotations

import asyncio
import os

import pytest

from services.worker.output_pipe import OutputPipe
from tests.support.eventually import eventually


async def test_everything_arrives_and_the_end_after_it() -> None:
    reading, writing = os.pipe()
    pipe = OutputPipe(reading)
    os.write(writing, b"one\ntwo")
    os.close(writing)
    assert await pipe.output.read() == b"one\ntwo"
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(reading)


async def test_closing_ends_the_wait_and_closes_the_descriptor_once() -> None:
    reading, writing = os.pipe()
    pipe = OutputPipe(reading)
    waiting = asyncio.create_task(pipe.output.read())
    await asyncio.sleep(0)
    pipe.close()
    assert await waiting == b""
    taken = os.open("/dev/null", os.O_RDONLY)
    pipe.close()
    os.fstat(taken)
    os.close(taken)
    os.close(writing)


async def test_a_program_that_prints_more_than_is_read_has_to_wait() -> None:
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    pipe = OutputPipe(reading)
    written = 0

    def full() -> bool:
        nonlocal written
        try:
            written += os.write(writing, b"x" * 65536)
        except BlockingIOError:
            return written > 1 << 20
        return False

    await eventually(full)
    assert written < 16 << 20
    os.close(writing)
    assert len(await pipe.output.read()) == written
