"""Keeps the newest inventory of each host: sections wait a moment, then go into the table together."""

from __future__ import annotations

import json
import logging
from functools import partial
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from fleetmend.v1 import link_pb2

from ..store.engine import Store, StoreUnavailable
from ..store.tables import facts
from . import bounds

log = logging.getLogger(__name__)

SECTION_BYTES_MAX = 512 * 1024
SECTIONS_A_HOST_MAX = 64
WAITING_MAX = 20_000
BATCH = 500


class Inventory:
    """Sections on their way to the table `facts`; of each only the newest matters."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._waiting: dict[tuple[str, str], dict[str, Any]] = {}
        self._sections: dict[str, set[str]] = {}

    def offer(self, host: str, message: link_pb2.Facts, now_ms: int) -> list[str]:
        """Take the sections that can be used; why the others cannot."""
        problems: list[str] = []
        for section in message.sections:
            try:
                row = self._row(host, section, now_ms)
            except (bounds.Malformed, ValueError, RecursionError) as error:
                problems.append(str(error))
                continue
            before = self._waiting.get((host, section.name))
            if before is not None and not row["body"]:
                row["body"] = before["body"]
            self._waiting[host, section.name] = row
        return problems

    def forget(self, host: str) -> None:
        """The host was removed: nothing of it may be written any more."""
        self._sections.pop(host, None)
        for key in [key for key in self._waiting if key[0] == host]:
            del self._waiting[key]

    async def flush(self) -> None:
        """Write what waits; what cannot be written now waits for the next time."""
        while self._waiting:
            keys = list(self._waiting)[:BATCH]
            rows = {key: self._waiting.pop(key) for key in keys}
            try:
                await self._store.write(partial(_upsert, rows=list(rows.values())))
            except StoreUnavailable as error:
                self._waiting = {**rows, **self._waiting}
                log.warning("cannot keep inventory now: %s", error)
                return

    def _row(self, host: str, section: link_pb2.FactSection, now_ms: int) -> dict[str, Any]:
        name = bounds.identifier(section.name, "section")
        known = self._sections.setdefault(host, set())
        if name not in known and len(known) >= SECTIONS_A_HOST_MAX:
            raise bounds.Malformed(f"more than {SECTIONS_A_HOST_MAX} sections of one host")
        if len(self._waiting) >= WAITING_MAX and (host, name) not in self._waiting:
            raise bounds.Malformed("too many sections wait for the database")
        known.add(name)
        error = bounds.line(section.error, bounds.SUMMARY_CHARS_MAX)
        body = "" if error else _object(section.json)
        return {"host": host, "name": name, "at_ms": now_ms, "body": body, "error": error}


def _object(text: str) -> str:
    """The JSON object as it is kept: checked, and without control characters in its texts."""
    if len(text) > SECTION_BYTES_MAX:
        raise bounds.Malformed(f"a section is larger than {SECTION_BYTES_MAX} bytes")
    value = json.loads(text)
    if not isinstance(value, dict):
        raise bounds.Malformed("a section is not a JSON object")
    return json.dumps(_clean(value), sort_keys=True, separators=(",", ":"))


def _clean(value: Any) -> Any:
    if isinstance(value, str):
        return bounds.lines(value, SECTION_BYTES_MAX)
    if isinstance(value, list):
        return [_clean(item) for item in value]
    if isinstance(value, dict):
        return {bounds.line(str(name), bounds.SUMMARY_CHARS_MAX): _clean(item) for name, item in value.items()}
    return value


def _upsert(connection: Connection, rows: list[dict[str, Any]]) -> None:
    """A section that failed keeps its last known body and says why there is no newer one."""
    where = (facts.c.host == sa.bindparam("of"), facts.c.name == sa.bindparam("called"))
    for row in rows:
        values = {"at_ms": row["at_ms"], "error": row["error"]} | ({"body": row["body"]} if row["body"] else {})
        changed = connection.execute(facts.update().where(*where).values(**values), {"of": row["host"], "called": row["name"]})
        if changed.rowcount == 0:
            connection.execute(facts.insert().values(**row))
