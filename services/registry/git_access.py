"""Who pushes and fetches: Basic authentication as git sends it, or any other header that the platform accepts.

An account with its password, an account with one of its API keys, or `x` with an API key. A key may be
percent-encoded, as it must be in an address.
"""

from __future__ import annotations

import re
from typing import Protocol
from urllib.parse import unquote

from libs.common.auth import Authenticator
from libs.common.contracts.identity import FULL_PERMISSIONS, Account, Principal, PrincipalKind
from libs.common.directory import Directory, credential
from libs.common.problems import Unauthenticated

CHALLENGE = {"WWW-Authenticate": 'Basic realm="Constellation", charset="UTF-8"'}
ANYBODY = "x"
_KEY_FORM = re.compile(r"sim[A-Za-z0-9+/]{24}1")


class Passwords(Protocol):
    """Answers whose password it is."""

    async def verify_password(self, username: str, password: str) -> Account | None: ...


async def principal(
    authorization: str | None, authenticator: Authenticator, directory: Directory, passwords: Passwords
) -> Principal:
    """For whom git asks. Raises Unauthenticated with the challenge that makes git ask its user."""
    found = credential(authorization)
    if found is None:
        raise _challenge("authentication required: your account with its password or an API key")
    scheme, value = found
    if scheme != "basic":
        try:
            known = await authenticator.authenticate(authorization)
        except Unauthenticated as refused:
            raise _challenge(refused.detail) from None
    else:
        user, _, secret = value.partition(":")
        known = await _basic(user, secret, authenticator, directory, passwords)
    if known is None or known.kind is not PrincipalKind.ACCOUNT:
        raise _challenge("wrong account, password or API key")
    return known


async def _basic(
    user: str, secret: str, authenticator: Authenticator, directory: Directory, passwords: Passwords
) -> Principal | None:
    if not secret:
        return None
    for key in dict.fromkeys((secret, unquote(secret))):
        found = directory.principal(key)
        if found is None and _KEY_FORM.fullmatch(key):
            found = await authenticator.of_key(key)
        if found is not None:
            return found if user in (found.name, ANYBODY) else None
    account = await passwords.verify_password(user, secret)
    return _of_account(account) if account is not None and account.active else None


def _of_account(account: Account) -> Principal:
    """Somebody who knows the account's password may do all that the account may."""
    return Principal(
        kind=PrincipalKind.ACCOUNT,
        name=account.name,
        account_id=account.id,
        staff=account.staff,
        session_limit=account.session_limit,
        permissions=FULL_PERMISSIONS,
        organizations=account.organizations,
    )


def _challenge(detail: str) -> Unauthenticated:
    return Unauthenticated(detail, headers=CHALLENGE)
