"""Tells systemd how the agent is: READY, STATUS, WATCHDOG, STOPPING. Silent when systemd did not start us."""

from __future__ import annotations

import os
import socket


class Notifier:
    """The socket in NOTIFY_SOCKET, if there is one."""

    def __init__(self, environment: dict[str, str] | None = None) -> None:
        environment = dict(os.environ) if environment is None else environment
        address = environment.get("NOTIFY_SOCKET", "")
        self._address = "\0" + address[1:] if address.startswith("@") else address
        ours = environment.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        text = environment.get("WATCHDOG_USEC", "")
        self.watchdog_ms = int(text) // 2000 if text.isdigit() and ours and self._address else 0
        """How often systemd wants a sign of life, halved, in milliseconds; 0 if it wants none."""
        self._status = ""

    def send(self, *lines: str) -> bool:
        """Sends assignments like READY=1. False if nobody listens."""
        if not self._address:
            return False
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as connection:
                connection.sendto("\n".join(lines).encode(), self._address)
        except OSError:
            return False
        return True

    def status(self, text: str) -> None:
        """One line for `systemctl status`, sent when it changed."""
        if text != self._status:
            self._status = text
            self.send(f"STATUS={text}")
