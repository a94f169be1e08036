"""Whether a machine answers on the network: TCP connections that are closed without a byte, and one ICMP echo. Nothing else.

Standard library only: agents and the controller look in the same way. Loaded when somebody asks, not before.
"""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum, unique
from ipaddress import IPv4Address, IPv6Address, ip_address

ADDRESSES_MAX = 4
PORTS_MAX = 4
TIMEOUT_S_MAX = 5.0
PORT_MAX = 65_535
_ECHO_V4, _ECHO_V6 = 8, 128
# Says of the way from here, not of the machine over there.
_OURS = frozenset({errno.ENETUNREACH, errno.EACCES, errno.EPERM, errno.EADDRNOTAVAIL, errno.EINVAL, errno.EAFNOSUPPORT})


@unique
class Found(Enum):
    """What one try found. NO_ANSWER: not in time, or a router knows no such machine. UNABLE: it could not be tried."""

    REACHED = "reached"
    NO_ANSWER = "no_answer"
    UNABLE = "unable"


@dataclass(frozen=True, slots=True)
class Try:
    """One try at one address; port 0 is an ICMP echo."""

    address: str
    port: int
    found: Found
    ms: int
    detail: str = ""

    def __str__(self) -> str:
        """For people."""
        where = f"{self.address} by {f'port {self.port}' if self.port else 'ping'}"
        if self.found is Found.REACHED:
            return f"{where}: reached in {self.ms} ms"
        return f"{where}: {self.detail or self.found.value}"


def usable(text: str) -> bool:
    """Whether an address can be that of another machine: no loopback, multicast, link-local, unspecified or broadcast one."""
    try:
        address: IPv4Address | IPv6Address = ip_address(text)
    except ValueError:
        return False
    odd = address.is_loopback or address.is_multicast or address.is_unspecified or address.is_link_local
    return not (odd or address.is_reserved or "%" in text or getattr(address, "ipv4_mapped", None) is not None)


async def look(addresses: Sequence[str], ports: Sequence[int], timeout_s: float) -> list[Try]:
    """Try every port and an echo on every address, all at once, each within the time."""
    good = list(dict.fromkeys(a for a in addresses if usable(a)))[:ADDRESSES_MAX]
    wanted = list(dict.fromkeys(p for p in ports if 0 < p <= PORT_MAX))[:PORTS_MAX]
    limit_s = min(max(timeout_s, 0.1), TIMEOUT_S_MAX)
    return list(await asyncio.gather(*(_try(a, p, limit_s) for a in good for p in (*wanted, 0))))


async def _try(address: str, port: int, timeout_s: float) -> Try:
    loop = asyncio.get_running_loop()
    begun = loop.time()
    found, detail = Found.REACHED, ""
    try:
        async with asyncio.timeout(timeout_s):
            await (_connect(loop, address, port) if port else _echo(loop, address))
    except TimeoutError:
        found, detail = Found.NO_ANSWER, f"no answer within {timeout_s:g} s"
    except OSError as error:
        found, detail = _meaning(error, port)
    return Try(address, port, found, round((loop.time() - begun) * 1000), detail)


def _meaning(error: OSError, port: int) -> tuple[Found, str]:
    if error.errno == errno.ECONNREFUSED and port:
        # Somebody over there said no: a machine without that service is up all the same.
        return Found.REACHED, ""
    text = os.strerror(error.errno) if error.errno else str(error)
    return (Found.UNABLE if error.errno in _OURS else Found.NO_ANSWER), text


def _family(address: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in address else socket.AF_INET


async def _connect(loop: asyncio.AbstractEventLoop, address: str, port: int) -> None:
    with socket.socket(_family(address), socket.SOCK_STREAM) as sock:
        sock.setblocking(False)
        await loop.sock_connect(sock, (address, port))


async def _echo(loop: asyncio.AbstractEventLoop, address: str) -> None:
    """A ping socket: the kernel fills in id and checksum, and gives us no answer but our own. EACCES where it permits none."""
    family = _family(address)
    proto = socket.IPPROTO_ICMPV6 if family == socket.AF_INET6 else socket.IPPROTO_ICMP
    kind = _ECHO_V6 if family == socket.AF_INET6 else _ECHO_V4
    with socket.socket(family, socket.SOCK_DGRAM, proto) as sock:
        sock.setblocking(False)
        await loop.sock_connect(sock, (address, 0))
        await loop.sock_sendall(sock, struct.pack("!BBHHH", kind, 0, 0, 0, 1) + b"fleetmend")
        await loop.sock_recv(sock, 128)
