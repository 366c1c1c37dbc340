"""What a gateway keeps on disk."""

from __future__ import annotations

from pathlib import Path
from uuid import UUID

from services.gateway import kept
from services.gateway.kept import Kept


def test_what_was_kept_is_found_again_by_its_owner_alone(tmp_path: Path) -> None:
    data_dir = tmp_path / "gateway"
    before = Kept(instance_id="i", call_token_secret="s", jwks={"keys": []})
    kept.save(data_dir, before)
    assert kept.load(data_dir) == before
    assert (data_dir / kept.FILE).stat().st_mode & 0o777 == 0o600
    assert [path.name for path in data_dir.iterdir()] == [kept.FILE]


def test_a_first_start_has_nothing_but_a_new_id(tmp_path: Path) -> None:
    found = kept.load(tmp_path)
    assert UUID(found.instance_id)
    assert (found.call_token_secret, found.jwks) == (None, None)


def test_a_broken_file_is_no_file(tmp_path: Path) -> None:
    for text in ("", "[]", "{", '{"instance_id": 5}'):
        (tmp_path / kept.FILE).write_text(text)
        assert kept.load(tmp_path).call_token_secret is None


def test_a_place_that_cannot_be_written_is_no_reason_to_stop(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    kept.save(tmp_path / "file" / "gateway", Kept(instance_id="i"))
