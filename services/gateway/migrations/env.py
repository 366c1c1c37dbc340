"""Run by Alembic."""

from libs.common.db import run_migrations
from services.gateway.models import Base

run_migrations(Base)
