"""What tests of the gateway's parts begin with."""

from __future__ import annotations

import pytest

from services.gateway.clock import Clock
from services.gateway.pool import Pools


@pytest.fixture
def pools() -> Pools:
    """They connect to nothing."""
    return Pools(
        clock=Clock(),
        spawn=lambda _: None,
        notice=lambda: None,
        queue_limit=1,
        connect_seconds=1,
        start_patience=1,
    )
