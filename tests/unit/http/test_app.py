"""The HTTP port as a client sees it."""

from __future__ import annotations

import asyncio
import gzip
import socket
import subprocess
from dataclasses import dataclass, field

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from fleetmend_controller.config import Address
from fleetmend_controller.core.model import Fleet
from fleetmend_controller.core.policy import Policy
from fleetmend_controller.http.app import bind, make_app, serve
from fleetmend_controller.http.metrics import Metrics
from tests.tools import needs

PER_HOST = (
    b'# HELP fleetmend_host_up 1 while its stream is open.\n# TYPE fleetmend_host_up gauge\nfleetmend_host_up{host="web-1"} 1\n'
)


@dataclass
class World:
    """What the controller would hand to the port."""

    metrics: Metrics = field(default_factory=Metrics)
    fleet: Fleet = field(default_factory=Fleet)
    policy: Policy = field(default_factory=lambda: Policy("d", (), {}, ()))
    reasons: list[str] = field(default_factory=list)

    def render(self) -> bytes:
        return PER_HOST

    def app(self):
        return make_app(self.metrics, lambda: (self.fleet, self.policy), self, lambda: self.reasons)

    def get(self, path: str, **headers: str) -> httpx.Response:
        async def ask() -> httpx.Response:
            async with httpx.AsyncClient(transport=httpx.ASGITransport(self.app()), base_url="http://controller") as client:
                return await client.get(path, headers=headers)

        return asyncio.run(ask())

    def samples(self) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
        text = self.get("/metrics").text
        return {(s.name, tuple(s.labels.items())): s.value for f in text_string_to_metric_families(text) for s in f.samples}


def test_metrics_hold_counters_state_and_the_gauges_of_hosts():
    world = World()
    world.metrics.actions.labels("restart_unit", "done").inc()
    samples = world.samples()
    assert samples["fleetmend_actions_total", (("action", "restart_unit"), ("outcome", "done"))] == 1
    assert samples["fleetmend_incidents_open", (("phase", "open"),)] == 0
    assert samples["fleetmend_host_up", (("host", "web-1"),)] == 1


def test_metrics_are_compressed_when_asked():
    world = World()
    answer = world.get("/metrics", **{"accept-encoding": "gzip"})
    assert answer.headers["content-encoding"] == "gzip"
    assert PER_HOST.decode() in answer.text
    plain = world.get("/metrics", **{"accept-encoding": "identity"})
    assert "content-encoding" not in plain.headers
    assert plain.headers["content-type"].startswith("text/plain; version=0.0.4")


def test_each_family_appears_once():
    names = [line.split()[2] for line in World().get("/metrics").text.splitlines() if line.startswith("# TYPE")]
    assert len(names) == len(set(names))


def test_nothing_is_scraped_for_the_sake_of_another_format():
    assert "_created" not in World().get("/metrics").text


def test_ready_says_why_not():
    world = World(reasons=["cannot write the journal: disk full"])
    answer = world.get("/readyz")
    assert answer.status_code == 503
    assert answer.json() == {"ready": False, "reasons": ["cannot write the journal: disk full"]}
    world.reasons.clear()
    assert world.get("/readyz").json() == {"ready": True, "reasons": []}
    assert world.get("/healthz").text == "ok\n"


def test_only_reading_is_possible():
    async def post() -> int:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(World().app()), base_url="http://controller") as client:
            return (await client.post("/metrics")).status_code

    assert asyncio.run(post()) == 405
    assert World().get("/nothing").status_code == 404


def test_promtool_finds_no_fault_in_the_exposition():
    promtool = needs.program("promtool", "prometheus")
    text = World().get("/metrics").text
    run = subprocess.run([promtool, "check", "metrics"], input=text, capture_output=True, text=True, check=False)
    assert (run.returncode, run.stdout + run.stderr) == (0, "")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def test_it_serves_on_a_real_socket_until_told_to_stop():
    world = World()
    port = free_port()

    async def scenario() -> bytes:
        stop = asyncio.Event()
        address = Address("127.0.0.1", port)
        source = (lambda: (world.fleet, world.policy), world, lambda: world.reasons)
        task = asyncio.create_task(serve(address, world.metrics, *source, stop))
        transport = httpx.AsyncHTTPTransport(retries=5)
        async with httpx.AsyncClient(transport=transport, headers={"accept-encoding": "gzip"}) as client:
            await asyncio.sleep(0)
            async with client.stream("GET", f"http://127.0.0.1:{port}/metrics") as answer:
                body = b"".join([part async for part in answer.aiter_raw()])
        stop.set()
        await task
        return gzip.decompress(body)

    assert PER_HOST in asyncio.run(scenario())
    with socket.socket() as again:
        again.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        again.bind(("127.0.0.1", port))


def test_a_taken_address_is_named():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(OSError, match=rf"cannot listen on 127\.0\.0\.1:{port} for metrics: Address already in use"):
            bind(Address("127.0.0.1", port))
