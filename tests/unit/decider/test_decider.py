"""The decider on a real SQLite file: durable before anything leaves, replayed to the same state, honest on a full disk."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Self

import pytest
import sqlalchemy as sa

from fleetmend_controller.core.effects import AskWitness
from fleetmend_controller.core.events import Event, HostConnected, HostEnrolled, HostSilent, Observed
from fleetmend_controller.core.model import Order, Phase, Status, Subject
from fleetmend_controller.decider import ledger, loop
from fleetmend_controller.decider.loop import Decider
from fleetmend_controller.decider.ports import JournalUnavailable, KnownHost
from fleetmend_controller.http.metrics import Metrics
from fleetmend_controller.store import codec, journal
from fleetmend_controller.store.engine import Store, StoreUnavailable, open_engine
from fleetmend_controller.store.tables import incidents as incidents_table
from fleetmend_controller.store.tables import snapshots

from ..core.timeline import policy
from .disk import fill, full

MASTER = bytes(range(32))


class Gateway:
    """Remembers what it was told to send."""

    def __init__(self) -> None:
        self.orders: list[tuple[Order, int]] = []
        self.checks: list[Subject] = []
        self.rule_changes = 0

    def send_order(self, order: Order, epoch: int) -> None:
        self.orders.append((order, epoch))

    def ask_witness(self, wish: AskWitness) -> None:
        """Nobody is asked."""

    def request_check(self, subject: Subject) -> None:
        self.checks.append(subject)

    def close_host(self, host: str, reason: str) -> None:
        raise AssertionError(f"not expected: {host} {reason}")

    def rules_changed(self) -> None:
        self.rule_changes += 1


def compile_rules(documents: Mapping[str, str]) -> SimpleNamespace:
    """Rules whose only content is their digest; the policy is always the restart playbook."""
    digest = documents.get("digest", "empty")
    return SimpleNamespace(
        policy=policy(digest=digest), digest=digest, documents=dict(documents), checks_for=lambda _labels: ()
    )


class Running:
    """One life of a decider on a database file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.now = 1_000_000
        self.gateway = Gateway()
        self.store = Store(open_engine(f"sqlite:///{path}"))
        self.metrics = Metrics()
        self.decider = Decider(self.store, MASTER, compile_rules, self.metrics, lambda: self.now)

    async def __aenter__(self) -> Self:
        await self.decider.start("test", self.gateway)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.decider.stop()
        self.store.close()

    def kill(self) -> None:
        """Stop without any of the tidy end: as kill -9 would."""
        for task in self.decider._tasks:
            task.cancel()
        self.store.close()

    def crit(self, seq: int = 1, unit: str = "a.service", status: Status = Status.CRIT) -> Observed:
        return Observed(
            self.now,
            "h-1",
            "unit_failed",
            "unit_failed",
            unit,
            status,
            {"unit": unit},
            "down",
            "b",
            self.now,
            self.now,
            "box",
            seq,
        )

    def joined(self) -> list[Event]:
        return [HostEnrolled(self.now, "h-1", "web-1", {"role": "web"}), HostConnected(self.now, "h-1", "b", self.now)]


def run(coroutine):
    return asyncio.run(coroutine)


def test_an_order_is_in_the_journal_before_it_is_sent(database: Path):
    async def story():
        async with Running(database) as r:
            await r.decider.submit([*r.joined(), r.crit()])
            (order, epoch) = r.gateway.orders[0]
            assert epoch == r.decider.epoch == 1
            rows = await r.store.read(lambda c: list(journal.scan(c, 0)))
            assert any(order.id in entry.body for _, _, entry, _ in rows if entry.kind == "decision")

    run(story())


def test_replay_gives_the_same_fleet_after_a_kill(database: Path):
    async def story():
        first = Running(database)
        await first.decider.start("test", first.gateway)
        await first.decider.load_rules(compile_rules({"digest": "p2"}), "ann")
        await first.decider.submit([*first.joined(), first.crit(), first.crit(2, "b.service")])
        before = codec.encode(first.decider.fleet)
        first.kill()
        async with Running(database) as second:
            after = codec.encode(second.decider.fleet)
            assert after.pop("epoch") == before.pop("epoch") + 1
            assert after == before
            assert second.decider.rules.digest == "p2"

    run(story())


def test_a_snapshot_gives_the_same_fleet_as_the_journal(database: Path):
    async def story():
        async with Running(database) as first:
            await first.decider.load_rules(compile_rules({"digest": "p2"}), "ann")
            await first.decider.submit([*first.joined(), first.crit()])
            before = codec.encode(first.decider.fleet)
        second = Running(database)
        recovered = await second.decider.start("test", second.gateway)
        after = codec.encode(second.decider.fleet)
        assert recovered.replayed == 0
        assert after.pop("epoch") == before.pop("epoch") + 1
        assert after == before
        second.kill()

    run(story())


def test_a_snapshot_taken_while_running_shortens_the_next_start(database: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(loop, "SNAPSHOT_ROWS", 5)

    async def story():
        first = Running(database)
        await first.decider.start("test", first.gateway)
        await first.decider.submit(first.joined())
        for seq in range(1, 21):
            await first.decider.submit([first.crit(seq, f"u{seq}.service")])
        # A group begins after the snapshot of the one before it is written.
        await first.decider.audit("asked", "ann", "", {})
        before = codec.encode(first.decider.fleet)
        taken = await first.store.read(
            lambda c: c.execute(sa.select(snapshots.c.seq).order_by(snapshots.c.seq)).scalars().all()
        )
        rows = await first.store.read(lambda c: list(journal.scan(c, 0)))
        first.kill()
        assert len(taken) == ledger.SNAPSHOTS_KEPT
        later = sum(entry.kind == "event" and seq > taken[-1] for seq, _, entry, _ in rows)
        second = Running(database)
        recovered = await second.decider.start("test", second.gateway)
        after = codec.encode(second.decider.fleet)
        second.kill()
        assert recovered.replayed == later <= 5
        assert after.pop("epoch") == before.pop("epoch") + 1
        assert after == before

    run(story())


def test_a_stale_decider_can_neither_write_nor_command_and_ends(database: Path, caplog: pytest.LogCaptureFixture):
    async def story():
        old = Running(database)
        await old.decider.start("old", old.gateway)
        await old.decider.submit(old.joined())
        async with Running(database) as new:
            assert new.decider.epoch == 2
            with pytest.raises(JournalUnavailable, match="another controller took over"):
                await old.decider.submit([old.crit()])
            async with asyncio.timeout(5):
                await old.decider.died.wait()
            assert old.gateway.orders == []
            assert not old.decider.writable
            assert old.decider.superseded
            await new.decider.submit([new.crit()])
            assert len(new.gateway.orders) == 1
            await old.decider.stop()
        old.store.close()

    run(story())
    assert "another controller took over, this one commands nobody" in caplog.text


def test_a_decider_that_became_stale_while_its_journal_was_out_ends(database: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(loop, "PROBE_EVERY_S", 0.01)

    async def story():
        old = Running(database)
        await old.decider.start("old", old.gateway)
        await old.decider.submit(old.joined())
        write = old.store.write

        async def failing(_):
            raise StoreUnavailable("cannot write: the server is gone")

        monkeypatch.setattr(old.store, "write", failing)
        with pytest.raises(JournalUnavailable):
            await old.decider.submit([old.crit()])
        async with Running(database):
            monkeypatch.setattr(old.store, "write", write)
            async with asyncio.timeout(5):
                await old.decider.died.wait()
        assert old.decider.superseded
        assert old.gateway.orders == []
        old.kill()

    run(story())


def test_a_commit_that_was_durable_though_it_was_reported_as_failed_is_found(database: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(loop, "PROBE_EVERY_S", 0.01)

    async def story():
        async with Running(database) as r:
            await r.decider.submit(r.joined())
            write, losing = r.store.write, True

            async def answer_is_lost(job):
                nonlocal losing
                value = await write(job)
                if losing:
                    losing = False
                    raise StoreUnavailable("the commit was durable, its answer was lost")
                return value

            monkeypatch.setattr(r.store, "write", answer_is_lost)
            with pytest.raises(JournalUnavailable):
                await r.decider.submit([r.crit()])
            assert r.gateway.orders == []
            await recovered(r)
            assert [(s.key, len(r.gateway.orders)) for s in r.decider.fleet.by_subject] == [("a.service", 1)]
            # The agent was told nothing and sends it again: that is no second fault.
            await r.decider.submit([r.crit()])
            assert len(r.gateway.orders) == 1
            # Whatever was pushed to agents meanwhile is made true again.
            assert r.gateway.rule_changes == 1
            await r.store.read(lambda c: journal.verify(c, MASTER))

    run(story())


async def recovered(r: Running) -> None:
    """Waits until the journal takes rows again."""
    async with asyncio.timeout(10):
        while not r.decider.writable:
            await asyncio.sleep(0.01)


def test_a_full_disk_stops_orders_and_nothing_is_lost(database: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(loop, "PROBE_EVERY_S", 0.05)

    async def story():
        async with Running(database) as r:
            await r.decider.submit(r.joined())
            report = lambda: [*(r.crit(seq, "noise.service", Status.OK) for seq in range(1, 500)), r.crit(500)]  # noqa: E731
            async with full(r.store):
                with pytest.raises(JournalUnavailable, match="full"):
                    await fill(r.decider)
                with pytest.raises(JournalUnavailable):
                    await r.decider.submit(report())
                with pytest.raises(JournalUnavailable):
                    await r.decider.submit([r.crit(501, "b.service")])
                assert r.gateway.orders == []
                assert r.metrics.registry.get_sample_value("fleetmend_journal_writable") == 0
            await recovered(r)
            assert r.metrics.registry.get_sample_value("fleetmend_journal_writable") == 1
            assert r.decider.fleet.incidents == {}
            assert r.decider.fleet.hosts["h-1"].outbox_seq == 0
            assert r.gateway.orders == []
            r.now += 1_000
            await r.decider.submit(report())
            assert [(order.host, order.action, order.key) for order, _ in r.gateway.orders] == [
                ("h-1", "restart_unit", "a.service")
            ]
            await r.store.read(lambda c: journal.verify(c, MASTER))

    run(story())


def test_the_gateway_is_told_of_hosts_orders_and_rules_by_value(database: Path):
    async def story():
        async with Running(database) as r:
            await r.decider.load_rules(compile_rules({"digest": "p2"}), "ann")
            await r.decider.submit([*r.joined(), r.crit(), HostEnrolled(r.now, "h-2", "web-2", {})])
            (order, _) = r.gateway.orders[0]
            assert await r.decider.order_hosts([order.id, "ord-1-99", "ord-99-1", "ord", ""]) == {order.id: "h-1"}
            assert (await r.decider.rules_in_force()).digest == "p2"
            await r.decider.submit([HostSilent(r.now, "h-2", 30_000)])
            known = await r.decider.known_hosts()
            assert known == [KnownHost("h-1", "web-1", {"role": "web"}, lost=False), KnownHost("h-2", "web-2", {}, lost=True)]
            known[0].labels["role"] = "db"
            assert r.decider.fleet.hosts["h-1"].labels == {"role": "web"}

    run(story())


def test_a_host_hears_only_of_what_is_durable(database: Path):
    """An agent forgets its records up to what it is told at its hello: that must not be what a failed commit took back."""

    async def story():
        async with Running(database) as r:
            await r.decider.submit(r.joined())
            await r.decider.submit([r.crit(1)])
            write, begun, go = r.store.write, asyncio.Event(), asyncio.Event()

            async def slowly(job):
                begun.set()
                await go.wait()
                raise StoreUnavailable("cannot write to the store: disk full")

            r.store.write = slowly
            lost = asyncio.create_task(r.decider.submit([r.crit(2, "b.service")]))
            await begun.wait()
            asked = asyncio.create_task(r.decider.host_state("h-1", "box"))
            await asyncio.sleep(0.01)
            assert not asked.done(), "a commit is under way"
            go.set()
            with pytest.raises(JournalUnavailable):
                await lost
            for state in (await asked, await r.decider.host_state("h-1", "box")):
                assert (state.acked_seq, list(state.sick)) == (1, [("unit_failed", "a.service")])
            assert not r.decider.writable
            r.store.write = write
            while not r.decider.writable:
                await asyncio.sleep(0.05)
            await r.decider.submit([r.crit(2, "b.service")])
            assert (await r.decider.host_state("h-1", "box")).acked_seq == 2

    run(story())


def test_who_asks_for_what_is_durable_gets_a_turn_under_load(database: Path):
    async def story():
        async with Running(database) as r:
            await r.decider.submit(r.joined())
            stop = asyncio.Event()

            async def load(first: int) -> None:
                seq = first
                while not stop.is_set():
                    seq += 1
                    await r.decider.submit([r.crit(seq, f"u{first}-{seq}.service")])

            tasks = [asyncio.create_task(load(first)) for first in (0, 10_000, 20_000)]
            async with asyncio.timeout(10):
                for _ in range(20):
                    await r.decider.host_state("h-1", "box")
            stop.set()
            await asyncio.gather(*tasks)

    run(story())


def test_audit_rows_are_part_of_the_chain(database: Path):
    async def story():
        async with Running(database) as r:
            await r.decider.audit("refused", "agent h-9", "h-9", {"reason": "revoked"})
            rows = await r.store.read(lambda c: list(journal.scan(c, 0)))
            assert any(entry.kind == "audit" and "revoked" in entry.body for _, _, entry, _ in rows)

    run(story())


def test_incidents_are_listed_as_they_change(database: Path):
    async def story():
        async with Running(database) as r:
            await r.decider.submit([*r.joined(), r.crit()])
            row = await r.store.read(lambda c: c.execute(sa.select(incidents_table)).one())
            assert (row.phase, row.closed_ms, row.check) == (Phase.ORDERED.value, None, "unit_failed")

    run(story())


def _journal_of(database: Path) -> None:
    async def story():
        async with Running(database) as r:
            await r.decider.submit([*r.joined(), r.crit(), r.crit(2, "b.service")])

    run(story())


@pytest.mark.parametrize(
    ("damage", "row"),
    [
        ("UPDATE journal SET body = replace(body, 'a.service', 'c.service') WHERE seq = 4", 4),
        ("UPDATE journal SET at_ms = at_ms + 1 WHERE seq = 3", 3),
        ("DELETE FROM journal WHERE seq = 2", 2),
        ("UPDATE journal SET body = CAST(x'7bff' AS TEXT) WHERE seq = 5", 5),
        ("UPDATE journal SET seq = 1000 WHERE seq = 2", 2),
    ],
)
def test_a_damaged_row_is_refused_at_start_and_named(database: Path, damage: str, row: int):
    _journal_of(database)
    with sqlite3.connect(database) as connection:
        connection.execute(damage)
    connection.close()

    async def story():
        r = Running(database)
        with pytest.raises(journal.JournalDamaged, match=f"row {row}\\b") as damaged:
            await r.decider.start("test", r.gateway)
        assert damaged.value.seq == row
        assert r.gateway.orders == []
        r.store.close()

    run(story())


def test_a_cut_tail_is_noticed_even_when_the_head_is_moved_along(database: Path):
    _journal_of(database)
    with sqlite3.connect(database) as connection:
        newest = connection.execute("SELECT max(seq) FROM journal").fetchone()[0]
        link = connection.execute("SELECT hash FROM journal WHERE seq = ?", (newest - 1,)).fetchone()[0]
        connection.execute("DELETE FROM journal WHERE seq = ?", (newest,))
        connection.execute("UPDATE journal_head SET seq = ?, hash = ?", (newest - 1, link))
    connection.close()

    async def story():
        r = Running(database)
        with pytest.raises(journal.JournalDamaged, match="seal"):
            await r.decider.start("test", r.gateway)
        r.store.close()

    run(story())


def test_an_altered_snapshot_is_not_used(database: Path):
    _journal_of(database)
    with sqlite3.connect(database) as connection:
        connection.execute("UPDATE snapshots SET body = replace(body, 'web-1', 'web-9')")
    connection.close()

    async def story():
        async with Running(database) as r:
            assert r.decider.fleet.hosts["h-1"].name == "web-1"

    run(story())


def test_timers_wake_incidents_in_real_time(database: Path):
    async def story():
        async with Running(database) as r:
            await r.decider.submit(r.joined())
            await r.decider.submit([r.crit()])
            incident = next(iter(r.decider.fleet.incidents.values()))
            _, changes = r.decider.subscribe()
            r.now = (incident.wake_ms or 0) + 1
            r.decider._timer_changed.set()
            async with asyncio.timeout(5):
                assert (await changes.get()).after is Phase.PROVING

    run(story())
