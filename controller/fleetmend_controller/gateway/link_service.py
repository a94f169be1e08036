"""LinkService: one call a host, for as long as its agent lives. It reads, writes and hands over; others judge what it means."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable, Coroutine
from dataclasses import dataclass
from typing import Any, NoReturn

import grpc
import grpc.aio

from fleetmend.v1 import link_pb2, link_pb2_grpc

from ..core.effects import SendPermits
from ..core.model import Status
from ..decider.ports import DeciderPort, HostState, JournalUnavailable
from ..http.metrics import Metrics
from ..pki.registry import HostRecord, Registry
from . import bounds
from .authz import caller
from .gauges import Gauges
from .hostconfig import HostConfigs
from .intake import Intake
from .inventory import Inventory
from .limiter import Limiter
from .orders import Sealer
from .records import Sent, Translator
from .sessions import CONFLICT_WAIT_MS, Ending, Session, Sessions
from .silence import Silence
from .witnesses import Witnesses

log = logging.getLogger(__name__)

PROTOCOL_VERSION = 1
HELLO_WITHIN_S = 10.0
GOODBYE_WITHIN_S = 1.0
SKEW_WARN_MS = 300_000
# An agent may say this much at once and then so often; one that says more is not read for a while, at the cost of itself alone.
MESSAGES_BURST, MESSAGES_EVERY_MS = 500, 20
# Newer than any set of permits: host ids are never used again.
LAST_VERSION = 2**53

_CODES = {
    "removed": grpc.StatusCode.PERMISSION_DENIED,
    "expired": grpc.StatusCode.UNAUTHENTICATED,
    "replaced": grpc.StatusCode.ABORTED,
    "shutting_down": grpc.StatusCode.UNAVAILABLE,
    "slow": grpc.StatusCode.RESOURCE_EXHAUSTED,
    "protocol": grpc.StatusCode.INVALID_ARGUMENT,
}

Context = grpc.aio.ServicerContext[Any, Any]


@dataclass(frozen=True, slots=True)
class LinkParts:
    """What a stream works with. `clock` is the controller's, `wall_ms` the system's."""

    registry: Registry
    sessions: Sessions
    silence: Silence
    decider: DeciderPort
    gauges: Gauges
    inventory: Inventory
    configs: HostConfigs
    sealer: Sealer
    metrics: Metrics
    audits: Limiter
    presences: Limiter
    witnesses: Witnesses
    heartbeat_interval_ms: int
    clock: Callable[[], int]
    wall_ms: Callable[[], int]


class LinkService(link_pb2_grpc.LinkServiceServicer):
    """The agents' streams."""

    def __init__(self, parts: LinkParts) -> None:
        self._parts = parts

    async def Link(self, request_iterator: AsyncIterator[Any], context: Any) -> None:  # type: ignore[override]
        """One agent's stream."""
        parts = self._parts
        hello = await self._hello(request_iterator, context)
        received_ms = parts.clock()
        who = caller()
        session = Session(who.name, hello, context.peer(), parts.wall_ms(), who.not_after_ms)
        await self._refuse_twin(session, context)
        # By itself, not with Welcome: a call that is ended amid its first message could then send neither again.
        await context.send_initial_metadata(())
        await parts.registry.announce(session.host)
        state = await parts.decider.host_state(session.host, session.outbox)
        # From here to the opening of the session nothing waits: a removal or new labels cannot slip between.
        host = parts.registry.get(session.host)
        if host is None:
            await context.abort(grpc.StatusCode.PERMISSION_DENIED, "cannot link: the host was removed")
            return
        stream = _Stream(parts, host, session, context)
        stream.open(state, Sent(received_ms, session.boot, hello.sent_clock_ms))
        await stream.run(request_iterator)

    async def _hello(self, requests: AsyncIterator[Any], context: Context) -> link_pb2.Hello:
        try:
            async with asyncio.timeout(HELLO_WITHIN_S):
                first = await anext(requests, None)
        except TimeoutError:
            await context.abort(grpc.StatusCode.DEADLINE_EXCEEDED, f"cannot link: no Hello within {HELLO_WITHIN_S:.0f} s")
        if not isinstance(first, link_pb2.LinkRequest) or first.WhichOneof("message") != "hello":
            self._parts.metrics.refused.labels("no_hello").inc()
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "cannot link: the first message must be Hello")
        hello = first.hello
        if hello.protocol_version != PROTOCOL_VERSION:
            self._parts.metrics.refused.labels("protocol_version").inc()
            text = f"cannot link: the agent speaks protocol {hello.protocol_version}, this controller {PROTOCOL_VERSION}"
            await context.abort(grpc.StatusCode.FAILED_PRECONDITION, text)
        try:
            bounds.identifier(hello.boot_id, "boot id")
            bounds.identifier(hello.outbox_id, "outbox id")
            bounds.clock_ms(hello.sent_clock_ms)
        except bounds.Malformed as error:
            self._parts.metrics.refused.labels("malformed").inc()
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, f"cannot link: {error}")
        hello.agent_version = bounds.line(hello.agent_version, bounds.ID_CHARS_MAX)
        del hello.permitted_actions[256:]
        return hello

    async def _refuse_twin(self, session: Session, context: Context) -> None:
        parts = self._parts
        if not parts.sessions.conflicts(session):
            return
        parts.metrics.refused.labels("clone_conflict").inc()
        if parts.audits.take(f"{session.host} clone_conflict", parts.clock()):
            log.error("two machines use the identity of %s; the one at %s waits", session.host, session.peer)
            with contextlib.suppress(JournalUnavailable):
                detail = {"peer": session.peer, "boot_id": session.boot}
                await parts.decider.audit("clone_conflict", session.host, session.host, detail)
        detail_text = "another machine uses this host's identity: enrol one of the two afresh"
        await context.write(_bye(Ending("replaced", detail_text, CONFLICT_WAIT_MS)))
        await context.abort(grpc.StatusCode.ABORTED, f"cannot link: {detail_text}")


class _Stream:
    """One stream from Welcome to its end."""

    def __init__(self, parts: LinkParts, host: HostRecord, session: Session, context: Context) -> None:
        self._parts = parts
        self._host = host
        self._session = session
        self._context = context
        self._rate = Limiter(MESSAGES_BURST, MESSAGES_EVERY_MS)
        translator = Translator(host.id, session.outbox, parts.sealer)
        self._intake = Intake(
            session, translator, parts.decider, parts.gauges, parts.metrics, parts.audits, parts.presences, parts.clock
        )

    def open(self, state: HostState, sent: Sent) -> None:
        """Make this the host's stream, welcome the agent and let the decider know."""
        parts, session = self._parts, self._session
        self._welcome(state)
        parts.sessions.open(session)
        parts.registry.touch(self._host.id, parts.wall_ms(), session.agent_version)
        parts.gauges.begin(self._host, session.skew_ms)
        self._heard(sent, always=True)
        if abs(session.skew_ms) > SKEW_WARN_MS:
            log.warning("the wall clock of %s differs from ours by %d s", self._host.name, session.skew_ms // 1000)

    async def run(self, requests: AsyncIterator[Any]) -> None:
        """Serve until one side ends it."""
        parts, session = self._parts, self._session
        writer = self._task(self._write())
        others = [self._task(job) for job in (self._read(requests), self._intake.run(), self._ended())]
        try:
            done, _ = await asyncio.wait([writer, *others], return_when=asyncio.FIRST_COMPLETED)
            await _cancel(*others)
            parts.sessions.close(session)
            for task in done:
                task.result()
            if session.ending is not None:
                await self._goodbye(session.ending, writer)
        finally:
            await _cancel(writer, *others)
            parts.sessions.close(session)

    def _task(self, job: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        return asyncio.create_task(job, name=f"link-{self._host.id}")

    def _welcome(self, state: HostState) -> None:
        parts, session = self._parts, self._session
        session.statuses = {subject: status for subject, status in state.sick.items() if status is not Status.OK}
        self._intake.resume(state.acked_seq)
        welcome = link_pb2.Welcome(
            protocol_version=PROTOCOL_VERSION,
            host_id=self._host.id,
            name=self._host.name,
            epoch=parts.decider.epoch,
            heartbeat_interval_ms=parts.heartbeat_interval_ms,
            config=parts.configs.refresh(session, self._host),
            acked_seq=state.acked_seq,
            wall_ms=parts.wall_ms(),
        )
        session.send(link_pb2.LinkResponse(welcome=welcome))

    async def _read(self, requests: AsyncIterator[Any]) -> None:
        async for message in requests:
            if self._session.ending is not None:
                return
            try:
                self._take(message)
            except bounds.Malformed as error:
                self._parts.metrics.rejected_records.labels("malformed").inc()
                self._session.end("protocol", str(error), 30_000)
                return
            while not self._rate.take("", self._parts.clock()):  # noqa: ASYNC110 - time passes, nothing happens
                await asyncio.sleep(MESSAGES_EVERY_MS / 1000)

    def _take(self, message: Any) -> None:
        parts = self._parts
        if not isinstance(message, link_pb2.LinkRequest):
            parts.metrics.messages.labels("garbage").inc()
            raise bounds.Malformed("the message is not readable")
        kind = message.WhichOneof("message")
        parts.metrics.messages.labels(kind or "unknown").inc()
        now_ms = parts.clock()
        match kind:
            case "report":
                self._heard(Sent(now_ms, message.report.boot_id, message.report.sent_clock_ms))
                self._intake.report(message.report, now_ms)
            case "heartbeat":
                beat = message.heartbeat
                sent = Sent(now_ms, bounds.identifier(beat.boot_id, "boot id"), bounds.clock_ms(beat.sent_clock_ms))
                self._heard(sent)
                parts.gauges.heartbeat(self._host.id, beat)
                self._intake.present(beat)
                self._intake.confirm(beat, sent)
            case "facts":
                for problem in parts.inventory.offer(self._host.id, message.facts, parts.wall_ms()):
                    parts.metrics.rejected_records.labels("bad_facts").inc()
                    log.debug("facts of %s: %s", self._host.id, problem)
            case "probed":
                problem = parts.witnesses.answered(self._host.id, message.probed)
                if problem:
                    parts.metrics.rejected_records.labels("unasked_probe").inc()
                    log.warning("rejected what %s says: %s", self._host.name, problem)
            case "hello":
                raise bounds.Malformed("Hello came twice")

    def _heard(self, sent: Sent, *, always: bool = False) -> None:
        back = self._parts.silence.heard(self._host.id, sent.at_ms)
        if back:
            self._parts.gauges.show(self._host.id)
        if back or always:
            self._intake.connected(sent)

    async def _write(self) -> None:
        # The peer may be gone at any write; then there is nobody left to tell.
        with contextlib.suppress(grpc.aio.BaseError):
            while (message := await self._session.next_out()) is not None:
                await self._context.write(message)

    async def _ended(self) -> None:
        await self._session.ended.wait()

    async def _goodbye(self, ending: Ending, writer: asyncio.Task[None]) -> NoReturn:
        # An agent that does not read, or is gone, goes without. gRPC takes one message at a time: the writer's last one is
        # left to end, for to cut it off would leave no place for these.
        with contextlib.suppress(TimeoutError, grpc.aio.BaseError):
            async with asyncio.timeout(GOODBYE_WITHIN_S):
                await asyncio.wait([writer])
                if ending.reason == "removed":
                    await self._context.write(self._nothing_alone())
                await self._context.write(_bye(ending))
        code = _CODES.get(ending.reason, grpc.StatusCode.ABORTED)
        try:
            async with asyncio.timeout(GOODBYE_WITHIN_S):
                await self._context.abort(code, f"cannot go on: {ending.reason}: {ending.detail}")
        except TimeoutError as error:
            # The status waits behind a message that nobody takes: the call ends without it.
            raise grpc.aio.AbortError(f"no room to say {ending.reason}") from error

    def _nothing_alone(self) -> link_pb2.LinkResponse:
        """A host that is removed may do nothing alone from now on: the newest of all sets, and it is empty."""
        given = SendPermits(self._host.id, self._session.boot, LAST_VERSION, 0, (), (), (), 0)
        return link_pb2.LinkResponse(permits=self._parts.sealer.permits(given, self._parts.decider.epoch))


async def _cancel(*tasks: asyncio.Task[None]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def _bye(ending: Ending) -> link_pb2.LinkResponse:
    return link_pb2.LinkResponse(
        bye=link_pb2.Bye(reason=ending.reason, detail=ending.detail, retry_after_ms=ending.retry_after_ms)
    )
