"""The one door to the machine: files, mounts, clocks, tools and the unit table, each bounded and each replaceable by a fixture.

Checks and facts name files as they are on a real machine (`/proc/meminfo`); `Roots` decides where that is, so that a test hands
in a folder instead of mocks. What no file can hold (free space, clocks) comes through fields that a test may set.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import socket
import stat
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import tool as tools
from .checks import CheckUnknown
from .resolve import by_system
from .sockets import Listener, listening

if TYPE_CHECKING:
    from fleetmend.netlink import Reader

FILE_BYTES_MAX = 1024 * 1024
MOUNTINFO_BYTES_MAX = 8 * 1024 * 1024
OUTPUT_BYTES_MAX = 64 * 1024
_CHUNK_BYTES = 64 * 1024
_TOOL_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_FSTAB_WORDS = 4
_MOUNT_HEAD_WORDS = 6
_MOUNT_TAIL_WORDS = 3
_OCTAL = re.compile(r"\\([0-7]{3})")


@dataclass(frozen=True, slots=True)
class Roots:
    """Where the machine is. `tools` is a folder in which tools without a slash are looked for; empty: the usual folders.

    `overlay`: a folder whose files, where there are any, are seen in place of the machine's (`overlay/proc/meminfo` for
    /proc/meminfo, `overlay/bin/smartctl` for the tool): to try what a check says of hardware that is not there.
    """

    proc: str = "/proc"
    sys: str = "/sys"
    etc: str = "/etc"
    root: str = "/"
    tools: str = ""
    kmsg: str = "/dev/kmsg"
    overlay: str = ""

    @classmethod
    def under(cls, folder: str) -> Roots:
        """The roots of a fixture: `folder/proc`, `folder/sys`, `folder/etc`, `folder/root`, `folder/tools`, `folder/kmsg`."""
        return cls(*(f"{folder}/{name}" for name in ("proc", "sys", "etc", "root", "tools", "kmsg")))


@dataclass(frozen=True, slots=True)
class Mount:
    """One line of mountinfo. `options` belong to this mount, `super_options` to its filesystem wherever it is mounted."""

    device: str
    root: str
    mount_point: str
    options: tuple[str, ...]
    fstype: str
    source: str
    super_options: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class UnitState:
    """One systemd unit as the manager describes it.

    `load` (loaded, masked, not-found ...), `active` (active, reloading, inactive, failed, activating, deactivating), `sub` and
    `result` (success, exit-code, signal ..., empty if the unit type has none) are systemd's own words. `job_pending`: a job is
    queued or running. `n_restarts`: restarts that systemd made by itself. `since_clock_ms`: CLOCK_BOOTTIME of the last change
    of `active`, or of the first sight of the unit if that was later.
    """

    name: str
    load: str = "loaded"
    active: str = "inactive"
    sub: str = "dead"
    result: str = ""
    job_pending: bool = False
    n_restarts: int = 0
    since_clock_ms: int = 0


@dataclass(slots=True)
class Scan:
    """What was looked for in one folder: paths of files and of folders in it, and how many names were seen."""

    files: list[str] = field(default_factory=list)
    folders: list[str] = field(default_factory=list)
    names: int = 0


UnitSource = Callable[[bool], Mapping[str, UnitState]]
"""Given `fresh`, the units by name: from the source itself when fresh, else from a table kept by events. Raises OSError."""


AddressSource = Callable[[], Mapping[str, tuple[str, ...]]]
"""The IPv4 addresses with their prefix lengths (`192.0.2.7/24`), by interface. Raises OSError."""


Look = Callable[[str, float], Any]
"""Given the name of a look and seconds to wait, what root sees, as JSON values. Raises OSError. Only from a worker thread."""
ListenerSource = Callable[[], tuple["Listener", ...]]
"""The TCP sockets of this machine that listen. Raises OSError."""
NameSource = Callable[[str], tuple[str, ...]]
"""The IPv4 and IPv6 addresses that the system's resolver gives for a name. Raises OSError, also when there are none."""

JournalSender = Callable[[bytes], None]
"""Gives systemd's journal one entry in its own protocol, without waiting. Raises OSError."""
_JOURNAL_SOCKET = "/run/systemd/journal/socket"


def _journal_send(entry: bytes) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC) as sender:
        sender.sendto(entry, _JOURNAL_SOCKET)


def _network() -> Reader:
    # Loaded on first use only: few hosts declare their network.
    from fleetmend.netlink import Reader

    return Reader()


def _clock_ns() -> int:
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME)


def _ipv4_addresses() -> dict[str, tuple[str, ...]]:
    # Loaded on first use only: procfs has no list of IPv4 addresses by interface, psutil asks the kernel for one.
    from ipaddress import IPv4Interface

    import psutil

    return {
        name: tuple(str(IPv4Interface(f"{a.address}/{a.netmask}")) for a in entries if a.family == socket.AF_INET and a.netmask)
        for name, entries in psutil.net_if_addrs().items()
    }


@dataclass(slots=True)
class Host:
    """The machine under watch. Methods raise OSError for what cannot be read; only `units` raises CheckUnknown itself."""

    roots: Roots = field(default_factory=Roots)
    unit_source: UnitSource | None = None
    statvfs_of: Callable[[str], os.statvfs_result] = os.statvfs
    clock_ns: Callable[[], int] = _clock_ns
    wall_ns: Callable[[], int] = time.time_ns
    ipv4_addresses: AddressSource = _ipv4_addresses
    state_dir: str = ""
    kept: dict[str, Any] = field(default_factory=dict, repr=False, compare=False)
    """What checks remember between two runs, by names of their own: a shared scan, the numbers of the last look."""
    sleep: Callable[[float], None] = time.sleep
    look: Look | None = None
    """Asks the executor for what only root may see; None where there is no executor to ask."""
    listeners_of: ListenerSource = listening
    network_of: Callable[[], Reader] = _network
    resolve: NameSource = by_system
    journal_send: JournalSender = _journal_send
    _as_it_is: bool = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        self._as_it_is = self.roots == Roots()

    def path(self, path: str) -> str:
        """Where an absolute path of the machine lies under the roots."""
        if self._as_it_is:
            return path
        if self.roots.overlay and os.path.lexists(laid := self.roots.overlay + path):
            return laid
        return self._own_path(path)

    def _own_path(self, path: str) -> str:
        for name, root in (("/proc", self.roots.proc), ("/sys", self.roots.sys), ("/etc", self.roots.etc)):
            if path == name or path.startswith(f"{name}/"):
                return root + path[len(name) :]
        return path if self.roots.root == "/" else self.roots.root + path

    def read_bytes(self, path: str, bytes_max: int = FILE_BYTES_MAX) -> bytes:
        """The whole file. Raises OSError; EFBIG when it is longer than `bytes_max`. A FIFO without a writer reads as empty."""
        descriptor = os.open(self.path(path), os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            parts: list[bytes] = []
            left = bytes_max + 1
            while left > 0 and (part := os.read(descriptor, min(left, _CHUNK_BYTES))):
                parts.append(part)
                left -= len(part)
        finally:
            os.close(descriptor)
        if left <= 0:
            raise OSError(errno.EFBIG, f"longer than {bytes_max} bytes", path)
        return b"".join(parts)

    def read_text(self, path: str, bytes_max: int = FILE_BYTES_MAX) -> str:
        """As `read_bytes`, as text; bytes that are not UTF-8 become replacement characters."""
        return self.read_bytes(path, bytes_max).decode("utf-8", "replace")

    def listdir(self, path: str) -> list[str]:
        """The names in a folder, unsorted."""
        names = os.listdir(self.path(path))
        laid_over = self.roots.overlay and self.path(path) != self._own_path(path)
        if laid_over and os.path.isdir(own := self._own_path(path)):
            names += [name for name in os.listdir(own) if name not in set(names)]
        return names

    def stat(self, path: str) -> os.stat_result:
        """What a path leads to, links followed. May hang on a dead mount: only from a worker thread."""
        return Path(self.path(path)).stat()

    def lstat(self, path: str) -> os.stat_result:
        """What a path is, a link itself and not what it leads to."""
        return Path(self.path(path)).lstat()

    def scan(self, folder: str, bits: int, names_max: int) -> Scan:
        """The regular files of a folder whose mode has one of these bits, and its folders. Not what vanishes meanwhile."""
        if self.roots.overlay:
            return self._scan_laid_over(folder, bits, names_max)
        scan = Scan()
        # The agent looks at thousands of names this way: one call a folder, one a file, none for what is a link.
        with os.scandir(self.path(folder)) as found:
            for entry in islice(found, names_max):
                scan.names += 1
                try:
                    if entry.is_dir(follow_symlinks=False):
                        scan.folders.append(f"{folder}/{entry.name}")
                    elif entry.is_file(follow_symlinks=False) and entry.stat(follow_symlinks=False).st_mode & bits:
                        scan.files.append(f"{folder}/{entry.name}")
                except OSError:
                    continue
        return scan

    def _scan_laid_over(self, folder: str, bits: int, names_max: int) -> Scan:
        scan = Scan()
        for name in self.listdir(folder)[:names_max]:
            scan.names += 1
            with contextlib.suppress(OSError):
                mode = self.lstat(f"{folder}/{name}").st_mode
                if stat.S_ISDIR(mode):
                    scan.folders.append(f"{folder}/{name}")
                elif stat.S_ISREG(mode) and mode & bits:
                    scan.files.append(f"{folder}/{name}")
        return scan

    def exists(self, path: str) -> bool:
        """Whether a path is there; False too when it cannot be seen."""
        try:
            self.stat(path)
        except OSError:
            return False
        return True

    def readlink(self, path: str) -> str:
        """Where a symbolic link points."""
        return str(Path(self.path(path)).readlink())

    def statvfs(self, path: str) -> os.statvfs_result:
        """Size and free space of the filesystem at a path. May hang on a dead mount: only from a worker thread."""
        return self.statvfs_of(path)

    def mounts(self, process: str = "self") -> tuple[Mount, ...]:
        """The mounts as one process sees them, in the order in which they were made; a later one covers an earlier one."""
        return parse_mountinfo(self.read_text(f"/proc/{process}/mountinfo", MOUNTINFO_BYTES_MAX))

    def boot_id(self) -> str:
        """The kernel's id of this boot."""
        return self.read_text("/proc/sys/kernel/random/boot_id").strip()

    def clock_ms(self) -> int:
        """CLOCK_BOOTTIME in milliseconds: never steps, counts suspend, comparable within one boot."""
        return self.clock_ns() // 1_000_000

    def wall_ms(self) -> int:
        """Unix time in milliseconds: for people and for file times, never for intervals."""
        return self.wall_ns() // 1_000_000

    def hostname(self) -> str:
        """The name that the kernel gives this machine."""
        try:
            return self.read_text("/proc/sys/kernel/hostname").strip()
        except OSError:
            return socket.gethostname()

    def tool(self, name: str) -> str:
        """The file to run for a name; a name with a slash is a file already. Raises FileNotFoundError."""
        if "/" in name:
            return name
        # shutil.which would load the compression libraries for good.
        for folder in self._tool_path().split(":"):
            path = f"{folder}/{name}"
            if os.access(path, os.X_OK) and Path(path).is_file():
                return path
        raise FileNotFoundError(errno.ENOENT, "no such tool", name)

    def _tool_path(self) -> str:
        path = self.roots.tools or _TOOL_PATH
        return f"{self.roots.overlay}/bin:{path}" if self.roots.overlay else path

    def run(self, argv: tuple[str, ...], timeout_s: float, output_bytes_max: int = OUTPUT_BYTES_MAX) -> tools.Finished:
        """Runs a tool in a session of its own, without a shell, and leaves none of its processes behind. Raises OSError."""
        if not argv:
            raise OSError(errno.EINVAL, "no command")
        path = self._tool_path()
        environment = {"PATH": path if path.endswith(_TOOL_PATH) else f"{path}:{_TOOL_PATH}", "LC_ALL": "C"}
        return tools.run((self.tool(argv[0]), *argv[1:]), environment, timeout_s, output_bytes_max)

    def units(self, fresh: bool = False) -> Mapping[str, UnitState]:
        """The systemd units by name. Raises CheckUnknown when nothing can tell."""
        if self.unit_source is None:
            raise CheckUnknown("cannot read systemd units: nothing is connected to systemd on this machine")
        try:
            return self.unit_source(fresh)
        except OSError as error:
            raise CheckUnknown(f"cannot read systemd units: {error}") from error


# Mounts change rarely, and a dozen checks a minute ask: what is the same text is understood once. Two, for `self` and for 1.
@lru_cache(maxsize=2)
def parse_mountinfo(text: str) -> tuple[Mount, ...]:
    """The lines of mountinfo; lines of another form are left out, since the kernel never writes them."""
    return tuple(mount for line in text.splitlines() if (mount := _parse_mount(line)) is not None)


def _parse_mount(line: str) -> Mount | None:
    left, separator, right = line.partition(" - ")
    head, tail = left.split(" "), right.split(" ")
    if not separator or len(head) < _MOUNT_HEAD_WORDS or len(tail) < _MOUNT_TAIL_WORDS or "\0" in line:
        return None
    return Mount(
        device=head[2],
        root=_unescape(head[3]),
        mount_point=_unescape(head[4]),
        options=tuple(head[5].split(",")),
        fstype=tail[0],
        source=_unescape(tail[1]),
        super_options=tuple(tail[2].split(",")),
    )


def _unescape(text: str) -> str:
    """Blanks, tabs, line ends and backslashes stand as octal numbers in mountinfo and fstab."""
    return _OCTAL.sub(lambda found: chr(int(found[1], 8)), text) if "\\" in text else text


def parse_fstab(text: str) -> dict[str, tuple[str, ...]]:
    """Options by mount point; comments, swap and lines without options are left out."""
    options: dict[str, tuple[str, ...]] = {}
    for line in text.splitlines():
        words = line.split()
        if len(words) >= _FSTAB_WORDS and not words[0].startswith("#") and words[1].startswith("/"):
            options[_unescape(words[1])] = tuple(words[3].split(","))
    return options
