"""Machines in folders: each folder of tests/fixtures/hosts is one host in one state, with what a check must say about it.

`case.json` names the check, its parameters and the expected status; `proc/`, `sys/`, `etc/`, `root/` are the machine's files.
`before/` has those that were different `before_ms` earlier, when the check ran for the first time; `laid/` is laid over.
What files cannot hold stands in `case.json` too: clocks, sizes of filesystems, systemd's units, file times, owners and modes,
earlier samples, and which loopback server answers.
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
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import fleetmend_agent.checks
from fleetmend import registry
from fleetmend_agent.checks import Check, CheckUnknown, Context, Result, Status, prepare
from fleetmend_agent.checks._service_log import Wanted, service_log
from fleetmend_agent.checks._source import worst
from fleetmend_agent.checks.filesystem_fill import Sample
from fleetmend_agent.checks.service_log import wanted
from fleetmend_agent.host import Host, Roots, UnitState
from fleetmend_agent.sockets import Listener
from tests.tools.engine import engine
from tests.tools.network import Network, resolved

FOLDER = Path(__file__).parents[1] / "fixtures" / "hosts"
CHECKS = registry.load(fleetmend_agent.checks, "CHECK", Check)


class Machine(Host):
    """A host whose files can belong to anybody, whoever runs the tests."""

    owners: Mapping[str, tuple[int, int]]

    def lstat(self, path: str) -> os.stat_result:
        """With the owner that the case names."""
        return self._owned(path, super().lstat(path))

    def stat(self, path: str) -> os.stat_result:
        """As lstat."""
        return self._owned(path, super().stat(path))

    def _owned(self, path: str, found: os.stat_result) -> os.stat_result:
        if path not in self.owners:
            return found
        fields = {name: getattr(found, name) for name in dir(found) if name.startswith("st_")}
        return os.stat_result((*tuple(found)[:4], *self.owners[path], *tuple(found)[6:]), fields)


@dataclass(frozen=True)
class Case:
    """One machine in one state."""

    name: str
    folder: Path
    facts: Mapping[str, Any] = field(hash=False)

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
    for path, mode in case.facts.get("modes", {}).items():
        (folder / path).chmod(int(mode, 8))
    laid = next((str(folder / name) for name in ("laid", "overlay") if (folder / name).is_dir()), "")
    tools = str(folder / "tools") if (folder / "tools").is_dir() else ""
    made_listeners = case.facts.get("listeners")
    made = Machine(
        roots=replace(Roots.under(str(folder)), tools=tools, overlay=laid),
        statvfs_of=lambda path: _statvfs(_written(case, made, path)),
    )
    made.owners = {path: (uid, gid) for path, (uid, gid) in case.facts.get("owners", {}).items()}
    if "fill" in case.facts:
        made.kept["filesystem_fill"] = {path: [Sample(*pair) for pair in pairs] for path, pairs in case.facts["fill"].items()}
    if "units" in case.facts:
        table = {facts["name"]: UnitState(**facts) for facts in case.facts["units"]}
        made.unit_source = lambda fresh: table
    made.listeners_of = lambda: _listeners(made_listeners, folder)
    if clock_ns is not None:
        made.clock_ns = lambda: clock_ns * 1_000_000
    made.sleep = lambda seconds: _pass(made, int(seconds * 1000))
    if wall_ns is not None:
        made.wall_ns = lambda: wall_ns * 1_000_000
    if "network" in case.facts:
        made.network_of = lambda: Network(case.facts["network"])
    if "journal_send" in case.facts:
        made.journal_send = lambda entry: _sent(case.facts["journal_send"])
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
    async with contextlib.AsyncExitStack() as stack:
        port = await stack.enter_async_context(server(case.facts.get("server", "none")))
        if "engine" in case.facts:
            stack.enter_context(engine(machine.path("/run/docker.sock"), case.facts["engine"]))
        params = json.loads(json.dumps(case.facts.get("params", {})).replace("{port}", str(port)))
        known = {key: Status(word) for key, word in case.facts.get("known", {}).items()}
        try:
            context = Context(machine, prepare(case.check, params), case.facts.get("timeout_s", 5.0), known=known)
            if "journal" in case.facts:
                _log(machine, wanted(context.params), case.facts["journal"])
            if (case.folder / "before").is_dir():
                await _run_before(case, machine, context)
            return await said(case.check, context)
        except CheckUnknown as unknown:
            return [Result(Status.UNKNOWN, str(unknown))]


async def said(check: Check, context: Context) -> list[Result]:
    """What a check gives, whichever kind of function it is. Raises CheckUnknown."""
    results = check.run(context)
    return list(await results if inspect.isawaitable(results) else results)


async def _run_before(case: Case, machine: Host, context: Context) -> None:
    """The check's first run, when the files of `before/` lay in place of the present ones."""
    roots = machine.roots
    machine.roots = replace(roots, overlay=str(Path(roots.proc).parent / "before"))
    with contextlib.suppress(CheckUnknown):
        await said(case.check, context)
    machine.roots = roots
    _pass(machine, case.facts.get("before_ms", 30_000))


def _log(machine: Host, looked_for: Wanted, lines: list[dict[str, str]]) -> None:
    """Services log while a check looks for something."""
    log = service_log(machine)
    log.configure([looked_for])
    log.journal.tell("")
    for line in lines:
        log.take(line["unit"], line["text"], old=False)


def _pass(machine: Host, ms: int) -> None:
    """Time passes."""
    now_ns = machine.clock_ns()
    machine.clock_ns = lambda: now_ns + ms * 1_000_000


def _sent(word: str) -> None:
    """What comes of giving the journal a line: the empty word, or the name of an error."""
    if word:
        raise OSError(getattr(errno, word), os.strerror(getattr(errno, word)))


def _listeners(listed: list[dict[str, Any]] | None, folder: Path) -> tuple[Listener, ...]:
    """Listening sockets; some name the folder of their control group, whose number only the copied folder has."""
    if listed is None:
        raise OSError(errno.EPERM, os.strerror(errno.EPERM))
    return tuple(
        Listener(
            address=each["address"],
            port=each["port"],
            uid=each.get("uid", 0),
            inode=1,
            group=(folder / f"sys/fs/cgroup{each['group']}").stat().st_ino if "group" in each else 0,
            waiting=each.get("waiting", 0),
            limit=each.get("limit", 0),
        )
        for each in listed
    )


def _written(case: Case, machine: Host, path: str) -> dict[str, int] | str:
    """The numbers of a filesystem, with what is written there since: `writes`, in bytes a second."""
    numbers = case.facts["statvfs"][path]
    rate = case.facts.get("writes", {}).get(path, 0)
    if not rate:
        return numbers
    blocks = rate * (machine.clock_ms() - case.facts["clock_ms"]) // 1000 // numbers["f_frsize"]
    return numbers | {name: numbers[name] - blocks for name in ("f_bfree", "f_bavail")}


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


def _redfish(health: str, state: str) -> Any:
    sick = {"State": state, "Health": health}
    well = {"State": "Enabled", "Health": "OK"}
    documents = {
        "/redfish/v1/Chassis": {"Members": [{"@odata.id": "/redfish/v1/Chassis/1"}]},
        "/redfish/v1/Chassis/1/Thermal": {
            "Temperatures": [{"Name": "CPU1 Temp", "ReadingCelsius": 54, "Status": well}, {"Status": {"State": "Absent"}}],
            "Fans": [{"Name": "FAN1", "Reading": 0, "ReadingUnits": "RPM", "Status": sick}],
        },
        "/redfish/v1/Chassis/1/Power": {"PowerSupplies": [{"Name": "PSU2", "LineInputVoltage": 0, "Status": sick}]},
    }

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, stop: asyncio.Event) -> None:
        path = (await reader.readuntil(b"\r\n\r\n")).split(b" ")[1].decode()
        body = json.dumps(documents[path]).encode() if path in documents else b""
        status = b"200 OK" if body else b"404 Not Found"
        writer.write(b"HTTP/1.1 %s\r\nContent-Length: %d\r\n\r\n%s" % (status, len(body), body))

    return answer


_BEHAVIOURS = {
    "redfish-ok": _redfish("OK", "Enabled"),
    "redfish-critical": _redfish("Critical", "UnavailableOffline"),
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
