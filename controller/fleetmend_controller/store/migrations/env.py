"""Alembic's entry: migrations run online, on the URL that store.migrate hands over."""

from alembic import context

from fleetmend_controller.store.engine import open_engine
from fleetmend_controller.store.tables import metadata

engine = open_engine(context.config.attributes["url"])
with engine.connect() as connection:
    context.configure(connection=connection, target_metadata=metadata)
    with context.begin_transaction():
        context.run_migrations()
    connection.commit()
engine.dispose()
