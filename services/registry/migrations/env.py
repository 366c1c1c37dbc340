"""Run by Alembic."""

from libs.common.db import run_migrations
from services.registry.models import Base

run_migrations(Base)
