"""Ports that nobody uses at the moment, so that the demo runs beside whatever else a machine does."""

from __future__ import annotations

import random
import socket
from pathlib import Path

FIRST, LAST = 20_000, 32_000
TRIES_MAX = 1_000
_EPHEMERAL = Path("/proc/sys/net/ipv4/ip_local_port_range")


def free_port() -> int:
    """A free TCP port on loopback. Nothing holds it until it is used."""
    return free_ports(1)[0]


def free_ports(count: int) -> list[int]:
    """Several different ones, outside the range from which the kernel takes ports for outgoing connections.

    From inside that range, any connection of the machine could take one before its server binds it, or while it restarts.
    """
    low, high = map(int, _EPHEMERAL.read_text().split())
    found: list[int] = []
    for _ in range(TRIES_MAX):
        port = random.SystemRandom().randint(FIRST, LAST)
        if port not in found and not low <= port <= high and _is_free(port):
            found.append(port)
        if len(found) == count:
            return found
    raise OSError(f"cannot find {count} free ports between {FIRST} and {LAST}")


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
