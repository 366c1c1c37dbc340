"""What the scopes of access tokens allow (RFC 6749, section 3.3). Pure.

Apps may ask for any word, as services that are no part of the platform have their own; on the platform only these
give anything. A token of an account acts as the account does, but only as far as they go.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from libs.common.contracts.identity import Permissions

CALL, MANAGE, DATA_READ, DATA_WRITE, ADMIN = "algo:call", "algo:manage", "data:read", "data:write", "admin"
REPORT = "satellite:report"
"""For the gateways of a launch, which log in with a mandate's key. Nothing for an app that acts for a person."""
PLATFORM_SCOPES = frozenset({CALL, MANAGE, DATA_READ, DATA_WRITE, ADMIN, REPORT})

WORDS: Mapping[str, str] = {
    CALL: "Call algorithms as you",
    MANAGE: "Manage your algorithms, organizations and keys",
    DATA_READ: "Read your data",
    DATA_WRITE: "Read, change and delete your data",
    ADMIN: "Administer the whole platform, as far as you may",
    REPORT: "Report of a satellite, if it is one",
    "openid": "Know which account is yours",
    "profile": "See your name",
    "email": "See your e-mail address",
    "offline_access": "Stay signed in while you are away",
}
"""What a person reads before approving, by scope."""


def permissions_of(scopes: Iterable[str]) -> Permissions:
    """What a token with these scopes may do with its account's algorithms and data.

    Writing includes reading, and an app may be one that runs in a browser.
    """
    given = frozenset(scopes)
    return Permissions(
        allow_algo=CALL in given,
        allow_web_algo=not given.isdisjoint((CALL, DATA_READ, DATA_WRITE)),
        allow_algo_management=MANAGE in given,
        allow_data=not given.isdisjoint((DATA_READ, DATA_WRITE)),
        allow_data_write=DATA_WRITE in given,
    )


def administers(scopes: Iterable[str]) -> bool:
    """The token reaches administrators' routes, if its account is an administrator's."""
    return ADMIN in scopes


def reads(scopes: Iterable[str]) -> bool:
    """The token may see what the account sees of accounts and algorithms: what it calls or manages."""
    return not frozenset(scopes).isdisjoint((CALL, MANAGE, ADMIN))
