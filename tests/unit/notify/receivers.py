"""The other side of every channel: an HTTP receiver that can fail in every way, and a small mail server. On asyncio streams."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import ssl
from collections.abc import AsyncIterator, Iterable
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any

OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok"


@dataclass(slots=True)
class Got:
    """One request."""

    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass(slots=True)
class Receiver:
    """Answers each request as `answers` says, the last one for ever. None: never answers. An empty answer closes."""

    answers: list[bytes | None] = field(default_factory=lambda: [OK])
    got: list[Got] = field(default_factory=list)
    port: int = 0
    tasks: set[asyncio.Task[None] | None] = field(default_factory=set)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.tasks.add(asyncio.current_task())
        with closing(writer), contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            head = (await reader.readuntil(b"\r\n\r\n")).decode().splitlines()
            headers = {k.lower(): v.strip() for k, _, v in (line.partition(":") for line in head[1:] if line)}
            body = await reader.readexactly(int(headers.get("content-length", "0")))
            self.got.append(Got(head[0].split()[1], headers, body))
            answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
            if answer is None:
                await asyncio.sleep(3600)
            writer.write(answer or b"")
            await writer.drain()

    async def until(self, count: int) -> None:
        """Wait for so many requests."""
        async with asyncio.timeout(20):
            while len(self.got) < count:
                await asyncio.sleep(0.01)


def status(code: int, body: str = "no", **headers: str) -> bytes:
    """An answer with this status."""
    lines = [f"HTTP/1.1 {code} X", f"content-length: {len(body)}", "connection: close"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return ("\r\n".join(lines) + f"\r\n\r\n{body}").encode()


def cut_off(code: int) -> bytes:
    """A status, and a connection that ends in the middle of the body."""
    return f"HTTP/1.1 {code} X\r\ncontent-length: 1000\r\n\r\nhalf".encode()


@contextlib.asynccontextmanager
async def receiver(*answers: bytes | None) -> AsyncIterator[Receiver]:
    """A receiver on loopback."""
    found = Receiver(list(answers) or [OK])
    server = await asyncio.start_server(found.handle, "127.0.0.1", 0)
    found.port = server.sockets[0].getsockname()[1]
    try:
        yield found
    finally:
        server.close()
        await _end(found.tasks)


@dataclass(slots=True)
class MailServer:
    """Knows as much SMTP as it takes. `says` replaces the answer to a command."""

    says: dict[str, str] = field(default_factory=dict)
    tls: ssl.SSLContext | None = None
    mails: list[str] = field(default_factory=list)
    logins: list[str] = field(default_factory=list)
    encrypted: list[bool] = field(default_factory=list)
    port: int = 0
    tasks: set[asyncio.Task[None] | None] = field(default_factory=set)

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.tasks.add(asyncio.current_task())
        with closing(writer), contextlib.suppress(ConnectionError, asyncio.IncompleteReadError, ssl.SSLError):
            writer.write(b"220 mail.test ESMTP\r\n")
            while line := (await reader.readline()).decode().strip():
                word = line.split()[0].upper()
                answer = self.says.get(word) or self.answer(word, line, writer)
                writer.write(f"{answer}\r\n".encode())
                await writer.drain()
                if word == "STARTTLS" and answer.startswith("220"):
                    await writer.start_tls(self.tls)
                if word == "DATA" and answer.startswith("354"):
                    data = (await reader.readuntil(b"\r\n.\r\n")).decode()
                    self.mails.append(data.removesuffix("\r\n.\r\n"))
                    self.encrypted.append(writer.get_extra_info("sslcontext") is not None)
                    writer.write((self.says.get("END") or "250 taken").encode() + b"\r\n")
                if word == "QUIT":
                    break

    def answer(self, word: str, line: str, writer: asyncio.StreamWriter) -> str:
        if word == "EHLO":
            plain = writer.get_extra_info("sslcontext") is None
            offers = ["mail.test", *(["STARTTLS"] if self.tls and plain else []), "AUTH PLAIN"]
            return "\r\n".join([*(f"250-{offer}" for offer in offers[:-1]), f"250 {offers[-1]}"])
        if word == "AUTH":
            self.logins.append(base64.b64decode(line.rsplit(maxsplit=1)[-1]).decode().replace("\0", ":"))
            return "235 welcome"
        return {"STARTTLS": "220 go", "DATA": "354 go on", "QUIT": "221 bye"}.get(word, "250 ok")


@contextlib.asynccontextmanager
async def mail_server(tls: ssl.SSLContext | None = None, *, wrapped: bool = False, **says: str) -> AsyncIterator[MailServer]:
    """A mail server on loopback. `wrapped`: TLS from the first byte."""
    found = MailServer(says, tls)
    server = await asyncio.start_server(found.handle, "127.0.0.1", 0, ssl=tls if wrapped else None)
    found.port = server.sockets[0].getsockname()[1]
    try:
        yield found
    finally:
        server.close()
        await _end(found.tasks)


async def _end(tasks: Iterable[asyncio.Task[None] | None]) -> None:
    running = [task for task in tasks if task is not None]
    for task in running:
        task.cancel()
    await asyncio.gather(*running, return_exceptions=True)
    # Transports close at the next turn of the loop.
    await asyncio.sleep(0)
