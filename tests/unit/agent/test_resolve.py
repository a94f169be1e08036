"""Names are looked up on threads that hold up nobody."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from fleetmend_agent import resolve

ROOT = Path(__file__).parents[3]
HANGING = """
import asyncio, contextlib, socket, threading
from fleetmend_agent import resolve

socket.getaddrinfo = lambda *_, **__: threading.Event().wait()

async def main():
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(0.1):
            await resolve.addresses("gone.example")

asyncio.run(main())
"""


def test_an_address_is_its_own(monkeypatch):
    monkeypatch.setattr(socket, "getaddrinfo", None)
    assert asyncio.run(resolve.addresses("192.0.2.7")) == ["192.0.2.7"]
    assert asyncio.run(resolve.addresses("2001:db8::7")) == ["2001:db8::7"]


def test_a_name_is_looked_up_once_for_all_who_ask_and_anew_for_those_who_ask_later(monkeypatch):
    asked, go = [], threading.Event()

    def getaddrinfo(host, *_, **__):
        asked.append(host)
        go.wait(10)
        return [(0, 0, 0, "", ("192.0.2.1", 0)), (0, 0, 0, "", ("192.0.2.2", 0)), (0, 0, 0, "", ("192.0.2.1", 0))]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)

    async def main():
        impatient = asyncio.create_task(resolve.addresses("fleet.example"))
        patient = asyncio.create_task(resolve.addresses("fleet.example"))
        while not asked:
            await asyncio.sleep(0.01)
        impatient.cancel()
        go.set()
        assert await patient == ["192.0.2.1", "192.0.2.2"]
        assert asked == ["fleet.example"]
        await resolve.addresses("fleet.example")
        assert len(asked) == 2

    asyncio.run(main())


def test_an_error_reaches_who_asked(monkeypatch):
    def getaddrinfo(*_, **__):
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    with pytest.raises(socket.gaierror, match="not known"):
        asyncio.run(resolve.addresses("gone.example"))


def test_a_host_without_threads_is_told_of_as_one_that_cannot_be_reached(monkeypatch):
    def start(_):
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", start)
        with pytest.raises(OSError, match=r"cannot look up fleet\.example: can't start new thread"):
            asyncio.run(resolve.addresses("fleet.example"))
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: [(0, 0, 0, "", ("192.0.2.1", 0))])
    assert asyncio.run(resolve.addresses("fleet.example")) == ["192.0.2.1"]


def test_a_resolver_that_hangs_does_not_hold_up_the_end_of_the_process():
    path = ":".join(str(ROOT / folder) for folder in ("agent", "protos"))
    subprocess.run([sys.executable, "-c", HANGING], env={"PYTHONPATH": path}, check=True, timeout=30)
