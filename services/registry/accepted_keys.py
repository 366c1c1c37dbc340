"""Which API keys a satellite version accepts: those that may call one of its algorithms when it is made.

A version keeps them, so that a satellite knows its callers where nobody can be asked. Where somebody can, a key that
was revoked since is refused all the same.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from datetime import datetime

import orjson
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from libs.common.contracts.identity import Account, Key
from libs.common.directory import Directory
from services.registry.models import AcceptedKeys


def accepted(directory: Directory, algorithms: Iterable[tuple[str, str, bool]], now: datetime) -> dict[str, str]:
    """SHA-256 of each key that may call one of the algorithms now, with the name of its account.

    Args:
        algorithms: owner and name of each, and whether everybody may call it.
    """
    wanted = list(algorithms)
    found = {}
    for digest, key in directory.keys.items():
        account = directory.accounts.get(key.owner)
        if account is None or not account.active or not _in_force(key, now):
            continue
        if any(_may_call(key, account, owner, name, public=public) for owner, name, public in wanted):
            found[digest] = account.name
    return found


async def keep(session: AsyncSession, keys: Mapping[str, str]) -> str:
    """Keep the set; its digest names it."""
    ordered = dict(sorted(keys.items()))
    digest = hashlib.sha256(orjson.dumps(ordered)).hexdigest()
    await session.execute(insert(AcceptedKeys).values(digest=digest, keys=ordered).on_conflict_do_nothing())
    return digest


def _in_force(key: Key, now: datetime) -> bool:
    return key.permissions.allow_algo and not key.admin and (key.expires_at is None or key.expires_at > now)


def _may_call(key: Key, account: Account, owner: str, name: str, *, public: bool) -> bool:
    insider = account.name == owner or owner in account.organizations
    allowed = {"algo://*", f"algo://{owner}/*", f"algo://{owner}/{name}/*"}
    return (public or insider) and not allowed.isdisjoint(key.permissions.algo_acl)
