"""What a gateway keeps on disk beside the feeds, to serve calls when it starts with all else down."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import Any
from uuid import uuid4

import orjson
from pydantic import BaseModel, ValidationError

FILE = "gateway.json"


class Kept(BaseModel, frozen=True):
    instance_id: str
    """The same over restarts."""
    call_token_secret: str | None = None
    jwks: dict[str, Any] | None = None
    """The platform's public signing keys."""


def load(data_dir: Path) -> Kept:
    """What was kept. A missing or broken file holds nothing."""
    try:
        return Kept.model_validate(orjson.loads((data_dir / FILE).read_bytes()))
    except (OSError, orjson.JSONDecodeError, ValidationError):
        return Kept(instance_id=str(uuid4()))


def save(data_dir: Path, kept: Kept) -> None:
    """Whole or not at all, readable for this user only. A full disk is no reason not to serve."""
    part = data_dir / f"{FILE}.part"
    with contextlib.suppress(OSError):
        data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(kept.model_dump_json().encode())
        part.replace(data_dir / FILE)
