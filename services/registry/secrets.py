"""Secrets of algorithms: environment variables of their replicas. Encrypted at rest, never told again to people.

Each value is sealed with AES-256-GCM (NIST SP 800-38D) under a fresh nonce, bound to its row, so that a value that
is moved to another row does not open there.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import re
from collections.abc import Collection, Sequence
from typing import Annotated
from uuid import UUID, uuid4

import orjson
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from pydantic import BaseModel, Field
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from libs.common.contracts.bundles import SatelliteSecrets
from libs.common.contracts.identity import Principal
from libs.common.db import now
from libs.common.problems import Conflict, Invalid, NotFound
from services.registry import store
from services.registry.audit import Audit
from services.registry.catalog import Catalog
from services.registry.models import Algorithm, Build, Secret

NONCE_BYTES = 12
MAX_SECRETS = 100
MAX_VALUE_BYTES = 64 * 1024
RESERVED = frozenset({"ALGORITHMIA_API", "ALGORITHMIA_API_KEY"})
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,254}")

ShortName = Annotated[str, Field(min_length=1, max_length=100)]
Description = Annotated[str, Field(max_length=10_000)]


class SecretUnreadable(RuntimeError):
    """The stored value does not open with this installation's key."""


class SecretCreate(BaseModel):
    """`POST .../secrets`. Other members of the published request are ignored: there is one provider."""

    short_name: ShortName
    secret_key: str
    """Name of the environment variable."""
    secret_value: str
    description: Description | None = None


class SecretUpdate(BaseModel):
    """`PUT .../secrets/ID`: what is absent stays."""

    short_name: ShortName | None = None
    secret_key: str | None = None
    secret_value: str | None = None
    description: Description | None = None


class Cipher:
    """Seals and opens values under one key, made from the text that the configuration has."""

    def __init__(self, key: str) -> None:
        self._aead = AESGCM(hashlib.sha256(key.encode()).digest())
        self._salting = hashlib.sha256(b"salt\0" + key.encode()).digest()

    def salt(self, content: bytes) -> str:
        """The same for the same content, and nothing that anybody without the key could guess."""
        return hmac.digest(self._salting, content, "sha256").hex()

    def seal(self, row: UUID, value: str) -> bytes:
        nonce = os.urandom(NONCE_BYTES)
        return nonce + self._aead.encrypt(nonce, value.encode(), row.bytes)

    def open(self, row: UUID, sealed: bytes) -> str:
        """Raises SecretUnreadable."""
        try:
            return self._aead.decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], row.bytes).decode()
        except InvalidTag:
            raise SecretUnreadable(f"secret {row} was stored under another secrets key") from None


class Secrets:
    def __init__(self, cipher: Cipher, catalog: Catalog, audit: Audit) -> None:
        self._cipher = cipher
        self._catalog = catalog
        self._audit = audit

    async def add(self, session: AsyncSession, algorithm_id: UUID, asked: SecretCreate, who: Principal) -> Secret:
        """Raises Invalid, Conflict when the short name or the variable is taken."""
        algorithm = await store.locked(session, algorithm_id)
        others = await listed(session, algorithm.id)
        if len(others) >= MAX_SECRETS:
            raise Invalid(f"an algorithm has at most {MAX_SECRETS} secrets; remove one first")
        moment, new_id = now(), uuid4()
        secret = Secret(
            id=new_id,
            algorithm_id=algorithm.id,
            short_name=asked.short_name,
            variable=_variable(asked.secret_key),
            description=asked.description or "",
            sealed=self._cipher.seal(new_id, _value(asked.secret_value)),
            created_at=moment,
            modified_at=moment,
        )
        _check_free(secret, others)
        session.add(secret)
        await self._changed(session, algorithm, secret, who, "create")
        return secret

    async def edit(
        self, session: AsyncSession, algorithm_id: UUID, secret_id: UUID, asked: SecretUpdate, who: Principal
    ) -> Secret:
        """Raises NotFound with code 8008, Invalid, Conflict."""
        algorithm = await store.locked(session, algorithm_id)
        others = await listed(session, algorithm.id)
        secret = _find(others, secret_id)
        secret.short_name = asked.short_name or secret.short_name
        if asked.secret_key is not None:
            secret.variable = _variable(asked.secret_key)
        if asked.description is not None:
            secret.description = asked.description
        if asked.secret_value is not None:
            secret.sealed = self._cipher.seal(secret.id, _value(asked.secret_value))
        secret.modified_at = now()
        _check_free(secret, others)
        await self._changed(session, algorithm, secret, who, "update")
        return secret

    async def remove(self, session: AsyncSession, algorithm_id: UUID, secret_id: UUID, who: Principal) -> None:
        """Raises NotFound with code 8008."""
        algorithm = await store.locked(session, algorithm_id)
        secret = _find(await listed(session, algorithm.id), secret_id)
        await session.delete(secret)
        await self._changed(session, algorithm, secret, who, "delete")

    async def environment(self, session: AsyncSession, revision_id: UUID) -> tuple[int, dict[str, str]]:
        """Version and variables for the replicas of a revision. Raises NotFound, SecretUnreadable."""
        query = select(Algorithm).join(Build).where(Build.id == revision_id)
        algorithm = (await session.execute(query)).scalar_one_or_none()
        if algorithm is None:
            raise NotFound(f"there is no revision {revision_id}")
        secrets = await listed(session, algorithm.id)
        return algorithm.secrets_version, {one.variable: self._cipher.open(one.id, one.sealed) for one in secrets}

    async def carried(self, session: AsyncSession, algorithms: Collection[UUID]) -> SatelliteSecrets:
        """All variables of some algorithms, to be carried away. Raises SecretUnreadable."""
        query = select(Secret).where(Secret.algorithm_id.in_(algorithms)).order_by(Secret.variable)
        found: dict[UUID, dict[str, str]] = {}
        for secret in (await session.execute(query)).scalars():
            found.setdefault(secret.algorithm_id, {})[secret.variable] = self._cipher.open(secret.id, secret.sealed)
        salted = orjson.dumps({str(one): found[one] for one in sorted(found)})
        return SatelliteSecrets(salt=self._cipher.salt(salted), algorithms=found)

    async def _changed(
        self, session: AsyncSession, algorithm: Algorithm, secret: Secret, who: Principal, act: str
    ) -> None:
        algorithm.secrets_version += 1
        subject = f"{algorithm.owner}/{algorithm.name}"
        self._audit.record(session, who, f"secret.{act}", subject, f"{secret.short_name} ({secret.variable})")
        await self._catalog.tell(session, algorithm)


async def listed(session: AsyncSession, algorithm_id: UUID) -> Sequence[Secret]:
    query = select(Secret).where(Secret.algorithm_id == algorithm_id).order_by(Secret.created_at, Secret.id)
    return (await session.execute(query)).scalars().all()


async def get(session: AsyncSession, algorithm_id: UUID, secret_id: UUID) -> Secret:
    """Raises NotFound with code 8008."""
    return _find(await listed(session, algorithm_id), secret_id)


def _find(secrets: Sequence[Secret], secret_id: UUID) -> Secret:
    found = next((one for one in secrets if one.id == secret_id), None)
    if found is None:
        raise NotFound(f"there is no secret {secret_id}", code=8008)
    return found


def _check_free(secret: Secret, others: Sequence[Secret]) -> None:
    for other in others:
        if other.id == secret.id:
            continue
        if other.short_name == secret.short_name:
            raise Conflict(
                f"there is a secret '{secret.short_name}' already; edit that one or take another short_name"
            )
        if other.variable == secret.variable:
            raise Conflict(f"the secret '{other.short_name}' sets {secret.variable} already")


def _variable(name: str) -> str:
    if not _VARIABLE.fullmatch(name):
        raise Invalid("secret_key names an environment variable: a letter or _, then letters, digits or _")
    if name in RESERVED:
        raise Invalid(f"secret_key: the platform sets {name} itself; take another name")
    return name


def _value(text: str) -> str:
    if "\0" in text:
        raise Invalid("secret_value: an environment variable cannot hold a NUL character")
    if len(text.encode()) > MAX_VALUE_BYTES:
        raise Invalid(f"secret_value: at most {MAX_VALUE_BYTES} bytes")
    return text
