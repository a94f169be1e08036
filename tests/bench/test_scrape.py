"""A scrape of 300,000 series: the CPU it costs the controller, and how long it keeps the event loop from deciding."""

from __future__ import annotations

import asyncio
import random
import time

import httpx
import pytest

from fleetmend import catalogue
from fleetmend.v1 import link_pb2
from fleetmend_controller.core.model import Fleet
from fleetmend_controller.core.policy import Policy
from fleetmend_controller.gateway.gauges import Gauges
from fleetmend_controller.http.app import make_app
from fleetmend_controller.http.metrics import Metrics
from fleetmend_controller.pki.registry import HostRecord

HOSTS = 1000
SERIES_A_HOST = 300
CPU_S_MAX = 1.0


def heartbeat(chance: random.Random) -> link_pb2.Heartbeat:
    beat = link_pb2.Heartbeat()
    for number in range(SERIES_A_HOST):
        beat.series.add(id=number, name="filesystem_used_ratio", check=f"disk-{number}", key=f"/srv/{number}")
        beat.series_ids.append(number)
        beat.values.append(chance.random())
    return beat


class Source:
    """The gauges of a large fleet."""

    def __init__(self) -> None:
        self.hosts = [HostRecord(f"h-{n:016x}", f"web-{n}", {"role": "web"}, "", 0, "", 0) for n in range(HOSTS)]
        self.gauges = Gauges(catalogue.load_catalogue(), lambda _reason, _count: None)
        chance = random.Random(1)
        for host in self.hosts:
            self.gauges.begin(host, 0)
            self.gauges.heartbeat(host.id, heartbeat(chance))

    def render(self) -> bytes:
        return self.gauges.render(self.hosts, lambda _host: True)


@pytest.mark.parametrize("encoding", ["identity", "gzip"])
def test_scrape_of_a_large_fleet(encoding):
    source = Source()
    app = make_app(Metrics(), lambda: (Fleet(), Policy("d", (), {}, ())), source, list)
    longest_s = 0.0

    async def watch_loop() -> None:
        nonlocal longest_s
        while True:
            before = time.perf_counter()
            await asyncio.sleep(0)
            longest_s = max(longest_s, time.perf_counter() - before)

    async def scrape() -> int:
        watcher = asyncio.create_task(watch_loop())
        size = await alone(app, encoding)
        watcher.cancel()
        return size

    # The watcher spins, so the cost is measured in a run without it.
    begun = time.process_time()
    source.render()
    rendered_s = time.process_time() - begun
    size = asyncio.run(scrape())
    begun = time.process_time()
    asyncio.run(alone(app, encoding))
    cpu_s = time.process_time() - begun
    print(
        f"\nscrape, {HOSTS * SERIES_A_HOST} series, {encoding}: {size / 1e6:.1f} MB, {cpu_s:.2f} s CPU"
        f" (render {rendered_s:.2f}), longest hold of the loop {longest_s * 1000:.0f} ms"
    )
    assert cpu_s < CPU_S_MAX


async def alone(app, encoding: str) -> int:
    client = httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://controller")
    async with client, client.stream("GET", "/metrics", headers={"accept-encoding": encoding}) as answer:
        return sum([len(part) async for part in answer.aiter_raw()])
