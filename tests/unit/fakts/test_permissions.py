"""What one key may give to another."""

from __future__ import annotations

import pytest

from libs.common.contracts.identity import FULL_PERMISSIONS, Permissions
from services.fakts.identity.permissions import excess, is_acl_entry


def may(*flags: str, **more: object) -> Permissions:
    return Permissions.model_validate({**dict.fromkeys(flags, True), **more})


@pytest.mark.parametrize("entry", ["algo://*", "algo://jane/*", "algo://jane/Echo_2/*"])
def test_the_three_forms_of_an_entry_are_legal(entry: str) -> None:
    assert is_acl_entry(entry)


@pytest.mark.parametrize(
    "entry", ["", "*", "algo://", "algo://jane", "algo://jane/Echo", "algo://1/*", "algo://a/b/c/*"]
)
def test_nothing_else_is(entry: str) -> None:
    assert not is_acl_entry(entry)


@pytest.mark.parametrize(
    ("wanted", "held"),
    [
        (Permissions(), Permissions()),
        (FULL_PERMISSIONS, FULL_PERMISSIONS),
        (may("allow_algo", algo_acl=["algo://jane/*"]), may("allow_algo")),
        (may("allow_algo", algo_acl=["algo://jane/Echo/*"]), may("allow_algo", algo_acl=["algo://jane/*"])),
        (may(), may("allow_data", algo_acl=["algo://jane/*"])),
        (may("allow_web_algo", referer_host="e.org"), may("allow_web_algo", referer_host="e.org")),
        (may("allow_web_algo", referer_host="e.org"), may("allow_web_algo")),
    ],
)
def test_a_key_may_give_what_it_has(wanted: Permissions, held: Permissions) -> None:
    assert excess(wanted, held) == ""


@pytest.mark.parametrize(
    ("wanted", "held", "what"),
    [
        (may("allow_data"), may("allow_algo"), "allow_data"),
        (may("allow_data_write"), may("allow_data"), "allow_data_write"),
        (may("allow_algo"), may("allow_algo", algo_acl=["algo://jane/*"]), "algo_acl algo://*"),
        (
            may("allow_algo", algo_acl=["algo://janet/*"]),
            may("allow_algo", algo_acl=["algo://jane/*"]),
            "algo_acl algo://janet/*",
        ),
        (may("allow_web_algo"), may("allow_web_algo", referer_host="e.org"), "referer_host other than e.org"),
    ],
)
def test_what_it_has_not_is_named(wanted: Permissions, held: Permissions, what: str) -> None:
    assert excess(wanted, held) == what
