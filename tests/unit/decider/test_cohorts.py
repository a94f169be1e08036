"""A storm's page comes with what its hosts share, in the log and in the journal beside its incident."""

from __future__ import annotations

import asyncio
import json
import logging
from pathlib import Path

import pytest
import sqlalchemy as sa

from fleetmend_controller.core.events import Event, HostConnected, HostEnrolled, Observed
from fleetmend_controller.core.model import Fleet, Status
from fleetmend_controller.core.storms import STORM_CHECK
from fleetmend_controller.decider import cohorts
from fleetmend_controller.decider.cohorts import compare, split
from fleetmend_controller.store import journal as chain
from fleetmend_controller.store.engine import StoreUnavailable
from fleetmend_controller.store.tables import facts, journal

from .test_decider import MASTER, Running, database, run

__all__ = ["database"]

HOSTS = 40
SICK = 14


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cohorts, "GATHER_S", 0.0)


def joined(r: Running) -> list[Event]:
    events: list[Event] = []
    for number in range(HOSTS):
        host, rack = f"h-{number:02}", "r7" if number < SICK else f"r{number % 6}"
        events.append(HostEnrolled(r.now, host, host, {"role": "web", "rack": rack}))
        events.append(HostConnected(r.now, host, "b", r.now))
    return events


def sick(r: Running, number: int) -> Observed:
    args = (r.now, f"h-{number:02}", "unit_failed", "unit_failed", "a.service", Status.CRIT, {"unit": "a.service"})
    return Observed(*args, "down", "b", r.now, r.now, "box", 1)


def kernels(connection: sa.Connection) -> None:
    rows = [
        {
            "host": f"h-{number:02}",
            "name": "kernel",
            "at_ms": 1,
            "body": json.dumps({"release": "6.1.0-9" if number < SICK else "6.1.0-8"}),
            "error": "",
        }
        for number in range(HOSTS)
    ]
    connection.execute(facts.insert(), rows)


async def cohort_row(r: Running):
    wanted = sa.select(journal.c.incident, journal.c.body).where(journal.c.kind == "audit")
    async with asyncio.timeout(5):
        while not (rows := await r.store.read(lambda c: c.execute(wanted).all())):
            await asyncio.sleep(0.01)
    return rows


def test_a_storm_is_paged_with_what_its_hosts_share(database: Path, caplog: pytest.LogCaptureFixture):
    async def story():
        async with Running(database) as r:
            await r.store.write(kernels)
            await r.decider.submit(joined(r))
            with caplog.at_level(logging.WARNING, "fleetmend.decider"):
                await r.decider.submit([sick(r, number) for number in range(SICK)])
                (row,) = await cohort_row(r)
            (storm,) = [i for i in r.decider.fleet.incidents.values() if i.subject.check == STORM_CHECK]
            assert row.incident == storm.id
            body = json.loads(row.body)
            assert (body["what"], body["who"]) == ("cohort", "controller")
            assert body["detail"] == {
                "check_type": "unit_failed",
                "failing": "14",
                "healthy": "26",
                "difference": "kernel.release is 6.1.0-9: 14 of 14 failing hosts, 0 of 26 others\n"
                "label rack is r7: 14 of 14 failing hosts, 0 of 26 others",
            }
            assert f"incident={storm.id} cohort of unit_failed: label rack is r7" in caplog.text
            await r.store.read(lambda c: chain.verify(c, MASTER))

    run(story())


def test_hosts_that_share_nothing_are_said_to(database: Path):
    async def story():
        async with Running(database) as r:
            events = [e for n in range(HOSTS) for e in (HostEnrolled(r.now, f"h-{n:02}", "x", {"role": "web"}),)]
            await r.decider.submit([*events, *(HostConnected(r.now, f"h-{n:02}", "b", r.now) for n in range(HOSTS))])
            await r.decider.submit([sick(r, number) for number in range(SICK)])
            (row,) = await cohort_row(r)
            assert json.loads(row.body)["detail"]["difference"] == "nothing that failing hosts share and healthy ones lack"

    run(story())


def test_what_cannot_be_compared_is_said_and_harms_nothing(
    database: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
):
    def broken(*_: object) -> None:
        raise StoreUnavailable("cannot read: gone")

    async def story():
        async with Running(database) as r:
            await r.decider.submit(joined(r))
            monkeypatch.setattr(cohorts, "compare", broken)
            await r.decider.submit([sick(r, number) for number in range(SICK)])
            async with asyncio.timeout(5):
                while "cannot compare the hosts of the storm: cannot read: gone" not in caplog.text:
                    await asyncio.sleep(0.01)
            r.now += 100
            await r.decider.submit([sick(r, SICK)])

    run(story())


def test_a_fleet_of_ten_thousand_is_compared_by_a_sample_of_its_inventory(database: Path):
    async def story():
        async with Running(database) as r:
            await r.store.write(kernels)
            labels = {"role": "web"}
            many = {f"h-{number:05}": labels for number in range(10_000)}
            failing = {f"h-{number:02}": labels | {"rack": "r7"} for number in range(SICK)}
            (rack,) = await r.store.read(lambda c: compare(c, cohorts.Sides(failing, many), 1))
            assert rack.text() == "label rack is r7: 14 of 14 failing hosts, 0 of 10000 others"
            assert len(cohorts._sample(many)) == 2_000

    run(story())


def test_an_empty_fleet_has_no_sides():
    assert split(Fleet(), "unit_failed") == cohorts.Sides({}, {})
