"""Says of each thing the agent needs whether it is there, and what to do if not."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import ssl
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from . import config, identity
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
    yield _pressure(host)
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
    try:
        held = identity.credentials(state_dir)
    except identity.IdentityError as error:
        return Line("controller", BROKEN, f"cannot try {settings.controller}: {error}")
    address, port = config.split_address(settings.controller, config.LINK_PORT)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    try:
        context.load_verify_locations(cadata=held.ca.decode())
        context.load_cert_chain(state_dir / identity.CERTIFICATE, state_dir / identity.KEY)
        context.set_alpn_protocols(["h2"])
        with _dial(address.strip("[]"), port) as raw, context.wrap_socket(raw, server_hostname="fleetmend-controller") as tls:
            tls.settimeout(CONNECT_TIMEOUT_S)
            # TLS 1.3 tells a refused client certificate only with the first bytes; the HTTP/2 settings are those.
            tls.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0\x04\0\0\0\0\0")
            if not tls.recv(9):
                return Line("controller", BROKEN, f"{settings.controller} ended the connection: it refuses this certificate")
            version = tls.version()
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


def _pressure(host: Host) -> Line:
    from .signals.pressure import open_trigger

    path = host.path("/proc/pressure/memory")
    return _try("pressure", lambda: os.close(open_trigger(path)), f"triggers work on {path}", "pressure is polled")


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
