"""From an agent's records to events, as the gateway does it: what is known already is no event."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from fleetmend_controller.core.events import Event, Observed, OrderEnded, OrderStarted, PermitUsed
from fleetmend_controller.core.model import Status
from fleetmend_controller.gateway.records import is_own

if TYPE_CHECKING:
    from .hands import Use
    from .host import Record, Server

SubjectKey = tuple[str, str]


@dataclass(slots=True)
class Seen:
    """What one stream remembers: the last status of each subject, and up to where the records of its outbox were taken."""

    statuses: dict[SubjectKey, str] = field(default_factory=dict)
    box: str = ""
    taken: int = 0

    def begin(self, box: str) -> None:
        """Records of another outbox have other numbers."""
        if box != self.box:
            self.box, self.taken = box, 0


@dataclass(frozen=True, slots=True)
class Sent:
    """A report's envelope: the host's clock of `boot` was `clock_ms` at `at_ms` on the controller's."""

    at_ms: int
    clock_ms: int
    boot: str

    def pair(self, boot: str, sampled_ms: int) -> int:
        """The host's clock at `at_ms`; a sample of an earlier boot is at least as old as this one."""
        return self.clock_ms if boot == self.boot else sampled_ms + self.clock_ms


@dataclass(slots=True)
class Translated:
    """Events, and what the stream remembers once the journal holds them."""

    events: list[Event] = field(default_factory=list)
    statuses: dict[SubjectKey, str] = field(default_factory=dict)


def translate(server: Server, records: list[Record], sent: Sent, seen: Seen, sick: list[SubjectKey]) -> Translated:
    """The events of a report. The last event of each record carries its number."""
    done = Translated()
    for record in records:
        before = len(done.events)
        _one(server.id, record, sent, seen, sick, done)
        if len(done.events) > before:
            done.events[-1] = replace(done.events[-1], outbox=record.box, seq=record.seq)  # type: ignore[call-arg]
    return done


def _one(host: str, record: Record, sent: Sent, seen: Seen, sick: list[SubjectKey], done: Translated) -> None:
    if record.kind == "observation":
        _observe(host, record, sent, seen, done)
    elif record.kind == "snapshot":
        for state in record.states:
            _observe(host, state, sent, seen, done)
        if record.boot == sent.boot:
            _end_the_rest(host, record, sent, seen, sick, done)
    elif record.kind == "started":
        done.events.append(OrderStarted(sent.at_ms, host, record.order))
    elif record.use is not None:
        done.events.append(_permit_used(host, record, record.use, sent))
        if record.kind == "permit ended":
            done.events.append(_ended(host, record, sent))
    else:
        done.events.append(_ended(host, record, sent))


def _ended(host: str, record: Record, sent: Sent) -> OrderEnded:
    clock_ms = sent.pair(record.boot, record.clock_ms)
    ended = (record.outcome, record.refusal, "", record.boot, record.clock_ms, clock_ms)
    return OrderEnded(sent.at_ms, host, record.order, *ended)


def _permit_used(host: str, record: Record, use: Use, sent: Sent) -> PermitUsed:
    """Its beginning, and again with its sealed end."""
    step, (check, check_type) = use.grant.step, use.part.checks[0]
    return PermitUsed(
        at_ms=sent.at_ms, host=host, permit=record.order, playbook=use.grant.playbook, action=step.action, params=use.params,
        within_ms=step.prove.within_ms, stay_ok_ms=step.prove.stay_ok_ms, timeout_ms=step.timeout_ms, check=check,
        check_type=check_type, key=use.part.name, finding=dict(use.finding), summary="crit", boot=use.boot,
        since_clock_ms=use.since_ms, sampled_clock_ms=use.since_ms, started_clock_ms=use.started_ms,
        clock_ms=sent.pair(use.boot, use.started_ms), away_ms=use.away_ms, sealed=record.kind == "permit ended",
    )  # fmt: skip


def _observe(host: str, said: Record, sent: Sent, seen: Seen, done: Translated) -> None:
    subject = (said.check, said.key)
    last = done.statuses.get(subject, seen.statuses.get(subject, "ok"))
    if last == said.status and not said.requested:
        return
    # From before the last boot it is history, and not what is known now.
    if said.boot == sent.boot:
        done.statuses[subject] = said.status
    clocks = (said.boot, said.clock_ms, sent.pair(said.boot, said.clock_ms))
    what = (Status(said.status), dict(said.finding), said.status)
    done.events.append(Observed(sent.at_ms, host, said.check, said.check_type, said.key, *what, *clocks))


def _end_the_rest(host: str, said: Record, sent: Sent, seen: Seen, sick: list[SubjectKey], done: Translated) -> None:
    """What a snapshot does not name is gone."""
    present = {(state.check, state.key) for state in said.states}
    for check, key in sorted({*seen.statuses, *sick} - present):
        if is_own(check) or (check, key) not in sick:
            continue
        done.statuses[check, key] = "ok"
        clocks = (said.boot, said.clock_ms, sent.pair(said.boot, said.clock_ms))
        done.events.append(Observed(sent.at_ms, host, check, "", key, Status.OK, {"gone": True}, "gone", *clocks))
