"""The gateway and the runner are written apart, and must use the same words."""

from __future__ import annotations

import pytest

from libs.common.contracts import runner
from services.gateway.options import MAX_TIMEOUT
from services.worker.runner import protocol


@pytest.mark.parametrize(
    "name",
    [
        "CALL_PATH",
        "REQUEST_ID",
        "TIMEOUT",
        "FLAGS",
        "CALLER",
        "REPLICA_TOKEN",
        "FLAG_STDOUT",
        "FLAG_TRACE",
        "FLAG_RAW",
        "OUTCOME",
        "OUTCOME_OK",
        "OUTCOME_ERROR",
        "OUTCOME_UNSTARTED",
        "DURATION",
    ],
)
def test_the_words_agree(name: str) -> None:
    assert getattr(runner, name) == getattr(protocol, name)


def test_the_media_types_agree() -> None:
    assert set(runner.MEDIA_TYPES) == set(protocol.KINDS)


def test_the_limits_agree() -> None:
    assert MAX_TIMEOUT == protocol.MAX_TIMEOUT_S
