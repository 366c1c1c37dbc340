"""Who reports for which launch."""

from __future__ import annotations

from uuid import UUID

import pytest

from libs.common.contracts.satellites import reported, reporter

LAUNCH = UUID("6f2f7a5e-0a52-4a6c-9d3b-0c4a6b8d2e11")


def test_a_reporter_is_named_by_its_launch_and_by_nothing_else() -> None:
    assert reported(reporter(LAUNCH)) == LAUNCH


@pytest.mark.parametrize(
    "identifier", ["", "satellite.", str(LAUNCH), f"satellite.{LAUNCH}x", f"satellite.{str(LAUNCH).upper()}"]
)
def test_other_identifiers_are_no_reporters(identifier: str) -> None:
    assert reported(identifier) is None
