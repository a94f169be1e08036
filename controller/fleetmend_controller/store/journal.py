"""The journal: every event and decision in one chain of hashes. Truth for recovery, explain and audit."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from .tables import journal, journal_head

GENESIS = hashlib.sha256(b"fleetmend journal v1").digest()
VERIFY_CHUNK_ROWS = 5_000


@dataclass(frozen=True, slots=True)
class Entry:
    """A row to append. `kind` is event, decision or audit; `host` and `incident` may be empty."""

    kind: str
    at_ms: int
    host: str
    incident: str
    body: str


@dataclass(frozen=True, slots=True)
class Head:
    """The newest row: where the chain ends."""

    seq: int
    hash: bytes


class JournalDamaged(RuntimeError):
    """The journal was altered, cut or broken; `seq` is the first row that is wrong."""

    def __init__(self, seq: int, text: str) -> None:
        super().__init__(
            f"cannot trust the journal: {text}. Restore the database from a backup, or move it away to start anew."
        )
        self.seq = seq


def chain(before: bytes, seq: int, epoch: int, entry: Entry) -> bytes:
    """The hash of a row: over the hash before it and every field, each with its length."""
    digest = hashlib.sha256(before)
    for part in (str(seq), str(epoch), str(entry.at_ms), entry.kind, entry.host, entry.incident, entry.body):
        raw = part.encode()
        digest.update(len(raw).to_bytes(4, "big"))
        digest.update(raw)
    return digest.digest()


def head_mac(master: bytes, head: Head) -> bytes:
    """The seal of the chain's end. Made with a secret that is not in the database, so a cut tail cannot be re-sealed."""
    return hmac.new(master, b"fleetmend journal head" + head.seq.to_bytes(8, "big") + head.hash, hashlib.sha256).digest()


def append(connection: Connection, master: bytes, head: Head, epoch: int, entries: list[Entry]) -> Head:
    """Append rows after `head` and move the sealed head, in the caller's transaction. Returns the new head.

    A second writer would collide on the primary key: the insert fails and nothing is written.
    """
    rows = []
    seq, link = head.seq, head.hash
    for entry in entries:
        seq += 1
        link = chain(link, seq, epoch, entry)
        rows.append(
            {
                "seq": seq,
                "epoch": epoch,
                "at_ms": entry.at_ms,
                "kind": entry.kind,
                "host": entry.host,
                "incident": entry.incident,
                "body": entry.body,
                "hash": link,
            }
        )
    connection.execute(journal.insert(), rows)
    new = Head(seq, link)
    values = {"seq": new.seq, "hash": new.hash, "mac": head_mac(master, new)}
    if connection.execute(journal_head.update().where(journal_head.c.id == 1).values(**values)).rowcount == 0:
        connection.execute(journal_head.insert().values(id=1, **values))
    return new


def read_head(connection: Connection, master: bytes) -> Head:
    """The sealed end of the chain; JournalDamaged if the seal is wrong or missing, or not that of the newest row."""
    head = _sealed_end(connection, master)
    newest = _newest(connection)
    if newest != head.seq:
        raise _wrong_end(newest, head)
    return head


def _sealed_end(connection: Connection, master: bytes) -> Head:
    row = connection.execute(sa.select(journal_head.c.seq, journal_head.c.hash, journal_head.c.mac)).one_or_none()
    if row is None:
        newest = _newest(connection)
        if newest:
            raise JournalDamaged(newest, f"there are {newest} rows and no sealed end")
        return Head(0, GENESIS)
    head = Head(row.seq, bytes(row.hash))
    if not hmac.compare_digest(head_mac(master, head), bytes(row.mac)):
        raise JournalDamaged(head.seq, f"the seal of its end, row {head.seq}, does not match")
    return head


def _newest(connection: Connection) -> int:
    return connection.execute(sa.select(sa.func.max(journal.c.seq))).scalar() or 0


def _wrong_end(newest: int, head: Head) -> JournalDamaged:
    return JournalDamaged(min(newest, head.seq) + 1, f"it ends at row {newest}, its sealed end is row {head.seq}")


def verify(connection: Connection, master: bytes, progress: Callable[[int, int], None] | None = None) -> Head:
    """Walk the whole chain; JournalDamaged names the first row that is wrong."""
    head = _sealed_end(connection, master)
    link, expected = GENESIS, 0
    for seq, epoch, entry, stored in _readable(connection):
        expected += 1
        if seq != expected:
            raise JournalDamaged(expected, f"row {expected} is missing")
        link = chain(link, seq, epoch, entry)
        if link != stored:
            raise JournalDamaged(seq, f"row {seq} ({entry.kind}) does not match its hash")
        if progress is not None and seq % VERIFY_CHUNK_ROWS == 0:
            progress(seq, head.seq)
    if expected != head.seq:
        raise _wrong_end(expected, head)
    if link != head.hash:
        raise JournalDamaged(head.seq, f"row {head.seq} is not the sealed end")
    if progress is not None:
        progress(expected, head.seq)
    return head


def _readable(connection: Connection) -> Iterator[tuple[int, int, Entry, bytes]]:
    """As `scan` from the start, but a row that the database itself cannot read is named like any other damage."""
    last = 0
    try:
        for row in scan(connection, 0):
            last = row[0]
            yield row
    except (sa.exc.DatabaseError, ValueError, TypeError) as error:
        seq = _first_unreadable(connection, last)
        raise JournalDamaged(seq, f"row {seq} cannot be read") from error


def _first_unreadable(connection: Connection, after_seq: int) -> int:
    """The chunk that failed is read again row by row."""
    for seq in range(after_seq + 1, after_seq + 1 + VERIFY_CHUNK_ROWS):
        try:
            row = connection.execute(sa.select(journal).where(journal.c.seq == seq)).one_or_none()
            if row is None or not isinstance(row.at_ms, int) or not isinstance(row.hash, bytes):
                return seq
        except (sa.exc.DatabaseError, ValueError, TypeError):
            return seq
    return after_seq + 1


def scan(connection: Connection, after_seq: int) -> Iterator[tuple[int, int, Entry, bytes]]:
    """Rows after a seq, in order, in bounded chunks: (seq, epoch, entry, hash)."""
    columns = (
        journal.c.seq,
        journal.c.epoch,
        journal.c.at_ms,
        journal.c.kind,
        journal.c.host,
        journal.c.incident,
        journal.c.body,
        journal.c.hash,
    )
    while True:
        rows = connection.execute(
            sa.select(*columns).where(journal.c.seq > after_seq).order_by(journal.c.seq).limit(VERIFY_CHUNK_ROWS)
        ).all()
        for row in rows:
            body = row.body if isinstance(row.body, str) else repr(row.body)
            yield row.seq, row.epoch, Entry(str(row.kind), row.at_ms, str(row.host), str(row.incident), body), bytes(row.hash)
        if len(rows) < VERIFY_CHUNK_ROWS:
            return
        after_seq = rows[-1].seq
