"""Signing keys: made before they are needed, published before they sign, kept until no token needs them.

The rows are the truth, so that several instances of fakts sign with the same key.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import uuid4

from joserfc import jws, jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeyParameters, KeySet, RSAKey
from sqlalchemy import delete, select
from sqlalchemy.ext.asyncio import AsyncSession

from libs.common import db, logs
from libs.common.auth import LEEWAY_SECONDS
from libs.common.db import Database
from services.fakts import locks
from services.fakts.master_key import MasterKey
from services.fakts.models import SigningKey
from services.fakts.plan import KeyPolicy, KeyTimes, pending, plan_keys
from services.fakts.settings import FaktsSettings

log = logs.get(__name__)

ALGORITHM = "RS256"
_BITS = 2048


class SigningKeys:
    """The platform's signing keys."""

    def __init__(self, database: Database, master: MasterKey, settings: FaktsSettings) -> None:
        self._database = database
        self._master = master
        self._policy = KeyPolicy(
            period=timedelta(seconds=settings.signing_key_seconds),
            lead=timedelta(seconds=settings.signing_key_lead_seconds),
            keep=timedelta(seconds=settings.access_token_seconds + settings.signing_key_grace_seconds),
        )
        self._private: dict[str, RSAKey] = {}
        self._known: Sequence[SigningKey] = ()
        self._known_public = KeySet([])
        self._known_until = 0.0

    async def maintain(self) -> None:
        """Make the next key when it is time, and forget keys that nothing needs any more. Idempotent."""
        async with self._database.transaction() as session:
            await locks.take(session, locks.SIGNING_KEYS)
            now = db.now()
            plan = plan_keys(now, [_times(row) for row in await _rows(session)], self._policy)
            if plan.create_for is not None:
                await self._create(session, plan.create_for)
            if plan.delete:
                await session.execute(delete(SigningKey).where(SigningKey.kid.in_(plan.delete)))
                log.info("signing_keys_deleted", kids=list(plan.delete))
        self._known_until = 0.0

    async def rotate(self, session: AsyncSession) -> SigningKey:
        """Make the next key now. While one waits for its time to sign, it is that one: asking twice makes one."""
        await locks.take(session, locks.SIGNING_KEYS)
        rows = await _rows(session)
        now = db.now()
        if waiting := pending(now, [_times(row) for row in rows]):
            return next(row for row in rows if row.kid == waiting.kid)
        return await self._create(session, now + self._policy.lead)

    async def jwks(self) -> dict[str, Any]:
        """All keys that a living token may be signed with, and the next one (RFC 7517)."""
        async with self._database.transaction() as session:
            return {"keys": [row.public for row in await _rows(session)]}

    async def sign(self, session: AsyncSession, claims: Mapping[str, Any]) -> str:
        """A JWT (RFC 7519) with the current key."""
        row = await self._current(session)
        header = {"alg": ALGORITHM, "kid": row.kid}
        return jwt.encode(header, dict(claims), self._open(row), algorithms=[ALGORITHM])

    async def read(self, session: AsyncSession, token: str) -> dict[str, Any] | None:
        """The claims of a JWT that one of these keys signed, however long ago it expired; None for any other text."""
        await self._look(session)
        try:
            return dict(jwt.decode(token, self._known_public, algorithms=[ALGORITHM]).claims)
        except (JoseError, ValueError):
            return None

    async def claims(self, session: AsyncSession, token: str) -> dict[str, Any] | None:
        """The claims of a valid JWT of this platform, else None.

        As the other services check it, and on the session at hand: whoever holds a connection must not wait for
        another one.
        """
        claims = await self.read(session, token)
        try:
            registry = jwt.JWTClaimsRegistry(leeway=LEEWAY_SECONDS, exp={"essential": True}, sub={"essential": True})
            registry.validate(claims or {})
        except (JoseError, ValueError):
            return None
        return claims

    async def sign_digest(self, session: AsyncSession, digest: str, *, kind: str) -> str:
        """A compact JWS (RFC 7515) over the text `sha256:DIGEST`, which brings its public key along.

        It is no token: the text holds no claims, and `kind`, its `typ`, says what it is for.
        """
        row = await self._current(session)
        public = {name: row.public[name] for name in ("kty", "n", "e")}
        header = {"alg": ALGORITHM, "kid": row.kid, "typ": kind, "jwk": public}
        return jws.serialize_compact(header, f"sha256:{digest}", self._open(row), algorithms=[ALGORITHM])

    async def _current(self, session: AsyncSession) -> SigningKey:
        """The key to sign with now."""
        await self._look(session)
        plan = plan_keys(db.now(), [_times(row) for row in self._known], self._policy)
        return next(row for row in self._known if row.kid == plan.signing)

    async def _look(self, session: AsyncSession) -> None:
        """Read the rows, unless the copy of them is young.

        A key waits for `lead` before it signs, so a copy that is younger than that knows of each key whose time has
        come, and of each that signed a token.
        """
        if self._known_until <= time.monotonic():
            until = time.monotonic() + self._policy.lead.total_seconds() / 2
            self._known = await _rows(session)
            for row in self._known:
                session.expunge(row)  # else it would go empty when what this session does is undone
            self._known_public = KeySet([RSAKey.import_key(row.public) for row in self._known])
            self._known_until = until

    def check(self, row: SigningKey) -> None:
        """Raises MasterKeyFault when the master key at hand did not seal this key."""
        self._open(row)

    async def _create(self, session: AsyncSession, signs_from: datetime) -> SigningKey:
        kid = str(uuid4())
        parameters: KeyParameters = {"kid": kid, "use": "sig", "alg": ALGORITHM}
        key = await asyncio.to_thread(RSAKey.generate_key, _BITS, parameters)
        row = SigningKey(
            kid=kid,
            public=dict(key.as_dict(private=False)),
            private=self._master.seal(key.as_pem(private=True), name=f"signing key {kid}"),
            signs_from=signs_from,
        )
        session.add(row)
        await session.flush()
        log.info("signing_key_created", kid=kid, signs_from=signs_from.isoformat())
        return row

    def _open(self, row: SigningKey) -> RSAKey:
        if row.kid not in self._private:
            pem = self._master.open(row.private, name=f"signing key {row.kid}")
            self._private[row.kid] = RSAKey.import_key(pem, {"kid": row.kid, "use": "sig", "alg": ALGORITHM})
        return self._private[row.kid]


async def _rows(session: AsyncSession) -> list[SigningKey]:
    return list((await session.scalars(select(SigningKey).order_by(SigningKey.signs_from))).all())


def _times(row: SigningKey) -> KeyTimes:
    return KeyTimes(row.kid, row.signs_from)
