"""The registry's Alembic history."""
