"""What must be there before fakts answers: the join token's mandate, the console's client, and on the first start an
administrator.

Safe to run on every start, and from several hosts at once.
"""

from __future__ import annotations

import os
import secrets
from pathlib import Path

import orjson
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from libs.common import logs
from libs.common.contracts.identity import FULL_PERMISSIONS
from libs.common.problems import Invalid
from services.fakts import locks
from services.fakts.context import Context
from services.fakts.fields import legal_name
from services.fakts.identity import accounts, api_keys
from services.fakts.identity.accounts import Profile
from services.fakts.identity.api_keys import NewKey
from services.fakts.models import Account, User
from services.fakts.oauth import console
from services.fakts.preflight import mandates, rule_list

log = logs.get(__name__)

STANDARD_LABEL, ADMIN_LABEL = "default-key", "admin-key"
_PASSWORD_BYTES = 18


async def prepare(context: Context) -> None:
    """Do all of it, in one transaction.

    Raises:
        Invalid: the settings name or give the first administrator a name or password that is not legal, or a file of
            rules that holds none.
        OSError: the administrator's credentials cannot be written; nothing was made.
    """
    settings = context.settings
    async with context.database.transaction() as session:
        await locks.take(session, locks.IDENTITY)
        await mandates.ensure_platform(session, settings.join_token.get_secret_value())
        await console.ensure(session)
        if settings.rules_file is not None:
            await rule_list.begin_with(session, settings.rules_file)
        user = await _first_administrator(session)
        if user is None:
            user = await accounts.create(session, context.feed, _name(settings.admin_username), Profile(), staff=True)
            await _give_credentials(session, context, user)
            log.info("administrator_created", username=user.name)
        elif settings.admin_recover:
            await api_keys.end_all(session, context.feed, user)
            await _give_credentials(session, context, user)
            log.warning("administrator_recovered", username=user.name)
        elif settings.admin_file is not None and not settings.admin_file.exists():
            log.warning(
                "admin_file_missing",
                file=str(settings.admin_file),
                hint="the administrator exists, and its credentials are shown only once; make new ones with another "
                "admin key (POST /admin/v1/keys), or start once with CONSTELLATION_ADMIN_RECOVER=true",
            )


async def _first_administrator(session: AsyncSession) -> User | None:
    """None while the platform has no account at all. Raises Invalid when none of its accounts is an administrator."""
    user = await session.scalar(select(User).where(User.staff, User.active).order_by(User.created_at).limit(1))
    if user is None and await session.scalar(select(func.count()).select_from(Account)):
        raise Invalid("the database has accounts, but no administrator; it was changed by hand")
    return user


async def _give_credentials(session: AsyncSession, context: Context, user: User) -> None:
    """A password and keys, in force with the commit. The file is written before, so that none is ever lost."""
    settings = context.settings
    given = settings.admin_password
    password = given.get_secret_value() if given is not None else secrets.token_urlsafe(_PASSWORD_BYTES)
    user.password_hash = await context.passwords.hash(password)
    standard = NewKey(label=STANDARD_LABEL, permissions=FULL_PERMISSIONS)
    _, api_key = await api_keys.create(session, context.feed, user, standard)
    _, admin_api_key = await api_keys.create(session, context.feed, user, NewKey(label=ADMIN_LABEL, admin=True))
    if settings.admin_file is not None:
        document = {
            "url": settings.public_url or f"http://{settings.advertised}:{settings.port}",
            "username": user.name,
            "password": password,
            "api_key": api_key,
            "admin_api_key": admin_api_key,
        }
        _write(settings.admin_file, orjson.dumps(document, option=orjson.OPT_INDENT_2) + b"\n")
    elif given is None:
        log.warning(
            "administrator_without_credentials",
            username=user.name,
            hint="set CONSTELLATION_ADMIN_FILE or CONSTELLATION_ADMIN_PASSWORD, and start once with "
            "CONSTELLATION_ADMIN_RECOVER=true",
        )


def _name(text: str) -> str:
    return legal_name(text, "CONSTELLATION_ADMIN_USERNAME")


def _write(file: Path, content: bytes) -> None:
    """Whole or not at all, and readable by its owner only."""
    file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    part = file.with_name(f".{file.name}.{secrets.token_hex(4)}")
    try:
        with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as out:
            out.write(content)
            out.flush()
            os.fsync(out.fileno())
        part.replace(file)
    finally:
        part.unlink(missing_ok=True)
