"""Words to systemd: readiness and watchdog, as datagrams to $NOTIFY_SOCKET. Without systemd they go nowhere."""

from __future__ import annotations

import logging
import os
import socket

log = logging.getLogger("fleetmend.controller")

IDLE_INTERVAL_S = 30.0


def notify(*lines: str) -> None:
    """Send one message, e.g. `READY=1`. A failure is logged, never raised: systemd's watchdog is the judge."""
    path = os.environ.get("NOTIFY_SOCKET", "")
    if not path:
        return
    address = "\0" + path[1:] if path.startswith("@") else path
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as channel:
            channel.sendto("\n".join(line.replace("\n", " ") for line in lines).encode(), address)
    except OSError as error:
        log.warning("cannot notify systemd: %s", error)


def watchdog_interval_s() -> float:
    """A third of what systemd waits; a slow beat without a watchdog."""
    given = os.environ.get("WATCHDOG_USEC", "")
    return int(given) / 3_000_000 if given.isdigit() and int(given) > 0 else IDLE_INTERVAL_S
