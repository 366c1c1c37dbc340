"""Codes that people see."""

from __future__ import annotations

import re

from services.fakts.preflight import codes


def test_a_code_is_short_and_of_letters_that_are_not_taken_for_others() -> None:
    assert re.fullmatch(f"[{codes.ALPHABET}]{{4}}-[{codes.ALPHABET}]{{4}}", codes.new(codes.SHORT))
    assert len(codes.normal(codes.new(codes.LONG))) == codes.LONG
    assert not set(codes.ALPHABET) & set("AEIOUY01")
    assert len({codes.new(codes.SHORT) for _ in range(100)}) == 100


def test_a_code_is_read_however_it_was_typed() -> None:
    for typed in ("WDJB-MJHT", "wdjbmjht", " wdjb mjht\n", "wd.jb_mj-ht", "WDJBMJHT"):
        assert codes.normal(typed) == "WDJBMJHT"
