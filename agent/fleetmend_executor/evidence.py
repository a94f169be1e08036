"""Evidence that /proc tells without a tool. Names of processes only: command lines may hold secrets."""

from __future__ import annotations

import os
import socket
import stat
import struct

from .effects import ReadEvidence
from .run import Run

PROCESSES_MAX = 65_536
_LISTENING = "0A"
DELETED_BYTES_MIN = 1 << 20
CONSUMER_LEVELS = 2
CONSUMER_ENTRIES_MAX = 200_000


def read(effect: ReadEvidence, run: Run, proc: str = "/proc") -> None:
    """Add the evidence to the run's output."""
    if effect.what == "processes":
        lines = processes(proc, effect.lines_max)
    elif effect.what == "sockets":
        lines = sockets(proc, effect.lines_max)
    elif effect.what == "deleted":
        lines = deleted(proc, effect.lines_max)
    else:
        lines = consumers(effect.mount, effect.lines_max)
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


def deleted(proc: str, lines_max: int) -> list[str]:
    """Files without a name that processes keep open: space that no listing shows, freed when they close them."""
    found: dict[tuple[int, int], tuple[int, str]] = {}
    for pid in [name for name in os.listdir(proc) if name.isdigit()][:PROCESSES_MAX]:
        for number in _descriptors(proc, pid):
            held = _held(f"{proc}/{pid}/fd/{number}")
            if held is not None:
                key, size, path = held
                found.setdefault(key, (size, f"{path} held by pid={pid}"))
    largest = sorted(found.values(), reverse=True)[:lines_max]
    return [f"{size // 1024} KiB {text}" for size, text in largest] or ["none"]


def _held(link: str) -> tuple[tuple[int, int], int, str] | None:
    """Which file, how large and what it was called, if it is one that was deleted and is not small."""
    try:
        path = os.readlink(link)
        if not path.endswith(" (deleted)") or not path.startswith("/") or path.startswith("/memfd:"):
            return None
        status = os.stat(link)
    except OSError:
        return None  # closed meanwhile
    size = status.st_blocks * 512
    if not stat.S_ISREG(status.st_mode) or size < DELETED_BYTES_MIN:
        return None
    return (status.st_dev, status.st_ino), size, ascii(path)[1:-1]


def _descriptors(proc: str, pid: str) -> list[str]:
    try:
        return os.listdir(f"{proc}/{pid}/fd")
    except OSError:
        return []


def consumers(mount: str, lines_max: int) -> list[str]:
    """The folders and files of a filesystem that take most, down to its second level, within bounds."""
    device = os.stat(mount).st_dev
    sizes: dict[str, int] = {}
    seen = 0
    for folder, folders, files in os.walk(mount, followlinks=False):
        parts = os.path.relpath(folder, mount).split("/")
        top = mount if parts == ["."] else "/".join([mount.rstrip("/"), *parts[:CONSUMER_LEVELS]])
        folders[:] = [name for name in folders if _is_on(f"{folder}/{name}", device)]
        for name in files:
            seen += 1
            try:
                size = os.lstat(f"{folder}/{name}").st_blocks * 512
            except OSError:
                continue
            key = f"{folder.rstrip('/')}/{name}" if len(parts) < CONSUMER_LEVELS else top
            sizes[key] = sizes.get(key, 0) + size
        if seen > CONSUMER_ENTRIES_MAX:
            break
    largest = sorted(sizes.items(), key=lambda item: -item[1])[:lines_max]
    return [f"{size // 1024} KiB {ascii(path)[1:-1]}" for path, size in largest] or ["nothing"]


def _is_on(path: str, device: int) -> bool:
    try:
        return os.lstat(path).st_dev == device
    except OSError:
        return False


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
