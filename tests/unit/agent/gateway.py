"""A gateway of our own on a loopback port: it does what each test says, stream by stream."""

from __future__ import annotations

import asyncio
import contextlib

import grpc
import grpc.aio

from fleetmend.v1 import link_pb2 as pb
from fleetmend.v1 import link_pb2_grpc
from fleetmend_agent import link
from fleetmend_agent.backoff import Backoff
from fleetmend_agent.call import Call
from fleetmend_agent.outbox import Outbox


class Stream:
    """One stream as the gateway sees it."""

    def __init__(self, context):
        self.context = context
        self.hello = None
        self.reports = []
        self.others = []
        self._news = asyncio.Event()
        self._out = asyncio.Queue()
        self.ended = asyncio.Event()

    def send(self, **message):
        self._out.put_nowait(pb.LinkResponse(**message))

    def end(self, code=None, details=""):
        """Ends the stream, with a status if a code is given."""
        self._out.put_nowait((code, details))

    def heard(self, message):
        kind = message.WhichOneof("message")
        if kind == "hello":
            self.hello = message.hello
        elif kind == "report":
            self.reports.append(message.report)
        else:
            self.others.append(message)
        self._news.set()

    @property
    def seqs(self):
        return [record.seq for report in self.reports for record in report.records]

    async def until(self, condition):
        """Waits until the condition holds of this stream."""
        async with asyncio.timeout(20):
            while not condition(self):
                self._news.clear()
                await self._news.wait()

    async def outgoing(self):
        while True:
            item = await self._out.get()
            if isinstance(item, tuple):
                if item[0] is not None:
                    await self.context.abort(*item)
                return
            yield item


class Gateway(link_pb2_grpc.LinkServiceServicer):
    """Welcomes every stream unless told otherwise."""

    def __init__(self, welcome=None, acks=True):
        self.welcome = welcome or pb.Welcome(protocol_version=1, host_id="h-1", heartbeat_interval_ms=10_000)
        self.acks = acks
        self.refuse = None
        self.streams = []
        self._news = asyncio.Event()
        self._server = None
        self.port = 0

    async def Link(self, request_iterator, context):
        stream = Stream(context)
        self.streams.append(stream)
        self._news.set()
        if self.refuse is not None:
            await context.abort(*self.refuse)
        reader = asyncio.get_running_loop().create_task(self._read(request_iterator, stream))
        try:
            await stream.until(lambda each: each.hello is not None)
            yield pb.LinkResponse(welcome=self.welcome)
            async for response in stream.outgoing():
                yield response
        finally:
            reader.cancel()
            stream.ended.set()
            await asyncio.gather(reader, return_exceptions=True)

    async def _read(self, requests, stream):
        async for request in requests:
            stream.heard(request)
            if request.WhichOneof("message") == "report" and self.acks:
                stream.send(ack=pb.Ack(outbox_id=request.report.outbox_id, seq=request.report.records[-1].seq))
        stream.end()

    async def stream(self, number):
        """The nth stream, from 1, once it was opened."""
        async with asyncio.timeout(20):
            while len(self.streams) < number:
                self._news.clear()
                await self._news.wait()
        return self.streams[number - 1]

    async def start(self):
        self._server = grpc.aio.server()
        link_pb2_grpc.add_LinkServiceServicer_to_server(self, self._server)
        self.port = self._server.add_insecure_port(f"127.0.0.1:{self.port}")
        await self._server.start()

    async def stop(self, grace_s=0):
        await self._server.stop(grace_s)


class Ours:
    """A link with an outbox, and everything it told the rest of the agent."""

    def __init__(self, gateway: Gateway, folder):
        self.gateway = gateway
        self.outbox = Outbox(folder / "outbox", "boot-1", 1 << 20)
        self.welcomes, self.configs, self.orders, self.asked, self.losses = [], [], [], [], []
        self.dial_problem = None
        desk = link.Desk(
            hello=lambda: pb.Hello(protocol_version=1, outbox_id=self.outbox.outbox_id, boot_id="boot-1"),
            stamp=lambda report: setattr(report, "boot_id", "boot-1"),
            welcome=self.welcomes.append,
            config=self.configs.append,
            order=self.orders.append,
            check_now=lambda check, key: self.asked.append((check, key)),
            lost=self.losses.append,
        )
        self.link = link.Link(self.dial, self.outbox, desk, Backoff(first_s=0.01, cap_s=0.05))

    async def dial(self):
        if self.dial_problem is not None:
            raise self.dial_problem
        return await Call.dial("127.0.0.1", self.gateway.port, None)

    def keep(self, count=1):
        for _ in range(count):
            self.outbox.append(pb.Record(boot_id="boot-1", observation=pb.Observation(check="c")).SerializeToString())
        self.link.wake()

    async def acked(self, seq):
        await until(lambda: self.outbox.acked_seq >= seq)

    async def up(self):
        await until(lambda: self.link.connected)


async def until(condition):
    """Looks again and again, since the parts under test tell nobody of it; the condition is about to hold."""
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.005)


@contextlib.asynccontextmanager
async def linked(folder, gateway=None):
    """A gateway and a link to it, both ended afterwards."""
    gateway = gateway or Gateway()
    await gateway.start()
    ours = Ours(gateway, folder)
    task = asyncio.get_running_loop().create_task(ours.link.run())
    try:
        yield ours, gateway
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await gateway.stop()
        ours.outbox.close()
