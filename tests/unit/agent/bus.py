"""A system bus with a systemd on it, on a Unix socket of our own: it says what each test wants."""

from __future__ import annotations

import asyncio
import contextlib

from jeepney import DBusAddress, Message, MessageType, Parser, new_error, new_method_return, new_signal
from jeepney.low_level import HeaderFields

MANAGER = DBusAddress("/org/freedesktop/systemd1", interface="org.freedesktop.systemd1.Manager")
PREFIX = "/org/freedesktop/systemd1/unit/"


def row(name, active="active", sub="running", job=0, load="loaded"):
    path = PREFIX + name.replace(".", "_2e")
    return (name, "text", load, active, sub, "", path, job, "", "/")


class Bus:
    """Answers what an agent asks, and lets a test send signals."""

    def __init__(self, path, *rows):
        self.path = str(path)
        self.rows = list(rows)
        self.results = {}
        self.calls = []
        self.refuse = set()
        self._writers = []
        self._serial = 1000
        self._server = None

    async def start(self):
        self._server = await asyncio.start_unix_server(self._serve, self.path)

    async def stop(self):
        self.drop()
        if self._server is not None:
            self._server.close()
            await self._server.wait_closed()

    def drop(self):
        """Breaks every connection."""
        while self._writers:
            self._writers.pop().close()

    def signal(self, address, member, signature, *body):
        self._serial += 1
        for writer in self._writers:
            writer.write(new_signal(address, member, signature, body).serialise(self._serial))

    def properties(self, unit, interface, **values):
        address = DBusAddress(PREFIX + unit.replace(".", "_2e"), interface="org.freedesktop.DBus.Properties")
        kind = f"org.freedesktop.systemd1.{interface}"
        changed = {name: ("u" if isinstance(value, int) else "s", value) for name, value in values.items()}
        self.signal(address, "PropertiesChanged", "sa{sv}as", kind, changed, [])

    async def _serve(self, reader, writer):
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            await reader.readuntil(b"AUTH EXTERNAL ")
            await reader.readline()
            writer.write(b"OK 0123456789abcdef\r\n")
            await reader.readline()
            self._writers.append(writer)
            parser = Parser()
            while data := await reader.read(4096):
                parser.add_data(data)
                while (message := parser.get_next_message()) is not None:
                    self._answer(writer, message)
        writer.close()

    def _answer(self, writer, call: Message):
        member = call.header.fields[HeaderFields.member]
        self.calls.append(member)
        self._serial += 1
        if member in self.refuse:
            answer = new_error(call, "org.freedesktop.DBus.Error.AccessDenied", "s", ("not for you",))
        elif member == "Hello":
            answer = new_method_return(call, "s", (":1.7",))
        elif member == "ListUnits":
            answer = new_method_return(call, "a(ssssssouso)", (self.rows,))
        elif member == "GetAll":
            path = call.header.fields[HeaderFields.path]
            answer = new_method_return(call, "a{sv}", ({"Result": ("s", self.results.get(path, "success"))},))
        else:
            answer = new_method_return(call)
        assert answer.header.message_type is not MessageType.method_call
        writer.write(answer.serialise(self._serial))


@contextlib.asynccontextmanager
async def running(task_of):
    """Runs a coroutine beside the test and ends it afterwards."""
    task = asyncio.get_running_loop().create_task(task_of)
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
