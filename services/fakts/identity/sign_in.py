"""Who somebody is that gives a name and a password."""

from __future__ import annotations

from libs.common.contracts.references import NAME
from libs.common.problems import Unauthenticated
from services.fakts.context import Context
from services.fakts.identity import accounts
from services.fakts.models import User

MAX_NAME = 255
_WRONG = "wrong user name or password"


async def with_password(context: Context, username: str, password: str, *, address: str) -> User:
    """The user, if the password is right. No connection is held while the hash is computed.

    Args:
        address: where the person is, as far as the edge knows; empty if it does not. Failed attempts are counted
            per name and address, and per address.

    Raises:
        Unauthenticated: for a wrong password and an unknown name, after the same time and in the same words.
        TooMany: after too many failures.
    """
    if len(username) > MAX_NAME:
        raise Unauthenticated(_WRONG)
    context.attempts.begin(username, address)
    user = None
    if NAME.fullmatch(username):
        async with context.database.transaction() as session:
            user = await accounts.find(session, username)
    right = await context.passwords.verify(user.password_hash if user is not None else None, password)
    if user is None or not right:
        raise Unauthenticated(_WRONG)
    context.attempts.succeeded(username, address)
    return user
