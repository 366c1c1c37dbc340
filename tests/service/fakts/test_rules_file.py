"""The rules that a deployment begins with."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from libs.common.problems import Invalid
from tests.service.fakts.running import running, settings_for


async def test_a_file_of_rules_is_read_once_and_must_be_one(fakts_url: str, tmp_path: Path) -> None:
    file = tmp_path / "rules.json"
    settings = settings_for(fakts_url, tmp_path, rules_file=file)

    async def rules_after_a_start() -> list[str]:
        async with running(settings) as fakts:
            found = await fakts.ask("GET", "/admin/v1/rules", 200)
            return [rule["name"] for rule in found["rules"]]

    with pytest.raises(Invalid, match="cannot be read"):
        await rules_after_a_start()
    for content, words in [
        ("[]", "holds no rules"),
        ('{"rules": [{"name": "a", "strategy": "x"}]}', "no strategy 'x'"),
    ]:
        file.write_text(content)
        with pytest.raises(Invalid, match=words):
            await rules_after_a_start()
    file.write_text(json.dumps({"rules": [{"name": "staff only", "strategy": "staff"}]}))
    assert await rules_after_a_start() == ["staff only"]
    file.write_text(json.dumps({"rules": [{"name": "anybody", "strategy": "signed-in"}]}))
    assert await rules_after_a_start() == ["staff only"]
