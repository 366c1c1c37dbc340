"""Alembic's way into fakts' schema."""

from __future__ import annotations

from libs.common.db import run_migrations
from services.fakts.models import Base

run_migrations(Base)
