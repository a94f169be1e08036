"""Access to the database: one writer thread that commits in groups, readers on their own connections."""

from __future__ import annotations

import asyncio
import queue
import sqlite3
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine

T = TypeVar("T")

GROUP_MAX = 256
READERS_MAX = 4


class StoreUnavailable(RuntimeError):
    """The database cannot be written now (full disk, gone server). Nothing of the call was kept."""


class Store:
    """The one door to the database.

    `write` runs a function on the writer thread. What waits at the same time shares one transaction and one sync; each call
    sits in a savepoint, so that one call's error undoes only its own work. A call returns after the commit.
    """

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self._jobs: queue.SimpleQueue[tuple[Callable[[Connection], Any], Future[Any]] | None] = queue.SimpleQueue()
        self._readers = ThreadPoolExecutor(READERS_MAX, thread_name_prefix="store-read")
        self._writer = threading.Thread(target=self._write_loop, name="store-write", daemon=True)
        self._writer.start()

    async def write(self, job: Callable[[Connection], T]) -> T:
        """Run `job` in the next group transaction; its value once that is durable. StoreUnavailable if it cannot be."""
        return await asyncio.wrap_future(self.write_soon(job))

    def write_soon(self, job: Callable[[Connection], T]) -> Future[T]:
        """As `write`, for callers without an event loop."""
        future: Future[T] = Future()
        self._jobs.put((job, future))
        return future

    async def read(self, job: Callable[[Connection], T]) -> T:
        """Run `job` on a read connection in a worker thread."""
        return await asyncio.get_running_loop().run_in_executor(self._readers, self.read_now, job)

    def read_now(self, job: Callable[[Connection], T]) -> T:
        """Run `job` on a read connection in this thread."""
        with self.engine.connect().execution_options(fleetmend_reader=True) as connection:
            return job(connection)

    def close(self) -> None:
        """Finish what waits, then let go of the database."""
        self._jobs.put(None)
        self._writer.join()
        self._readers.shutdown()
        self.engine.dispose()

    def _write_loop(self) -> None:
        while (first := self._jobs.get()) is not None:
            group = [first]
            last = False
            while len(group) < GROUP_MAX and not self._jobs.empty():
                job = self._jobs.get()
                if job is None:
                    last = True
                    break
                group.append(job)
            self._commit_group(group)
            if last:
                return

    def _commit_group(self, group: list[tuple[Callable[[Connection], Any], Future[Any]]]) -> None:
        finished: list[tuple[Future[Any], Any]] = []
        waiting = [future for _, future in group]
        try:
            with self.engine.begin() as connection:
                for job, future in group:
                    self._run_in_savepoint(connection, job, future, finished)
        except (sa.exc.SQLAlchemyError, sqlite3.Error, OSError) as error:
            unavailable = StoreUnavailable(f"cannot write to the store: {_plain(error)}")
            unavailable.__cause__ = error
            for future in waiting:
                if not future.done():
                    future.set_exception(unavailable)
            return
        for future, value in finished:
            future.set_result(value)

    @staticmethod
    def _run_in_savepoint(
        connection: Connection, job: Callable[[Connection], Any], future: Future[Any], finished: list[tuple[Future[Any], Any]]
    ) -> None:
        if not future.set_running_or_notify_cancel():
            return
        savepoint = connection.begin_nested()
        try:
            value = job(connection)
            savepoint.commit()
        except sa.exc.OperationalError:
            # The database itself failed: the whole group must fail, not one call.
            raise
        except BaseException as error:  # noqa: BLE001 - handed to the caller; the writer thread must live
            savepoint.rollback()
            future.set_exception(error)
        else:
            finished.append((future, value))


def _plain(error: BaseException) -> str:
    original = getattr(error, "orig", None) or error
    return str(original).strip() or type(original).__name__


def open_engine(url: str) -> Engine:
    """An engine for a SQLAlchemy URL, with the pragmas that make SQLite durable: WAL and a sync at each commit."""
    engine = sa.create_engine(url, pool_pre_ping=not url.startswith("sqlite"))
    if engine.dialect.name == "sqlite":
        sa.event.listen(engine, "connect", _configure_sqlite)
        sa.event.listen(engine, "begin", _begin_immediate)
    return engine


def _configure_sqlite(connection: Any, _record: object) -> None:
    # pysqlite's own transaction handling breaks savepoints; SQLAlchemy emits BEGIN itself.
    connection.isolation_level = None
    cursor = connection.cursor()
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "busy_timeout=5000", "foreign_keys=ON", "cache_size=-4096"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _begin_immediate(connection: Connection) -> None:
    reader = connection.get_execution_options().get("fleetmend_reader", False)
    connection.exec_driver_sql("BEGIN" if reader else "BEGIN IMMEDIATE")
