"""Who a registry is told that we are: given, or taken from Docker's own configuration."""

from __future__ import annotations

import base64
import binascii
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from libs.common.oci.references import DOCKER_HUB

_HUB_KEY = "https://index.docker.io/v1/"


class CredentialsUnusable(ValueError):
    """Docker's configuration cannot be used; the text says why, and holds no secret."""


@dataclass(frozen=True)
class Credentials:
    username: str
    password: str = field(default="", repr=False)
    identity_token: str = field(default="", repr=False)
    """For the registry's token service, in the place of a password."""

    @property
    def basic(self) -> str:
        """Value of an Authorization header (RFC 7617)."""
        return f"Basic {base64.b64encode(f'{self.username}:{self.password}'.encode()).decode()}"


def docker_config(environ: Mapping[str, str]) -> Path:
    """Where Docker's clients keep what `docker login` was told."""
    folder = environ.get("DOCKER_CONFIG")
    return Path(folder or Path(environ.get("HOME", "/nonexistent"), ".docker"), "config.json")


def from_docker_config(file: Path, registry: str) -> Credentials | None:
    """What a `config.json` has for a registry; None where it has nothing, or is not there.

    Raises:
        CredentialsUnusable: it is damaged, or leaves the registry's password to another program.
    """
    try:
        content = json.loads(file.read_bytes())
        entries, helpers = content.get("auths") or {}, content.get("credHelpers") or {}
        entry = next((entries[key] for key in _keys(registry) if key in entries), None)
        helper = next((helpers[key] for key in _keys(registry) if key in helpers), content.get("credsStore"))
        found = None if entry is None else _decode(entry)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, AttributeError, TypeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is damaged"
        raise CredentialsUnusable(f"{file} cannot be used for the registry {registry}: {reason}") from None
    if found is None and helper and (entry is not None or registry in helpers):
        raise CredentialsUnusable(
            f"{file} leaves the password of the registry {registry} to the program docker-credential-{helper},"
            " which is not asked here; give user and password"
        )
    return found


def _keys(registry: str) -> tuple[str, ...]:
    if registry == DOCKER_HUB:
        return (_HUB_KEY, registry)
    return (registry, f"https://{registry}", f"http://{registry}")


def _decode(entry: Mapping[str, Any]) -> Credentials | None:
    """Raises ValueError, and what other kinds of members cause."""
    username, password = entry.get("username", ""), entry.get("password", "")
    if packed := entry.get("auth"):
        try:
            username, _, password = base64.b64decode(packed, validate=True).decode().partition(":")
        except (binascii.Error, UnicodeError) as error:
            raise ValueError(str(error)) from None
    token = entry.get("identitytoken", "")
    return Credentials(username, password.rstrip("\0"), token) if username or token else None


def configured(registry: str) -> Credentials | None:
    """As `from_docker_config`, from where this process's user has it."""
    return from_docker_config(docker_config(os.environ), registry)
