"""What the network checks share: connecting within a time, and naming what went wrong.

A probe that the other side fails is a fault (CRIT) with one of the words in FAULTS; a probe that this machine cannot make,
because a name does not resolve or a limit of its own is reached, is UNKNOWN.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

from .. import resolve
from . import CheckUnknown
from ._source import why

if TYPE_CHECKING:
    import ssl

FAULTS = "hang (connected or not, no answer in time), refused, unreachable, tls, closed, bad_answer, wrong_status, wrong_text"
# The runner cuts a check off at its timeout, which gives UNKNOWN. A probe ends a little earlier and can still say: it hangs.
_BUDGET_SHARE = 0.9
_CHUNK_BYTES = 16 * 1024
_UNREACHABLE = frozenset({errno.EHOSTUNREACH, errno.ENETUNREACH, errno.EHOSTDOWN, errno.ENETDOWN, errno.EADDRNOTAVAIL})
_OURS = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM, errno.EPERM, errno.EACCES, errno.EAFNOSUPPORT})


class Fault(Exception):
    """What the other side did wrong: a word from FAULTS, and a sentence."""

    def __init__(self, word: str, text: str) -> None:
        super().__init__(text)
        self.word = word


class Connection:
    """A stream with bounded reads."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def send(self, data: bytes) -> None:
        """Sends all of it."""
        try:
            self._writer.write(data)
            await self._writer.drain()
        except OSError as error:
            raise Fault("closed", f"the connection broke while sending: {why(error)}") from error

    async def receive(self) -> bytes:
        """What comes next; empty at the end of the stream."""
        try:
            return await self._reader.read(_CHUNK_BYTES)
        except OSError as error:
            raise Fault("closed", f"the connection broke while reading: {why(error)}") from error

    def drop(self) -> None:
        """Ends it without waiting for the other side."""
        # Not closed before: a TLS transport of Python up to 3.11.3 that was closed can no longer be aborted.
        self._writer.transport.abort()


@contextlib.asynccontextmanager
async def within(timeout_s: float) -> AsyncIterator[None]:
    """Makes whatever takes longer than the check's time a hang."""
    try:
        async with asyncio.timeout(timeout_s * _BUDGET_SHARE):
            yield
    except TimeoutError as error:
        raise Fault("hang", f"no answer within {timeout_s * _BUDGET_SHARE:.1f} s") from error


@contextlib.asynccontextmanager
async def connected(
    host: str, port: int, tls: ssl.SSLContext | None = None, server_name: str | None = None
) -> AsyncIterator[Connection]:
    """A connection to the first of the host's addresses that accepts. Raises Fault or CheckUnknown."""
    connection = await _connect(host, port, tls, server_name)
    try:
        yield connection
    finally:
        connection.drop()


async def _connect(host: str, port: int, tls: ssl.SSLContext | None, server_name: str | None) -> Connection:
    last: Fault | CheckUnknown | None = None
    for address in await _addresses(host):
        try:
            reader, writer = await asyncio.open_connection(
                address, port, ssl=tls, server_hostname=(server_name or host) if tls else None
            )
            return Connection(reader, writer)
        except OSError as error:
            fault = _classified(error, f"{address} port {port}")
            # Of several addresses, one that refuses says more than one that cannot be reached.
            if last is None or isinstance(last, CheckUnknown) or (isinstance(fault, Fault) and fault.word == "refused"):
                last = fault
    if last is None:
        raise CheckUnknown(f"cannot resolve {host}: it has no address")
    raise last


async def _addresses(host: str) -> list[str]:
    try:
        return await resolve.addresses(host)
    except (OSError, UnicodeError) as error:
        raise CheckUnknown(f"cannot resolve {host}: {error}") from error


def _classified(error: OSError, where: str) -> Fault | CheckUnknown:
    """The fault behind an error of connecting; CheckUnknown when this machine is to blame."""
    # Before all others: the numbers of TLS errors are not those of the system. By name, so that ssl is loaded only where used.
    if type(error).__module__ == "ssl":
        return Fault("tls", f"{where} has no acceptable TLS: {getattr(error, 'verify_message', '') or error}")
    if error.errno in _OURS:
        return CheckUnknown(f"cannot connect to {where}: {why(error)}")
    if isinstance(error, ConnectionRefusedError):
        return Fault("refused", f"{where} refuses connections")
    if error.errno in _UNREACHABLE:
        return Fault("unreachable", f"{where} cannot be reached: {why(error)}")
    if isinstance(error, TimeoutError):
        return Fault("hang", f"{where} does not answer: {why(error)}")
    return Fault("closed", f"{where} drops the connection: {why(error)}")
