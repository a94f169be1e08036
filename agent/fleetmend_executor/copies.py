"""A second copy of a declared unit's program outside the unit: on its address, or beside it. Only an exact copy is ended.

A copy has the command line that systemd would start, or the text that was declared for it, and runs for the unit's user.
Whatever else holds an address is a person's to judge.
"""

from __future__ import annotations

import re
import socket
import struct
from dataclasses import dataclass
from typing import ClassVar

from . import processes, strays
from .actions import Refused
from .globs import any_unit
from .processes import Process
from .run import ActionFailed, Run
from .systemd import show

_LISTENING = "0A"
_TABLE_BYTES_MAX = 4 * 1024 * 1024
_ANY = ("0.0.0.0", "[::]")  # noqa: S104 - compared, never bound
_ARGV = re.compile(r"argv\[\]=(.*?) ; ignore_errors=")


@dataclass(frozen=True, slots=True)
class FreeAddresses:
    """Before a unit is started: whoever else listens on its addresses is ended if it is a copy and `may_stop`, else it fails.

    `text` is what the unit's command line was declared to contain; `spared` are globs of units that are never touched.
    """

    unit: str
    addresses: tuple[str, ...]
    spared: tuple[str, ...]
    text: str = ""
    may_stop: bool = False
    performer: ClassVar[str] = "copies"


@dataclass(frozen=True, slots=True)
class StopCopy:
    """End one process, if it is a copy of the unit's program outside the unit."""

    unit: str
    pid: int
    start_ticks: int
    process_name: str
    spared: tuple[str, ...]
    text: str = ""
    performer: ClassVar[str] = "copies"


def perform(effect: FreeAddresses | StopCopy, run: Run, proc: str = "/proc") -> None:
    """Look who it is, and end it only if it is a copy."""
    if isinstance(effect, StopCopy):
        process = strays.identified(effect.pid, effect.start_ticks, effect.process_name, proc)
        why = stranger(process, effect.unit, effect.text, effect.spared, run, proc)
        if why:
            raise Refused("other_program", f"cannot stop pid {process.pid} ({process.name}): {why}")
        strays.end(process, effect.spared, run, proc, whole=False, grace_s=5.0)
        return
    for address, process in holders(effect.addresses, proc):
        if process.pid == 1 or _belongs(process.unit, effect.unit):
            continue
        who = f"{address} is held by {process.name} (pid {process.pid}, uid {process.uids[:1]}) in {process.unit or 'no unit'}"
        why = stranger(process, effect.unit, effect.text, effect.spared, run, proc)
        if why or not effect.may_stop:
            raise ActionFailed("address_taken", f"cannot start {effect.unit}: {who}: {why or 'it may not be stopped here'}")
        run.detail.append(f"{who}: a copy of {effect.unit}'s program")
        strays.end(process, effect.spared, run, proc, whole=False, grace_s=5.0)


def stranger(process: Process, unit: str, text: str, spared: tuple[str, ...], run: Run, proc: str = "/proc") -> str:
    """Why a process is no copy that may be ended; empty if it is one."""
    if process.unit == unit or any_unit(process.unit, (*spared, *processes.SYSTEM_UNITS)):
        return f"it runs in {process.unit}"
    if process.pid <= 1 or processes.in_container(process.pid, proc):
        return "it is not one of this host's own processes"
    told = show(unit, run, "ExecStart", "User")
    uid = user_id(told["User"] or "root")
    if uid is None or not process.runs_for(uid):
        return f"it does not run for {told['User'] or 'root'}"
    line = " ".join(processes.command_line(process.pid, proc))
    if line and (line in _ARGV.findall(told["ExecStart"]) or (text and text in line)):
        return ""
    return "it is another program"


def user_id(name: str) -> int | None:
    """The number of a user; None if there is none."""
    import pwd

    if name.isdecimal():
        return int(name)
    try:
        return pwd.getpwnam(name).pw_uid
    except KeyError:
        return None


def holders(addresses: tuple[str, ...], proc: str = "/proc") -> list[tuple[str, Process]]:
    """Who listens on these addresses: the first process that holds each socket."""
    inodes: dict[str, str] = {}
    for local, inode in _listening(proc):
        host, _, port = local.rpartition(":")
        for address in addresses:
            if local == address or (host in _ANY and address.rpartition(":")[2] == port):
                inodes[f"socket:[{inode}]"] = address
    if not inodes:
        return []
    found: dict[str, tuple[str, Process]] = {}
    for process in processes.every(proc):
        for _, target in processes.open_files(process.pid, proc):
            held = found.get(target)
            if target in inodes and (held is None or process.start_ticks < held[1].start_ticks):
                found[target] = (inodes[target], process)
    return list(found.values())


def _listening(proc: str) -> list[tuple[str, int]]:
    """Address and inode of each listening TCP socket. PID 1's view: the executor itself lives in a network of its own."""
    found = []
    for table, family in (("tcp", socket.AF_INET), ("tcp6", socket.AF_INET6)):
        try:
            with open(f"{proc}/1/net/{table}", encoding="ascii") as file:
                rows = [row.split() for row in file.read(_TABLE_BYTES_MAX).splitlines()[1:]]
        except OSError:
            continue
        found += [(_address(row[1], family), int(row[9])) for row in rows if len(row) > 9 and row[3] == _LISTENING]
    return found


def _address(text: str, family: socket.AddressFamily) -> str:
    words, _, port = text.partition(":")
    raw = b"".join(struct.pack("=I", int(words[i : i + 8], 16)) for i in range(0, len(words), 8))
    host = socket.inet_ntop(family, raw)
    return f"[{host}]:{int(port, 16)}" if ":" in host else f"{host}:{int(port, 16)}"


def _belongs(unit: str, declared: str) -> bool:
    """A socket's unit and its service belong together."""
    return unit == declared or unit.rpartition(".")[0] == declared.rpartition(".")[0] != ""
