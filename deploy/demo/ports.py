"""Ports that nobody uses at the moment, so that the demo runs beside whatever else a machine does."""

from __future__ import annotations

import socket


def free_port() -> int:
    """A free TCP port on loopback. Nothing holds it until it is used: a rare clash shows as an error at start."""
    return free_ports(1)[0]


def free_ports(count: int) -> list[int]:
    """Several different ones."""
    probes = [socket.socket() for _ in range(count)]
    try:
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [int(probe.getsockname()[1]) for probe in probes]
    finally:
        for probe in probes:
            probe.close()
