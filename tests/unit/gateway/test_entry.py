"""How a gateway that serves meanwhile enters the platform."""

from __future__ import annotations

from pathlib import Path

import pytest

from libs.common.loops import tasks
from services.gateway.call_tokens import CallTokens
from services.gateway.entry import Entry
from services.gateway.settings import GatewaySettings
from tests.support.eventually import eventually
from tests.unit.common.test_join import ANSWERS, PAGE, URL, Fakts


class Callers:
    """Those of the gateway, as far as the entry tells them something."""

    tokens: CallTokens | None = None


@pytest.mark.parametrize("path", list(ANSWERS))
async def test_it_joins_after_something_else_answered_in_the_place_of_fakts(tmp_path: Path, path: str) -> None:
    fakts = Fakts()
    fakts.odd[path] = (200, PAGE)
    settings = GatewaySettings(fakts_url=URL, join_token="t", data_dir=tmp_path, advertised="gateway.example", port=1)
    async with fakts.client as http:
        entry = Entry(http, settings)
        async with tasks(entry.stay(Callers())):  # type: ignore[arg-type]
            await eventually(entry.inside.is_set)
