from __future__ import annotations

from typing import Any

import pytest

from libs.common.contracts.identity import Role
from services.gateway.data.acl import DEFAULT, Access, InvalidAcl, Visitor, access, open_to, parse
from services.gateway.data.paths import DataPath

PRIVATE: tuple[str, ...] = ()
PUBLIC = ("user://*",)
NONE, READ, WRITE = Access.NONE, Access.READ, Access.WRITE
OF_JOE = DataPath("joe", "c")


def visitor(account: str = "mia", allows: str = "rw", algorithm: str = "", **organizations: Role) -> Visitor:
    return Visitor(account, organizations, "r" in allows, "w" in allows, algorithm)


@pytest.mark.parametrize(
    ("who", "private", "default", "public"),
    [
        (visitor("joe"), WRITE, WRITE, WRITE),
        (visitor("joe", "r"), READ, READ, READ),
        (visitor("joe", ""), NONE, NONE, NONE),
        (visitor("mia"), NONE, NONE, READ),
        (visitor("mia", ""), NONE, NONE, NONE),
        (visitor("mia", joe=Role.OWNER), WRITE, WRITE, WRITE),
        (visitor("mia", joe=Role.MEMBER), WRITE, WRITE, WRITE),
        (visitor("mia", joe=Role.EXECUTOR), READ, READ, READ),
        (visitor("mia", "", joe=Role.OWNER), NONE, NONE, NONE),
        (visitor("mia", "rw", "joe/echo"), NONE, READ, READ),
        (visitor("mia", "", "joe/echo"), NONE, READ, READ),
        (visitor("mia", "rw", "eva/echo"), NONE, NONE, READ),
        (visitor("mia", "", "eva/echo"), NONE, NONE, NONE),
        (visitor("joe", "rw", "eva/echo"), WRITE, WRITE, WRITE),
        (visitor("joe", "", "eva/echo"), NONE, NONE, NONE),
    ],
)
def test_a_list_opens_a_collection_to_readers_and_writing_stays_the_owners(
    who: Visitor, private: Access, default: Access, public: Access
) -> None:
    assert [access(who, OF_JOE, acl) for acl in (PRIVATE, DEFAULT, PUBLIC)] == [private, default, public]
    # What a search for such collections goes by says the same.
    if not who.belongs_to("joe"):
        seen = [bool(open_to(who, "joe").intersection(acl)) for acl in (PRIVATE, DEFAULT, PUBLIC)]
        assert seen == [bool(each) for each in (private, default, public)]


@pytest.mark.parametrize(
    ("who", "own", "other"),
    [
        (visitor("mia", "", "joe/echo"), WRITE, NONE),
        (visitor("mia", "rw", "joe/echo"), WRITE, READ),
        (visitor("mia", "rw"), WRITE, WRITE),
        (visitor("mia", "r"), READ, READ),
        (visitor("mia", ""), NONE, NONE),
    ],
)
def test_data_of_an_algorithm_is_its_own_and_its_callers(who: Visitor, own: Access, other: Access) -> None:
    places = [DataPath("mia", f".algo/{name}/temp") for name in ("joe/echo", "joe/other")]
    assert [access(who, place, PRIVATE) for place in places] == [own, other]
    assert access(who, DataPath("mia", ".session/req-1"), PRIVATE) is WRITE


@pytest.mark.parametrize("entries", [[], ["algo://.my/*"], ["user://*"]])
def test_the_three_lists_are_read(entries: list[str]) -> None:
    assert parse({"read": entries}) == tuple(entries)


@pytest.mark.parametrize("value", [None, [], {}, {"read": None}, {"read": ["user://joe"]}, {"read": [["user://*"]]}])
def test_other_lists_are_refused_and_the_known_ones_named(value: Any) -> None:
    with pytest.raises(InvalidAcl, match=r"algo://\.my/\*"):
        parse(value)
