"""The agent's own gRPC call: against gRPC's server, and against servers that do all they should not."""

from __future__ import annotations

import asyncio
import socket
import ssl
import struct
import subprocess
import sys
from pathlib import Path

import grpc
import pytest
import trustme
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.events import DataReceived, RequestReceived, StreamReset
from h2.exceptions import ProtocolError

from fleetmend.v1 import link_pb2 as pb
from fleetmend_agent import call as module
from fleetmend_agent.call import Call, CallEnded, Code
from fleetmend_agent.tls import TARGET_NAME
from tests.unit.agent.gateway import Gateway

ROOT = Path(__file__).parents[3]
HEADERS = [(":status", "200"), ("content-type", "application/grpc")]


def framed(message, compressed=0, size=None):
    data = message.SerializeToString()
    return struct.pack(">BI", compressed, len(data) if size is None else size) + data


def welcome(**fields):
    return pb.LinkResponse(welcome=pb.Welcome(protocol_version=1, **fields))


class Server:
    """HTTP/2 by hand: `act` is called with each request; what it sends is its own business."""

    def __init__(self, act):
        self.act = act
        self.heard = []
        self.bytes = 0

    async def serve(self, reader, writer):
        self.writer = writer
        self.h2 = H2Connection(H2Configuration(client_side=False, header_encoding="utf-8"))
        self.h2.initiate_connection()
        try:
            while data := await reader.read(65536):
                for event in self.h2.receive_data(data):
                    self.take(event)
                self.flush()
        except (ConnectionError, ProtocolError):
            self.heard.append("broken off")
        finally:
            writer.close()

    def take(self, event):
        self.heard.append(type(event))
        if isinstance(event, RequestReceived):
            self.headers = dict(event.headers)
            self.stream = event.stream_id
            self.act(self)
        elif isinstance(event, DataReceived):
            self.bytes += len(event.data)
            self.h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)

    def answer(self, *parts, headers=HEADERS, end=False):
        self.h2.send_headers(self.stream, headers)
        for part in parts:
            self.h2.send_data(self.stream, part, end_stream=end)

    def trail(self, *trailers):
        self.h2.send_headers(self.stream, list(trailers), end_stream=True)

    def flush(self):
        if data := self.h2.data_to_send():
            self.writer.write(data)


def against(act, scenario):
    """Runs the scenario on a call to such a server."""
    server = act if isinstance(act, Server) else Server(act)

    async def main():
        listener = await asyncio.start_server(server.serve, "127.0.0.1", 0)
        async with listener, asyncio.timeout(20):
            call = await Call.dial("127.0.0.1", listener.sockets[0].getsockname()[1], None)
            try:
                await scenario(call, server)
            finally:
                call.close()

    asyncio.run(main())


async def ends(call, code, words=""):
    with pytest.raises(CallEnded) as ended:
        await call.read()
    assert ended.value.code is code
    assert words in str(ended.value)


def with_grpc(scenario):
    async def main():
        gateway = Gateway()
        await gateway.start()
        try:
            async with asyncio.timeout(20):
                call = await Call.dial("127.0.0.1", gateway.port, None)
                await scenario(gateway, call)
                call.close()
        finally:
            await gateway.stop()

    asyncio.run(main())


def test_large_messages_cross_both_ways_one_behind_the_other():
    async def scenario(gateway, call):
        gateway.acks = False
        await call.write(pb.LinkRequest(hello=pb.Hello(boot_id="b")))
        assert (await call.read()).welcome.host_id == "h-1"
        stream = await gateway.stream(1)
        big = "x" * (900 * 1024)
        for number in range(6):
            await call.write(pb.LinkRequest(report=pb.Report(outbox_id=f"{number}{big}")))
            stream.send(config=pb.AgentConfig(digest=f"{number}{big}"))
        await stream.until(lambda each: len(each.reports) == 6)
        configs = [await call.read() for _ in range(6)]
        assert [each.config.digest[0] for each in configs] == list("012345")
        assert {len(each.config.digest) for each in configs} == {len(big) + 1}

    with_grpc(scenario)


def test_the_status_of_the_controller_is_told_with_its_words():
    async def scenario(gateway, call):
        gateway.refuse = (grpc.StatusCode.FAILED_PRECONDITION, "not you: 100 % naïve")
        await call.write(pb.LinkRequest(hello=pb.Hello(boot_id="b")))
        await ends(call, Code.FAILED_PRECONDITION, "FAILED_PRECONDITION: not you: 100 % naïve")
        with pytest.raises(CallEnded):
            await call.write(pb.LinkRequest())

    with_grpc(scenario)


def test_a_controller_that_stops_in_order_is_heard_to_the_end():
    async def scenario(gateway, call):
        await call.write(pb.LinkRequest(hello=pb.Hello(boot_id="b")))
        assert (await call.read()).HasField("welcome")
        stream = await gateway.stream(1)
        stopping = asyncio.create_task(gateway.stop(5))
        await asyncio.sleep(0.2)
        stream.send(bye=pb.Bye(reason="shutting_down"))
        stream.end(grpc.StatusCode.UNAVAILABLE, "stopping")
        assert (await call.read()).bye.reason == "shutting_down"
        await ends(call, Code.UNAVAILABLE, "UNAVAILABLE: stopping")
        await stopping

    with_grpc(scenario)


def test_what_was_sent_before_the_end_is_read_before_the_end():
    def act(server):
        server.answer(framed(welcome()), framed(pb.LinkResponse(bye=pb.Bye(reason="removed"))))
        server.trail(("grpc-status", "7"))

    async def scenario(call, server):
        await call.write(pb.LinkRequest())
        assert (await call.read()).HasField("welcome")
        assert (await call.read()).bye.reason == "removed"
        await ends(call, Code.PERMISSION_DENIED)
        assert server.headers[":authority"] == "fleetmend-controller"
        assert server.headers[":path"] == "/fleetmend.v1.LinkService/Link"

    against(act, scenario)


ODD = {
    "a message that is none": (lambda s: s.answer(b"\0\0\0\0\2\xff\xff"), Code.INTERNAL, "a message that is none"),
    "one that is too large": (lambda s: s.answer(framed(welcome(), size=1 << 21)), Code.RESOURCE_EXHAUSTED, "2097152 bytes"),
    "one that is compressed": (lambda s: s.answer(framed(welcome(), compressed=1)), Code.INTERNAL, "compressed"),
    "a web page": (lambda s: s.h2.send_headers(s.stream, [(":status", "502")], end_stream=True), Code.UNAVAILABLE, "502"),
    "another web page": (lambda s: s.h2.send_headers(s.stream, [(":status", "200")], end_stream=True), Code.UNKNOWN, "200"),
    "a status that is none": (lambda s: (s.answer(), s.trail(("grpc-status", "soon"))), Code.UNKNOWN, ""),
    "a status of the future": (lambda s: (s.answer(), s.trail(("grpc-status", "99"))), Code.UNKNOWN, ""),
    "a reset": (lambda s: s.h2.reset_stream(s.stream, ErrorCodes.REFUSED_STREAM), Code.UNAVAILABLE, "REFUSED_STREAM"),
    "an angry reset": (lambda s: s.h2.reset_stream(s.stream, ErrorCodes.ENHANCE_YOUR_CALM), Code.RESOURCE_EXHAUSTED, ""),
    "an angry end of all": (lambda s: s.h2.close_connection(ErrorCodes.ENHANCE_YOUR_CALM), Code.UNAVAILABLE, "(reason 11)"),
    "an end before this": (lambda s: s.h2.close_connection(last_stream_id=0), Code.UNAVAILABLE, "(reason 0)"),
    "an end without reason": (lambda s: s.writer.write(b"\0\0\1\7" + bytes(6)), Code.UNAVAILABLE, "cannot be read"),
    "a frame that is too long": (lambda s: s.writer.write(b"\0\x40\1" + bytes(6)), Code.UNAVAILABLE, "16385 bytes"),
    "a page with a text": (lambda s: s.answer(b"<html>", headers=[(":status", "503")], end=True), Code.UNAVAILABLE, "503"),
    "words that are none": (
        lambda s: (s.answer(), s.trail(("grpc-status", "7"), (b"grpc-message", b"\xff"))),
        Code.PERMISSION_DENIED,
        "\ufffd",
    ),
    "a hang-up": (lambda s: s.writer.transport.abort(), Code.UNAVAILABLE, "connection"),
    "garbage": (lambda s: s.writer.write(b"\0\0\1\0\0\0\0\0\0x"), Code.UNAVAILABLE, "cannot be read"),
}


@pytest.mark.parametrize("case", ODD)
def test_whatever_comes_the_call_ends_with_a_code_and_words(case):
    act, code, words = ODD[case]

    async def scenario(call, server):
        await call.write(pb.LinkRequest(hello=pb.Hello(boot_id="b")))
        await ends(call, code, words)
        await ends(call, code, words)

    against(act, scenario)


def test_a_reset_by_a_code_of_the_future_is_an_end_too():
    async def scenario(call, server):
        await call.write(pb.LinkRequest(hello=pb.Hello(boot_id="b")))
        await ends(call, Code.INTERNAL, "4711")

    against(lambda s: s.h2.reset_stream(s.stream, 4711), scenario)


def test_our_own_message_that_is_too_large_ends_the_call():
    async def scenario(call, server):
        await call.write(pb.LinkRequest(report=pb.Report(outbox_id="small")))
        with pytest.raises(CallEnded, match="over 1048576"):
            await call.write(pb.LinkRequest(report=pb.Report(outbox_id="x" * (1 << 20))))
        await ends(call, Code.RESOURCE_EXHAUSTED)

    against(lambda s: s.answer(), scenario)


def test_a_controller_that_takes_no_more_holds_the_writer_up_and_an_end_frees_it():
    async def scenario(call, server):
        server.h2.acknowledge_received_data = lambda *_: None
        big = pb.LinkRequest(report=pb.Report(outbox_id="x" * 40_000))
        await call.write(big)
        writer = asyncio.create_task(call.write(big))
        while server.bytes < 65_535:
            await asyncio.sleep(0.01)
        assert not writer.done()
        server.trail(("grpc-status", "14"))
        server.flush()
        with pytest.raises(CallEnded) as ended:
            await writer
        assert ended.value.code is Code.UNAVAILABLE
        assert server.bytes == 65_535

    against(lambda s: s.answer(), scenario)


def test_a_reader_that_does_not_read_holds_the_controller_up():
    async def scenario(call, server):
        await call.write(pb.LinkRequest())
        assert (await call.read()).HasField("welcome")
        big = framed(pb.LinkResponse(config=pb.AgentConfig(digest="x" * (module.MESSAGE_BYTES_MAX - 100))))
        sent = 0
        while (room := server.h2.local_flow_control_window(server.stream)) > 0:
            server.h2.send_data(server.stream, (big * 4)[sent : sent + min(room, 16_384)])
            sent += min(room, 16_384)
            server.flush()
            await asyncio.sleep(0)
        assert sent <= module.WINDOW_BYTES
        assert (await call.read()).HasField("config")
        while server.h2.local_flow_control_window(server.stream) == 0:
            await asyncio.sleep(0.01)

    against(lambda s: s.answer(framed(welcome())), scenario)


def test_a_line_on_which_our_words_are_not_acknowledged_is_ended_by_the_kernel():
    async def scenario(call, server):
        line = call._wire._transport.get_extra_info("socket")
        assert line.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == module.UNHEARD_MS_MAX == 20_000

    against(lambda s: s.answer(framed(welcome())), scenario)


def test_a_silent_line_is_asked_and_a_dead_one_given_up(monkeypatch):
    monkeypatch.setattr(module, "KEEPALIVE_S", 0.1)
    monkeypatch.setattr(module, "KEEPALIVE_ANSWER_S", 0.3)

    async def scenario(call, server):
        await call.write(pb.LinkRequest())
        while server.heard.count("asked") < 2:
            await asyncio.sleep(0.01)
        server.act = None
        server.take = lambda event: None
        server.flush = lambda: None
        await ends(call, Code.UNAVAILABLE, "nothing was heard of the controller")

    class Asked(Server):
        def take(self, event):
            super().take(event)
            if type(event).__name__ == "PingReceived":
                self.heard.append("asked")

    against(Asked(lambda s: s.answer()), scenario)


def test_closing_tells_the_controller():
    async def scenario(call, server):
        await call.write(pb.LinkRequest())
        assert (await call.read()).HasField("welcome")
        call.close()
        call.close()
        while StreamReset not in server.heard:
            await asyncio.sleep(0.01)
        await ends(call, Code.CANCELLED)

    against(lambda s: s.answer(framed(welcome())), scenario)


def test_whoever_speaks_tls_but_no_http2_is_not_talked_to():
    async def main():
        ca = trustme.CA()
        server, client = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH), ssl.create_default_context()
        ca.issue_cert(TARGET_NAME).configure_cert(server)
        ca.configure_trust(client)
        listener = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0, ssl=server)
        async with listener, asyncio.timeout(20):
            call = await Call.dial("127.0.0.1", listener.sockets[0].getsockname()[1], client)
            with pytest.raises(CallEnded, match="does not speak HTTP/2"):
                await call.write(pb.LinkRequest())
            await ends(call, Code.UNAVAILABLE, "does not speak HTTP/2")

    asyncio.run(main())


def test_of_several_addresses_the_one_that_answers_serves_and_none_is_told_with_why(tmp_path, monkeypatch):
    async def addresses(_):
        return ["127.0.0.2", "127.0.0.1"]

    monkeypatch.setattr(module.tls, "context", lambda _: None)
    monkeypatch.setattr(module.resolve, "addresses", addresses)

    async def scenario(gateway, _):
        call = await module.dial(f"fleet.example:{gateway.port}", tmp_path)
        await call.write(pb.LinkRequest(hello=pb.Hello(boot_id="b")))
        assert (await call.read()).HasField("welcome")
        call.close()
        await gateway.stop()
        with pytest.raises(
            OSError, match=r"fleet\.example:\d+: 127\.0\.0\.2: connection refused; 127\.0\.0\.1: connection refused"
        ):
            await module.dial(f"fleet.example:{gateway.port}", tmp_path)

    with_grpc(scenario)


def test_the_resident_agent_is_without_grpc():
    script = "import sys, fleetmend_agent.resident, fleetmend_agent.agent; sys.exit(int('grpc' in sys.modules))"
    path = ":".join(str(ROOT / folder) for folder in ("agent", "protos"))
    assert subprocess.run([sys.executable, "-c", script], env={"PYTHONPATH": path}, check=False).returncode == 0
