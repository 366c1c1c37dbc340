"""What an algorithm prints: captured per call, logged, and given back to memory."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from services.worker.runner.output import KEPT_BYTES, OutputLog, open_output, read_call, size_of

MIB = 1 << 20


@pytest.fixture
def output() -> Iterator[int]:
    descriptor = open_output()
    yield descriptor
    os.close(descriptor)


def test_what_was_printed_in_a_range_is_read(output: int) -> None:
    os.write(output, b"before")
    start = size_of(output)
    os.write(output, "f\u00fcr \ud7ff".encode() + b"\xff")
    assert read_call(output, start, size_of(output)) == "f\u00fcr \ud7ff\ufffd"
    assert read_call(output, 1000, size_of(output)).startswith("before")


def test_long_output_keeps_its_beginning_and_its_end(output: int) -> None:
    os.write(output, b"a" * MIB + b"cut" + b"z" * MIB)
    text = read_call(output, 0, size_of(output))
    assert text.startswith("a" * (KEPT_BYTES // 2))
    assert text.endswith("z" * (KEPT_BYTES // 2))
    assert f"{MIB + 3} bytes of output cut here" in text
    assert read_call(output, 0, size_of(output), 4) == f"aa\n... {2 * MIB - 1} bytes of output cut here ...\nzz"


def test_the_log_has_all_of_it_and_memory_is_given_back(output: int, tmp_path: Path) -> None:
    log = OutputLog(output, str(tmp_path / "log"))
    os.write(output, b"one\n")
    assert not log.collect([])
    os.write(output, b"two\n")
    log.collect([])
    log.note("three")
    assert (tmp_path / "log").read_text() == "one\ntwo\n[runner] three\n"
    os.write(output, b"x" * MIB)
    assert log.collect([])
    assert os.fstat(output).st_blocks * 512 < MIB // 2
    assert size_of(output) == MIB + 8


def test_output_that_a_call_will_ask_for_is_held(output: int, tmp_path: Path) -> None:
    log = OutputLog(output, str(tmp_path / "log"))
    os.write(output, b"x" * MIB)
    hold = size_of(output)
    os.write(output, b"y" * MIB)
    log.collect([hold])
    assert read_call(output, hold, size_of(output)) == "y" * MIB
    for _ in range(20):
        os.write(output, b"z" * MIB)
        log.collect([hold])
    assert os.fstat(output).st_blocks * 512 < 4 * MIB
    text = read_call(output, hold, size_of(output))
    assert text.startswith("y" * (KEPT_BYTES // 2))
    assert text.endswith("z" * (KEPT_BYTES // 2))


def test_output_that_grew_far_begins_anew_when_no_call_holds_it(output: int, tmp_path: Path) -> None:
    log = OutputLog(output, str(tmp_path / "log"))
    os.ftruncate(output, 65 * MIB)
    log.collect([64 * MIB])
    assert size_of(output) == 65 * MIB
    log.collect([])
    assert size_of(output) == 0
    os.write(output, b"again")
    log.collect([])
    assert (tmp_path / "log").read_bytes().endswith(b"again")


def test_output_of_a_call_that_grew_past_all_bounds_loses_its_beginning_and_says_so(
    output: int, tmp_path: Path
) -> None:
    log = OutputLog(output, str(tmp_path / "log"))
    os.ftruncate(output, 600 * MIB)
    hold = 100 * MIB
    log.collect([hold])
    os.write(output, b"later")
    log.collect([hold])
    assert read_call(output, hold, size_of(output)) == "... earlier output cut here ...\nlater"


def test_the_log_is_turned_over_before_it_grows_too_large(output: int, tmp_path: Path) -> None:
    log = OutputLog(output, str(tmp_path / "log"))
    for number in range(12):
        os.write(output, b"%d" % (number % 10) * MIB)
        log.collect([])
    assert {path.name for path in tmp_path.iterdir()} == {"log", "log.1", "log.start"}
    sizes = [(tmp_path / name).stat().st_size for name in ("log", "log.1")]
    assert sum(sizes) <= 4 * MIB


def test_what_is_printed_between_two_looks_is_cut_in_the_log(output: int, tmp_path: Path) -> None:
    log = OutputLog(output, str(tmp_path / "log"))
    os.write(output, b"a" * (5 * MIB))
    log.collect([])
    text = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    assert b"3145728 bytes of output cut here" in text
