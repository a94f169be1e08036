"""Turns the records of one agent into events for the decider. Pure: its caller keeps what comes of it once that is durable."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, fields, replace

from fleetmend.v1 import link_pb2

from ..core.events import Event, Observed, OrderEnded, OrderStarted, PermitUsed
from ..core.incidents import HOST_LOST_CHECK, OPERATOR_CHECK
from ..core.model import ALERT_PREFIX, Status
from . import bounds
from .orders import Ended, Forged, PermitUse, Sealer
from .sessions import SubjectKey

# Sick subjects a host may have; the rest is dropped and counted.
SICK_MAX = 1_000
# Subjects that the controller makes up itself: no agent may speak of them, and their absence from a snapshot means nothing.
OWN_CHECKS = frozenset({HOST_LOST_CHECK, OPERATOR_CHECK})
_USE_FIELDS = tuple(each.name for each in fields(PermitUse))


def is_own(check: str) -> bool:
    """Whether a check is one of those; alerts come from Alertmanager."""
    return check in OWN_CHECKS or check.startswith(ALERT_PREFIX)


# Words that a record may be rejected with and that are worth a row in the audit trail.
AUDITED = frozenset({"bad_seal", "foreign_order", "foreign_outcome", "unknown_order"})


@dataclass(frozen=True, slots=True)
class Rejected:
    """A record that was not accepted. It is acknowledged all the same, so that it does not block what follows."""

    reason: str
    text: str


@dataclass(frozen=True, slots=True)
class Evidence:
    """A newer sample of a subject that is still bad."""

    boot: str
    sampled_clock_ms: int


@dataclass(slots=True)
class Translated:
    """What records come to: events, and what changes in the gateway's memory once these are durable."""

    events: list[Event] = field(default_factory=list)
    rejected: list[Rejected] = field(default_factory=list)
    statuses: dict[SubjectKey, Status] = field(default_factory=dict)
    gone: list[SubjectKey] = field(default_factory=list)
    evidence: dict[SubjectKey, Evidence] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Sent:
    """When a report was sent: `clock_ms` is the host's boot clock of `boot` at `at_ms` on the controller's clock."""

    at_ms: int
    boot: str
    clock_ms: int

    def pair(self, boot: str, sampled_clock_ms: int) -> int:
        """The host's clock at `at_ms` as an event of `boot` must carry it.

        A sample of an earlier boot is at least as old as this boot: its clock is placed that far ahead of it.
        """
        return self.clock_ms if boot == self.boot else sampled_clock_ms + self.clock_ms


class Translator:
    """Judges the records of one host's stream."""

    def __init__(self, host: str, outbox: str, sealer: Sealer) -> None:
        self._host = host
        self._outbox = outbox
        self._sealer = sealer

    def translate(
        self,
        records: Iterable[link_pb2.Record],
        sent: Sent,
        known: Mapping[SubjectKey, Status],
        held_sick: Callable[[], Iterable[SubjectKey]],
        configured: Mapping[str, str],
        issued: Mapping[str, str],
    ) -> Translated:
        """Events of `records`, given last statuses, what the decider holds for sick, and name -> type of the host's checks.

        `issued` says to which hosts the orders that the records name were issued.
        """
        done = Translated()
        for record in records:
            before = len(done.events)
            try:
                self._one(record, sent, known, held_sick, configured, issued, done)
            except bounds.Malformed as error:
                done.rejected.append(Rejected("malformed", str(error)))
            except Forged as error:
                done.rejected.append(Rejected(error.reason, str(error)))
            self._number(done.events, before, record.seq)
        return done

    def _one(
        self,
        record: link_pb2.Record,
        sent: Sent,
        known: Mapping[SubjectKey, Status],
        held_sick: Callable[[], Iterable[SubjectKey]],
        configured: Mapping[str, str],
        issued: Mapping[str, str],
        done: Translated,
    ) -> None:
        boot = bounds.identifier(record.boot_id, "boot id")
        match record.WhichOneof("body"):
            case "observation":
                self._observe(record.observation, boot, sent, known, done)
            case "snapshot":
                self._snapshot(record.snapshot, boot, sent, known, {*held_sick()}, configured, done)
            case "started":
                order = bounds.identifier(record.started.order_id, "order id")
                if issued.get(order) != self._host:
                    raise Forged("unknown_order", f"{order} was not issued to {self._host}")
                done.events.append(OrderStarted(sent.at_ms, self._host, order))
            case "outcome":
                self._outcome(record.outcome, boot, sent, issued, done)
            case "permit_use":
                self._permit_use(record.permit_use, boot, sent, done)
            case _:
                raise bounds.Malformed("the record has no body that this controller knows")

    def _observe(
        self, said: link_pb2.Observation, boot: str, sent: Sent, known: Mapping[SubjectKey, Status], done: Translated
    ) -> None:
        subject = bounds.subject(said.check, said.key)
        if is_own(subject[0]):
            raise bounds.Malformed(f"the name {subject[0]} is the controller's own")
        status = bounds.status(said.status)
        sampled = bounds.clock_ms(said.sampled_clock_ms)
        last = done.statuses.get(subject, known.get(subject, Status.OK))
        finding = bounds.finding(said.finding)
        # From before the last boot it is history: it must not pass for what is known now, or what follows seems nothing new.
        current = boot == sent.boot
        if current and status is Status.OK and finding.get("gone") is True:
            done.gone.append(subject)
        elif current and subject in done.gone:
            # It is back, by a later record of the same reports.
            done.gone.remove(subject)
        if status is last and not said.requested:
            # Remembered even if nothing changed: the exposition shows every subject.
            if current:
                done.statuses[subject] = status
            if current and status is not Status.OK:
                done.evidence[subject] = Evidence(boot, sampled)
            return
        if last is Status.OK and status is not Status.OK and _count_sick(known, done) >= SICK_MAX:
            done.rejected.append(Rejected("too_many_subjects", f"{SICK_MAX} subjects are sick already"))
            return
        if current:
            done.statuses[subject] = status
        done.events.append(
            Observed(
                at_ms=sent.at_ms,
                host=self._host,
                check=subject[0],
                check_type=bounds.line(said.check_type, bounds.CHECK_CHARS_MAX),
                key=subject[1],
                status=status,
                finding=finding,
                summary=bounds.line(said.summary, bounds.SUMMARY_CHARS_MAX),
                boot=boot,
                sampled_clock_ms=sampled,
                clock_ms=sent.pair(boot, sampled),
            )
        )

    def _snapshot(
        self,
        said: link_pb2.Snapshot,
        boot: str,
        sent: Sent,
        known: Mapping[SubjectKey, Status],
        held_sick: set[SubjectKey],
        configured: Mapping[str, str],
        done: Translated,
    ) -> None:
        present: set[SubjectKey] = set()
        for observation in said.observations:
            try:
                self._observe(observation, boot, sent, known, done)
                present.add((observation.check, observation.key))
            except bounds.Malformed as error:
                done.rejected.append(Rejected("malformed", str(error)))
        if boot != sent.boot:
            return
        complete = set(said.checks)
        speaking = complete | {check for check, _ in present}
        for subject in sorted({*known, *held_sick} - present):
            check, key = subject
            ended = check in complete or (check not in configured and check not in speaking)
            if not ended or is_own(check):
                continue
            done.gone.append(subject)
            if subject in held_sick or known.get(subject, Status.OK) is not Status.OK:
                why = "is gone" if check in complete else "is not checked any more"
                done.statuses[subject] = Status.OK
                done.events.append(self._gone(subject, configured.get(check, ""), f"{key or check} {why}", boot, sent))

    def _gone(self, subject: SubjectKey, check_type: str, summary: str, boot: str, sent: Sent) -> Observed:
        return Observed(
            at_ms=sent.at_ms,
            host=self._host,
            check=subject[0],
            check_type=check_type,
            key=subject[1],
            status=Status.OK,
            finding={"gone": True},
            summary=summary,
            boot=boot,
            sampled_clock_ms=sent.clock_ms,
            clock_ms=sent.pair(boot, sent.clock_ms),
        )

    def _outcome(self, said: link_pb2.OrderOutcome, boot: str, sent: Sent, issued: Mapping[str, str], done: Translated) -> None:
        ended = self._sealer.outcome(self._host, said, boot, issued.get(said.order_id))
        if ended is not None:
            done.events.append(self._order_ended(ended, sent))

    def _order_ended(self, ended: Ended, sent: Sent) -> OrderEnded:
        return OrderEnded(
            at_ms=sent.at_ms,
            host=self._host,
            order=ended.order,
            outcome=ended.outcome,
            refusal=ended.refusal,
            detail=ended.detail,
            boot=ended.boot,
            ended_clock_ms=ended.ended_clock_ms,
            clock_ms=sent.pair(ended.boot, ended.ended_clock_ms),
            output=ended.output,
            commands=ended.commands,
        )

    def _permit_use(self, said: link_pb2.PermitUse, boot: str, sent: Sent, done: Translated) -> None:
        told = self._sealer.permit_use(self._host, said, boot)
        if is_own(told.use.check):
            raise bounds.Malformed(f"the name {told.use.check} is the controller's own")
        use = {name: getattr(told.use, name) for name in _USE_FIELDS}
        clock_ms = sent.pair(told.boot, told.started_clock_ms)
        done.events.append(
            PermitUsed(
                at_ms=sent.at_ms,
                host=self._host,
                permit=told.permit,
                boot=told.boot,
                started_clock_ms=told.started_clock_ms,
                clock_ms=clock_ms,
                sealed=told.ended is not None,
                **use,
            )
        )
        if told.ended is not None:
            done.events.append(self._order_ended(told.ended, sent))

    def _number(self, events: list[Event], before: int, seq: int) -> None:
        """Name the record in the last of its events: once that is journalled, so are the others of the same group."""
        if len(events) > before:
            last = events[-1]
            if isinstance(last, Observed | OrderStarted | OrderEnded | PermitUsed):
                events[-1] = replace(last, outbox=self._outbox, seq=seq)


def orders_in(records: Iterable[link_pb2.Record]) -> list[str]:
    """The orders that these records speak of."""
    bodies = {"started": lambda record: record.started.order_id, "outcome": lambda record: record.outcome.order_id}
    return [bodies[kind](record) for record in records if (kind := record.WhichOneof("body")) in bodies]


def _count_sick(known: Mapping[SubjectKey, Status], done: Translated) -> int:
    if len(known) + len(done.statuses) < SICK_MAX:
        return 0
    merged = {**known, **done.statuses}
    return sum(1 for status in merged.values() if status is not Status.OK)
