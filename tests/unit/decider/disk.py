"""A journal's disk that is full."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator

import sqlalchemy as sa

from fleetmend_controller.decider.loop import Decider
from fleetmend_controller.store.engine import Store

PAGES_MAX = 1_073_741_823


@contextlib.asynccontextmanager
async def full(store: Store) -> AsyncIterator[None]:
    """No page more for the database, on whichever connection: SQLite has the limit for each of them."""
    pages = [await store.read(lambda c: c.exec_driver_sql("PRAGMA page_count").scalar())]
    sa.event.listen(store.engine, "begin", lambda c: c.exec_driver_sql(f"PRAGMA max_page_count={pages[0]}"))
    yield
    pages[0] = PAGES_MAX


async def fill(decider: Decider) -> None:
    """Until a row has no room that is smaller than the one with which the decider tries again."""
    while True:
        await decider.audit("fill", "t", "", {})
