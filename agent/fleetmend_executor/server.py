"""The socket: one request a connection, frames of a 4-byte length and a JSON object, only from the users who may ask."""

from __future__ import annotations

import json
import os
import socket
import struct
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

from .documents import NotTaken, Outcome
from .orders import Desk

FRAME_BYTES_MAX = 1024 * 1024
CONNECTIONS_MAX = 8
REQUEST_TIMEOUT_S = 10.0
_WAKE_S = 0.5
_ACCEPT_PAUSE_S = 0.1
_CREDENTIALS = struct.Struct("3i")
_LENGTH = struct.Struct(">I")


class FrameError(ValueError):
    """What arrived is not a frame of this protocol."""


def send_frame(connection: socket.socket, message: dict[str, Any]) -> None:
    """One frame out. Raises OSError when the peer is gone."""
    body = json.dumps(message, separators=(",", ":"), ensure_ascii=False).encode()
    connection.sendall(_LENGTH.pack(len(body)) + body)


def receive_frame(connection: socket.socket) -> dict[str, Any]:
    """One frame in. FrameError when it is oversize, cut short or not a JSON object."""
    (length,) = _LENGTH.unpack(_receive(connection, _LENGTH.size))
    if length > FRAME_BYTES_MAX:
        raise FrameError(f"cannot read a frame of {length} bytes: limit {FRAME_BYTES_MAX}")
    try:
        message = json.loads(_receive(connection, length))
    except (ValueError, RecursionError) as error:
        raise FrameError(f"cannot read a frame: {error}") from error
    if not isinstance(message, dict):
        raise FrameError("cannot read a frame: not a JSON object")
    return message


class Server:
    """Accepts until it was idle for long enough, but never leaves while a request is under way."""

    def __init__(self, listener: socket.socket, desk: Desk, allowed_uids: frozenset[int], say: Callable[[str], None]) -> None:
        self._listener, self._desk, self._allowed_uids, self._say = listener, desk, allowed_uids, say
        self._slots = threading.BoundedSemaphore(CONNECTIONS_MAX)
        self._active: set[threading.Thread] = set()
        self._stopping = False

    def stop(self) -> None:
        """Accept no more; `serve` returns when what is under way has ended."""
        self._stopping = True

    def serve(self, idle_s: float) -> None:
        """Until `idle_s` seconds passed without a request (0: for ever), or `stop`."""
        self._listener.settimeout(min(_WAKE_S, idle_s) if idle_s else _WAKE_S)
        quiet_since = time.monotonic()
        while not self._stopping:
            try:
                connection, _ = self._listener.accept()
            except TimeoutError:
                connection = None
            except OSError as error:  # out of descriptors, or the peer was gone already
                self._say(f"cannot accept: {error}")
                connection = None
                time.sleep(_ACCEPT_PAUSE_S)
            if connection is not None:
                self._start(connection)
            if connection is not None or self._busy():
                quiet_since = time.monotonic()
            elif idle_s and time.monotonic() - quiet_since >= idle_s:
                break
        for thread in list(self._active):
            thread.join()

    def _busy(self) -> bool:
        self._active = {thread for thread in self._active if thread.is_alive()}
        return bool(self._active)

    def _start(self, connection: socket.socket) -> None:
        connection.settimeout(REQUEST_TIMEOUT_S)
        refusal = self._peer_refusal(connection)
        if not refusal and not self._slots.acquire(blocking=False):
            refusal = ("busy", f"cannot take more than {CONNECTIONS_MAX} requests at once")
        if refusal:
            with connection:
                self._answer(connection, _refused(*refusal))
            return
        thread = threading.Thread(target=self._serve_one, args=(connection,), daemon=False)
        self._active.add(thread)
        thread.start()

    def _peer_refusal(self, connection: socket.socket) -> tuple[str, str] | None:
        """The kernel says who dialled; what the peer says of itself is not asked."""
        raw = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
        pid, uid, _ = _CREDENTIALS.unpack(raw)
        if uid in self._allowed_uids:
            return None
        self._say(f"refused a connection of uid {uid}, pid {pid}")
        return "peer_denied", f"cannot serve uid {uid}"

    def _serve_one(self, connection: socket.socket) -> None:
        try:
            with connection:
                self._answer(connection, self._handle(connection))
        finally:
            self._slots.release()

    def _handle(self, connection: socket.socket) -> dict[str, Any]:
        try:
            request = receive_frame(connection)
            operation = request.get("op")
            if operation == "hello":
                return {"event": "hello", "version": _version(), **self._desk.hello()}
            if operation == "look":
                return {"event": "seen", "seen": self._desk.look(str(request.get("what"))[:40])}
            if operation == "used":
                return _outcome(self._desk.used(str(request.get("permit_id"))))
            payload, mac = _sealed_parts(request)
            if operation == "declaration":
                return {"event": "stored", "declaration_version": self._desk.declare(payload, mac)}
            if operation == "permits":
                return {"event": "stored", "permits_version": self._desk.keep_permits(payload, mac)}
            if operation not in {"order", "withdraw", "permit"}:
                known = "order, withdraw, declaration, permits, permit, used, look and hello are known"
                return _refused("unreadable", f"cannot do {str(operation)[:40]!r}: {known}")

            def started(order_id: str, clock_ms: int, permit: str) -> None:
                self._answer(connection, _started(order_id, clock_ms, permit))

            if operation == "permit":
                permit_id = str(request.get("permit_id"))
                return _outcome(self._desk.permit(payload, mac, permit_id, request.get("trigger"), started))
            return _outcome(self._desk.order(payload, mac, started, withdrawn=operation == "withdraw"))
        except NotTaken as error:
            self._say(f"not taken ({error.reason}): {error}")
            return _refused(error.reason, str(error))
        except (FrameError, OSError) as error:
            self._say(f"unreadable request: {error}")
            return _refused("unreadable", str(error))

    def _answer(self, connection: socket.socket, message: dict[str, Any]) -> None:
        """A peer that has gone away asks again; the ledger has the answer."""
        try:
            send_frame(connection, message)
        except OSError as error:
            self._say(f"cannot answer: {error}")


def _receive(connection: socket.socket, length: int) -> bytes:
    data = bytearray()
    while len(data) < length:
        piece = connection.recv(min(length - len(data), 65_536))
        if not piece:
            raise FrameError(f"cannot read a frame: it ends after {len(data)} of {length} bytes")
        data += piece
    return bytes(data)


def _sealed_parts(request: dict[str, Any]) -> tuple[bytes, bytes]:
    payload, mac = request.get("payload"), request.get("mac")
    if not isinstance(payload, str) or not isinstance(mac, str):
        raise FrameError("cannot read the request: payload and mac are texts")
    try:
        return payload.encode(), bytes.fromhex(mac)
    except ValueError as error:
        raise FrameError("cannot read the request: mac is not hexadecimal") from error


def _started(order_id: str, clock_ms: int, permit: str) -> dict[str, Any]:
    told = {"permit": permit} if permit else {}
    return {"event": "started", "order_id": order_id, "started_clock_ms": clock_ms, **told}


def _outcome(outcome: Outcome) -> dict[str, Any]:
    return {"event": "outcome", "order_id": outcome.order_id, "payload": outcome.payload, "mac": outcome.mac}


def _refused(reason: str, detail: str) -> dict[str, Any]:
    return {"event": "refused", "reason": reason, "detail": detail}


def _version() -> str:
    """The installed version, by the name of the metadata folder: importlib.metadata takes longer than the rest of hello."""
    for folder in filter(os.path.isdir, sys.path):
        for name in os.listdir(folder):
            if name.startswith("fleetmend-") and name.endswith(".dist-info"):
                return name.removeprefix("fleetmend-").removesuffix(".dist-info")
    return "unknown"
