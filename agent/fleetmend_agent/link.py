"""The one stream to the controller: dialled out, kept up, begun anew when it breaks.

What must not be lost lies in the outbox and is sent from there until acknowledged; the rest is built when it is sent. So
nothing queues here, however long the controller is away.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Protocol

from fleetmend.v1 import link_pb2 as pb

from .backoff import Backoff
from .call import CallEnded, Code
from .gauges import GaugeEncoder
from .log import LOG
from .outbox import Outbox

PROTOCOL_VERSION = 1
WELCOME_TIMEOUT_S = 15.0
DIAL_TIMEOUT_S = 30.0
MOVE_AGAIN_S = 60.0
RESEND_AFTER_S = 10.0
BATCH_RECORDS_MAX = 256
BATCH_BYTES_MAX = 512 * 1024
WINDOW_RECORDS_MAX = 2048
STABLE_AFTER_S = 10.0
BYE_WAIT_MAX_S = 600.0

# How a call ends when nobody is there to refuse it.
_SILENT = (Code.OK, Code.UNAVAILABLE, Code.DEADLINE_EXCEEDED, Code.CANCELLED, Code.UNKNOWN, Code.INTERNAL)


class Call(Protocol):
    """One open stream (see call.Call)."""

    async def write(self, message: pb.LinkRequest) -> None:
        """Sends a message. Raises CallEnded."""

    async def read(self) -> pb.LinkResponse:
        """The next message. Raises CallEnded."""

    def close(self) -> None:
        """Ends it now."""


Dial = Callable[[], Awaitable[Call]]
Build = Callable[["Session"], pb.LinkRequest]


@dataclass(frozen=True, slots=True)
class Desk:
    """What the stream needs of the rest of the agent."""

    hello: Callable[[], pb.Hello]
    stamp: Callable[[pb.Report], None]
    welcome: Callable[[pb.Welcome], None]
    config: Callable[[pb.AgentConfig], None]
    order: Callable[[pb.SealedOrder], None]
    check_now: Callable[[str, str], None]
    lost: Callable[[str], None]
    permits: Callable[[pb.SealedPermits], None] = lambda _: None
    probe: Callable[[pb.Probe], None] = lambda _probe: None


class Ended(Exception):
    """A stream is over. `wait_s` is how long the gateway asked us to stay away; `reason` its word, if it said one.

    `answered`: a controller said so itself, so that it is not out of reach, whatever it wants.
    """

    def __init__(self, text: str, reason: str = "", wait_s: float = 0.0, *, answered: bool = False) -> None:
        super().__init__(text)
        self.reason = reason
        self.wait_s = wait_s
        self.answered = answered


class Session:
    """One stream, from Hello to its end."""

    def __init__(self, outbox: Outbox, desk: Desk, on_welcome: Callable[[Session, pb.Welcome], None]) -> None:
        self._outbox = outbox
        self._desk = desk
        self._on_welcome = on_welcome
        self._waiting: dict[str, Build] = {}
        self._wake = asyncio.Event()
        self._sent_seq = 0
        self._sent_at = 0.0
        self._loop = asyncio.get_running_loop()
        self.welcomed = asyncio.Event()
        self.gauges = GaugeEncoder()

    async def run(self, dial: Dial) -> None:
        """Holds the stream until it ends, and says how: always raises Ended, or CancelledError."""
        call = await _dialled(dial)
        tasks: list[asyncio.Task[None]] = []
        try:
            welcome = await self._greet(call)
            self._sent_seq = welcome.acked_seq
            self._outbox.ack(welcome.acked_seq)
            self._on_welcome(self, welcome)
            self.welcomed.set()
            self._wake.set()
            tasks = [self._loop.create_task(self._read(call)), self._loop.create_task(self._write(call))]
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            if tasks[1].done():
                tasks[1].result()
            # However the stream ended, the reader knows how: the controller's Bye may still wait before the end.
            await tasks[0]
        except CallEnded as error:
            raise Ended(str(error), answered=error.code not in _SILENT) from error
        except TimeoutError as error:
            raise Ended(f"no Welcome within {WELCOME_TIMEOUT_S:g} s") from error
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            call.close()
        raise Ended("the stream ended")

    def wake(self) -> None:
        """There is something new in the outbox."""
        self._wake.set()

    def want(self, kind: str, build: Build) -> None:
        """Sends a message of which only the newest of its kind matters: it is built when its turn comes."""
        self._waiting[kind] = build
        self._wake.set()

    def resend_late(self) -> None:
        """Begins again behind the last acknowledged record if an acknowledgement is overdue."""
        waiting = self._sent_seq > self._outbox.acked_seq
        if waiting and self._loop.time() - self._sent_at >= RESEND_AFTER_S:
            self._sent_seq = self._outbox.acked_seq
            self._wake.set()

    async def _greet(self, call: Call) -> pb.Welcome:
        async with asyncio.timeout(WELCOME_TIMEOUT_S):
            await call.write(pb.LinkRequest(hello=self._desk.hello()))
            response = await call.read()
        if response.WhichOneof("message") == "bye":
            raise _bye(response.bye)
        if response.WhichOneof("message") != "welcome":
            raise Ended("the controller did not answer with Welcome")
        if response.welcome.protocol_version != PROTOCOL_VERSION:
            raise Ended(
                f"the controller speaks protocol version {response.welcome.protocol_version}; update this agent",
                "protocol",
                answered=True,
            )
        welcome: pb.Welcome = response.welcome
        return welcome

    async def _read(self, call: Call) -> None:
        while True:
            response = await call.read()
            match response.WhichOneof("message"):
                case "ack":
                    self._ack(response.ack)
                case "order":
                    self._desk.order(response.order)
                case "check_now":
                    self._desk.check_now(response.check_now.check, response.check_now.key)
                case "probe":
                    self._desk.probe(response.probe)
                case "config":
                    self._desk.config(response.config)
                case "permits":
                    self._desk.permits(response.permits)
                case "bye":
                    raise _bye(response.bye)
                case _:
                    # A newer controller may say more than we know.
                    continue

    async def _write(self, call: Call) -> None:
        with contextlib.suppress(CallEnded):
            while True:
                await self._wake.wait()
                self._wake.clear()
                while (message := self._next()) is not None:
                    await call.write(message)

    def _next(self) -> pb.LinkRequest | None:
        report = self._report()
        if report is not None:
            return pb.LinkRequest(report=report)
        for kind in list(self._waiting):
            return self._waiting.pop(kind)(self)
        return None

    def _report(self) -> pb.Report | None:
        outbox = self._outbox
        if self._sent_seq - outbox.acked_seq >= WINDOW_RECORDS_MAX or self._sent_seq + 1 >= outbox.next_seq:
            return None
        records = outbox.pending(self._sent_seq, BATCH_RECORDS_MAX, BATCH_BYTES_MAX)
        if not records:
            return None
        report = pb.Report(outbox_id=outbox.outbox_id)
        for seq, data in records:
            record = pb.Record.FromString(data)
            record.seq = seq
            report.records.append(record)
        self._desk.stamp(report)
        self._sent_seq = records[-1][0]
        self._sent_at = self._loop.time()
        return report

    def _ack(self, ack: pb.Ack) -> None:
        if ack.outbox_id == self._outbox.outbox_id:
            self._outbox.ack(ack.seq)
            self._wake.set()


class Link:
    """Keeps one session up: back-off and jitter between tries, a move to a second channel when the certificate is renewed."""

    def __init__(self, dial: Dial, outbox: Outbox, desk: Desk, backoff: Backoff | None = None) -> None:
        """`dial` opens a stream with the credentials of now. It raises OSError or ValueError if it cannot."""
        self._dial = dial
        self._outbox = outbox
        self._desk = desk
        self._backoff = backoff or Backoff()
        self._rotate = asyncio.Event()
        self._away_since_s: float | None = None
        self.session: Session | None = None
        self.problem = ""

    @property
    def away_ms(self) -> int | None:
        """For how long no controller has been heard; None while one is, or before the first try."""
        if self.connected or self._away_since_s is None:
            return None
        return int((asyncio.get_running_loop().time() - self._away_since_s) * 1000)

    @property
    def connected(self) -> bool:
        """Whether a stream is up and welcomed."""
        return self.session is not None

    def wake(self) -> None:
        """There is something new in the outbox."""
        if self.session is not None:
            self.session.wake()

    def want(self, kind: str, build: Build) -> None:
        """Sends a message by the session of now (see Session.want); without one, nobody waits for it."""
        if self.session is not None:
            self.session.want(kind, build)

    def answer(self, said: pb.LinkRequest) -> None:
        """Answers a probe, each one by itself."""
        self.want(f"probed {said.probed.probe_id}", lambda _: said)

    def rotate(self) -> None:
        """The credentials changed: move to a new channel, keeping the old one until the new one is welcomed."""
        self._rotate.set()

    async def run(self) -> None:
        """Until cancelled."""
        self._away_since_s = asyncio.get_running_loop().time()
        while True:
            wait_s = await self._hold()
            self._rotate.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(max(wait_s, self._backoff.next_s())):
                    await self._rotate.wait()

    async def _hold(self) -> float:
        """One session and its successors on other channels. Returns how long the gateway asked us to stay away, in seconds."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        session, task = self._start()
        rotating = loop.create_task(self._rotate.wait())
        try:
            while not task.done():
                await asyncio.wait({task, rotating}, return_when=asyncio.FIRST_COMPLETED)
                if task.done() or not rotating.done():
                    continue
                self._rotate.clear()
                rotating = loop.create_task(self._rotate.wait())
                if session.welcomed.is_set():
                    session, task = await self._move(session, task)
            return self._over(task, loop.time() - began)
        finally:
            self.session = None
            rotating.cancel()
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    def _start(self) -> tuple[Session, asyncio.Task[None]]:
        session = Session(self._outbox, self._desk, self._up)
        return session, asyncio.get_running_loop().create_task(session.run(self._dial))

    def _up(self, session: Session, welcome: pb.Welcome) -> None:
        self.session = session
        if self.problem:
            LOG.info("linked to the controller again")
        self.problem = ""
        self._desk.welcome(welcome)

    async def _move(self, old: Session, old_task: asyncio.Task[None]) -> tuple[Session, asyncio.Task[None]]:
        """A second stream first; the old one ends when the new one is welcomed, and stays if it is not."""
        loop = asyncio.get_running_loop()
        session, task = self._start()
        waiter = loop.create_task(session.welcomed.wait())
        try:
            await asyncio.wait({task, waiter}, timeout=WELCOME_TIMEOUT_S, return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            raise
        finally:
            waiter.cancel()
        loser = old_task if session.welcomed.is_set() else task
        loser.cancel()
        (how,) = await asyncio.gather(loser, return_exceptions=True)
        if loser is task:
            LOG.warning("cannot move to a new channel: %s; trying again in %g s", how, MOVE_AGAIN_S)
            loop.call_later(MOVE_AGAIN_S, self.rotate)
            return old, old_task
        LOG.info("moved to a new channel")
        return session, task

    def _over(self, task: asyncio.Task[None], lasted_s: float) -> float:
        error = task.exception()
        if not isinstance(error, Ended):
            task.result()
            error = Ended("the session ended without saying how")
        if self.connected and lasted_s >= STABLE_AFTER_S:
            self._backoff.reset()
        if self.connected or error.answered:
            self._away_since_s = asyncio.get_running_loop().time()
        text = f"cannot hold the link to the controller: {error}"
        if self.connected or text != self.problem:
            LOG.warning("%s; trying again", text)
        self.problem = text
        self._desk.lost(text)
        return error.wait_s


async def _dialled(dial: Dial) -> Call:
    try:
        async with asyncio.timeout(DIAL_TIMEOUT_S):
            return await dial()
    except (OSError, ValueError) as error:
        raise Ended(str(error) or f"no connection within {DIAL_TIMEOUT_S:g} s") from error


def _bye(bye: pb.Bye) -> Ended:
    wait_s = min(bye.retry_after_ms / 1000, BYE_WAIT_MAX_S)
    if bye.reason == "removed":
        wait_s = BYE_WAIT_MAX_S
    text = f"the controller said bye: {bye.reason}{': ' if bye.detail else ''}{bye.detail}"
    return Ended(text, bye.reason, wait_s, answered=bye.reason != "shutting_down")
