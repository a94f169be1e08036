"""As much of a container engine's API as watching and restarting declared containers needs: docker's, which podman has too.

Standard library only, over the engine's Unix socket. Every call has an end in time and in size; a name is only ever compared
with what the engine lists, so that nothing of it gets into a path.
"""

from __future__ import annotations

import json
import re
import socket
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

ANSWER_BYTES_MAX = 8 * 1024 * 1024
_CHUNK_BYTES = 64 * 1024
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,127}")
_STATUS = re.compile(rb"HTTP/1\.[01] (\d{3})")
_MISSING = "missing"


class EngineError(OSError):
    """The engine cannot be reached, or answers what cannot be used; the text begins with `cannot`."""


@dataclass(frozen=True, slots=True)
class Container:
    """One declared container. `state` is the engine's word, or missing; `health` likewise, or none."""

    name: str
    state: str = _MISSING
    health: str = "none"
    id: str = ""
    restarts: int = 0
    exit_code: int = 0

    def plain(self) -> dict[str, Any]:
        """As values of JSON."""
        return asdict(self)

    @classmethod
    def of(cls, values: Any) -> Container:
        """From those values. Raises EngineError."""
        try:
            texts = {name: str(values[name]) for name in ("name", "state", "health", "id")}
            return cls(**texts, restarts=int(values["restarts"]), exit_code=int(values["exit_code"]))
        except (TypeError, ValueError, KeyError) as error:
            raise EngineError(f"cannot understand a container: {error}") from error


def look(path: str, names: Iterable[str], timeout_s: float) -> list[Container]:
    """The containers of these names, each once, in their order. Raises EngineError."""
    deadline_s = time.monotonic() + timeout_s
    wanted = list(dict.fromkeys(names))
    listed = _json(path, "GET", "/containers/json?all=1", deadline_s)
    ids = _ids(listed)
    found = []
    for name in wanted:
        known = ids.get(name)
        if known is None:
            found.append(Container(name))
            continue
        found.append(_container(name, known, _json(path, "GET", f"/containers/{known}/json", deadline_s)))
    return found


def restart(path: str, name: str, grace_s: int, timeout_s: float) -> str:
    """Restarts the one container of this name; its id. The engine ends it with TERM, and KILL after the grace."""
    deadline_s = time.monotonic() + timeout_s
    known = _ids(_json(path, "GET", "/containers/json?all=1", deadline_s)).get(name)
    if known is None:
        raise EngineError(f"cannot restart container {name}: the engine knows none of that name")
    status, body = _ask(path, "POST", f"/containers/{known}/restart?t={grace_s}", deadline_s)
    if status not in {200, 204}:
        raise EngineError(
            f"cannot restart container {name}: the engine answers {status} {body[:200].decode('utf-8', 'replace')}"
        )
    return known


def _ids(listed: Any) -> dict[str, str]:
    """Ids by name. The engine writes names with a slash before them."""
    found: dict[str, str] = {}
    for row in listed if isinstance(listed, list) else []:
        known = row.get("Id") if isinstance(row, dict) else None
        if isinstance(known, str) and _ID.fullmatch(known):
            names = row.get("Names")
            found |= {str(name).removeprefix("/"): known for name in (names if isinstance(names, list) else [])}
    return found


def _container(name: str, known: str, answer: Any) -> Container:
    """Docker calls it Health; older podman called it Healthcheck."""
    answer = answer if isinstance(answer, dict) else {}
    state = answer.get("State") if isinstance(answer.get("State"), dict) else {}
    health = state.get("Health") or state.get("Healthcheck") or {}
    words = health.get("Status") if isinstance(health, dict) else ""
    return Container(
        name, str(state.get("Status") or "unknown"), str(words or "none"), known,
        _count(answer.get("RestartCount")), _count(state.get("ExitCode")),
    )  # fmt: skip


def _count(value: object) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) else 0


def _json(path: str, method: str, target: str, deadline_s: float) -> Any:
    status, body = _ask(path, method, target, deadline_s)
    if status != 200:
        raise EngineError(f"cannot ask the engine at {path}: it answers {status} to {target.partition('?')[0]}")
    try:
        return json.loads(body)
    except (ValueError, RecursionError) as error:
        raise EngineError(f"cannot understand the engine at {path}: its answer is no JSON") from error


def _ask(path: str, method: str, target: str, deadline_s: float) -> tuple[int, bytes]:
    """Status and body. HTTP/1.0: no chunks, and the end of the answer is the end of the connection."""
    request = f"{method} {target} HTTP/1.0\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n".encode("ascii")
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC) as connection:
            connection.settimeout(_left_s(deadline_s))
            connection.connect(path)
            connection.sendall(request)
            data = _receive(connection, deadline_s)
    except TimeoutError as error:
        raise EngineError(f"cannot wait longer for the engine at {path}") from error
    except OSError as error:
        if isinstance(error, EngineError):
            raise
        raise EngineError(error.errno, f"cannot reach the engine at {path}: {error.strerror or error}") from error
    found = _STATUS.match(data)
    head, separator, body = data.partition(b"\r\n\r\n")
    if found is None or not separator:
        raise EngineError(f"cannot understand the engine at {path}: its answer is no HTTP")
    return int(found[1]), _unchunked(head, body)


def _receive(connection: socket.socket, deadline_s: float) -> bytes:
    """To the end of the stream, or to the end that the answer itself tells: some engines keep the connection."""
    data = bytearray()
    while len(data) < ANSWER_BYTES_MAX:
        if _is_whole(data):
            return bytes(data)
        connection.settimeout(_left_s(deadline_s))
        part = connection.recv(_CHUNK_BYTES)
        if not part:
            return bytes(data)
        data += part
    raise EngineError(f"cannot read the engine's answer: longer than {ANSWER_BYTES_MAX} bytes")


def _is_whole(data: bytearray) -> bool:
    head, separator, body = bytes(data).partition(b"\r\n\r\n")
    if not separator:
        return False
    length = re.search(rb"(?i)\r\ncontent-length: *(\d{1,12})", head)
    if length is not None:
        return len(body) >= int(length[1])
    return head.split(b" ", 2)[1:2] == [b"204"] or (_is_chunked(head) and body.endswith(b"0\r\n\r\n"))


def _is_chunked(head: bytes) -> bool:
    return re.search(rb"(?i)\r\ntransfer-encoding: *chunked", head) is not None


def _unchunked(head: bytes, body: bytes) -> bytes:
    """The content, should the engine send chunks although HTTP/1.0 has none."""
    if not _is_chunked(head):
        return body
    content, at = bytearray(), 0
    while (line := re.compile(rb"([0-9A-Fa-f]{1,8})[^\r\n]{0,200}\r\n").match(body, at)) is not None:
        size = int(line[1], 16)
        content += body[line.end() : line.end() + size]
        at = line.end() + size + 2
    return bytes(content)


def _left_s(deadline_s: float) -> float:
    left_s = deadline_s - time.monotonic()
    if left_s <= 0:
        raise TimeoutError
    return left_s
