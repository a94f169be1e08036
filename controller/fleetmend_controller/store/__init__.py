"""Durable state: SQLAlchemy Core on SQLite (WAL, one writer thread, group commit) or PostgreSQL."""
