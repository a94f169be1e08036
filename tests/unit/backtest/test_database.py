"""History from the journal of a decider that goes on writing."""

from __future__ import annotations

import asyncio

import pytest

from fleetmend_controller.backtest import history as of
from fleetmend_controller.backtest.run import backtest
from fleetmend_controller.backtest.variant import Variant
from fleetmend_controller.core.events import HostConnected, HostEnrolled, Observed, OrderEnded
from fleetmend_controller.core.model import Outcome, Status
from fleetmend_controller.decider.loop import Decider
from fleetmend_controller.http.metrics import Metrics
from fleetmend_controller.playbooks.load import compile_rules
from fleetmend_controller.store.engine import Store, open_engine
from fleetmend_controller.store.migrate import upgrade

from ..rules.samples import CHECKS, PLAYBOOK

MASTER = bytes(range(32))
DAY_MS = 86_400_000
DOCUMENTS = {"checks/a.yaml": CHECKS, "playbooks/a.yaml": PLAYBOOK}


def seen(at_ms: int, status: Status, seq: int) -> Observed:
    finding = {"unit": "a.service", "note": '"type":"HostEnrolled"'}
    return Observed(
        at_ms, "h-1", "failed-units", "unit_failed", "a.service", status, finding, "", "b", at_ms, at_ms, "box", seq
    )


async def recorded(url: str, during) -> None:
    """One fault long ago, one repaired now; `during` runs while the decider lives."""
    clock = [0]
    upgrade(url)
    store = Store(open_engine(url))
    decider = Decider(store, MASTER, compile_rules, Metrics(), lambda: clock[0])
    await decider.start("test")
    await decider.load_rules(compile_rules(DOCUMENTS), "ann")
    await decider.submit([HostEnrolled(0, "h-1", "web-1", {"role": "web"}), HostConnected(0, "h-1", "b", 0)])
    await decider.submit([seen(1_000, Status.CRIT, 1), seen(5_000, Status.OK, 2)])
    clock[0] = now_ms = 10 * DAY_MS
    await decider.submit([seen(now_ms, Status.CRIT, 3)])
    order = next(iter(decider.fleet.incidents.values())).order
    assert order is not None
    ended = OrderEnded(
        now_ms + 900, "h-1", order.id, Outcome.DONE, "", "secret", "b", now_ms + 900, now_ms + 900, "secret output"
    )
    await decider.submit([ended, seen(now_ms + 2_000, Status.OK, 4), seen(now_ms + 20_000, Status.OK, 5)])
    during()
    await decider.submit([seen(now_ms + 50_000, Status.CRIT, 6)])
    await decider.stop()
    store.close()


@pytest.fixture
def database(tmp_path):
    return f"sqlite:///{tmp_path / 'fleetmend.db'}"


def test_the_window_of_a_live_journal_is_read(database, tmp_path):
    read: list[of.History] = []
    asyncio.run(recorded(database, lambda: read.append(of.from_database(database, DAY_MS))))
    (record,) = read
    assert [type(event).__name__ for event in record.before] == ["PolicyLoaded", "HostEnrolled", "HostConnected"]
    assert [event.status.value for event in record.events if isinstance(event, Observed)] == ["crit", "ok", "ok"]
    result = backtest(record, Variant("restart.yaml", PLAYBOOK))
    assert result["certain"]["playbook_healed_then"] == result["assumed"]["healed"] == 1
    path = tmp_path / "h.jsonl.gz"
    of.write_file(record, path)
    assert of.read_file(path) == record
    assert b"secret" not in b"".join(of.lines(record))


def test_reading_twice_gives_the_same_and_writes_nothing(database, tmp_path):
    asyncio.run(recorded(database, lambda: None))
    before = (tmp_path / "fleetmend.db").read_bytes()
    assert of.from_database(database, 30 * DAY_MS) == of.from_database(database, 30 * DAY_MS)
    assert (tmp_path / "fleetmend.db").read_bytes() == before


def test_a_database_that_is_not_there_is_not_made(tmp_path):
    with pytest.raises(of.HistoryError, match="there is no"):
        of.from_database(f"sqlite:///{tmp_path / 'none.db'}", DAY_MS)
    assert not (tmp_path / "none.db").exists()


def test_an_empty_journal_is_said_so(database):
    upgrade(database)
    with pytest.raises(of.HistoryError, match="the journal is empty"):
        of.from_database(database, DAY_MS)
