"""Which TCP sockets listen, how full their queues are, whose they are, and in which control group they were made.

It is what `ss --listening` shows. /proc tells neither the group nor, without powers that the agent does not have, the process.
The socket diagnosis does, and needs no power at all.
"""

from __future__ import annotations

import os
import socket
import struct
from dataclasses import dataclass

_SOCK_DIAG = 4
_BY_FAMILY = 20
_REQUEST_DUMP = 0x301
_ERROR, _DONE = 2, 3
_LISTEN_STATE = 10
_CGROUP_ID = 21
_HEADER = struct.Struct("=IHHII")
_FIXED_BYTES = 72
_ANSWER_BYTES = 64 * 1024
_TIMEOUT_S = 2.0
LISTENERS_MAX = 20_000


@dataclass(frozen=True, slots=True)
class Listener:
    """One listening socket. `waiting` connections are not accepted yet, `limit` may wait.

    `group`: number of the control group in which it was made; 0 where the kernel does not tell.
    """

    address: str
    port: int
    uid: int
    inode: int
    group: int
    waiting: int = 0
    limit: int = 0

    @property
    def name(self) -> str:
        """Address and port as people write them."""
        return f"[{self.address}]:{self.port}" if ":" in self.address else f"{self.address}:{self.port}"


def listening() -> tuple[Listener, ...]:
    """The listening TCP sockets of this network namespace. Raises OSError."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, _SOCK_DIAG) as link:
        link.settimeout(_TIMEOUT_S)
        found: list[Listener] = []
        for family in (socket.AF_INET, socket.AF_INET6):
            body = struct.pack("=BBBBI48x", family, socket.IPPROTO_TCP, 0, 0, 1 << _LISTEN_STATE)
            link.send(_HEADER.pack(_HEADER.size + len(body), _BY_FAMILY, _REQUEST_DUMP, 1, 0) + body)
            while len(found) < LISTENERS_MAX:
                batch, done = parse(link.recv(_ANSWER_BYTES))
                found += batch
                if done:
                    break
    return tuple(found)


def parse(answer: bytes) -> tuple[list[Listener], bool]:
    """The sockets in one part of the kernel's answer, and whether it was the last part. Raises OSError."""
    found: list[Listener] = []
    at = 0
    while at + _HEADER.size <= len(answer):
        length, kind, *_ = _HEADER.unpack_from(answer, at)
        if kind == _DONE or length < _HEADER.size:
            return found, True
        if kind == _ERROR:
            number = -struct.unpack_from("=i", answer, at + _HEADER.size)[0]
            raise OSError(number, os.strerror(number))
        body = answer[at + _HEADER.size : at + length]
        if len(body) >= _FIXED_BYTES:
            found.append(_listener(body))
        at += (length + 3) & ~3
    return found, False


def _listener(body: bytes) -> Listener:
    """Struct inet_diag_msg: family, state, timer, tries, ports, addresses, interface, cookie, time, queues, uid and inode."""
    family = socket.AF_INET if body[0] == socket.AF_INET else socket.AF_INET6
    port = struct.unpack_from(">H", body, 4)[0]
    address = socket.inet_ntop(family, body[8:12] if family == socket.AF_INET else body[8:24])
    waiting, limit, uid, inode = struct.unpack_from("=IIII", body, 56)
    return Listener(address, port, uid, inode, _group(body[_FIXED_BYTES:]), waiting, limit)


def _group(attributes: bytes) -> int:
    at = 0
    while at + 4 <= len(attributes):
        length, kind = struct.unpack_from("=HH", attributes, at)
        if length < 4:
            break
        if kind == _CGROUP_ID and length >= 12:
            return int(struct.unpack_from("=Q", attributes, at + 4)[0])
        at += (length + 3) & ~3
    return 0
