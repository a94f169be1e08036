"""Says of each thing the agent needs whether it is there, and what to do if not."""

from __future__ import annotations

import asyncio
import errno
import json
import os
import socket
import ssl
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from . import config, identity, tls
from .executor_client import AnswerLost, ExecutorClient, ExecutorRefused, ExecutorUnreachable
from .host import Host, Roots
from .log import LOG

if TYPE_CHECKING:
    import argparse

DONE, FAILED = 0, 1
CONNECT_TIMEOUT_S = 5.0
DAY_MS = 86_400_000
SKEW_MS_MAX = 60_000

GOOD, WEAK, BROKEN = "ok", "weak", "broken"


@dataclass(frozen=True, slots=True)
class Line:
    """One answer. `state`: ok; weak (works, but less than it could); broken."""

    name: str
    state: str
    text: str


def doctor(arguments: argparse.Namespace) -> int:
    """Prints all lines; 1 if something is broken."""
    LOG.disabled = True  # What is wrong is in the lines.
    lines = list(examine(arguments.config))
    if arguments.output == "json":
        print(json.dumps([asdict(line) for line in lines], indent=2))
    else:
        for line in lines:
            print(f"{line.state:8}{line.name:14}{line.text}")
    return FAILED if any(line.state == BROKEN for line in lines) else DONE


def examine(path: Path) -> Iterator[Line]:
    """Everything, in the order in which a person would look."""
    settings = config.Settings()
    try:
        settings = config.load(path)
        yield Line("settings", GOOD, f"{path}: controller {settings.controller}")
    except config.ConfigError as error:
        yield Line("settings", BROKEN, str(error))
    host = Host(Roots(**settings.roots))
    state_dir = Path(settings.state_dir)
    yield _state(state_dir)
    yield _certificate(state_dir, host)
    if settings.controller:
        yield _controller(settings, state_dir)
    yield _clock(state_dir, host)
    yield asyncio.run(_executor(settings))
    yield asyncio.run(_dbus(settings, host))
    yield _pressure(host, state_dir)
    yield _inotify(host)
    yield _disk(state_dir, settings)


def _state(state_dir: Path) -> Line:
    try:
        identity.check_modes(state_dir)
        known = identity.load(state_dir)
    except identity.IdentityError as error:
        return Line("state", BROKEN, str(error))
    return Line("state", GOOD, f"{state_dir}: host {known.host_id}, only its owner can read it")


def _certificate(state_dir: Path, host: Host) -> Line:
    try:
        known = identity.load(state_dir)
    except identity.IdentityError as error:
        return Line("certificate", BROKEN, str(error))
    left_ms = known.not_after_ms - host.wall_ms()
    if left_ms <= 0:
        return Line("certificate", BROKEN, f"it ended {-left_ms / DAY_MS:.1f} days ago; make a token and enrol this host again")
    late = host.wall_ms() - known.renew_at_ms
    if late > DAY_MS:
        return Line("certificate", WEAK, f"{left_ms / DAY_MS:.1f} days left, renewal is overdue; try: fleetmend-agent renew")
    return Line(
        "certificate", GOOD, f"{left_ms / DAY_MS:.1f} days left, renews itself {max(0, -late) / DAY_MS:.1f} days from now"
    )


def _controller(settings: config.Settings, state_dir: Path) -> Line:
    """Dials with the host's certificate and waits for the first bytes of HTTP/2: no stream is opened, none is replaced."""
    address, port = config.split_address(settings.controller, config.LINK_PORT)
    try:
        context = tls.context(state_dir)
        with _dial(address.strip("[]"), port) as raw, context.wrap_socket(raw, server_hostname=tls.TARGET_NAME) as secure:
            secure.settimeout(CONNECT_TIMEOUT_S)
            # TLS 1.3 tells a refused client certificate only with the first bytes; the HTTP/2 settings are those.
            secure.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0\x04\0\0\0\0\0")
            if not secure.recv(9):
                return Line("controller", BROKEN, f"{settings.controller} ended the connection: it refuses this certificate")
            version = secure.version()
    except identity.IdentityError as error:
        return Line("controller", BROKEN, f"cannot try {settings.controller}: {error}")
    except ssl.SSLError as error:
        return Line("controller", BROKEN, f"cannot trust or be trusted by {settings.controller}: {error.reason or error}")
    except OSError as error:
        return Line("controller", BROKEN, f"cannot reach {settings.controller}: {error.strerror or error}")
    return Line("controller", GOOD, f"{settings.controller} answers over {version} and accepts the certificate")


def _clock(state_dir: Path, host: Host) -> Line:
    """As far off as at the last Welcome."""
    try:
        found = json.loads((state_dir / "welcome.json").read_bytes())
        skew_ms, age_ms = int(found["skew_ms"]), host.wall_ms() - int(found["at_ms"])
    except FileNotFoundError:
        return Line("clock", WEAK, "not compared yet: the controller never welcomed this agent")
    except (OSError, ValueError, KeyError, TypeError) as error:
        return Line("clock", WEAK, f"cannot tell: {error}")
    text = f"{skew_ms / 1000:+.1f} s off the controller's, {age_ms / 60_000:.0f} minutes ago"
    return Line("clock", GOOD if abs(skew_ms) <= SKEW_MS_MAX else WEAK, text)


def _dial(address: str, port: int) -> socket.socket:
    return socket.create_connection((address, port), timeout=CONNECT_TIMEOUT_S)


async def _executor(settings: config.Settings) -> Line:
    try:
        answer = await ExecutorClient(settings.executor_socket).hello()
    except (ExecutorUnreachable, AnswerLost) as error:
        hint = "; is fleetmend-executor.socket active, and is this run as the agent's user or root?"
        return Line("executor", BROKEN, f"{error}{hint}")
    except ExecutorRefused as error:
        return Line("executor", BROKEN, f"it refuses to answer: {error.reason}: {error.detail}")
    actions = answer.get("permitted_actions", [])
    permitted = ", ".join(map(str, actions)) or "nothing"
    return Line("executor", GOOD if actions else WEAK, f"answers; the host's policy permits: {permitted}")


async def _dbus(settings: config.Settings, host: Host) -> Line:
    from .signals.systemd import SystemdSignal

    signal = SystemdSignal(host, settings.dbus_socket, lambda _: None)
    task = asyncio.get_running_loop().create_task(signal.run())
    ready = await signal.ready(CONNECT_TIMEOUT_S)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    if not ready:
        return Line("systemd", WEAK, f"{signal.problem}; unit checks will be unknown")
    return Line("systemd", GOOD, f"{len(signal.units(False))} units seen over D-Bus")


def _pressure(host: Host, state_dir: Path) -> Line:
    """Whether the agent's user may set triggers; root may on any kernel, and would promise too much."""
    from .signals.pressure import open_trigger

    path = host.path("/proc/pressure/memory")
    problem = _as_owner_of(state_dir, lambda: os.close(open_trigger(path)))
    if not problem:
        return Line("pressure", GOOD, f"triggers work on {path}: the kernel tells of pressure at once")
    hint = "a kernel with CONFIG_PSI, booted with psi=1, has it"
    if problem in {errno.EPERM, errno.EACCES}:
        hint = f"this is Linux {_release(host)}; before 6.4 it takes CAP_SYS_RESOURCE (README: Install)"
    return Line("pressure", WEAK, f"cannot set a trigger on {path}: {os.strerror(problem)}; pressure is polled; {hint}")


def _release(host: Host) -> str:
    try:
        return host.read_text("/proc/sys/kernel/osrelease").strip()
    except OSError:
        return "of an unknown release"


def _as_owner_of(folder: Path, attempt: Callable[[], None]) -> int:
    """The errno with which an attempt fails when the owner of a folder makes it, 0 if it succeeds.

    In a child, which falls to that user for good if this is root.
    """
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    code = errno.EIO
    try:
        if os.geteuid() == 0 and folder.is_dir():
            owner = folder.stat()
            os.setgroups([])
            os.setgid(owner.st_gid)
            os.setuid(owner.st_uid)
        attempt()
        code = 0
    except OSError as error:
        code = error.errno or errno.EIO
    finally:
        os._exit(code)


def _inotify(host: Host) -> Line:
    path = host.path("/proc/sys/fs/inotify/max_user_watches")

    def read() -> None:
        if int(Path(path).read_text("ascii")) < 1:
            raise OSError(f"{path} is 0")

    return _try("inotify", read, "available", "files are polled")


def _try(name: str, attempt: Callable[[], None], good: str, otherwise: str) -> Line:
    try:
        attempt()
    except (OSError, ValueError) as error:
        return Line(name, WEAK, f"cannot be used: {error}; {otherwise}")
    return Line(name, GOOD, good)


def _disk(state_dir: Path, settings: config.Settings) -> Line:
    try:
        found = os.statvfs(state_dir)
    except OSError as error:
        return Line("outbox", BROKEN, f"cannot look at {state_dir}: {error.strerror}")
    free = found.f_bavail * found.f_frsize
    if free < settings.outbox_bytes_max:
        return Line(
            "outbox", WEAK, f"{free >> 20} MiB free in {state_dir}, a full outbox needs {settings.outbox_bytes_max >> 20}"
        )
    return Line("outbox", GOOD, f"{free >> 20} MiB free, at most {settings.outbox_bytes_max >> 20} used")
