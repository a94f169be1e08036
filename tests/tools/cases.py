"""Machines in folders: each folder of tests/fixtures/hosts is one host in one state, with what a check must say about it.

`case.json` names the check, its parameters and the expected status; `proc/`, `sys/`, `etc/`, `root/` are the machine's files.
What files cannot hold stands in `case.json` too: clocks, sizes of filesystems, systemd's units, file times, and which loopback
server answers.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import inspect
import json
import os
import shutil
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import fleetmend_agent.checks
from fleetmend import registry
from fleetmend_agent.checks import Check, CheckUnknown, Context, Result, Status, prepare
from fleetmend_agent.checks._source import worst
from fleetmend_agent.host import Host, Roots, UnitState
from tests.tools.network import Network, resolved

FOLDER = Path(__file__).parents[1] / "fixtures" / "hosts"
CHECKS = registry.load(fleetmend_agent.checks, "CHECK", Check)


@dataclass(frozen=True)
class Case:
    """One machine in one state."""

    name: str
    folder: Path
    facts: Mapping[str, Any]

    @property
    def check(self) -> Check:
        """The check that looks at it."""
        return CHECKS[self.facts["check"]]

    @property
    def expect(self) -> Status:
        """The worst status it must find."""
        return Status(self.facts["expect"])


def cases() -> list[Case]:
    """Every case, by name."""
    found = (path.parent for path in FOLDER.glob("*/case.json"))
    return sorted((Case(path.name, path, json.loads((path / "case.json").read_text())) for path in found), key=lambda c: c.name)


def host(case: Case, folder: Path) -> Host:
    """The machine, with its files copied into `folder`, where times can be set."""
    shutil.copytree(case.folder, folder, symlinks=True)
    for path, mtime_s in case.facts.get("mtimes", {}).items():
        os.utime(folder / path, (mtime_s, mtime_s))
    clock_ns, wall_ns = case.facts.get("clock_ms"), case.facts.get("wall_ms")
    overlay = f"{folder}/overlay" if (folder / "overlay").is_dir() else ""
    made = Host(
        roots=replace(Roots.under(str(folder)), tools="", overlay=overlay),
        statvfs_of=lambda path: _statvfs(case.facts["statvfs"][path]),
    )
    if "units" in case.facts:
        table = {facts["name"]: UnitState(**facts) for facts in case.facts["units"]}
        made.unit_source = lambda fresh: table
    if clock_ns is not None:
        made.clock_ns = lambda: clock_ns * 1_000_000
    if wall_ns is not None:
        made.wall_ns = lambda: wall_ns * 1_000_000
    if "network" in case.facts:
        made.network_of = lambda: Network(case.facts["network"])
    if "names" in case.facts:
        made.resolve = lambda name: resolved(case.facts["names"], name)
    return made


def run(case: Case, machine: Host) -> list[Result]:
    """What the check says; a check that cannot judge says UNKNOWN."""
    return asyncio.run(_run(case, machine))


def verdict(results: list[Result]) -> Status:
    """The worst status."""
    return worst([result.status for result in results])


async def _run(case: Case, machine: Host) -> list[Result]:
    async with server(case.facts.get("server", "none")) as port:
        params = json.loads(json.dumps(case.facts.get("params", {})).replace("{port}", str(port)))
        known = {key: Status(word) for key, word in case.facts.get("known", {}).items()}
        try:
            context = Context(machine, prepare(case.check, params), case.facts.get("timeout_s", 5.0), known=known)
            results = case.check.run(context)
            return list(await results if inspect.isawaitable(results) else results)
        except CheckUnknown as unknown:
            return [Result(Status.UNKNOWN, str(unknown))]


def _statvfs(numbers: dict[str, int] | str) -> Any:
    if isinstance(numbers, str):
        raise OSError(getattr(errno, numbers), os.strerror(getattr(errno, numbers)))
    return os.statvfs_result((*(numbers[name] for name in _STATVFS), 0, 255))


_STATVFS = ("f_bsize", "f_frsize", "f_blocks", "f_bfree", "f_bavail", "f_files", "f_ffree", "f_favail")


@contextlib.asynccontextmanager
async def server(kind: str | bytes) -> AsyncIterator[int]:
    """A loopback server that behaves in one of the ways below, or answers with bytes; yields its port."""
    stop = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            if isinstance(kind, bytes):
                writer.write(kind)
            else:
                await _BEHAVIOURS[kind](reader, writer, stop)
            writer.close()

    listening = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = listening.sockets[0].getsockname()[1]
    if kind == "none":
        listening.close()
        await listening.wait_closed()
    try:
        yield port
    finally:
        stop.set()
        listening.close()
        # Lets the connections see the end before the loop closes.
        await asyncio.sleep(0)
        await asyncio.gather(
            *(task for task in asyncio.all_tasks() if task is not asyncio.current_task()), return_exceptions=True
        )


_OK = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\nConnection: close\r\n\r\nfine"


async def _silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, stop: asyncio.Event) -> None:
    await stop.wait()


async def _closes(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, stop: asyncio.Event) -> None:
    await reader.read(10)


async def _garbage(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, stop: asyncio.Event) -> None:
    writer.write(b"220 mail.example ESMTP\r\n")
    await reader.read(10)


async def _pong(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, stop: asyncio.Event) -> None:
    if await reader.readline() == b"PING\n":
        for part in (b"PO", b"NG\n"):
            writer.write(part)
            await writer.drain()


def _answers(*parts: bytes) -> Any:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, stop: asyncio.Event) -> None:
        request = await reader.readuntil(b"\r\n\r\n")
        assert request.startswith(b"GET /healthz?token=s3cret HTTP/1.1\r\nHost: 127.0.0.1:"), request
        for part in parts:
            writer.write(part)
            await writer.drain()
            await asyncio.sleep(0)

    return answer


async def _slow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, stop: asyncio.Event) -> None:
    await reader.readuntil(b"\r\n\r\n")
    await asyncio.sleep(0.03)
    writer.write(_OK)


async def _drip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, stop: asyncio.Event) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\n")
    while not stop.is_set():
        writer.write(b"X-More: yes\r\n")
        await writer.drain()
        await asyncio.sleep(0.05)


async def _flood(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, stop: asyncio.Event) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\n" + b"X-More: yes\r\n" * 10_000)


_BEHAVIOURS = {
    "none": _closes,
    "silent": _silent,
    "closes": _closes,
    "garbage": _garbage,
    "pong": _pong,
    "http-ok": _answers(_OK),
    "http-503": _answers(b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n"),
    "http-chunked": _answers(
        b"HTTP/1.1 200 OK\r\nTransfer-", b"Encoding: chunked\r\n\r\n2;x=y\r\nfi\r\n", b"2\r\nne\r\n", b"0\r\n\r\n"
    ),
    "http-slow": _slow,
    "http-drip": _drip,
    "http-flood": _flood,
}
