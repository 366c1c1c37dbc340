"""User ids: one for each replica, one for each owner."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from services.worker.users import COUNT, OWNERS_FROM, NoUserLeft, Users

FIRST = 300_000


def test_ids_of_replicas_are_distinct_and_come_back_late() -> None:
    users = Users(FIRST, own_users=True)
    first, second = users.take(), users.take()
    assert (first, second) == (FIRST + 1, FIRST + 2)
    users.give_back(first)
    assert users.take() == FIRST + 3
    users.keep(FIRST + 4)
    assert users.take() == FIRST + 5


def test_ids_end() -> None:
    users = Users(FIRST, own_users=True)
    taken = {users.take() for _ in range(OWNERS_FROM - 1)}
    assert len(taken) == OWNERS_FROM - 1
    assert max(uid for uid in taken if uid is not None) < FIRST + OWNERS_FROM
    with pytest.raises(NoUserLeft):
        users.take()
    users.give_back(FIRST + 77)
    assert users.take() == FIRST + 77


def test_without_ids_all_answers_are_none(tmp_path: Path) -> None:
    users = Users(FIRST, own_users=False)
    assert users.take() is None
    users.give_back(None)
    users.keep(None)
    assert users.own(tmp_path / "joe") is None
    assert (tmp_path / "joe").is_dir()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives folders away")
def test_an_owner_keeps_its_id_and_nobody_gets_it_later(tmp_path: Path) -> None:
    joe = Users(FIRST, own_users=True).own(tmp_path / "joe")
    assert joe == FIRST + OWNERS_FROM
    assert (tmp_path / "joe").stat().st_uid == joe
    (tmp_path / "joe").rmdir()
    users = Users(FIRST, own_users=True)
    assert users.own(tmp_path / "sue") == FIRST + OWNERS_FROM + 1
    assert users.own(tmp_path / "joe") == joe
    (tmp_path / "last.uid").write_text(str(FIRST + COUNT - 1))
    with pytest.raises(NoUserLeft):
        users.own(tmp_path / "another")
