"""The line to systemd over D-Bus: subscribes to its signals, keeps the unit table, and lists all units now and then."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Mapping
from typing import Any

from jeepney import DBusAddress, MatchRule, Message, MessageType, Parser, message_bus, new_method_call
from jeepney.auth import BEGIN, AuthenticationError, Authenticator
from jeepney.low_level import HeaderFields, SizeLimitError

from ..backoff import Backoff
from ..host import Host, UnitState
from ..log import LOG
from .units import PATH_PREFIX, UnitTable

CALL_TIMEOUT_S = 10.0
LIST_EVERY_S = 60.0
SETTLE_S = 0.5
STALE_AFTER_MS = 10_000
_READ_BYTES = 64 * 1024
_DETAILS_MAX = 100

_BUS = "org.freedesktop.systemd1"
_MANAGER = DBusAddress("/org/freedesktop/systemd1", _BUS, "org.freedesktop.systemd1.Manager")
_PROPERTIES = "org.freedesktop.DBus.Properties"
_WITH_RESULT = frozenset({"service", "socket", "mount", "automount", "swap", "timer", "path", "scope"})


class DBusError(OSError):
    """The bus or systemd refused or went away."""


class SystemdSignal:
    """The connection to systemd. Without one the table is unavailable, with the reason, and it is tried again slowly."""

    def __init__(
        self, host: Host, socket_path: str, on_change: Callable[[set[str]], None], backoff: Backoff | None = None
    ) -> None:
        self._host = host
        self._backoff = backoff or Backoff(first_s=1.0, cap_s=60.0)
        self._socket_path = socket_path
        self._on_change = on_change
        self._table = UnitTable()
        self._connection: _Connection | None = None
        self._ready = False
        self._lost_clock_ms = 0
        self._tried = asyncio.Event()
        self._relist: asyncio.TimerHandle | None = None
        self.problem = "not connected to systemd yet"

    def units(self, _fresh: bool) -> Mapping[str, UnitState]:
        """The unit table, as `Host.unit_source`. Whoever needs it fresh awaits `refresh` before. Raises OSError."""
        kept = bool(self._table.units) and self._host.clock_ms() - self._lost_clock_ms <= STALE_AFTER_MS
        if not self._ready and not kept:
            raise DBusError(self.problem)
        return dict(self._table.units)  # A fact may go through it on a worker thread.

    async def refresh(self) -> None:
        """Asks systemd for all its units now. Raises OSError."""
        connection = self._connection
        if connection is None or not self._ready:
            raise DBusError(self.problem)
        await self._list(connection)
        self._publish()

    async def ready(self, timeout_s: float) -> bool:
        """Waits until the table is there, or a try has failed; whether it is there."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self._tried.wait()
        return self._ready

    async def run(self) -> None:
        """Keeps connected until cancelled."""
        while True:
            try:
                await self._serve()
            except (OSError, EOFError, AuthenticationError, SizeLimitError, TimeoutError) as error:
                self._lost(error)
            await asyncio.sleep(self._backoff.next_s())

    async def _serve(self) -> None:
        async with contextlib.AsyncExitStack() as stack:
            connection = await _Connection.open(self._socket_path)
            stack.callback(connection.close)
            reading = asyncio.get_running_loop().create_task(connection.read(self._signal, self._publish))
            stack.callback(reading.cancel)
            await self._subscribe(connection)
            self._connection, self._ready = connection, True
            self._tried.set()
            self._backoff.reset()
            if self.problem:
                LOG.info("watching %d systemd units", len(self._table.units))
            self.problem = ""
            self._publish()
            while not reading.done():
                await asyncio.wait({reading}, timeout=LIST_EVERY_S)
                if not reading.done():
                    await self.refresh()
            reading.result()

    async def _subscribe(self, connection: _Connection) -> None:
        rules = [
            MatchRule(type="signal", sender=_BUS, interface=_PROPERTIES, path_namespace=PATH_PREFIX.rstrip("/")),
            *(
                MatchRule(type="signal", sender=_BUS, interface=_MANAGER.interface, member=member)
                for member in ("UnitNew", "UnitRemoved", "JobRemoved", "Reloading")
            ),
        ]
        await connection.call(message_bus.Hello())
        for rule in rules:
            await connection.call(message_bus.AddMatch(rule))
        await connection.call(new_method_call(_MANAGER, "Subscribe"))
        await self._list(connection)

    async def _list(self, connection: _Connection) -> None:
        (rows,) = await connection.call(new_method_call(_MANAGER, "ListUnits"))
        self._table.replace_all(rows, self._host.clock_ms())
        paths = {row[0]: row[6] for row in rows}
        lacking = [unit for unit in self._table.units.values() if unit.active == "failed" and not unit.result]
        for unit in lacking[:_DETAILS_MAX]:
            await self._detail(connection, unit, paths[unit.name])

    async def _detail(self, connection: _Connection, unit: UnitState, path: str) -> None:
        kind = unit.name.rpartition(".")[2]
        if kind not in _WITH_RESULT:
            return
        interface = f"{_BUS}.{kind.capitalize()}"
        address = DBusAddress(path, _BUS, _PROPERTIES)
        with contextlib.suppress(DBusError):  # The unit may have gone between two calls.
            (values,) = await connection.call(new_method_call(address, "GetAll", "s", (interface,)))
            self._table.properties(path, interface, values, self._host.clock_ms())

    def _signal(self, message: Message) -> None:
        member = message.header.fields.get(HeaderFields.member)
        body = message.body
        clock_ms = self._host.clock_ms()
        if member == "PropertiesChanged":
            self._table.properties(message.header.fields[HeaderFields.path], body[0], body[1], clock_ms)
        elif member == "JobRemoved":
            self._table.job_removed(body[2], clock_ms)
        elif member in {"UnitNew", "UnitRemoved"} or (member == "Reloading" and not body[0]):
            # Load states are not signalled, and a reload removes and adds every running unit: look once things have settled.
            self._list_soon()

    def _list_soon(self) -> None:
        if self._relist is None:
            self._relist = asyncio.get_running_loop().call_later(SETTLE_S, self._list_now)

    def _list_now(self) -> None:
        self._relist = None
        if self._ready:
            task = asyncio.get_running_loop().create_task(self.refresh())
            task.add_done_callback(_only_unreachable)

    def _publish(self) -> None:
        if self._ready and (changed := self._table.take_changed()):
            self._on_change(changed)

    def _lost(self, error: Exception) -> None:
        reason = getattr(error, "strerror", None) or error or type(error).__name__
        text = f"cannot reach systemd over {self._socket_path}: {reason}"
        if self._ready or text != self.problem:
            LOG.warning("%s; unit checks are unknown, trying again", text)
        if self._ready:
            self._lost_clock_ms = self._host.clock_ms()
        self._ready = False
        self._tried.set()
        self._connection = None
        self.problem = text


def _only_unreachable(task: asyncio.Task[None]) -> None:
    """A look that failed because the connection broke is repeated by the reconnect; anything else is a defect and shows."""
    if not task.cancelled() and isinstance(task.exception(), OSError | TimeoutError):
        return
    if not task.cancelled():
        task.result()


class _Connection:
    """One D-Bus connection: calls with answers, and signals in the order in which they came."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._serial = 0
        self._waiting: dict[int, asyncio.Future[Message]] = {}

    @classmethod
    async def open(cls, path: str) -> _Connection:
        """Connects and authenticates as the user of this process. Raises OSError, AuthenticationError."""
        async with asyncio.timeout(CALL_TIMEOUT_S):
            reader, writer = await asyncio.open_unix_connection(path)
            authenticator = Authenticator()
            for request in authenticator:
                writer.write(request)
                await writer.drain()
                answer = await reader.read(1024)
                if not answer:
                    writer.close()
                    raise DBusError("the bus closed the connection before it authenticated us")
                authenticator.feed(answer)
            writer.write(BEGIN)
        return cls(reader, writer)

    async def call(self, message: Message) -> Any:
        """Sends a call and returns the body of its answer. Raises DBusError, TimeoutError."""
        self._serial += 1
        serial = self._serial
        future: asyncio.Future[Message] = asyncio.get_running_loop().create_future()
        self._waiting[serial] = future
        self._writer.write(message.serialise(serial))
        try:
            async with asyncio.timeout(CALL_TIMEOUT_S):
                answer = await future
        finally:
            self._waiting.pop(serial, None)
        if answer.header.message_type is MessageType.error:
            name = answer.header.fields.get(HeaderFields.error_name, "error")
            raise DBusError(f"{name}: {answer.body[0] if answer.body else ''}")
        return answer.body

    async def read(self, on_signal: Callable[[Message], None], on_batch: Callable[[], None]) -> None:
        """Hands on what comes until the connection ends. `on_batch` follows each burst: one crash is several signals."""
        parser = Parser()
        try:
            while data := await self._reader.read(_READ_BYTES):
                parser.add_data(data)
                while (message := parser.get_next_message()) is not None:
                    self._dispatch(message, on_signal)
                on_batch()
        finally:
            for future in self._waiting.values():
                if not future.done():
                    future.set_exception(DBusError("the connection to the bus ended"))
        raise DBusError("the bus closed the connection")

    def close(self) -> None:
        """Ends the connection."""
        self._writer.close()

    def _dispatch(self, message: Message, on_signal: Callable[[Message], None]) -> None:
        if message.header.message_type is MessageType.signal:
            on_signal(message)
            return
        future = self._waiting.get(message.header.fields.get(HeaderFields.reply_serial, 0))
        if future is not None and not future.done():
            future.set_result(message)
