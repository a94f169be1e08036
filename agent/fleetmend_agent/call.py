"""The link's one gRPC call, spoken over HTTP/2 on the agent's own event loop.

grpcio keeps eight threads, whose timers wake the host 12 times a second for a stream on which nothing happens: a third or more
of the agent's CPU at rest. One call a host needs none of that. The frames are h2's work; what is here is gRPC's way to use them
(https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md), without compression, which this agent never offers.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import struct
from collections import deque
from collections.abc import Iterator
from enum import IntEnum
from pathlib import Path
from typing import cast
from urllib.parse import unquote

from google.protobuf.message import DecodeError
from h2 import events
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.exceptions import ProtocolError
from h2.settings import SettingCodes

from fleetmend.v1 import link_pb2 as pb

from . import resolve, tls
from .checks._source import why
from .config import LINK_PORT, split_address
from .version import version

PATH = "/fleetmend.v1.LinkService/Link"
MESSAGE_BYTES_MAX = 1 << 20
# Room for a whole message while the one before is not read yet.
WINDOW_BYTES = 2 * MESSAGE_BYTES_MAX
LOOK_UP_TIMEOUT_S = 12.0
# All addresses of the controller share it.
CONNECT_TIMEOUT_S = 12.0
CLOSE_TIMEOUT_S = 1.0
KEEPALIVE_S, KEEPALIVE_ANSWER_S = 30.0, 10.0
# How long the controller's kernel may leave our words unacknowledged. Hearing is no proof of being heard: where only the way
# out is cut, the controller's own questions arrive for a while and the line looks alive. Heartbeats are such words.
UNHEARD_MS_MAX = 20_000
_PING = b"alive?\0\0"
_PREFIX = struct.Struct(">BI")
# HTTP/2 frames (RFC 9113, section 4): 24 bits of length, type, flags, stream. We never allow more than the least maximum.
_FRAME_HEADER_BYTES, _FRAME_BYTES_MAX = 9, 16_384
_GOAWAY = 7
_GOAWAY_BODY = struct.Struct(">II")


class Code(IntEnum):
    """How a call ended, in gRPC's words."""

    OK = 0
    CANCELLED = 1
    UNKNOWN = 2
    INVALID_ARGUMENT = 3
    DEADLINE_EXCEEDED = 4
    NOT_FOUND = 5
    ALREADY_EXISTS = 6
    PERMISSION_DENIED = 7
    RESOURCE_EXHAUSTED = 8
    FAILED_PRECONDITION = 9
    ABORTED = 10
    OUT_OF_RANGE = 11
    UNIMPLEMENTED = 12
    INTERNAL = 13
    UNAVAILABLE = 14
    DATA_LOSS = 15
    UNAUTHENTICATED = 16


# What gRPC makes of an answer that is not gRPC's (http-grpc-status-mapping.md), and of a stream that is reset.
_OF_HTTP = {
    "400": Code.INTERNAL,
    "401": Code.UNAUTHENTICATED,
    "403": Code.PERMISSION_DENIED,
    "404": Code.UNIMPLEMENTED,
    **dict.fromkeys(("429", "502", "503", "504"), Code.UNAVAILABLE),
}
_OF_RESET: dict[int | None, Code] = {
    ErrorCodes.REFUSED_STREAM: Code.UNAVAILABLE,
    ErrorCodes.CANCEL: Code.CANCELLED,
    ErrorCodes.ENHANCE_YOUR_CALM: Code.RESOURCE_EXHAUSTED,
    ErrorCodes.INADEQUATE_SECURITY: Code.PERMISSION_DENIED,
}


class CallEnded(Exception):
    """The call is over, by whoever's doing."""

    def __init__(self, code: Code, details: str) -> None:
        super().__init__(f"{code.name}: {details or 'the controller ended the stream'}")
        self.code = code


class Call:
    """One stream of LinkService. One task may write and one may read."""

    def __init__(self, wire: _Wire) -> None:
        self._wire = wire

    @classmethod
    async def dial(cls, host: str, port: int, context: ssl.SSLContext | None) -> Call:
        """Connects to one address and opens the stream. Raises OSError. Without a context it is in the clear, for tests."""
        secure = context is not None
        _, wire = await asyncio.get_running_loop().create_connection(
            lambda: _Wire(secure),
            host,
            port,
            ssl=context,
            server_hostname=tls.TARGET_NAME if secure else None,
            ssl_handshake_timeout=CONNECT_TIMEOUT_S if secure else None,
            ssl_shutdown_timeout=CLOSE_TIMEOUT_S if secure else None,
        )
        return cls(wire)

    async def write(self, message: pb.LinkRequest) -> None:
        """Sends a message; waits while the controller or the line takes no more. Raises CallEnded."""
        data = message.SerializeToString()
        if len(data) > MESSAGE_BYTES_MAX:
            self._wire.give_up(Code.RESOURCE_EXHAUSTED, f"our message of {len(data)} bytes is over {MESSAGE_BYTES_MAX}")
        await self._wire.send(_PREFIX.pack(0, len(data)) + data)

    async def read(self) -> pb.LinkResponse:
        """The next message. Raises CallEnded when none is left."""
        data = await self._wire.receive()
        try:
            return pb.LinkResponse.FromString(data)
        except DecodeError as error:
            end = (Code.INTERNAL, "the controller sent a message that is none")
            self._wire.give_up(*end)
            raise CallEnded(*end) from error

    def close(self) -> None:
        """Ends the call and its connection, now."""
        self._wire.give_up(Code.CANCELLED, "closed by the agent")


async def dial(address: str, state_dir: Path) -> Call:
    """Opens the stream with this host's credentials of now. Raises IdentityError, and OSError with the address."""
    host, port = split_address(address, LINK_PORT)
    context = tls.context(state_dir)
    problems: list[str] = []
    try:
        async with asyncio.timeout(LOOK_UP_TIMEOUT_S):
            found = await resolve.addresses(host.strip("[]"))
    except (OSError, UnicodeError) as error:
        raise OSError(f"cannot connect to {address}: {error or 'no name server answers'}") from error
    for each in found:
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT_S / len(found)):
                return await Call.dial(each, port, context)
        except OSError as error:
            problems.append(f"{each}: {_why(error)}")
    raise OSError(f"cannot connect to {address}: {'; '.join(problems) or 'it has no address'}")


class _Wire(asyncio.Protocol):
    """The connection, with the one stream on it."""

    def __init__(self, secure: bool) -> None:
        self._secure = secure
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._h2 = H2Connection(H2Configuration(client_side=True))
        self._stream = 0
        self._raw = bytearray()
        self._status: dict[str, str] = {}
        self._end: tuple[Code, str] | None = None
        self._buffer = bytearray()
        self._messages: deque[bytes] = deque()
        # Bytes that came and are not yet given back to the sender's window.
        self._owed = 0
        self._paused = False
        self._news = asyncio.Event()
        self._room = asyncio.Event()
        self._timer: asyncio.TimerHandle | None = None
        self._heard_s = 0.0
        self._asked = False

    # For the call.

    async def send(self, data: bytes) -> None:
        """All of it, as the window allows."""
        rest = memoryview(data)
        while rest:
            room = await self._until_room()
            self._h2.send_data(self._stream, bytes(rest[:room]))
            rest = rest[room:]
            self._flush()

    async def receive(self) -> bytes:
        """The next whole message."""
        while not self._messages:
            self._raise_if_ended()
            self._news.clear()
            await self._news.wait()
        message = self._messages.popleft()
        self._give_back()
        return message

    def give_up(self, code: Code, details: str) -> None:
        """Ends it from this side. What still waits to be sent to a peer that does not read goes with it."""
        if self._end is None and self._stream:
            with contextlib.suppress(ProtocolError):
                self._h2.reset_stream(self._stream, ErrorCodes.CANCEL)
            self._flush()
        self._finish(code, details)
        self._hang_up()

    # For asyncio.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Opens the stream."""
        self._transport = cast("asyncio.Transport", transport)
        self._transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, UNHEARD_MS_MAX)
        if self._secure and self._transport.get_extra_info("ssl_object").selected_alpn_protocol() != "h2":
            self.give_up(Code.UNAVAILABLE, "whoever answers there does not speak HTTP/2")
            return
        self._h2.initiate_connection()
        self._h2.update_settings({SettingCodes.INITIAL_WINDOW_SIZE: WINDOW_BYTES, SettingCodes.ENABLE_PUSH: 0})
        self._h2.increment_flow_control_window(WINDOW_BYTES)
        self._stream = self._h2.get_next_available_stream_id()
        self._h2.send_headers(
            self._stream,
            [
                (":method", "POST"),
                (":scheme", "https" if self._secure else "http"),
                (":path", PATH),
                (":authority", tls.TARGET_NAME),
                ("te", "trailers"),
                ("content-type", "application/grpc"),
                ("user-agent", f"fleetmend-agent/{version()}"),
            ],
        )
        self._flush()
        self._heard_s = self._loop.time()
        self._timer = self._loop.call_later(KEEPALIVE_S, self._watch)

    def data_received(self, data: bytes) -> None:
        """Frames, whole or in part."""
        self._heard_s, self._asked = self._loop.time(), False
        self._raw += data
        try:
            for kind, frame in self._frames():
                self._read(kind, frame)
        except ProtocolError as error:
            self.give_up(Code.UNAVAILABLE, f"the controller's HTTP/2 cannot be read: {error}")
            return
        if not self._messages:
            # Nobody waits for more than a part: the rest of that message needs the room.
            self._give_back()
        self._flush()

    def pause_writing(self) -> None:
        """The kernel takes no more."""
        self._paused = True

    def resume_writing(self) -> None:
        """It does again."""
        self._paused = False
        self._room.set()

    def connection_lost(self, exc: Exception | None) -> None:
        """The end, if it was not ended before."""
        self._finish(Code.UNAVAILABLE, f"the connection broke: {exc}" if exc else "the controller closed the connection")

    # Inside.

    def _frames(self) -> Iterator[tuple[int, bytes]]:
        """Whole frames with their types. Raises ProtocolError as soon as one announces more than is allowed."""
        while len(self._raw) >= _FRAME_HEADER_BYTES:
            size = int.from_bytes(self._raw[:3], "big")
            if size > _FRAME_BYTES_MAX:
                raise ProtocolError(f"a frame of {size} bytes")
            end = _FRAME_HEADER_BYTES + size
            if len(self._raw) < end:
                return
            frame = bytes(self._raw[:end])
            del self._raw[:end]
            yield frame[3], frame

    def _read(self, kind: int, frame: bytes) -> None:
        """One frame.

        GOAWAY is ours to understand: h2 would read nothing behind it, and a controller that stops in order says GOAWAY first,
        then goodbye.
        """
        if kind != _GOAWAY:
            for event in self._h2.receive_data(frame):
                self._take(event)
            return
        if len(frame) < _FRAME_HEADER_BYTES + _GOAWAY_BODY.size:
            raise ProtocolError("a GOAWAY without a reason")
        last_stream, reason = _GOAWAY_BODY.unpack_from(frame, _FRAME_HEADER_BYTES)
        if reason != ErrorCodes.NO_ERROR or (last_stream & 0x7FFF_FFFF) < self._stream:
            self._finish(Code.UNAVAILABLE, f"the controller closes its connections (reason {reason})")
            self._hang_up()

    def _take(self, event: events.Event) -> None:
        match event:
            case events.DataReceived():
                self._owed += event.flow_controlled_length
                if self._status.get(":status") == "200":
                    self._collect(event.data)
            case events.ResponseReceived() | events.TrailersReceived():
                self._status.update((_text(name), _text(value)) for name, value in event.headers)
            case events.StreamEnded():
                self._finish(*self._said())
            case events.StreamReset():
                # An ErrorCodes, or a bare number if it is none.
                code = _OF_RESET.get(event.error_code, Code.INTERNAL)
                self._finish(code, f"the controller reset the stream: {getattr(event.error_code, 'name', event.error_code)}")
            case events.WindowUpdated() | events.RemoteSettingsChanged():
                self._room.set()
            case _:
                # Pings are answered below us; nothing else concerns this stream.
                return

    def _collect(self, data: bytes) -> None:
        self._buffer += data
        while len(self._buffer) >= _PREFIX.size:
            compressed, size = _PREFIX.unpack_from(self._buffer)
            if compressed:
                self.give_up(Code.INTERNAL, "the controller compressed a message, which nobody asked for")
                return
            if size > MESSAGE_BYTES_MAX:
                self.give_up(Code.RESOURCE_EXHAUSTED, f"a message of {size} bytes is over {MESSAGE_BYTES_MAX}")
                return
            if len(self._buffer) < _PREFIX.size + size:
                return
            self._messages.append(bytes(self._buffer[_PREFIX.size : _PREFIX.size + size]))
            del self._buffer[: _PREFIX.size + size]
            self._news.set()

    def _said(self) -> tuple[Code, str]:
        """The status of a stream that ended in order."""
        if "grpc-status" in self._status:
            try:
                code = Code(int(self._status["grpc-status"]))
            except ValueError:
                code = Code.UNKNOWN
            return code, unquote(self._status.get("grpc-message", ""))
        answer = self._status.get(":status", "")
        return _OF_HTTP.get(answer, Code.UNKNOWN), f"the answer is not gRPC's: HTTP status {answer or 'missing'}"

    def _finish(self, code: Code, details: str) -> None:
        if self._end is None:
            self._end = (code, details)
        if self._timer is not None:
            self._timer.cancel()
        self._news.set()
        self._room.set()

    def _hang_up(self) -> None:
        if self._transport is None or self._transport.is_closing():
            return
        if self._transport.get_write_buffer_size():
            self._transport.abort()
        else:
            self._transport.close()

    def _raise_if_ended(self) -> None:
        if self._end is not None:
            raise CallEnded(*self._end)

    async def _until_room(self) -> int:
        while True:
            self._raise_if_ended()
            room = min(self._h2.local_flow_control_window(self._stream), self._h2.max_outbound_frame_size)
            if room > 0 and not self._paused:
                return room
            self._room.clear()
            await self._room.wait()

    def _give_back(self) -> None:
        """Lets the sender send as much again as was read."""
        if self._owed and self._end is None:
            self._h2.acknowledge_received_data(self._owed, self._stream)
            self._owed = 0
            self._flush()

    def _flush(self) -> None:
        data = self._h2.data_to_send()
        if data and self._transport is not None and not self._transport.is_closing():
            self._transport.write(data)

    def _watch(self) -> None:
        """A line on which nothing was heard is asked once, and given up when it does not answer."""
        silent_s = self._loop.time() - self._heard_s
        if self._asked:
            self._finish(Code.UNAVAILABLE, f"nothing was heard of the controller for {silent_s:.0f} s")
            if self._transport is not None:
                self._transport.abort()
            return
        if silent_s >= KEEPALIVE_S:
            self._asked = True
            self._h2.ping(_PING)
            self._flush()
        self._timer = self._loop.call_later(KEEPALIVE_ANSWER_S if self._asked else KEEPALIVE_S - silent_s, self._watch)


def _why(error: OSError) -> str:
    # The numbers of TLS are not those of the system.
    if error.errno is None or isinstance(error, ssl.SSLError):
        return str(error) or "no answer in time"
    return why(error)


def _text(header: bytes | str) -> str:
    return header if isinstance(header, str) else header.decode(errors="replace")
