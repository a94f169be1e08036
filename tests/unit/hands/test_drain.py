"""The drain hook: a real receiver on loopback, tries and bounds, and a host that is given back until somebody takes it."""

from __future__ import annotations

import asyncio
import contextlib
import json
from pathlib import Path

import pytest

from fleetmend_controller.config import ConfigError, parse_config
from fleetmend_controller.core.effects import DrainHost, UndrainHost
from fleetmend_controller.core.events import Drained, Undrained
from fleetmend_controller.core.model import Cost, Fleet, Host, Incident, Order, Outcome, Phase, Status, Subject
from fleetmend_controller.hands import Done, DrainHook, Tools
from fleetmend_controller.hands import _desk as desk_module
from fleetmend_controller.hands import _drain as drain_module
from fleetmend_controller.hands._desk import UNDRAIN_TOLD_AT, Hands
from fleetmend_controller.hands._drain import call
from fleetmend_controller.store.engine import Store, open_engine
from fleetmend_controller.store.tables import metadata

HOST = Host("h-1", "web-1", {"role": "web"}, 0, boot="boot-1")


def order():
    return Order(
        "ord-7-1",
        "inc-7",
        "h-1",
        "unit_failed",
        "a",
        "boot-1",
        "restart_unit",
        (),
        Cost.DISRUPTIVE,
        1,
        0,
        1,
        1,
        "p",
        drain=True,
    )


class Balancer:
    """Answers with these statuses in turn, the last one for ever; remembers what it was told."""

    def __init__(self, *statuses):
        self.statuses = list(statuses)
        self.got = []
        self.url = ""

    async def __aenter__(self):
        self.server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self.server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *_):
        self.server.close()
        await self.server.wait_closed()

    async def _serve(self, reader, writer):
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        length = next(int(line.partition(":")[2]) for line in head.lower().splitlines() if line.startswith("content-length"))
        self.got.append((head.split()[1], head, json.loads(await reader.readexactly(length))))
        status = self.statuses.pop(0) if len(self.statuses) > 1 else self.statuses[0]
        writer.write(f"HTTP/1.1 {status} X\r\ncontent-length: 0\r\nconnection: close\r\n\r\n".encode())
        with contextlib.suppress(ConnectionError):
            await writer.drain()
        writer.close()

    def hook(self, **changes):
        return DrainHook(**{"url": f"{self.url}/drain", "undrain_url": f"{self.url}/undrain", "timeout_ms": 2_000, **changes})


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(drain_module, "PAUSE_S", 0.01)
    monkeypatch.setattr(desk_module, "UNDRAIN_PAUSE_S", 0.001)
    monkeypatch.setattr(desk_module, "UNDRAIN_PAUSE_S_MAX", 0.01)


def test_the_hook_hears_which_host_and_why(tmp_path):
    (tmp_path / "token").write_text("secret\n")

    async def story():
        async with Balancer(204) as balancer:
            tools = Tools(Path("/none"), balancer.hook(token_file=tmp_path / "token"))
            done = await call(tools, "drain", HOST, "inc-7", "ord-7-1")
            assert done.outcome is Outcome.DONE
            ((path, head, document),) = balancer.got
            assert path == "/drain"
            assert "authorization: Bearer secret" in head
            assert document == {
                "version": 1, "id": "ord-7-1", "what": "drain", "host": "web-1", "labels": {"role": "web"}, "incident": "inc-7",
            }  # fmt: skip

    asyncio.run(story())


@pytest.mark.parametrize(
    ("statuses", "outcome", "calls"),
    [((503, 200), Outcome.DONE, 2), ((500,), Outcome.FAILED, 3), ((400,), Outcome.FAILED, 1)],
)
def test_what_may_pass_is_tried_again_within_bounds(statuses, outcome, calls):
    async def story():
        async with Balancer(*statuses) as balancer:
            done = await call(Tools(Path("/none"), balancer.hook()), "drain", HOST, "inc-7", "ord-7-1")
            assert (done.outcome, len(balancer.got)) == (outcome, calls)
            assert {document["id"] for _, _, document in balancer.got} == {"ord-7-1"}

    asyncio.run(story())


def test_without_a_hook_the_way_out_is_said():
    done = asyncio.run(call(Tools(Path("/none")), "drain", HOST, "", ""))
    assert (done.outcome, "set drain: {url, undrain_url}" in done.detail) == (Outcome.FAILED, True)


class Decider:
    """Remembers; applies what the core would to the fleet."""

    epoch = 1

    def __init__(self, fleet):
        self.fleet = fleet
        self.events = []
        self.told = asyncio.Event()

    async def submit(self, events):
        self.events += events
        for event in events:
            if isinstance(event, Undrained) and event.ok:
                self.fleet.drained.pop(event.host, None)
                self.told.set()
            elif isinstance(event, Drained):
                self.told.set()


@pytest.fixture
def store(tmp_path):
    engine = open_engine(f"sqlite:///{tmp_path / 'fleetmend.db'}")
    metadata.create_all(engine)
    found = Store(engine)
    yield found
    found.close()


def hands(store, fleet, hook):
    decider = Decider(fleet)
    return Hands(store, decider, lambda: fleet, Tools(Path("/none"), hook), lambda: 0, lambda _connection: None), decider


def fleet_with(incident_order=None, drained=False):
    fleet = Fleet(hosts={"h-1": HOST}, drained={"h-1": None} if drained else {})
    if incident_order is not None:
        incident = Incident(
            "inc-7", Subject("h-1", "unit_failed", "a"), "unit_failed", {}, "", Status.CRIT, Phase.ORDERED, 0, 0, 0,
            order=incident_order,
        )  # fmt: skip
        fleet.incidents["inc-7"] = incident
        fleet.by_host["h-1"] = {"inc-7": None}
    return fleet


def test_a_drain_is_told_and_asked_again_after_a_crash(store):
    async def story():
        async with Balancer(200) as balancer:
            for begin in ("effect", "recover"):
                fleet = fleet_with(order())
                desk, decider = hands(store, fleet, balancer.hook())
                if begin == "effect":
                    desk.drains(DrainHost(order()))
                else:
                    desk.recover()
                await asyncio.wait_for(decider.told.wait(), 10)
                assert [(e.order, e.ok) for e in decider.events] == [("ord-7-1", True)]

    asyncio.run(story())


def test_a_host_is_given_back_until_it_is_taken_and_people_hear_of_it_once(store):
    async def story():
        async with Balancer(*[400] * (UNDRAIN_TOLD_AT + 2), 200) as balancer:
            fleet = fleet_with(drained=True)
            desk, decider = hands(store, fleet, balancer.hook())
            desk.recover()
            desk.drains(UndrainHost("h-1"))
            await asyncio.wait_for(decider.told.wait(), 10)
            assert [e.ok for e in decider.events] == [False, True]
            assert {path for path, _, _ in balancer.got} == {"/undrain"}
            assert len(balancer.got) == UNDRAIN_TOLD_AT + 3

    asyncio.run(story())


def test_a_host_that_is_needed_drained_is_not_given_back(store):
    async def story():
        async with Balancer(200) as balancer:
            fleet = fleet_with(order(), drained=True)
            fleet.incidents["inc-7"].drained = True
            desk, decider = hands(store, fleet, balancer.hook())
            desk.drains(UndrainHost("h-1"))
            await asyncio.sleep(0.05)
            assert (decider.events, balancer.got) == ([], [])
            await desk.stop()

    asyncio.run(story())


def test_a_hook_hears_of_one_host_one_thing_at_a_time(store, monkeypatch):
    """A late yes to giving a host back would else undo the drain that somebody waits for."""
    busy, heard = asyncio.Event(), []

    async def slow(_tools, what, _host, _incident, _key):
        assert not busy.is_set()
        busy.set()
        await asyncio.sleep(0.02)
        busy.clear()
        heard.append(what)
        return Done(Outcome.DONE, "yes")

    monkeypatch.setattr(desk_module, "call", slow)

    async def story():
        fleet = fleet_with(order(), drained=True)
        desk, decider = hands(store, fleet, None)
        desk.drains(UndrainHost("h-1"))
        await asyncio.wait_for(busy.wait(), 10)
        fleet.incidents["inc-7"].drained = True
        desk.drains(DrainHost(order()))
        while len(decider.events) < 2:
            decider.told.clear()
            await asyncio.wait_for(decider.told.wait(), 10)
        assert heard == ["undrain", "drain"]
        await desk.stop()

    asyncio.run(story())


# Settings.


def test_the_settings_are_read():
    config = parse_config("drain: {url: 'https://lb/drain', undrain_url: 'https://lb/undrain', timeout: 10s, tries: 2}")
    assert config.drain == DrainHook("https://lb/drain", "https://lb/undrain", 10_000, 2)
    config = parse_config("witness: {ports: [22, 9100], timeout: 1s}\nbmc_file: /etc/x.yaml")
    assert (config.witness.ports, config.witness.timeout_ms, config.bmc_file) == ((22, 9100), 1_000, Path("/etc/x.yaml"))


@pytest.mark.parametrize(
    "text",
    [
        "drain: {url: 'https://lb/drain'}",
        "drain: {url: 'https://u:p@lb/drain', undrain_url: 'https://lb'}",
        "drain: {url: 'https://lb', undrain_url: 'https://lb', timeout: 60s, tries: 5}",
        "witness: {ports: [22, 23, 24, 25, 26]}",
        "witness: {ports: [0]}",
        "witness: {timeout: 10s}",
        "bmc_file: bmc.yaml",
    ],
)
def test_mistakes_in_the_settings_are_refused(text):
    with pytest.raises(ConfigError, match="cannot use"):
        parse_config(text)
