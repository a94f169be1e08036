"""Evidence that /proc tells without a tool. Names of processes only: command lines may hold secrets."""

from __future__ import annotations

import os
import socket
import struct

from .effects import ReadEvidence
from .run import Run

PROCESSES_MAX = 65_536
_LISTENING = "0A"


def read(effect: ReadEvidence, run: Run, proc: str = "/proc") -> None:
    """Add the evidence to the run's output."""
    lines = processes(proc, effect.lines_max) if effect.what == "processes" else sockets(proc, effect.lines_max)
    run.output.append("\n".join([f"== {effect.what}", *lines]))


def processes(proc: str, lines_max: int) -> list[str]:
    """The largest by memory, and the busiest since they started, each as a line."""
    found = [process for pid in os.listdir(proc)[:PROCESSES_MAX] if pid.isdigit() and (process := _process(proc, pid))]
    by_memory = sorted((p for p in found if p[2]), key=lambda p: p[2], reverse=True)[: lines_max // 2]
    by_cpu = sorted((p for p in found if p[3]), key=lambda p: p[3], reverse=True)[: lines_max // 2]
    kept = list(dict.fromkeys([*by_memory, *by_cpu]))
    return [f"pid={p[0]} state={p[4]} rss_kib={p[2]} cpu_s={p[3]:.1f} name={p[1]}" for p in kept]


def sockets(proc: str, lines_max: int) -> list[str]:
    """Listening TCP sockets of the host. PID 1's view: the executor itself lives in a network of its own."""
    found = []
    for table, family in (("tcp", socket.AF_INET), ("tcp6", socket.AF_INET6)):
        try:
            with open(f"{proc}/1/net/{table}", encoding="ascii") as file:
                rows = file.read(4 * 1024 * 1024).splitlines()[1:]
        except OSError as error:
            found.append(f"cannot read {table}: {error.strerror}")
            continue
        found += [_address(row.split()[1], family) for row in rows if row.split()[3:4] == [_LISTENING]]
    return [f"listen {address}" for address in sorted(set(found))[:lines_max]]


def _process(proc: str, pid: str) -> tuple[int, str, int, float, str] | None:
    try:
        with open(f"{proc}/{pid}/stat", "rb") as file:
            text = file.read(4096)
    except OSError:
        return None  # ended meanwhile
    name, _, rest = text.partition(b"(")[2].rpartition(b")")
    fields = rest.split()
    cpu_s = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    rss_kib = int(fields[21]) * os.sysconf("SC_PAGE_SIZE") // 1024
    return int(pid), ascii(name.decode("utf-8", "replace"))[1:-1], rss_kib, cpu_s, fields[0].decode()


def _address(text: str, family: socket.AddressFamily) -> str:
    """`0100007F:1F90` as the kernel writes it, words in host order, to `127.0.0.1:8080`."""
    words, _, port = text.partition(":")
    raw = b"".join(struct.pack("=I", int(words[i : i + 8], 16)) for i in range(0, len(words), 8))
    host = socket.inet_ntop(family, raw)
    return f"[{host}]:{int(port, 16)}" if ":" in host else f"{host}:{int(port, 16)}"
