"""The master key: the one secret that is not in the database. All keys at rest are sealed with it or made from it."""

from __future__ import annotations

import base64
import binascii
import os
import secrets
from functools import cached_property
from pathlib import Path
from uuid import UUID

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from services.fakts.settings import FaktsSettings

FILE_NAME = "master.key"
_BYTES = 32
_NONCE_BYTES = 12


class MasterKeyFault(Exception):
    """There is no usable master key. The message says why, and what to do."""


class MasterKey:
    """Derives the platform's long-lived secrets (HKDF, RFC 5869) and seals what is kept in rows (AES-256-GCM).

    The derived secrets are the same on every start: what other services encrypted stays readable.
    """

    def __init__(self, secret: bytes) -> None:
        if len(secret) != _BYTES:
            raise MasterKeyFault(f"the master key must be base64 of {_BYTES} bytes, this one has {len(secret)}")
        self._secret = secret
        self._cipher = AESGCM(self._derive("rows"))

    @property
    def call_token_secret(self) -> str:
        """What gateways sign call tokens with. 32 bytes in URL-safe base64."""
        return _text(self._derive("call tokens"))

    @cached_property
    def edge_secret(self) -> str:
        """What gateways vouch for addresses of clients with. 32 bytes in URL-safe base64."""
        return _text(self._derive("addresses of clients"))

    @property
    def secrets_key(self) -> str:
        """What the registry encrypts the secrets of algorithms with. 32 bytes in URL-safe base64."""
        return _text(self._derive("secrets of algorithms"))

    def client_secret(self, client_id: UUID) -> str:
        """The secret of an app that speaks version 1 of the Fakts protocol. It is told again at every claim, so it is
        derived, and the app's row holds its digest."""
        return _text(self._derive(f"client secret {client_id}")).rstrip("=")

    def claim_token(self, client_id: UUID) -> str:
        """The token with which such an app claims its configuration, at every start."""
        return _text(self._derive(f"claim token {client_id}")).rstrip("=")

    def report_key(self, launch_id: UUID) -> str:
        """The mandate key with which a launch that services bring to run reports. It is told again with every order,
        so it is derived, and the mandate's row holds its digest."""
        return _text(self._derive(f"report key {launch_id}")).rstrip("=")

    def seal(self, data: bytes, *, name: str) -> bytes:
        """Encrypt. What is sealed under one name does not open under another."""
        nonce = secrets.token_bytes(_NONCE_BYTES)
        return nonce + self._cipher.encrypt(nonce, data, name.encode())

    def open(self, sealed: bytes, *, name: str) -> bytes:
        """Decrypt. Raises MasterKeyFault for what another master key sealed."""
        try:
            return self._cipher.decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], name.encode())
        except InvalidTag:
            raise MasterKeyFault(
                "the keys in the database were sealed with another master key; "
                f"put the right one back into CONSTELLATION_MASTER_KEY or DATA_DIR/{FILE_NAME}"
            ) from None

    def _derive(self, purpose: str) -> bytes:
        info = f"constellation {purpose}".encode()
        return HKDF(algorithm=hashes.SHA256(), length=_BYTES, salt=None, info=info).derive(self._secret)


def load(settings: FaktsSettings, *, create: bool) -> MasterKey:
    """The master key of the settings, or the one in the data directory.

    Args:
        create: make the file if it is missing. Only right while nothing was ever sealed.

    Raises:
        MasterKeyFault: there is none, it is malformed, or others can read its file.
    """
    if settings.master_key is not None:
        return MasterKey(_bytes(settings.master_key.get_secret_value(), "CONSTELLATION_MASTER_KEY"))
    file = settings.data_dir / FILE_NAME
    if create:
        _create(file)
    try:
        mode = file.stat().st_mode
        text = file.read_text(encoding="ascii")
    except FileNotFoundError:
        raise MasterKeyFault(
            f"{file} is missing, but the database holds keys that were sealed with it; "
            "restore the file from a backup, or set CONSTELLATION_MASTER_KEY"
        ) from None
    except (OSError, ValueError) as error:
        raise MasterKeyFault(f"{file} cannot be read: {error}") from None
    if mode & 0o077:
        raise MasterKeyFault(f"{file} can be read by others than its owner; run: chmod 600 {file}")
    return MasterKey(_bytes(text, str(file)))


def _create(file: Path) -> None:
    """Write a new key, unless there is one. Another process may do the same just now: the first one wins."""
    if file.exists():
        return
    file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    part = file.with_name(f".{FILE_NAME}.{secrets.token_hex(4)}")
    descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "w") as out:
            out.write(_text(secrets.token_bytes(_BYTES)) + "\n")
            out.flush()
            os.fsync(out.fileno())
        try:
            os.link(part, file)
        except FileExistsError:
            return
    finally:
        part.unlink()


def _bytes(text: str, source: str) -> bytes:
    """Either base64 alphabet, with or without padding."""
    plain = text.strip().rstrip("=").replace("-", "+").replace("_", "/")
    try:
        return base64.b64decode(plain + "=" * (-len(plain) % 4), validate=True)
    except (binascii.Error, ValueError):
        raise MasterKeyFault(f"{source} is not base64") from None


def _text(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode()
