"""The schema's version. Alembic costs 40 MB: the resident controller compares versions and leaves the work to a child."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.engine import Engine

SCHEMA = "0003"
MIGRATE_TIMEOUT_S = 600


class SchemaError(RuntimeError):
    """The database's schema cannot be brought to what this program needs."""


def ensure_schema(engine: Engine) -> None:
    """Bring the database to SCHEMA, in a child process if there is anything to do."""
    found = _version(engine)
    if found == SCHEMA:
        return
    if found is not None and found > SCHEMA:
        raise SchemaError(
            f"cannot use the database: its schema {found} is newer than this program's {SCHEMA}. Install the newer controller."
        )
    url = engine.url.render_as_string(hide_password=False)
    child = subprocess.run(
        [sys.executable, "-m", "fleetmend_controller.store.migrate"],
        input=url,
        text=True,
        capture_output=True,
        timeout=MIGRATE_TIMEOUT_S,
        check=False,
    )
    if child.returncode != 0:
        raise SchemaError(f"cannot migrate the database from {found or 'nothing'} to {SCHEMA}: {child.stderr.strip()[-2000:]}")


def upgrade(url: str) -> None:
    """Run the migrations. Imports Alembic: for the child process and for tests."""
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    config.attributes["url"] = url
    command.upgrade(config, "head")


def _version(engine: Engine) -> str | None:
    with engine.connect() as connection:
        if not sa.inspect(connection).has_table("alembic_version"):
            return None
        return connection.execute(sa.text("SELECT version_num FROM alembic_version")).scalar()


if __name__ == "__main__":
    upgrade(sys.stdin.read().strip())
