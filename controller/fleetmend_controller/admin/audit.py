"""The audit trail: what operators did and what was refused to whom, and whether the journal is whole."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import AsyncGenerator
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from fleetmend.v1 import admin_pb2 as pb

from ..store.journal import Head, JournalDamaged
from ..store.tables import journal
from .case import show
from .desk import Desk
from .hosts import find_host_id
from .paging import decode_token, encode_token, page_size


class _Left(Exception):
    """The caller has gone: the walk may stop."""


async def list_audit(desk: Desk, request: pb.ListAuditRequest) -> pb.ListAuditResponse:
    """A page of the trail, newest first."""
    size = page_size(request.page_size)
    place = decode_token(request.page_token, (int,))
    query = sa.select(journal.c.seq, journal.c.at_ms, journal.c.host, journal.c.body).where(journal.c.kind == "audit")
    if request.host:
        query = query.where(journal.c.host == await find_host_id(desk, request.host))
    if request.since_ms:
        query = query.where(journal.c.at_ms >= request.since_ms)
    if request.what:
        # Canonical JSON has one way to write it. A like text inside the detail is sorted out below.
        query = query.where(journal.c.body.contains(f'"what":{json.dumps(request.what)}', autoescape=True))
    if place is not None:
        query = query.where(journal.c.seq < place[0])
    rows = await desk.store.read(lambda c: c.execute(query.order_by(journal.c.seq.desc()).limit(size + 1)).all())
    entries = [entry for row in rows[:size] if (entry := _entry(row, request.what)) is not None]
    token = encode_token(rows[size - 1].seq) if len(rows) > size else ""
    return pb.ListAuditResponse(entries=entries, next_page_token=token)


async def verify_audit(desk: Desk) -> AsyncGenerator[pb.VerifyAuditResponse, None]:
    """Walk the chain on a reader's thread; progress on the way, the verdict at the end."""
    loop = asyncio.get_running_loop()
    steps: asyncio.Queue[tuple[int, int] | None] = asyncio.Queue()
    left = threading.Event()

    def progress(done: int, total: int) -> None:
        if left.is_set():
            raise _Left
        loop.call_soon_threadsafe(steps.put_nowait, (done, total))

    def walk(connection: Connection) -> Head:
        return desk.verify(connection, progress)

    task = asyncio.ensure_future(desk.store.read(walk))
    task.add_done_callback(lambda _: steps.put_nowait(None))
    try:
        while (step := await steps.get()) is not None:
            yield pb.VerifyAuditResponse(rows_checked=step[0], rows_total=step[1])
        yield _verdict(task)
    finally:
        left.set()


def _verdict(task: asyncio.Future[Head]) -> pb.VerifyAuditResponse:
    try:
        head = task.result()
    except JournalDamaged as damage:
        rows = max(0, damage.seq - 1)
        verdict = pb.AuditVerdict(intact=False, rows=rows, bad_seq=damage.seq, problem=str(damage))
        return pb.VerifyAuditResponse(rows_checked=rows, verdict=verdict)
    verdict = pb.AuditVerdict(intact=True, rows=head.seq)
    return pb.VerifyAuditResponse(rows_checked=head.seq, rows_total=head.seq, verdict=verdict)


def _entry(row: Any, what: str) -> pb.AuditEntry | None:
    body = json.loads(row.body)
    if what and body["what"] != what:
        return None
    detail = {str(name): show(value) for name, value in body.get("detail", {}).items()}
    return pb.AuditEntry(seq=row.seq, at_ms=row.at_ms, what=body["what"], who=body["who"], host_id=row.host, detail=detail)
