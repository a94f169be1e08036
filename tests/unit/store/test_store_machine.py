"""Journal and store under crashes, damage and stale deciders.

What was confirmed is there, what was not is there wholly or not at all, and a second decider never writes beside the first.
"""

from __future__ import annotations

import json
import shutil
import sqlite3
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
import sqlalchemy as sa
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from sqlalchemy.engine import Connection

from fleetmend_controller.core.flow import advance
from fleetmend_controller.core.model import Fleet, Host
from fleetmend_controller.decider import ledger
from fleetmend_controller.store import codec, journal
from fleetmend_controller.store.engine import Store, open_engine
from fleetmend_controller.store.journal import Entry, Head, JournalDamaged
from fleetmend_controller.store.migrate import upgrade
from fleetmend_controller.store.tables import journal as journal_table
from fleetmend_controller.store.tables import snapshots

from ..core.timeline import policy

MASTER = bytes(range(32))
TEXT = st.text(max_size=30)
ENTRIES = st.lists(
    st.builds(Entry, st.sampled_from(["decision", "audit"]), st.integers(0, 2**40), TEXT, TEXT, TEXT), min_size=1, max_size=4
)


class Died(RuntimeError):
    """The process ended here."""


def joined(number: int) -> Entry:
    body = {"type": "HostEnrolled", "at_ms": number, "host": f"h-{number}", "name": f"n{number}", "labels": {}}
    return Entry("event", number, f"h-{number}", "", codec.dumps(body))


class Deciders(RuleBasedStateMachine):
    """One database, the decider of the newest epoch, and one that was overtaken."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="fm-store-"))
        self.url = f"sqlite:///{self.folder / 'fleetmend.db'}"
        upgrade(self.url)
        self.store = Store(open_engine(self.url))
        # What was confirmed: the rows, the hosts in them, and where the chain ends.
        self.rows: list[Entry] = []
        self.hosts: list[str] = []
        self.head = Head(0, journal.GENESIS)
        self.epoch = 0
        self.stale: tuple[int, Head] | None = None

    def teardown(self) -> None:
        self.store.close()
        shutil.rmtree(self.folder)

    def write(self, job: Callable[[Connection], Head]) -> Head:
        return self.store.write_soon(job).result(timeout=10)

    @initialize()
    def take_over_first(self):
        self.epoch = self.store.write_soon(lambda c: ledger.take_lease(c, "first", 0)).result(timeout=10)

    @rule(entries=ENTRIES)
    def append(self, entries):
        def job(connection: Connection) -> Head:
            ledger.check_epoch(connection, self.epoch)
            return journal.append(connection, MASTER, self.head, self.epoch, entries)

        self.head = self.write(job)
        self.rows += entries

    @rule()
    def enrol(self):
        entry = joined(len(self.hosts) + 1)
        self.append([entry])
        self.hosts.append(entry.host)

    @rule(entries=ENTRIES, after=st.sampled_from(["check", "rows"]))
    def die_before_the_commit(self, entries, after):
        """Nothing of it may be there."""

        def job(connection: Connection) -> Head:
            ledger.check_epoch(connection, self.epoch)
            if after == "rows":
                journal.append(connection, MASTER, self.head, self.epoch, entries)
            raise Died

        with pytest.raises(Died):
            self.write(job)

    @rule(entries=ENTRIES)
    def die_between_two_writes_of_another_process(self, entries):
        """A writer that was killed inside its transaction leaves a hot journal behind; the next one to open rolls it back."""
        connection = sqlite3.connect(self.folder / "fleetmend.db")
        connection.execute("BEGIN IMMEDIATE")
        seq = self.head.seq + 1
        row = (seq, self.epoch, 0, "audit", "", "", entries[0].body, b"x")
        connection.execute("INSERT INTO journal VALUES (?, ?, ?, ?, ?, ?, ?, ?)", row)
        connection.close()

    @rule(entries=ENTRIES)
    def commit_without_being_heard(self, entries):
        """The commit was durable, the decider died before it knew: after a reopening all of it is there."""
        self.write(lambda c: journal.append(c, MASTER, self.head, self.epoch, entries))
        self.rows += entries
        self.reopen()

    @rule()
    def reopen(self):
        self.store.close()
        self.store = Store(open_engine(self.url))
        self.head = self.store.read_now(lambda c: journal.read_head(c, MASTER))

    @rule()
    def overtake(self):
        """Another decider takes the lease; this one does not know yet."""
        self.stale = (self.epoch, self.head)
        self.epoch = self.store.write_soon(lambda c: ledger.take_lease(c, "next", 0)).result(timeout=10)
        assert self.epoch == self.stale[0] + 1

    @precondition(lambda self: self.stale is not None)
    @rule(entries=ENTRIES)
    def write_as_the_overtaken_one(self, entries):
        assert self.stale is not None
        epoch, head = self.stale

        def job(connection: Connection) -> Head:
            ledger.check_epoch(connection, epoch)
            return journal.append(connection, MASTER, head, epoch, entries)

        with pytest.raises(ledger.StaleEpoch, match="cannot append to the journal"):
            self.write(job)

    @precondition(lambda self: self.stale is not None and self.stale[1].seq < self.head.seq)
    @rule(entries=ENTRIES)
    def write_as_the_overtaken_one_without_asking(self, entries):
        """Even past the fence the rows collide: two chains cannot be."""
        assert self.stale is not None
        epoch, head = self.stale
        with pytest.raises(sa.exc.IntegrityError):
            self.write(lambda c: journal.append(c, MASTER, head, epoch, entries))

    @precondition(lambda self: bool(self.rows))
    @rule()
    def snapshot(self):
        known = {host: Host(host, f"n{n}", {}, n) for n, host in enumerate(self.hosts, 1)}
        newest = max((n for n, _ in enumerate(self.hosts, 1)), default=0)
        body = codec.dumps(codec.encode(Fleet(hosts=known, now_ms=newest)))
        exists = self.store.read_now(
            lambda c: c.execute(sa.select(snapshots.c.seq).where(snapshots.c.seq == self.head.seq)).scalar()
        )
        if exists is None:
            self.store.write_soon(lambda c: ledger.save_snapshot(c, MASTER, self.head.seq, 0, "", body)).result(timeout=10)

    @precondition(lambda self: bool(self.rows))
    @rule(data=st.data())
    def damage_is_named_and_put_back(self, data):
        seq = data.draw(st.integers(1, len(self.rows)))
        kept = self.rows[seq - 1].body
        self._set_body(seq, kept + "!")
        with pytest.raises(JournalDamaged) as damaged:
            self.store.read_now(lambda c: journal.verify(c, MASTER))
        assert damaged.value.seq == seq
        self._set_body(seq, kept)

    def _set_body(self, seq: int, body: str) -> None:
        changed = journal_table.update().where(journal_table.c.seq == seq).values(body=body)
        self.store.write_soon(lambda c: c.execute(changed).rowcount).result(timeout=10)

    @invariant()
    def the_chain_holds_exactly_what_was_confirmed(self):
        head = self.store.read_now(lambda c: journal.verify(c, MASTER))
        assert head == self.head
        stored = self.store.read_now(lambda c: [entry for _, _, entry, _ in journal.scan(c, 0)])
        assert stored == self.rows

    @invariant()
    def replay_from_any_snapshot_gives_the_same_fleet(self):
        recovered = self.store.read_now(lambda c: ledger.recover(c, MASTER, lambda _: policy()))
        assert list(recovered.fleet.hosts) == self.hosts
        assert recovered.head == self.head
        whole = self.store.read_now(self._replay_all)
        assert codec.encode(recovered.fleet) == codec.encode(whole)

    @staticmethod
    def _replay_all(connection: Connection) -> Fleet:
        fleet = Fleet()
        for _, _, entry, _ in journal.scan(connection, 0):
            if entry.kind == "event":
                advance(fleet, codec.decode_event(json.loads(entry.body)), policy())
        return fleet

    @invariant()
    def two_snapshots_are_kept_at_most(self):
        assert self.store.read_now(lambda c: c.execute(sa.select(sa.func.count()).select_from(snapshots)).scalar()) <= 2


Deciders.TestCase.settings = settings(max_examples=20, stateful_step_count=15, deadline=None)
TestDeciders = Deciders.TestCase
