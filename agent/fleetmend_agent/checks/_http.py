"""As much HTTP/1.1 as a health check needs: one request out, one bounded answer in. Pure functions."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from . import CheckUnknown
from ._probe import Fault

HEAD_BYTES_MAX = 32 * 1024
BODY_BYTES_MAX = 256 * 1024
_STATUS_LINE = re.compile(rb"HTTP/1\.[01] (\d{3})(?: [^\r\n]*)?\r?\n")
_HEAD_END = re.compile(rb"\r?\n\r?\n")
_RANGE = re.compile(r"([1-5]\d\d)(?:-([1-5]\d\d))?")
_CHUNK_SIZE = re.compile(rb"([0-9A-Fa-f]{1,8})[^\r\n]{0,256}\r?\n")
_CHUNK_LINE_BYTES_MAX = 300
_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class Target:
    """Where a request goes. `shown` is the URL without its query, which may hold a secret."""

    scheme: str
    host: str
    port: int
    path: str
    shown: str


@dataclass(slots=True)
class Head:
    """Status and headers of an answer; `size` is where the body begins."""

    status: int
    size: int
    headers: dict[str, str] = field(default_factory=dict)


def parse_url(url: str) -> Target:
    """Raises CheckUnknown for what cannot or must not be asked."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise CheckUnknown(f"cannot probe the URL: {error}") from error
    if parts.scheme not in _PORTS or not parts.hostname or not url.isascii() or any(c.isspace() for c in url):
        raise CheckUnknown("cannot probe the URL: it must be http://host[:port]/path or https://host[:port]/path")
    if parts.username is not None:
        raise CheckUnknown("cannot probe the URL: it holds a user name; give the health check an address without one")
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    shown = f"{parts.scheme}://{parts.netloc}{parts.path or '/'}"
    return Target(parts.scheme, parts.hostname, port or _PORTS[parts.scheme], path, shown)


def request(target: Target) -> bytes:
    """The request for a target."""
    host = f"[{target.host}]" if ":" in target.host else target.host
    authority = host if target.port == _PORTS[target.scheme] else f"{host}:{target.port}"
    lines = (
        f"GET {target.path} HTTP/1.1",
        f"Host: {authority}",
        "User-Agent: fleetmend-agent",
        "Accept: */*",
        "Connection: close",
    )
    return ("\r\n".join(lines) + "\r\n\r\n").encode("ascii")


def parse_statuses(text: str) -> tuple[range, ...]:
    """`200`, `200-299` or `200,301-302`. Raises CheckUnknown."""
    ranges = []
    for part in text.split(","):
        found = _RANGE.fullmatch(part.strip())
        if found is None:
            raise CheckUnknown(f"cannot expect status {text!r}: write 200, 200-299 or 200,301")
        ranges.append(range(int(found[1]), int(found[2] or found[1]) + 1))
    return tuple(ranges)


def parse_head(data: bytes) -> Head | None:
    """Status and headers, once they are complete; None before. Raises Fault for what is no HTTP."""
    end = _HEAD_END.search(data, 0, HEAD_BYTES_MAX)
    if end is None:
        if len(data) >= HEAD_BYTES_MAX:
            raise Fault("bad_answer", f"the headers are longer than {HEAD_BYTES_MAX} bytes")
        if b"\n" in data and _STATUS_LINE.match(data) is None:
            raise Fault("bad_answer", "the answer is not HTTP")
        return None
    first = _STATUS_LINE.match(data)
    if first is None:
        raise Fault("bad_answer", "the answer is not HTTP")
    head = Head(int(first[1]), end.end())
    for line in data[first.end() : end.start()].decode("latin-1").splitlines():
        name, colon, value = line.partition(":")
        if colon:
            head.headers[name.strip().lower()] = value.strip()
    return head


def body_length(head: Head) -> int | None:
    """How many bytes the body has, if the answer says so."""
    text = head.headers.get("content-length", "")
    return int(text) if re.fullmatch(r"[0-9]{1,15}", text) else None


def is_chunked(head: Head) -> bool:
    """Whether the body comes in chunks."""
    return head.headers.get("transfer-encoding", "").lower().endswith("chunked")


def dechunk(data: bytes) -> tuple[bytes, bool]:
    """The content of the chunks that are there, and whether the last one is. Raises Fault for what are no chunks."""
    content = bytearray()
    at = 0
    while at < len(data):
        found = _CHUNK_SIZE.match(data, at)
        if found is None:
            if len(data) - at > _CHUNK_LINE_BYTES_MAX:
                raise Fault("bad_answer", "the body is not in chunks, although the answer says so")
            break
        size = int(found[1], 16)
        if size == 0:
            return bytes(content), True
        content += data[found.end() : found.end() + size]
        at = found.end() + size + 2
    return bytes(content), False
