"""One question to one name server, by UDP: what the system's resolver cannot tell, which server says what."""

from __future__ import annotations

import contextlib
import secrets
import socket
import struct

_HEADER = struct.Struct("!6H")
_RECORD = struct.Struct("!HHIH")
_KINDS = {1: socket.AF_INET, 28: socket.AF_INET6}
_ANSWER_BYTES_MAX = 4096
_RECURSE = 0x0100
_POINTER = 0xC0
DEFAULT_PORT = 53


def ask(server: str, name: str, timeout_s: float, kind: int = 1) -> tuple[str, ...]:
    """The addresses (of IPv4, or with kind 28 of IPv6) that a server (`192.0.2.53`, or with `:port`) gives. Raises OSError."""
    address, port = _address(server)
    number = secrets.randbelow(1 << 16)
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as asking:
        asking.settimeout(timeout_s)
        # Connected, so that a server that refuses is known at once, and nobody else can answer.
        asking.connect((address, port))
        asking.send(_HEADER.pack(number, _RECURSE, 1, 0, 0, 0) + _written(name) + struct.pack("!HH", kind, 1))
        answer = asking.recv(_ANSWER_BYTES_MAX)
    return addresses_in(answer, number)


def addresses_in(answer: bytes, number: int) -> tuple[str, ...]:
    """The addresses in an answer; OSError when it is none, or says no."""
    try:
        given, flags, questions, records, _, _ = _HEADER.unpack_from(answer)
        if given != number or not flags & 0x8000:
            raise OSError("the answer is to another question")
        if flags & 0xF:
            raise OSError(f"the server answers with code {flags & 0xF}")
        offset = _HEADER.size
        for _ in range(questions):
            offset = _after_name(answer, offset) + 4
        found: list[str] = []
        for _ in range(records):
            offset = _after_name(answer, offset)
            kind, _, _, length = _RECORD.unpack_from(answer, offset)
            offset += _RECORD.size
            with contextlib.suppress(KeyError, ValueError):
                found.append(socket.inet_ntop(_KINDS[kind], answer[offset : offset + length]))
            offset += length
    except (struct.error, IndexError) as error:
        raise OSError("the answer breaks off") from error
    return tuple(found)


def _address(server: str) -> tuple[str, int]:
    host, colon, port = server.rpartition(":")
    if colon and port.isdigit() and ":" not in host:
        return host, int(port)
    return server, DEFAULT_PORT


def _written(name: str) -> bytes:
    try:
        parts = [part.encode("idna" if not part.isascii() else "ascii") for part in name.rstrip(".").split(".")]
    except UnicodeError as error:
        raise OSError(f"{name!r} cannot be asked for") from error
    if any(not 0 < len(part) < 64 for part in parts):
        raise OSError(f"{name!r} cannot be asked for")
    return b"".join(bytes([len(part)]) + part for part in parts) + b"\0"


def _after_name(data: bytes, offset: int) -> int:
    while (length := data[offset]) and length < _POINTER:
        offset += length + 1
    return offset + (2 if length >= _POINTER else 1)
