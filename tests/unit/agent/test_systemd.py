"""The line to systemd, against a bus of our own."""

from __future__ import annotations

import asyncio

import pytest

from fleetmend_agent.backoff import Backoff
from fleetmend_agent.host import Host
from fleetmend_agent.signals import systemd
from fleetmend_agent.signals.systemd import STALE_AFTER_MS, SystemdSignal
from tests.unit.agent.bus import MANAGER, Bus, row, running
from tests.unit.agent.gateway import until


class World:
    def __init__(self, tmp_path, *rows):
        self.bus = Bus(tmp_path / "bus", *rows)
        self.changes = []
        self.clock_ms = 100_000
        self.signal = SystemdSignal(
            Host(clock_ns=lambda: self.clock_ms * 1_000_000), self.bus.path, self.changes.append, Backoff(0.05, 0.05)
        )

    def state(self, name="shop.service"):
        return self.signal.units(False)[name]


def run(tmp_path, scenario, *rows, bus=True):
    async def main():
        world = World(tmp_path, *rows)
        if bus:
            await world.bus.start()
        try:
            async with running(world.signal.run()), asyncio.timeout(30):
                await world.signal.ready(20)
                await scenario(world)
        finally:
            await world.bus.stop()

    asyncio.run(main())


def test_all_units_are_known_and_the_result_of_failed_ones_is_asked_for(tmp_path):
    async def scenario(world):
        assert set(world.signal.units(False)) == {"shop.service", "srv.mount"}
        assert world.changes == [{"shop.service", "srv.mount"}]
        assert world.bus.calls == ["Hello", *["AddMatch"] * 5, "Subscribe", "ListUnits", "GetAll"]
        assert world.state().result == "success"

    run(tmp_path, scenario, row("shop.service", "failed", "failed"), row("srv.mount", "active", "mounted"))


def test_a_crash_with_all_its_signals_is_one_change(tmp_path):
    async def scenario(world):
        world.changes.clear()
        world.clock_ms = 200_000
        for _ in range(3):
            world.bus.properties("shop.service", "Service", Result="signal", NRestarts=0)
            world.bus.properties("shop.service", "Unit", ActiveState="failed", SubState="failed")
        await until(lambda: world.changes)
        world.bus.rows = [row("shop.service", "failed", "failed")]
        await world.signal.refresh()
        assert world.changes == [{"shop.service"}]
        assert (world.state().active, world.state().result, world.state().since_clock_ms) == ("failed", "signal", 200_000)

    run(tmp_path, scenario, row("shop.service"))


def test_a_job_that_ends_and_a_unit_that_is_unloaded_are_changes(tmp_path, monkeypatch):
    monkeypatch.setattr(systemd, "SETTLE_S", 0.01)

    async def scenario(world):
        assert world.state().job_pending
        world.bus.signal(MANAGER, "JobRemoved", "uoss", 7, "/o/7", "shop.service", "done")
        await until(lambda: not world.state().job_pending)
        world.bus.rows = []
        world.bus.signal(MANAGER, "UnitRemoved", "so", "shop.service", "/o/x")
        await until(lambda: len(world.changes) == 3)
        assert world.signal.units(False) == {}

    run(tmp_path, scenario, row("shop.service", job=7))


def test_a_reload_that_removes_and_adds_every_unit_changes_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(systemd, "SETTLE_S", 0.05)

    async def scenario(world):
        world.changes.clear()
        world.bus.signal(MANAGER, "Reloading", "b", True)
        world.bus.signal(MANAGER, "UnitRemoved", "so", "shop.service", "/o/x")
        world.bus.signal(MANAGER, "UnitNew", "so", "shop.service", "/o/x")
        world.bus.signal(MANAGER, "Reloading", "b", False)
        await until(lambda: world.bus.calls.count("ListUnits") == 2)
        await world.signal.refresh()
        assert world.state().active == "active"
        assert world.changes == []

    run(tmp_path, scenario, row("shop.service"))


def test_load_states_are_looked_up_after_a_reload(tmp_path, monkeypatch):
    monkeypatch.setattr(systemd, "SETTLE_S", 0.01)

    async def scenario(world):
        world.bus.rows = [row("shop.service", load="masked")]
        world.bus.signal(MANAGER, "Reloading", "b", True)
        world.bus.signal(MANAGER, "Reloading", "b", False)
        await until(lambda: world.state().load == "masked")
        assert world.bus.calls.count("ListUnits") == 2

    run(tmp_path, scenario, row("shop.service"))


def test_the_list_is_repeated_in_case_a_signal_was_lost(tmp_path, monkeypatch):
    monkeypatch.setattr(systemd, "LIST_EVERY_S", 0.01)

    async def scenario(world):
        world.bus.rows = [row("shop.service", "failed", "failed")]
        await until(lambda: world.state().active == "failed")

    run(tmp_path, scenario, row("shop.service"))


def test_who_needs_it_fresh_gets_it_from_systemd(tmp_path):
    async def scenario(world):
        world.bus.rows = [row("shop.service", "failed", "failed")]
        await world.signal.refresh()
        assert world.state().active == "failed"

    run(tmp_path, scenario, row("shop.service"))


def test_a_machine_without_bus_has_no_units_and_says_why(tmp_path, caplog):
    async def scenario(world):
        with pytest.raises(OSError, match=r"cannot reach systemd over .*: No such file"):
            world.signal.units(False)
        with pytest.raises(OSError, match="cannot reach systemd"):
            await world.signal.refresh()

    run(tmp_path, scenario, bus=False)
    assert len(caplog.records) == 1


def test_a_bus_that_refuses_says_so(tmp_path):
    async def main():
        world = World(tmp_path, row("shop.service"))
        world.bus.refuse = {"Subscribe"}
        await world.bus.start()
        async with running(world.signal.run()):
            assert not await world.signal.ready(20)
            assert "AccessDenied: not for you" in world.signal.problem
        await world.bus.stop()

    asyncio.run(main())


def test_a_broken_connection_is_made_again_and_the_table_stays_for_a_moment(tmp_path):

    async def scenario(world):
        world.bus.drop()
        await until(lambda: world.signal.problem)
        assert world.state().active == "active"
        world.clock_ms += STALE_AFTER_MS + 1
        with pytest.raises(OSError, match="cannot reach systemd"):
            world.signal.units(False)
        world.bus.rows = [row("shop.service", "failed", "failed")]
        await until(lambda: not world.signal.problem)
        assert world.state().active == "failed"

    run(tmp_path, scenario, row("shop.service"))
