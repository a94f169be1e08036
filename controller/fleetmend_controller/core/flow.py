"""The story in order: signal, result, incident, match, gates, order, action, proof, end.

`advance` is the one entry. It is a pure function of fleet, event and policy, apart from changing the fleet in place: the
same events give the same fleet, effects and reasons, which is what recovery, explain, backtest and simulation rest on.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from . import alerts, alone, draining, ending, flaps, lost, permission, permits, repair, runs, standing, storms
from . import fleet as members
from .effects import Acknowledged, Step, Why
from .events import (
    Acknowledge,
    AlertSaid,
    Approve,
    CommonCause,
    DeciderStarted,
    Deny,
    Drained,
    Event,
    EvidenceConfirmed,
    HostConnected,
    HostEnrolled,
    HostRemoved,
    HostSilent,
    HostWoken,
    Observed,
    ObserverDoubted,
    OrderEnded,
    OrderStarted,
    Paused,
    PermitUsed,
    PersonSeen,
    PolicyLoaded,
    Resumed,
    RunRequested,
    TrustRestored,
    Undrained,
    WindowAdded,
    WindowRemoved,
    WitnessSaid,
    Woken,
)
from .gates.paused import scopes
from .incidents import ACTIVE, HOST_LOST_CHECK, WAITING, add_symptom, drop_symptom, open_incident, sample_time_ms
from .model import Fleet, Host, Incident, Pause, Phase, Status, Subject, Window
from .orders import ask_check, resend, wake_when_overdue
from .policy import Policy
from .transitions import Trigger
from .turn import Turn


def advance(fleet: Fleet, event: Event, policy: Policy) -> Step:
    """Work one event into the fleet. Time only moves forward: an event from the past counts as now."""
    fleet.now_ms = max(fleet.now_ms, event.at_ms)
    turn = Turn(fleet, policy, fleet.now_ms)
    flaps.look(turn)
    _HANDLERS[type(event)](turn, event)
    repair.settle(turn)
    return turn.step()


def _observed(turn: Turn, event: Observed) -> None:
    host = turn.fleet.hosts.get(event.host)
    if host is None or not members.is_new(host, event.outbox, event.seq):
        return
    if event.boot != host.boot:
        # Taken before the last boot: history, not evidence. The snapshot of the new boot says what is true now.
        return
    host.clock_offset_ms = event.clock_ms - event.at_ms
    subject = Subject(event.host, event.check, event.key)
    known = turn.fleet.by_subject.get(subject)
    if known is not None:
        _incident_observed(turn, turn.fleet.incidents[known], event)
    elif event.status is Status.CRIT:
        _fault_seen(turn, event)
    elif subject in turn.fleet.symptom_of and event.status is Status.OK:
        _symptom_gone(turn, subject)


def _symptom_gone(turn: Turn, subject: Subject) -> None:
    """Where only the symptom was still sick, its incident has nothing left: its own check said OK before and will not again."""
    incident = drop_symptom(turn, subject)
    if incident.phase is Phase.ESCALATED and incident.status is Status.OK and not incident.symptoms:
        text = f"{subject.check} says ok again, as {incident.subject.check} does; not healed by Fleetmend"
        ending.end(turn, incident, Trigger.RECOVERED, Why.HEALED_BY_PERSON, text)


def _fault_seen(turn: Turn, event: Observed) -> None:
    subject = Subject(event.host, event.check, event.key)
    unit = event.finding.get("unit")
    standing = turn.fleet.symptom_of.get(subject) or turn.fleet.by_target.get((event.host, str(unit)) if unit else ("", ""))
    if standing is not None and not alerts.only_told(turn.fleet.incidents[standing]):
        incident = turn.fleet.incidents[standing]
        add_symptom(turn, incident, event)
        if incident.phase is Phase.PROVING:
            repair.symptom_observed(turn, incident, event)
        return
    if standing is not None and subject in turn.fleet.symptom_of:
        drop_symptom(turn, subject)
    incident = open_incident(turn, event)
    if incident.target is not None:
        turn.fleet.by_target[incident.target] = incident.id
    repair.consider(turn, incident)


def _alert_said(turn: Turn, event: AlertSaid) -> None:
    host = turn.fleet.hosts.get(event.host)
    if host is not None and alerts.heard(turn.fleet, event, turn.now_ms):
        _observed(turn, alerts.observed(host, event))


def _incident_observed(turn: Turn, incident: Incident, event: Observed) -> None:
    incident.status = event.status
    if event.status is Status.OK:
        incident.bad_since_ms = None
    elif event.status is Status.CRIT:
        incident.bad_since_ms = sample_time_ms(event) if incident.bad_since_ms is None else incident.bad_since_ms
        incident.evidence_ms = max(incident.evidence_ms, sample_time_ms(event))
        incident.summary = event.summary
        if event.finding.get("unit") == incident.finding.get("unit"):
            incident.finding = dict(event.finding)
    if incident.phase is Phase.PROVING:
        repair.proof_observed(turn, incident, event)
    elif event.status is Status.OK and incident.phase is Phase.ESCALATED:
        ending.end(
            turn, incident, Trigger.RECOVERED, Why.HEALED_BY_PERSON, f"{event.check} says ok again; not healed by Fleetmend"
        )
    elif event.status is Status.OK and incident.phase in WAITING:
        ending.end(turn, incident, Trigger.RECOVERED, Why.WENT_AWAY, f"{event.check} says ok again{_after_tries(incident)}")
    elif incident.phase in WAITING:
        repair.consider(turn, incident)


def _after_tries(incident: Incident) -> str:
    tries = len(incident.attempts)
    return f", after {tries} tries that were not proved" if tries else " by itself"


def _evidence_confirmed(turn: Turn, event: EvidenceConfirmed) -> None:
    incident_id = turn.fleet.by_subject.get(Subject(event.host, event.check, event.key))
    host = turn.fleet.hosts.get(event.host)
    if incident_id is None or host is None or event.boot != host.boot:
        return
    host.clock_offset_ms = event.clock_ms - event.at_ms
    incident = turn.fleet.incidents[incident_id]
    if incident.inquiry is not None:
        # What witnesses say of a lost host grows fresh by their words alone.
        return
    incident.evidence_ms = max(incident.evidence_ms, event.at_ms - max(0, event.clock_ms - event.sampled_clock_ms))
    if incident.phase in WAITING:
        if permission.waits_for_evidence(incident):
            repair.consider(turn, incident)
    elif incident.phase is Phase.PROVING:
        repair.proof_confirmed(turn, incident, event)


def _acknowledge(turn: Turn, event: Acknowledge) -> None:
    """A note for people. Whatever decides must never look at it."""
    incident = turn.fleet.incidents.get(event.incident)
    if incident is None:
        return
    incident.taken_by, incident.taken_ms = event.by, turn.now_ms
    turn.say(incident, Why.ACKNOWLEDGED, f"{event.by} took it")
    turn.do(Acknowledged(incident.id, event.by))


def _order_started(turn: Turn, event: OrderStarted) -> None:
    host = turn.fleet.hosts.get(event.host)
    if host is None or not members.is_new(host, event.outbox, event.seq):
        return
    incident = repair.incident_of_order(turn, event.host, event.order)
    if incident is None or incident.order is None or incident.order.id != event.order or incident.phase is not Phase.ORDERED:
        return
    incident.order.started_ms = turn.now_ms
    turn.move(incident, Trigger.STARTED)
    turn.say(incident, Why.ACTION_STARTED, f"{host.name} began {event.order}")


def _order_ended(turn: Turn, event: OrderEnded) -> None:
    host = turn.fleet.hosts.get(event.host)
    if host is None or not members.is_new(host, event.outbox, event.seq):
        return
    incident = repair.incident_of_order(turn, event.host, event.order)
    if incident is not None:
        repair.order_ended(turn, incident, event)


def _permit_used(turn: Turn, event: PermitUsed) -> None:
    alone.used(turn, event)


def _woken(turn: Turn, event: Woken) -> None:
    incident = turn.fleet.incidents.get(event.incident)
    if incident is None or incident.wake_ms is None or turn.now_ms < incident.wake_ms:
        return
    incident.wake_ms = None
    if incident.phase in WAITING:
        repair.consider(turn, incident)
    elif incident.phase is Phase.PROVING:
        repair.proof_tick(turn, incident)
    elif incident.phase in (Phase.ORDERED, Phase.RUNNING):
        repair.order_overdue(turn, incident)
    elif incident.subject.check == storms.STORM_CHECK:
        repair.storm_tick(turn, incident)


def _host_connected(turn: Turn, event: HostConnected) -> None:
    host = turn.fleet.hosts.get(event.host)
    if host is None:
        return
    rebooted = bool(host.boot) and host.boot != event.boot
    host.boot = event.boot
    host.connected_ms = turn.now_ms
    host.clock_offset_ms = event.clock_ms - event.at_ms
    members.heard(turn, host)
    was_lost = turn.fleet.by_subject.get(Subject(host.id, HOST_LOST_CHECK, ""))
    if was_lost is not None:
        repair.host_back(turn, turn.fleet.incidents[was_lost], host, rebooted)
    lost.connected(turn, host)
    for incident_id in list(turn.fleet.by_host.get(host.id, {})):
        incident = turn.fleet.incidents.get(incident_id)
        if incident is None:
            continue
        if rebooted and incident.phase in ACTIVE:
            repair.host_rebooted(turn, incident, host)
        elif incident.phase in (Phase.ORDERED, Phase.RUNNING):
            resend(turn, incident)
        elif incident.phase in WAITING:
            repair.consider(turn, incident)
        elif incident.subject.check != HOST_LOST_CHECK:
            # Whether it is well by now may have been said while nobody listened.
            ask_check(turn, incident)
    permits.look(turn, host, again=True)


def _policy_loaded(turn: Turn, _event: PolicyLoaded) -> None:
    """Incidents that wait are matched afresh; those with an order out keep the playbook that gave it."""
    waiting = [i.id for i in turn.fleet.incidents.values() if i.phase in WAITING and i.run is None]
    for incident_id in waiting:
        turn.fleet.incidents[incident_id].policy = ""
    ending.reconsider(turn, waiting)
    turn.permits_differ(turn.fleet.hosts.values())


def _started(turn: Turn, event: DeciderStarted) -> None:
    """What was known before may have changed while nobody looked.

    The clock may have been set meanwhile: an order that is out gets its whole time again before it counts as lost, or a jump
    would free its host while it still runs.
    """
    turn.fleet.epoch = event.epoch
    members.doubt(turn, "the controller has just started")
    lost.restarted(turn)
    for incident in turn.fleet.incidents.values():
        if incident.phase in (Phase.ORDERED, Phase.RUNNING) and incident.order is not None:
            wake_when_overdue(turn, incident, incident.order)


def _paused(turn: Turn, event: Paused) -> None:
    turn.fleet.pauses[event.scope] = Pause(event.scope, event.by, event.reason, turn.now_ms, event.until_ms)
    turn.permits_differ(_in_scope(turn, event.scope))


def _resumed(turn: Turn, event: Resumed) -> None:
    turn.fleet.pauses.pop(event.scope, None)
    _released(turn, "paused", _in_scope(turn, event.scope))


def _released(turn: Turn, gate: str, hosts: list[Host]) -> None:
    """What a gate held on these hosts may go on, the oldest first."""
    there = {host.id for host in hosts}
    held = ending.held_by(turn, gate, turn.fleet.incidents)
    ending.reconsider(turn, [i for i in held if turn.fleet.incidents[i].subject.host in there])
    turn.permits_differ(hosts)


def _in_scope(turn: Turn, scope: str) -> list[Host]:
    hosts = turn.fleet.hosts
    kind, _, of = scope.partition(":")
    match kind:
        case "host":
            return [hosts[of]] if of in hosts else []
        case "group":
            return [host for host in hosts.values() if scope in scopes(host, "")]
    return list(hosts.values())


def _window_added(turn: Turn, event: WindowAdded) -> None:
    turn.fleet.windows[event.window.id] = event.window
    turn.permits_differ(_under(turn, event.window))


def _window_removed(turn: Turn, event: WindowRemoved) -> None:
    window = turn.fleet.windows.pop(event.id, None)
    if window is not None:
        _released(turn, "maintenance", _under(turn, window))


def _under(turn: Turn, window: Window) -> list[Host]:
    return [host for host in turn.fleet.hosts.values() if window.covers(host.id, host.labels)]


# Every kind of event has its line; the types of the handlers are checked against the union by a test.
_HANDLERS: dict[type, Callable[[Turn, Any], None]] = {
    Observed: _observed,
    AlertSaid: _alert_said,
    EvidenceConfirmed: _evidence_confirmed,
    OrderStarted: _order_started,
    OrderEnded: _order_ended,
    PermitUsed: _permit_used,
    HostWoken: permits.woken,
    Woken: _woken,
    HostConnected: _host_connected,
    HostSilent: lost.silent,
    WitnessSaid: lost.said,
    Drained: lambda turn, event: draining.drained(turn, event, repair.incident_of_order(turn, event.host, event.order)),
    Undrained: draining.undrained,
    HostEnrolled: members.enrol,
    HostRemoved: members.remove,
    RunRequested: runs.requested,
    Approve: permission.answered,
    Deny: permission.answered,
    Acknowledge: _acknowledge,
    Paused: _paused,
    Resumed: _resumed,
    WindowAdded: _window_added,
    WindowRemoved: _window_removed,
    PersonSeen: members.person_seen,
    TrustRestored: standing.restored,
    PolicyLoaded: _policy_loaded,
    CommonCause: storms.common_cause,
    ObserverDoubted: lambda turn, event: members.doubt(turn, event.why),
    DeciderStarted: _started,
}
