"""Run by Alembic."""

from libs.common.db import run_migrations
from services.deployer.models import Base

run_migrations(Base)
