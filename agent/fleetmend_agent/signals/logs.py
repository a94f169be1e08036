"""The logs of kernel and services, told at once: the kernel's own file where it may be read, else one journalctl that follows.

The journalctl runs only while a check needs it. When it must be started anew it goes on behind the last line
it told, so that none is told twice or lost.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from ..backoff import Backoff
from ..checks._kernel_log import Journal, KernelLog, kernel_log, parse_entry, text_of
from ..checks._service_log import ServiceLog, Wanted, service_log
from ..checks.service_log import wanted
from ..host import Host
from ..log import LOG

if TYPE_CHECKING:
    from ..runner import Runner

PAUSE_S = 0.2
FILE_EVERY_S = 0.5
SETTLE_S = 0.7
LINE_BYTES_MAX = 1 << 20
_FIELDS = "MESSAGE,PRIORITY,SYSLOG_FACILITY,_TRANSPORT,_SYSTEMD_UNIT,UNIT,_MACHINE_ID"
_KERNEL = "_TRANSPORT=kernel"
# What it said before counts too, if the agent was only restarted.
_KERNEL_SINCE = "-15min"


class LogsSignal:
    """Wakes the checks whose signal is `kmsg` or `journal`. Belongs to the event loop's thread."""

    def __init__(self, host: Host, on_event: Callable[[str], None], backoff: Backoff | None = None) -> None:
        self._host = host
        self._on_event = on_event
        self._backoff = backoff or Backoff(first_s=1.0, cap_s=60.0)
        self._kernel: KernelLog = kernel_log(host)
        self._services: ServiceLog = service_log(host)
        self._descriptor = -1
        self._timer: asyncio.TimerHandle | None = None
        self._following: asyncio.Task[None] | None = None
        self._ending: set[asyncio.Task[None]] = set()
        self._matches: tuple[str, ...] | None = None
        self._cursor = ""
        self._backlog = True
        self._machine_id = ""

    def follow(self, *, kernel: bool, services: Iterable[Wanted]) -> None:
        """What to follow from now on."""
        chosen = list(services)
        self._services.configure(chosen)
        if not kernel:
            self._leave_kernel()
        from_journal = kernel and not self._watch_kernel()
        matches = _matches(from_journal, sorted({each.unit for each in chosen}))
        if matches == self._matches:
            return
        self._end_child()
        self._matches, self._cursor = matches, ""
        if matches is not None:
            self._kernel.journal.begin()
            self._services.journal.begin()
            self._following = asyncio.get_running_loop().create_task(self._follow(matches))

    def follow_for(self, runner: Runner) -> None:
        """As `follow`, for the checks that are configured."""
        services = [wanted(runner.watches[name].params) for name in runner.named_by("journal") if runner.watches[name].params]
        self.follow(kernel=bool(runner.named_by("kmsg")), services=services)

    async def ready(self, timeout_s: float) -> None:
        """Waits until the journal told what it held already, if it is followed at all."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self._services.journal.settled()

    async def stop(self) -> None:
        """Follows nothing any more."""
        self._leave_kernel()
        self._end_child()
        self._matches = None
        self._kernel.close()
        await asyncio.gather(*self._ending, return_exceptions=True)

    # The kernel's own file.

    def _watch_kernel(self) -> bool:
        """Whether the kernel's file can be watched; else the journal must tell."""
        if self._timer is not None or self._descriptor >= 0:
            return True
        if self._kernel.path != "/dev/kmsg" and not os.path.exists(self._kernel.path):
            # A file that was named comes when its first record does.
            self._look_at_file()
            return True
        try:
            self._kernel.poll()
        except OSError:
            return False
        self._descriptor = self._kernel.descriptor()
        if self._descriptor < 0:
            self._look_at_file()
        else:
            asyncio.get_running_loop().add_reader(self._descriptor, self._readable)
        return True

    def _leave_kernel(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._descriptor >= 0:
            asyncio.get_running_loop().remove_reader(self._descriptor)
            self._descriptor = -1

    def _look_at_file(self) -> None:
        """A plain file has no descriptor to wait for, and nobody but a test has one."""
        self._poll()
        self._timer = asyncio.get_running_loop().call_later(FILE_EVERY_S, self._look_at_file)

    def _readable(self) -> None:
        """A kernel that talks without end is heard a few times a second."""
        loop = asyncio.get_running_loop()
        loop.remove_reader(self._descriptor)
        self._poll()
        loop.call_later(PAUSE_S, self._resume, self._descriptor)

    def _resume(self, descriptor: int) -> None:
        if self._descriptor == descriptor >= 0:
            asyncio.get_running_loop().add_reader(descriptor, self._readable)

    def _poll(self) -> None:
        with contextlib.suppress(OSError):
            if self._kernel.poll():
                self._on_event("kmsg")

    # The journal.

    def _end_child(self) -> None:
        if self._following is not None:
            self._following.cancel()
            self._ending.add(self._following)
            self._following.add_done_callback(self._ending.discard)
            self._following = None
        self._tell(Journal.NOBODY)

    async def _follow(self, matches: tuple[str, ...]) -> None:
        while True:
            try:
                problem = await self._read_child(matches)
            except OSError as error:
                problem = f"journalctl cannot be run: {error.strerror or error}"
            if problem != self._services.journal.problem:
                LOG.info("the journal is not followed: %s; trying again", problem)
            self._tell(problem)
            await asyncio.sleep(self._backoff.next_s())

    async def _read_child(self, matches: tuple[str, ...]) -> str:
        """Why it ended."""
        # What comes behind a line that was told is new.
        self._backlog = not self._cursor
        self._machine_id = self._host.read_text("/etc/machine-id").strip()
        # Not --lines: with it, lines are lost where nothing matches yet.
        place = (
            f"--after-cursor={self._cursor}" if self._cursor else f"--since={_KERNEL_SINCE if _KERNEL in matches else 'now'}"
        )
        # --merge, because --follow alone means this boot only, and in a container this process may see another boot id than the
        # journal's. What that brings of other machines is left out again.
        how = ("--follow", "--merge", "--no-tail", "--quiet", "--no-pager", "--output=json", f"--output-fields={_FIELDS}")
        argv = (*how, place, *matches)
        child = await asyncio.create_subprocess_exec(
            self._host.tool("journalctl"),
            *argv,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            limit=LINE_BYTES_MAX,
        )
        try:
            settle = asyncio.get_running_loop().call_later(SETTLE_S, self._settled)
            try:
                await self._lines(child)
            finally:
                settle.cancel()
            return f"journalctl ended with {await child.wait()}"
        finally:
            if child.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    child.kill()
                await child.wait()

    def _settled(self) -> None:
        """It lives: whatever it does not tell is not there."""
        self._backlog = False
        self._backoff.reset()
        self._tell("")

    def _tell(self, problem: str) -> None:
        self._kernel.journal.tell(problem)
        self._services.journal.tell(problem)

    async def _lines(self, child: asyncio.subprocess.Process) -> None:
        stream = child.stdout
        while stream is not None:
            try:
                line = await stream.readline()
            except ValueError:
                # Longer than any line that tells something; the stream goes on behind it.
                continue
            if not line:
                return
            self._line(line.decode("utf-8", "replace"))

    def _line(self, line: str) -> None:
        try:
            entry: Any = json.loads(line)
        except (ValueError, RecursionError):
            return
        if not isinstance(entry, dict) or entry.get("_MACHINE_ID", self._machine_id) != self._machine_id:
            return
        self._cursor = str(entry.get("__CURSOR", "")) or self._cursor
        if entry.get("_TRANSPORT") == "kernel":
            record = parse_entry(entry, self._host.wall_ms(), self._host.clock_ms())
            if self._kernel.take(record, old=self._backlog):
                self._on_event("kmsg")
            return
        unit = str(entry.get("UNIT") or entry.get("_SYSTEMD_UNIT") or "")
        if self._services.take(unit, text_of(entry.get("MESSAGE")), old=self._backlog):
            self._on_event("journal")


def _matches(kernel: bool, units: list[str]) -> tuple[str, ...] | None:
    """The words that choose lines, alternatives divided by `+`; None when nothing is wanted, nothing for all lines."""
    if "" in units:
        return ()
    groups = [_KERNEL] if kernel else []
    for unit in units:
        groups += [f"_SYSTEMD_UNIT={unit}", f"UNIT={unit}"]
    return tuple(word for group in groups for word in (group, "+"))[:-1] if groups else None
