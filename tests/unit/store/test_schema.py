"""The migrations lead to exactly the tables that the code uses."""

from pathlib import Path

from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from fleetmend_controller.store.engine import open_engine
from fleetmend_controller.store.migrate import SCHEMA, ensure_schema, upgrade
from fleetmend_controller.store.tables import metadata


def test_migrations_and_tables_agree(tmp_path: Path):
    url = f"sqlite:///{tmp_path / 'x.db'}"
    upgrade(url)
    engine = open_engine(url)
    with engine.connect() as connection:
        context = MigrationContext.configure(connection)
        assert compare_metadata(context, metadata) == []
        assert context.get_current_revision() == SCHEMA
    engine.dispose()


def test_a_fresh_database_is_brought_up_in_a_child(tmp_path: Path):
    engine = open_engine(f"sqlite:///{tmp_path / 'x.db'}")
    ensure_schema(engine)
    with engine.connect() as connection:
        assert MigrationContext.configure(connection).get_current_revision() == SCHEMA
    engine.dispose()
