"""A storm's page comes with what its hosts share, in the log and in the journal beside its incident."""

from __future__ import annotations

import asyncio
import json
import logging
from pathlib import Path
from types import SimpleNamespace

import pytest
import sqlalchemy as sa

from fleetmend_controller.core.events import Event, HostConnected, HostEnrolled, Observed
from fleetmend_controller.core.flow import advance
from fleetmend_controller.core.model import Fleet, Status
from fleetmend_controller.core.storms import STORM_CHECK
from fleetmend_controller.decider import cohorts
from fleetmend_controller.decider.cohorts import compare, split
from fleetmend_controller.store import journal as chain
from fleetmend_controller.store.engine import StoreUnavailable
from fleetmend_controller.store.tables import facts, journal

from ..core.timeline import policy
from .test_decider import MASTER, Running, run

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


def kernel(number: int, new: bool) -> dict[str, object]:
    body = json.dumps({"release": "6.1.0-9" if new else "6.1.0-8"})
    return {"host": f"h-{number:02}", "name": "kernel", "at_ms": 1, "body": body, "error": ""}


def kernels(connection: sa.Connection) -> None:
    connection.execute(facts.insert(), [kernel(number, number < SICK) for number in range(HOSTS)])


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
            found = await r.store.read(lambda c: compare(c, cohorts.Sides(failing, many), 1))
            assert found.lines == found.cause == ("label rack is r7: 14 of 14 failing hosts, 0 of 10000 others",)
            assert len(cohorts._sample(many)) == 2_000

    run(story())


def test_an_empty_fleet_has_no_sides():
    assert split(Fleet(), "unit_failed", lambda _labels: ()) == cohorts.Sides({}, {})


def paged(r: Running) -> list[str]:
    """The texts of the pages so far, as the log has them."""
    return [record.getMessage() for record in r.log.records if "severity=page" in record.getMessage()]


async def until(done, what: str) -> None:
    async with asyncio.timeout(5):
        while not done():
            await asyncio.sleep(0.01)
    assert done(), what


def test_the_page_of_a_storm_says_what_its_hosts_share(database: Path, caplog: pytest.LogCaptureFixture):
    async def story():
        async with Running(database) as r:
            r.log = caplog
            await r.store.write(kernels)
            await r.decider.submit(joined(r))
            await r.decider.submit([sick(r, number) for number in range(SICK)])
            await until(lambda: paged(r), "paged")
            (page,) = paged(r)
            assert "fail unit_failed together: held" in page
            assert "In common: kernel.release is 6.1.0-9: 14 of 14 failing hosts, 0 of 26 others" in page

    run(story())


def test_a_page_does_not_wait_for_a_comparison_that_never_comes(
    database: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
):
    def broken(*_: object) -> None:
        raise StoreUnavailable("cannot read: gone")

    async def story():
        async with Running(database) as r:
            r.log = caplog
            monkeypatch.setattr(cohorts, "compare", broken)
            await r.decider.submit(joined(r))
            await r.decider.submit([sick(r, number) for number in range(SICK)])
            assert paged(r) == []
            r.now += 5_000
            r.decider._timer_changed.set()
            await until(lambda: paged(r), "paged")
            (page,) = paged(r)
            assert "In common" not in page

    run(story())


def test_few_hosts_with_a_cause_in_common_are_held(database: Path, caplog: pytest.LogCaptureFixture):
    """Six of four hundred are no share of anything, but they alone got a new kernel."""

    async def story():
        async with Running(database) as r:
            r.log = caplog
            await r.store.write(lambda c: c.execute(facts.insert(), [kernel(n, n in range(0, 96, 16)) for n in range(400)]))
            for number in range(400):
                host = f"h-{number:02}"
                labels = {"role": f"r{number % 8}"}
                await r.decider.submit([HostEnrolled(r.now, host, host, labels), HostConnected(r.now, host, "b", r.now)])
            await r.decider.submit([sick(r, number) for number in range(0, 96, 16)])
            await until(lambda: r.decider.fleet.outbreaks, "held")
            outbreak = r.decider.fleet.outbreaks["unit_failed"]
            assert outbreak.groups == {"kernel.release is 6.1.0-9: 6 of 6 failing hosts, 0 of 394 others": 6}
            await until(lambda: paged(r), "paged")
            before = len(r.gateway.orders)
            await r.decider.submit([sick(r, 97)])
            assert len(r.gateway.orders) == before
            (row,) = await cohort_row(r)
            assert row.incident == outbreak.incident

    run(story())


def test_few_hosts_with_nothing_in_common_are_left_to_the_playbooks(database: Path, monkeypatch: pytest.MonkeyPatch):
    async def story():
        async with Running(database) as r:
            compared = []
            monkeypatch.setattr(cohorts, "compare", lambda *a: compared.append(a) or compare(*a))
            for number in range(60):
                host = f"h-{number:02}"
                labels = {"role": f"r{number % 12}"}
                await r.decider.submit([HostEnrolled(r.now, host, host, labels), HostConnected(r.now, host, "b", r.now)])
            await r.decider.submit([sick(r, number) for number in range(6)])
            await until(lambda: compared, "compared")
            await asyncio.sleep(0.05)
            assert r.decider.fleet.outbreaks == {}

    run(story())


def test_hosts_are_compared_with_those_that_run_the_same_check():
    fleet = Fleet()
    for number in range(40):
        labels = {"role": "web" if number < 20 else "db"}
        advance(fleet, HostEnrolled(0, f"h-{number}", "x", labels), policy())
        advance(fleet, HostConnected(0, f"h-{number}", "b", 0), policy())
    for number in range(5):
        unit = {"unit": "a.service"}
        advance(
            fleet,
            Observed(1, f"h-{number}", "web-unit", "unit_failed", "a", Status.CRIT, unit, "down", "b", 1, 1, "x", 1),
            policy(),
        )
    runs = {"web": (SimpleNamespace(name="web-unit"),), "db": (SimpleNamespace(name="other"),)}
    sides = split(fleet, "unit_failed", lambda labels: runs[labels["role"]])
    assert (len(sides.failing), len(sides.healthy)) == (5, 15), "a database cannot fail what it does not run"
    unknown = split(fleet, "unit_failed", lambda _labels: ())
    assert (len(unknown.failing), len(unknown.healthy)) == (5, 35)
