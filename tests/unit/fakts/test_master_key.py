"""The master key."""

from __future__ import annotations

import base64
import stat
from pathlib import Path

import pytest
from pydantic import SecretStr

from services.fakts.master_key import MasterKey, MasterKeyFault, load
from services.fakts.settings import FaktsSettings

SECRET = bytes(range(200, 232))


def settings(directory: Path, key: str | None = None) -> FaktsSettings:
    return FaktsSettings(
        database_url=SecretStr("postgresql://localhost/x"),
        join_token=SecretStr("x" * 16),
        data_dir=directory,
        master_key=SecretStr(key) if key is not None else None,
    )


def test_what_is_sealed_opens_under_its_name_and_its_key_only() -> None:
    master = MasterKey(SECRET)
    sealed = master.seal(b"data", name="a")
    assert b"data" not in sealed
    assert sealed != master.seal(b"data", name="a")
    assert master.open(sealed, name="a") == b"data"
    for other, name, bytes_ in [
        (master, "b", sealed),
        (MasterKey(SECRET[::-1]), "a", sealed),
        (master, "a", sealed[:-1] + bytes([sealed[-1] ^ 1])),
    ]:
        with pytest.raises(MasterKeyFault, match="another master key"):
            other.open(bytes_, name=name)


def test_derived_secrets_are_stable_different_and_32_bytes() -> None:
    one, same, other = MasterKey(SECRET), MasterKey(SECRET), MasterKey(SECRET[::-1])
    derived = [(key.call_token_secret, key.edge_secret, key.secrets_key) for key in (one, same, other)]
    assert derived[0] == derived[1]
    found = {*derived[0], *derived[2]}
    assert len(found) == 6
    assert {len(base64.urlsafe_b64decode(text)) for text in found} == {32}


@pytest.mark.parametrize("encode", [base64.b64encode, base64.urlsafe_b64encode])
def test_a_key_in_the_settings_may_be_in_either_alphabet(tmp_path: Path, encode: object) -> None:
    assert callable(encode)
    text = encode(SECRET).decode()
    for spelling in (text, text.rstrip("="), f" {text}\n"):
        assert load(settings(tmp_path, spelling), create=True).secrets_key == MasterKey(SECRET).secrets_key
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("key", "words"), [("AAAA", "32 bytes"), ("not base64!", "not base64")])
def test_a_malformed_key_is_refused_without_being_shown(tmp_path: Path, key: str, words: str) -> None:
    with pytest.raises(MasterKeyFault, match=words) as refused:
        load(settings(tmp_path, key), create=True)
    assert key not in str(refused.value)


def test_the_file_is_made_once_private_and_never_when_it_must_be_there(tmp_path: Path) -> None:
    given = settings(tmp_path / "data")
    with pytest.raises(MasterKeyFault, match="is missing"):
        load(given, create=False)
    first = load(given, create=True)
    file = tmp_path / "data" / "master.key"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert load(given, create=True).secrets_key == load(given, create=False).secrets_key == first.secrets_key
    assert [one.name for one in file.parent.iterdir()] == ["master.key"]


def test_a_file_that_others_read_or_that_holds_no_key_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "master.key"
    file.write_text("nothing")
    file.chmod(0o640)
    with pytest.raises(MasterKeyFault, match="chmod 600"):
        load(settings(tmp_path), create=True)
    file.chmod(0o600)
    with pytest.raises(MasterKeyFault, match="32 bytes"):
        load(settings(tmp_path), create=True)
