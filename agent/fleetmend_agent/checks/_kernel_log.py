"""The kernel's log as the checks see it: each record is read once, those that tell a fault are kept for a while.

Records come from the file that `roots.kmsg` names (the device, a FIFO, or a file to which records are appended) or, where this
process may not read it, from a journalctl that follows the kernel's part of the journal. What users write into the log is
marked by the kernel with another facility than its own and does not count.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import re
import stat
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from . import CheckUnknown
from ._kernel_patterns import Fault, judge
from ._source import why

if TYPE_CHECKING:
    from ..host import Host

KEPT_MAX = 2000
KEEP_MS = 24 * 3_600_000
RECORDS_PER_POLL_MAX = 2000
SETTLE_S_MAX = 3.0
_RECORD_BYTES_MAX = 8192
_READ_BYTES = 64 * 1024
_HEAD = re.compile(r"([0-9]{1,10}),([0-9]{0,20}),([0-9]{1,20}),[^;]{0,200};(.*)", re.DOTALL)
_KERNEL_DEVICE = os.makedev(1, 11)
# Clocks of the kernel's log and of the machine drift apart by this much at most.
_AHEAD_MS = 60_000


@dataclass(frozen=True, slots=True)
class Record:
    """One record of the kernel itself. `at_ms`: when, by the boot clock."""

    level: int
    at_ms: int
    text: str


@dataclass(frozen=True, slots=True)
class Told:
    """A record that tells a fault. `number` rises with each, so that a reader knows which it has seen."""

    number: int
    at_ms: int
    fault: Fault
    level: int
    text: str


def parse_record(line: str) -> Record | None:
    """One record in the form of /dev/kmsg; None for continuation lines and what the kernel did not say itself."""
    found = _HEAD.match(line)
    if found is None or int(found[1]) >> 3 != 0:
        return None
    return Record(int(found[1]) & 7, int(found[3]) // 1000, found[4].partition("\n")[0])


def parse_entry(entry: dict[str, Any], wall_ms: int, clock_ms: int) -> Record | None:
    """One entry of the journal, at this wall time and boot clock; None if the kernel did not say it in this boot.

    Entries are not asked for their boot id: in a container this process may see another one than the journal does.
    """
    if entry.get("_TRANSPORT") != "kernel" or entry.get("SYSLOG_FACILITY", "0") != "0":
        return None
    try:
        at_ms = clock_ms - (wall_ms - int(entry.get("__REALTIME_TIMESTAMP", 0)) // 1000)
        return Record(int(entry.get("PRIORITY", 6)), at_ms, text_of(entry.get("MESSAGE"))) if at_ms >= 0 else None
    except (ValueError, TypeError):
        return None


def text_of(message: object) -> str:
    """The text of a journal field: text, or a list of bytes when it is not UTF-8."""
    if isinstance(message, list):
        return bytes(byte & 255 for byte in message if isinstance(byte, int)).decode("utf-8", "replace")
    return message if isinstance(message, str) else ""


class Journal:
    """How the journal is followed. `problem` says why it does not tell; it is empty while it does."""

    NOBODY = "nothing follows the journal"

    def __init__(self) -> None:
        self.problem = self.NOBODY
        self._begun: asyncio.Event | None = None

    def begin(self) -> None:
        """It is about to tell what it holds already: whoever judges by it waits a moment."""
        self._begun = asyncio.Event()

    def tell(self, problem: str) -> None:
        """What is known of it now."""
        self.problem = problem
        if self._begun is not None:
            self._begun.set()

    async def settled(self) -> None:
        """Waits until it told what it held, or cannot, or takes too long."""
        if self._begun is not None and not self._begun.is_set():
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(SETTLE_S_MAX):
                    await self._begun.wait()


class KernelLog:
    """Belongs to the event loop's thread. Reading never waits."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._descriptor = -1
        self._identity: tuple[int, int] | None = None
        self._offset = 0
        self._rest = b""
        self._first = True
        self._polled_ms = host.clock_ms()
        self._number = 0
        self._told: deque[Told] = deque(maxlen=KEPT_MAX)
        self.journal = Journal()
        """Whoever follows the kernel's part of the journal says here how that goes."""

    @property
    def path(self) -> str:
        """Where the records are."""
        return self._host.roots.kmsg

    def descriptor(self) -> int:
        """A descriptor that is readable when there are records; -1 for a plain file, or when it cannot be opened."""
        if self._descriptor < 0:
            try:
                self._open()
            except OSError:
                return -1
        return self._descriptor

    def poll(self) -> bool:
        """Reads what is new; whether any of it tells a fault. Raises OSError when the file cannot be read."""
        before = self._number
        if self._descriptor < 0:
            try:
                self._open()
            except FileNotFoundError:
                # What stands in it when it comes is new.
                self._first = False
                raise
        if self._descriptor >= 0:
            self._drain()
        elif self._identity is not None:
            self._read_file()
        self._first = False
        self._polled_ms = self._host.clock_ms()
        return self._number != before

    def take(self, record: Record | None, *, old: bool) -> bool:
        """Keeps a record if it tells a fault, and says so.

        `old`: it was there before we looked, so its age is as it says itself. Any other came since we looked last: where what
        it says differs from that, it came now.
        """
        fault = judge(record.text) if record is not None else None
        if record is None or fault is None:
            return False
        now_ms = self._host.clock_ms()
        if old and (record.at_ms > now_ms + _AHEAD_MS or record.at_ms < now_ms - KEEP_MS):
            return False
        plausible = old or self._polled_ms - _AHEAD_MS <= record.at_ms
        at_ms = min(record.at_ms, now_ms) if plausible else now_ms
        self._number += 1
        self._told.append(Told(self._number, at_ms, fault, record.level, record.text))
        return True

    def faults(self, within_ms: int) -> list[Told]:
        """What was told within the time, oldest first. Raises CheckUnknown when nothing can tell."""
        try:
            self.poll()
        except OSError as error:
            if self.journal.problem:
                text = f"cannot read the kernel log {self.path}: {why(error)}; and {self.journal.problem}"
                raise CheckUnknown(text) from error
        since_ms = self._host.clock_ms() - within_ms
        return [told for told in self._told if told.at_ms >= since_ms]

    def close(self) -> None:
        """Gives the descriptor back."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def _open(self) -> None:
        found = os.stat(self.path)
        if stat.S_ISREG(found.st_mode):
            self._identity = (found.st_dev, found.st_ino) if self._identity is None else self._identity
            return
        if stat.S_ISCHR(found.st_mode) and found.st_rdev != _KERNEL_DEVICE:
            raise OSError(errno.ENODEV, "not the kernel log", self.path)
        # A FIFO is opened for writing too: it never ends then, whoever comes and goes.
        mode = os.O_RDWR if stat.S_ISFIFO(found.st_mode) else os.O_RDONLY
        self._descriptor = os.open(self.path, mode | os.O_NONBLOCK | os.O_CLOEXEC)

    def _drain(self) -> None:
        """Each read of the device is one record; a FIFO gives lines."""
        is_device = stat.S_ISCHR(os.fstat(self._descriptor).st_mode)
        for _ in range(RECORDS_PER_POLL_MAX):
            try:
                data = os.read(self._descriptor, _RECORD_BYTES_MAX if is_device else _READ_BYTES)
            except BlockingIOError:
                return
            except BrokenPipeError:
                # Records were overwritten before we read them; the next read goes on with the oldest that is left.
                continue
            if not data:
                return
            if is_device:
                self.take(parse_record(data.decode("utf-8", "replace")), old=self._first)
            else:
                self._lines(data, old=False)

    def _read_file(self) -> None:
        """What was appended since; all of it when the file was replaced or cut."""
        with open(self.path, "rb") as file:
            found = os.fstat(file.fileno())
            if (found.st_dev, found.st_ino) != self._identity or found.st_size < self._offset:
                self._identity, self._offset, self._rest = (found.st_dev, found.st_ino), 0, b""
            file.seek(self._offset)
            while data := file.read(_READ_BYTES):
                self._offset += len(data)
                self._lines(data, old=self._first)

    def _lines(self, data: bytes, *, old: bool) -> None:
        lines = (self._rest + data).split(b"\n")
        # The last line may come in pieces.
        self._rest = lines.pop()[-_RECORD_BYTES_MAX:]
        for line in lines:
            self.take(parse_record(line.decode("utf-8", "replace")), old=old)


def kernel_log(host: Host) -> KernelLog:
    """The one log of this machine."""
    log: KernelLog = host.kept.setdefault("kernel_log", KernelLog(host))
    return log


def newest(told: Iterable[Told]) -> dict[tuple[str, str], list[Told]]:
    """The records by class and device."""
    grouped: dict[tuple[str, str], list[Told]] = {}
    for each in told:
        grouped.setdefault((each.fault.pattern.kind, each.fault.device), []).append(each)
    return grouped
