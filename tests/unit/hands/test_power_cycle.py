"""The real sushy against the real emulator of a BMC, and the book that keeps a deed from being done twice."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

from fleetmend_controller.core.events import OrderEnded, OrderStarted
from fleetmend_controller.core.model import Cost, Fleet, Host, Incident, Order, Outcome, Phase, Status, Subject
from fleetmend_controller.hands import Done, Hand, Tools
from fleetmend_controller.hands import _desk as desk_module
from fleetmend_controller.hands._bmc import BmcError, find
from fleetmend_controller.hands._desk import Hands
from fleetmend_controller.hands.power_cycle import HAND
from fleetmend_controller.store.engine import Store, open_engine
from fleetmend_controller.store.tables import metadata
from tests.tools import needs

HOST = Host("h-1", "web-1", {"role": "web", "rack": "a"}, 0, boot="boot-1")


def order(number=1, **changes):
    values = {
        "id": f"ord-7-{number}", "incident": "inc-7", "host": "h-1", "check": "host_lost", "key": "", "boot": "boot-1",
        "action": "power_cycle", "params": (), "cost": Cost.DESTRUCTIVE, "timeout_ms": 30_000, "issued_ms": 0,
        "expires_ms": 30_000, "expires_clock_ms": 30_000, "requested_by": "playbook p", "here": True,
    }  # fmt: skip
    return Order(**{**values, **changes})


def written(folder, text, password="secret"):
    (folder / "password").write_text(f"{password}\n")
    file = folder / "bmc.yaml"
    file.write_text(text.replace("PASSWORD", str(folder / "password")))
    return file


# Where the BMC is.


@pytest.mark.parametrize(
    ("entry", "url"),
    [
        ("- {host: web-1, url: 'https://192.0.2.1', user: u, password_file: PASSWORD}", "https://192.0.2.1"),
        (
            "- {on: {rack: a}, url: 'https://{host.name}.bmc.example', user: u, password_file: PASSWORD}",
            "https://web-1.bmc.example",
        ),
        (
            "- {on: {role: web}, url: 'https://{host.labels.rack}.example:8443', user: u, password_file: PASSWORD}",
            "https://a.example:8443",
        ),
    ],
)
def test_a_bmc_is_found_by_name_or_labels(tmp_path, entry, url):
    assert find(written(tmp_path, entry), HOST).url == url


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("- {host: other, url: 'https://x', user: u, password_file: PASSWORD}", "add it to"),
        ("- {url: 'https://x', user: u, password_file: PASSWORD}", "either host or on"),
        ("- {host: web-1, url: 'ftp://x', user: u, password_file: PASSWORD}", "http"),
        ("- {host: web-1, user: u, password_file: PASSWORD}", "url is missing"),
        ("- {host: web-1, url: 'https://u:p@x', user: u, password_file: PASSWORD}", "secrets come from files"),
        ("- {on: {rack: a}, url: 'https://{host.labels.site}', user: u, password_file: PASSWORD}", "no part of an address"),
        ("hosts: {}", "list of entries"),
        ("- [", "cannot use"),
    ],
)
def test_what_is_wrong_with_the_file_is_said_with_the_way_out(tmp_path, text, said):
    with pytest.raises(BmcError, match=r"^cannot ") as caught:
        find(written(tmp_path, text), HOST)
    assert said in str(caught.value)


def test_a_name_cannot_lead_elsewhere(tmp_path):
    file = written(tmp_path, "- {on: {role: web}, url: 'https://{host.name}.bmc.example', user: u, password_file: PASSWORD}")
    with pytest.raises(BmcError, match="no part of an address"):
        find(file, Host("h-2", "evil.example/x#", {"role": "web"}, 0))


# The deed.


@pytest.fixture(scope="module")
def bmc(tmp_path_factory):
    """sushy-emulator with its fake driver: systems that only remember their state."""
    program = Path(sys.executable).parent / "sushy-emulator"
    if not program.exists():
        needs.skip("sushy-emulator is not installed") if hasattr(needs, "skip") else pytest.skip("no sushy-emulator")
    folder = tmp_path_factory.mktemp("bmc")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    config = folder / "emulator.conf"
    config.write_text(f"SUSHY_EMULATOR_STATE_DIR = {str(folder)!r}\n")
    argv = [str(program), "--fake", "--interface", "127.0.0.1", "--port", str(port), "--config", str(config)]
    with (folder / "log").open("wb") as log, subprocess.Popen(argv, stdout=log, stderr=log, cwd=folder) as process:
        url = f"http://127.0.0.1:{port}"
        try:
            _wait_for(url, process, folder / "log")
            yield url
        finally:
            process.terminate()
            process.wait(10)


def _wait_for(url, process, log):
    for _ in range(200):
        with contextlib.suppress(OSError):
            urllib.request.urlopen(f"{url}/redfish/v1/", timeout=2).close()
            return
        assert process.poll() is None, log.read_text()
        time.sleep(0.1)
    pytest.fail(f"the emulator does not answer: {log.read_text()[-500:]}")


def system_at(url):
    def get(path):
        with urllib.request.urlopen(f"{url}{path}", timeout=10) as answer:
            return json.load(answer)

    (first, *_) = get("/redfish/v1/Systems")["Members"]
    return get(first["@odata.id"])


def do(file, **changes):
    return asyncio.run(HAND.do(order(**changes), HOST, Tools(file)))


def test_a_host_is_reset_when_on_and_switched_on_when_off(tmp_path, bmc):
    system = system_at(bmc)["@odata.id"].rpartition("/")[2]
    file = written(tmp_path, f"- {{host: web-1, url: '{bmc}', user: u, password_file: PASSWORD, system: '{system}'}}")
    done = do(file)
    assert done.outcome is Outcome.DONE, done
    _until_on(bmc)
    reset = urllib.request.Request(
        f"{bmc}/redfish/v1/Systems/{system}/Actions/ComputerSystem.Reset",
        data=b'{"ResetType": "ForceOff"}',
        headers={"content-type": "application/json"},
    )
    urllib.request.urlopen(reset, timeout=10).close()
    _until_on(bmc, "Off")
    done = do(file)
    assert (done.outcome, "off: switched on" in done.detail) == (Outcome.DONE, True)
    _until_on(bmc)


def _until_on(url, state="On"):
    for _ in range(200):
        if system_at(url)["PowerState"] == state:
            return
        time.sleep(0.1)
    pytest.fail(f"the system is not {state}")


def test_a_bmc_that_does_not_answer_or_has_no_such_system_did_nothing(tmp_path, bmc):
    nobody = written(tmp_path, "- {host: web-1, url: 'http://127.0.0.1:9', user: u, password_file: PASSWORD}")
    assert do(nobody).outcome is Outcome.FAILED
    other = written(tmp_path, f"- {{host: web-1, url: '{bmc}', user: u, password_file: PASSWORD, system: nothing}}")
    done = do(other)
    assert (done.outcome, done.detail.startswith("cannot power-cycle web-1: its BMC")) == (Outcome.FAILED, True)


def test_without_file_password_or_package_the_way_out_is_said(tmp_path, monkeypatch):
    assert "it says how the BMCs are reached" in do(tmp_path / "none.yaml").detail
    file = written(tmp_path, "- {host: web-1, url: 'http://127.0.0.1:9', user: u, password_file: /none}")
    assert do(file).outcome is Outcome.FAILED
    monkeypatch.setitem(sys.modules, "sushy", None)
    file = written(tmp_path, "- {host: web-1, url: 'http://127.0.0.1:9', user: u, password_file: PASSWORD}")
    assert "install fleetmend[redfish]" in do(file).detail


# Never twice.


class Decider:
    """Remembers what it is told."""

    epoch = 1

    def __init__(self):
        self.events = []
        self.ended = asyncio.Event()

    async def submit(self, events):
        self.events += events
        if any(isinstance(event, OrderEnded) for event in events):
            self.ended.set()


class Room:
    """Hands over a database that outlives them, and a deed that counts."""

    def __init__(self, store, monkeypatch):
        self.store = store
        self.count = 0
        self.gate = asyncio.Event()
        self.gate.set()
        self.now = 1_000
        self.fleet = Fleet(hosts={"h-1": HOST})
        self.want(order())
        monkeypatch.setattr(desk_module, "load", lambda *_: {"power_cycle": Hand("power_cycle", self.deed, one_at_a_time=True)})

    def want(self, wanted):
        incident = Incident(
            "inc-7", Subject("h-1", "host_lost", ""), "host_lost", {}, "", Status.CRIT, Phase.ORDERED, 0, 0, 0, order=wanted
        )
        self.fleet.incidents = {"inc-7": incident}

    async def deed(self, _order, _host, _tools):
        self.count += 1
        await self.gate.wait()
        return Done(Outcome.DONE, "done")

    def hands(self):
        decider = Decider()
        tools = Tools(Path("/none"))
        return Hands(self.store, decider, lambda: self.fleet, tools, lambda: self.now, lambda _connection: None), decider


@pytest.fixture
def store(tmp_path):
    engine = open_engine(f"sqlite:///{tmp_path / 'fleetmend.db'}")
    metadata.create_all(engine)
    found = Store(engine)
    yield found
    found.close()


def told(decider):
    return [
        e.outcome if isinstance(e, OrderEnded) else "started"
        for e in decider.events
        if isinstance(e, OrderEnded | OrderStarted)
    ]


def test_an_order_that_comes_again_is_done_once_and_its_end_told_again(store, monkeypatch):
    async def story():
        room = Room(store, monkeypatch)
        hands, decider = room.hands()
        hands.take(order())
        hands.take(order())
        await asyncio.wait_for(decider.ended.wait(), 10)
        assert told(decider) == ["started", Outcome.DONE]
        again, other = room.hands()
        again.take(order())
        await asyncio.wait_for(other.ended.wait(), 10)
        assert (told(other), room.count) == ([Outcome.DONE], 1)

    asyncio.run(story())


def test_what_a_crash_left_is_unknown_and_not_done_again(store, monkeypatch):
    async def story():
        room = Room(store, monkeypatch)
        room.gate.clear()
        hands, _ = room.hands()
        hands.take(order())
        while not room.count:
            await asyncio.sleep(0.01)
        await hands.stop()
        room.gate.set()
        after, decider = room.hands()
        after.recover()
        await asyncio.wait_for(decider.ended.wait(), 10)
        assert (told(decider), room.count) == ([Outcome.UNKNOWN], 1)

    asyncio.run(story())


def test_what_is_late_or_not_wanted_any_more_is_not_done(store, monkeypatch):
    async def story():
        room = Room(store, monkeypatch)
        room.now = 60_000
        hands, decider = room.hands()
        hands.take(order())
        await asyncio.wait_for(decider.ended.wait(), 10)
        assert told(decider) == [Outcome.EXPIRED]
        room.now = 1_000
        hands, decider = room.hands()
        hands.take(order(2))
        await asyncio.wait_for(decider.ended.wait(), 10)
        assert told(decider) == ["started", Outcome.REFUSED]
        assert room.count == 0

    asyncio.run(story())
