"""Is somebody at work on this machine? People at a terminal, and package managers: healing stands down beside both.

A login counts only with a terminal: what automation runs over SSH without one is nobody at work. Logins come from utmp, or,
where the machine keeps none, from logind's session files. Everything here is read without privileges.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from .host import Host
from .packagers import PACKAGE_MANAGERS, is_changing

LOOK_EVERY_MS = 10_000
HURRIED_EVERY_MS = 1_000
FULL_SCAN_EVERY_MS = 60_000
PEOPLE_MAX = 8
WHO_CHARS_MAX = 100
SESSIONS_MAX = 64
SESSION_PROCESSES_MAX = 32

UTMP = "/run/utmp"
SESSIONS = "/run/systemd/sessions"
_PTS_MAJORS = range(136, 144)
_SAFE = re.compile(r"[^\w.:@/+ -]", re.ASCII)


@dataclass(frozen=True, slots=True)
class Login:
    """One login with a terminal, as utmp has it. `pid` is the process that stands for it."""

    user: str
    terminal: str
    origin: str
    pid: int


def utmp_logins() -> list[Login]:
    """The logins that utmp knows; stale ones among them. Raises OSError."""
    # Loaded on first use only, like in host.py.
    import psutil

    return [Login(user.name, user.terminal or "", user.host or "", int(user.pid or 0)) for user in psutil.users()]


@dataclass(slots=True)
class Presence:
    """Looks at most every ten seconds, when faults come each second, on the caller's thread.

    Nothing here waits for a disk or a process.
    """

    host: Host
    logins: Callable[[], list[Login]] = utmp_logins
    _seen: list[str] = field(default_factory=list)
    _looked_ms: int | None = None
    _every_ms: int = LOOK_EVERY_MS
    _full_ms: int = 0
    _settled: dict[str, str] = field(default_factory=dict)
    _fresh: dict[str, str] = field(default_factory=dict)
    _utmp: tuple[int, int] | None = None
    _utmp_logins: list[Login] = field(default_factory=list)

    def hurry(self) -> None:
        """The next look matters: what was seen more than a second ago does not stand for it."""
        self._every_ms = HURRIED_EVERY_MS

    def look(self) -> list[str]:
        """Who is at work now, a line each, in order; what was seen last, if that was a moment ago."""
        now_ms, every_ms = self.host.clock_ms(), self._every_ms
        self._every_ms = LOOK_EVERY_MS
        if self._looked_ms is not None and now_ms - self._looked_ms < every_ms:
            return self._seen
        if self._looked_ms is None or now_ms - self._full_ms >= FULL_SCAN_EVERY_MS:
            self._settled, self._fresh, self._full_ms = {}, {}, now_ms
        self._looked_ms = now_ms
        found = dict.fromkeys(_clean(who) for who in (*self._people(), *self._package_managers()))
        self._seen = list(found)[:PEOPLE_MAX]
        return self._seen

    def _people(self) -> Iterator[str]:
        try:
            known = self.host.stat(UTMP)
        except OSError:
            yield from self._sessions()
            return
        stamp = (known.st_mtime_ns, known.st_size)
        if stamp != self._utmp:
            try:
                self._utmp, self._utmp_logins = stamp, self.logins()
            except OSError:
                self._utmp_logins = []
        for login in self._utmp_logins:
            # A session that was killed leaves its entry behind.
            if login.terminal and (not login.pid or self.host.exists(f"/proc/{login.pid}")):
                yield f"{login.user} at {login.terminal}" + (f" from {login.origin}" if login.origin else "")

    def _sessions(self) -> Iterator[str]:
        try:
            names = sorted(name for name in self.host.listdir(SESSIONS) if not name.endswith(".ref"))[:SESSIONS_MAX]
        except OSError:
            return
        for name in names:
            try:
                text = self.host.read_text(f"{SESSIONS}/{name}", 64 * 1024)
            except OSError:
                continue
            session = dict(line.split("=", 1) for line in text.splitlines() if "=" in line)
            if session.get("CLASS") != "user" or session.get("STATE") == "closing":
                continue
            terminal = session.get("TTY") or session.get("DISPLAY") or self._terminal_of(session)
            if terminal:
                origin = session.get("REMOTE_HOST")
                yield f"{session.get('USER', 'somebody')} at {terminal}" + (f" from {origin}" if origin else "")

    def _terminal_of(self, session: dict[str, str]) -> str:
        """The terminal of a session whose file names none: that of any of its processes. logind does not know those of SSH."""
        uid, scope = session.get("UID", ""), session.get("SCOPE", "")
        if not uid.isdecimal() or not re.fullmatch(r"session-\w+\.scope", scope):
            return ""
        try:
            pids = self.host.read_text(f"/sys/fs/cgroup/user.slice/user-{uid}.slice/{scope}/cgroup.procs").split()
        except OSError:
            return ""
        return next(filter(None, map(self._terminal, pids[:SESSION_PROCESSES_MAX])), "")

    def _terminal(self, pid: str) -> str:
        try:
            # Behind the name, which may hold blanks and brackets: state, parent, group, session, terminal.
            device = int(self.host.read_text(f"/proc/{pid}/stat").rpartition(")")[2].split()[4])
        except (OSError, IndexError, ValueError):
            return ""
        major, minor = os.major(device), os.minor(device)
        if major in _PTS_MAJORS:
            return f"pts/{(major - _PTS_MAJORS[0]) * 256 + minor}"
        return f"tty{minor}" if major == 4 and 0 < minor < 64 else ""

    def _package_managers(self) -> Iterator[str]:
        """A process changes its name with exec, soon after the fork: one that kept it for a look is not read again soon."""
        try:
            pids = [name for name in os.listdir(self.host.path("/proc")) if name.isdecimal()]
        except OSError:
            return
        before, settled = self._fresh, self._settled
        self._settled, self._fresh = {}, {}
        for pid in pids:
            name = settled.get(pid)
            if name is None:
                name = self._name(pid)
                (self._settled if before.get(pid) == name else self._fresh)[pid] = name
            else:
                self._settled[pid] = name
            if name in PACKAGE_MANAGERS and is_changing(self.host, pid, name):
                yield f"{name} at work"

    def _name(self, pid: str) -> str:
        try:
            return self.host.read_text(f"/proc/{pid}/comm", 64).rstrip("\n")
        except OSError:
            return ""


def _clean(who: str) -> str:
    return _SAFE.sub("?", who)[:WHO_CHARS_MAX]
