"""What one stream has for the decider, in order: that the host is there, its reports, and newer evidence of what is still bad.

Everything waits in a bounded queue until the journal holds it. While the journal takes nothing, reports wait unacknowledged
and are tried again; heartbeats and gauges go on beside them. When too much waits, the stream ends: the agent keeps all of it.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from fleetmend.v1 import link_pb2

from ..core.events import EvidenceConfirmed, HostConnected, PersonSeen
from ..core.model import Status, Subject
from ..decider.ports import DeciderPort, JournalUnavailable
from ..http.metrics import Metrics
from . import bounds
from .gauges import Gauges
from .limiter import Limiter
from .records import AUDITED, Evidence, Rejected, Sent, Translator, orders_in
from .sessions import Session, SubjectKey

log = logging.getLogger(__name__)

RECORDS_WAITING_MAX = 5_000
BYTES_WAITING_MAX = 8 * 1024 * 1024
GROUP_RECORDS_MAX = 500
RETRY_S_MIN, RETRY_S_MAX = 0.25, 5.0
# A person who was seen is believed to be there this long; the decider is told so often while they are.
PRESENCE_MS = 15 * 60_000
PRESENCE_EVERY_MS = 60_000
# A package manager is at work while it runs, and a moment after: it may be one of several in a row.
PROGRAM_MS = 30_000
PROGRAM_WORDS = " at work"
PRESENCE_LINES_MAX = 8
PRESENCE_CHARS_MAX = 100


@dataclass(slots=True)
class _Waiting:
    """Records of one report, less those that were had before."""

    records: list[link_pb2.Record]
    sent: Sent
    size_bytes: int


class Intake:
    """The way of one stream to the decider."""

    def __init__(
        self,
        session: Session,
        translator: Translator,
        decider: DeciderPort,
        gauges: Gauges,
        metrics: Metrics,
        audits: Limiter,
        presences: Limiter,
        clock: Callable[[], int],
    ) -> None:
        self._session = session
        self._translator = translator
        self._decider = decider
        self._gauges = gauges
        self._metrics = metrics
        self._audits = audits
        self._presences = presences
        self._who = ""
        self._programs_only = self._program_new = False
        self._clock = clock
        self._connected: Sent | None = None
        self._reports: deque[_Waiting] = deque()
        self._evidence: dict[SubjectKey, tuple[Evidence, Sent]] = {}
        self._work = asyncio.Event()
        self._records_waiting = 0
        self._bytes_waiting = 0
        self.acked = 0
        self._taken = 0

    def resume(self, acked_seq: int) -> None:
        """The journal holds the outbox up to here."""
        self.acked = self._taken = acked_seq

    def connected(self, sent: Sent) -> None:
        """The host is there (again): the decider must hear it before anything else of it."""
        self._connected = sent
        self._work.set()

    def report(self, report: link_pb2.Report, now_ms: int) -> None:
        """Take a report. Malformed if it cannot come from this stream's outbox."""
        if report.outbox_id != self._session.outbox:
            raise bounds.Malformed("the report is of another outbox than Hello named")
        sent = Sent(now_ms, bounds.identifier(report.boot_id, "boot id"), bounds.clock_ms(report.sent_clock_ms))
        fresh: list[link_pb2.Record] = []
        last = self._taken
        for record in report.records:
            if record.seq > last:
                fresh.append(record)
                last = record.seq
        if not fresh:
            if report.records and report.records[-1].seq <= self.acked:
                self._ack()
            return
        size = sum(record.ByteSize() for record in fresh)
        self._records_waiting += len(fresh)
        self._bytes_waiting += size
        if self._records_waiting > RECORDS_WAITING_MAX or self._bytes_waiting > BYTES_WAITING_MAX:
            self._session.end("slow", "too many records wait for the journal", 10_000)
            return
        self._taken = last
        self._reports.append(_Waiting(fresh, sent, size))
        self._work.set()

    def confirm(self, beat: link_pb2.Heartbeat, sent: Sent) -> None:
        """Take a heartbeat's list of what is still bad; only the newest list matters."""
        for state in beat.unhealthy:
            subject = bounds.subject(state.check, state.key)
            status = bounds.status(state.status)
            if status is Status.UNKNOWN or self._session.statuses.get(subject) is not status:
                continue
            evidence = Evidence(sent.boot, bounds.clock_ms(state.sampled_clock_ms))
            self._evidence[subject] = (evidence, sent)
        if self._evidence:
            self._work.set()

    def present(self, beat: link_pb2.Heartbeat) -> None:
        """Take a heartbeat's word on who is at work on the host."""
        lines = (bounds.line(who, PRESENCE_CHARS_MAX) for who in beat.presence[:PRESENCE_LINES_MAX])
        self._who = ", ".join(filter(None, lines))
        self._programs_only = bool(self._who) and all(who.endswith(PROGRAM_WORDS) for who in self._who.split(", "))
        if self._who and (self._programs_only or not self._presences.wait_ms(self._session.host, self._clock())):
            self._program_new = self._programs_only
            self._work.set()

    async def run(self) -> None:
        """Hand over what comes, for as long as the stream lives."""
        delay_s = RETRY_S_MIN
        while True:
            await self._work.wait()
            self._work.clear()
            try:
                await self._hand_over()
                delay_s = RETRY_S_MIN
            except JournalUnavailable as error:
                # The decider itself says loudly that the journal takes nothing; ten thousand streams need not join in.
                log.debug("cannot hand over what %s reported: %s; trying again", self._session.host, error)
                await asyncio.sleep(delay_s)
                delay_s = min(delay_s * 2, RETRY_S_MAX)
                self._work.set()

    async def _hand_over(self) -> None:
        if self._connected is not None:
            connected = self._moved(self._connected)
            await self._decider.submit([HostConnected(connected.at_ms, self._session.host, connected.boot, connected.clock_ms)])
            self._connected = None
        while self._reports:
            await self._hand_over_reports()
        if self._who:
            await self._hand_over_presence()
        if self._evidence:
            await self._hand_over_evidence()

    async def _hand_over_presence(self) -> None:
        host, now_ms = self._session.host, self._clock()
        if self._programs_only:
            if self._program_new:
                await self._decider.submit([PersonSeen(now_ms, host, self._who, now_ms + PROGRAM_MS)])
                self._program_new = False
            return
        if self._presences.wait_ms(host, now_ms):
            return
        await self._decider.submit([PersonSeen(now_ms, host, self._who, now_ms + PRESENCE_MS)])
        self._presences.take(host, now_ms)

    async def _hand_over_reports(self) -> None:
        group = self._next_group()
        session = self._session
        held = None
        if any(record.HasField("snapshot") for waiting in group for record in waiting.records):
            held = (await self._decider.host_state(session.host, session.outbox)).sick
        sick: set[SubjectKey] = {*(held or ())}
        records = [record for waiting in group for record in waiting.records]
        named = orders_in(records)
        issued = await self._decider.order_hosts(named) if named else {}
        sent = self._moved(group[-1].sent)
        done = self._translator.translate(records, sent, session.statuses, lambda: sick, session.configured, issued)
        if done.events:
            await self._decider.submit(done.events)
        for waiting in group:
            self._reports.popleft()
            self._records_waiting -= len(waiting.records)
            self._bytes_waiting -= waiting.size_bytes
        self.acked = records[-1].seq
        session.statuses.update(done.statuses)
        for subject in done.gone:
            session.statuses.pop(subject, None)
        self._gauges.statuses(session.host, done.statuses, done.gone)
        for subject, evidence in done.evidence.items():
            self._evidence[subject] = (evidence, sent)
        self._ack()
        for rejected in done.rejected:
            await self._reject(rejected)

    def _next_group(self) -> list[_Waiting]:
        """Reports that can go together: of one boot and one clock pairing apart from the time that passed."""
        group = [self._reports[0]]
        count = len(group[0].records)
        for waiting in list(self._reports)[1:]:
            count += len(waiting.records)
            if waiting.sent.boot != group[0].sent.boot or count > GROUP_RECORDS_MAX:
                break
            group.append(waiting)
        return group

    async def _hand_over_evidence(self) -> None:
        waiting, self._evidence = self._evidence, {}
        host = self._session.host
        subjects = [Subject(host, check, key) for check, key in waiting]
        wanted = await self._decider.wants_evidence(subjects)
        events = []
        for subject in wanted:
            evidence, sent = waiting[subject.check, subject.key]
            moved = self._moved(sent)
            clock_ms = moved.pair(evidence.boot, evidence.sampled_clock_ms)
            sampled = evidence.sampled_clock_ms
            events.append(EvidenceConfirmed(moved.at_ms, host, subject.check, subject.key, evidence.boot, sampled, clock_ms))
        if not events:
            return
        try:
            await self._decider.submit(events)
        except JournalUnavailable as error:
            # The next heartbeat brings newer evidence.
            log.info("cannot confirm evidence of %s: %s", host, error)

    def _moved(self, sent: Sent) -> Sent:
        """The same pairing of clocks at this moment: what waited must not make the decider's time step back."""
        now_ms = self._clock()
        return Sent(now_ms, sent.boot, sent.clock_ms + max(0, now_ms - sent.at_ms))

    def _ack(self) -> None:
        self._session.send(link_pb2.LinkResponse(ack=link_pb2.Ack(outbox_id=self._session.outbox, seq=self.acked)))

    async def _reject(self, rejected: Rejected) -> None:
        self._metrics.rejected_records.labels(rejected.reason).inc()
        host = self._session.host
        if not self._audits.take(f"{host} {rejected.reason}", self._clock()):
            return
        log.warning("rejected a record of %s (%s): %s", host, rejected.reason, rejected.text)
        if rejected.reason not in AUDITED:
            return
        try:
            await self._decider.audit("rejected_record", host, host, {"reason": rejected.reason, "text": rejected.text})
        except JournalUnavailable as error:
            log.warning("cannot audit a rejected record of %s: %s", host, error)
