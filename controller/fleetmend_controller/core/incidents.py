"""The life of an incident from opening to closing, and the indexes that find it."""

from __future__ import annotations

from . import storms
from .effects import PROVED, Closed, Escalated, PhaseChanged, UndrainHost, Why
from .events import Observed
from .model import EVERYBODY, Fleet, Host, Incident, Phase, Playbook, Subject, Symptom
from .own import next_id, own_incident
from .transitions import Trigger
from .turn import Turn

HOST_LOST_CHECK = "host_lost"
OPERATOR_CHECK = "operator_run"

# What a playbook's flapping limit can look back on.
OPENINGS_KEPT_MS = 24 * 3_600_000
OPENINGS_KEPT_MAX = 100

ACTIVE = (Phase.ORDERED, Phase.RUNNING, Phase.PROVING)
WAITING = (Phase.OPEN, Phase.HELD)


def sample_time_ms(event: Observed) -> int:
    """When a sample of this boot was taken, on the controller's clock. Ages come from one host clock: skew does not matter."""
    return event.at_ms - max(0, event.clock_ms - event.sampled_clock_ms)


def open_incident(turn: Turn, event: Observed) -> Incident:
    """A new incident for a subject that just turned bad."""
    seen_ms = sample_time_ms(event)
    incident = Incident(
        id=next_id(turn),
        subject=Subject(event.host, event.check, event.key),
        check_type=event.check_type,
        finding=dict(event.finding),
        summary=event.summary,
        status=event.status,
        phase=Phase.OPEN,
        opened_ms=turn.now_ms,
        fault_since_ms=seen_ms,
        evidence_ms=seen_ms,
        bad_since_ms=seen_ms,
        policy=turn.policy.digest,
        phase_since_ms=turn.now_ms,
    )
    register(turn, incident)
    turn.say(incident, Why.FAULT_SEEN, f"{event.check} says {event.status.value}: {event.summary}")
    return incident


def open_host_lost(turn: Turn, host: Host, silent_ms: int) -> Incident:
    """The incident of a host whose heartbeat stopped (see lost.py)."""
    text = f"no heartbeat from {host.name} for {silent_ms // 1000} s"
    incident = own_incident(turn, Subject(host.id, HOST_LOST_CHECK, ""), text)
    incident.finding = {"silent_ms": silent_ms}
    incident.fault_since_ms = turn.now_ms - silent_ms
    register(turn, incident)
    turn.say(incident, Why.FAULT_SEEN, text)
    return incident


def open_undrain(turn: Turn, host: Host, check: str, text: str) -> Incident:
    """The incident of a host that a hook does not take back; in the hands of people from the start."""
    incident = own_incident(turn, Subject(host.id, check, ""), text)
    register(turn, incident)
    turn.say(incident, Why.UNDRAIN_FAILED, text)
    turn.move(incident, Trigger.REFUSE)
    return incident


def open_run(turn: Turn, host: Host, playbook: Playbook, key: str, by: str) -> Incident:
    """The incident that carries an operator's request through the gates."""
    incident = own_incident(turn, Subject(host.id, OPERATOR_CHECK, key), playbook.summary)
    incident.playbook, incident.run = playbook.name, playbook
    register(turn, incident)
    turn.say(incident, Why.OPERATOR_REQUEST, f"{by} asked for it")
    return incident


def count_sick(fleet: Fleet, incident: Incident, change: int) -> None:
    """Keep the number of open incidents of each host in each of its groups, for the floors of healthy hosts."""
    host = fleet.hosts.get(incident.subject.host)
    if host is None or incident.run is not None:
        return
    for group in host.labels.items():
        hosts = fleet.sick.setdefault(group, {})
        hosts[host.id] = hosts.get(host.id, 0) + change
        if not hosts[host.id]:
            del hosts[host.id]
        if not hosts:
            del fleet.sick[group]


def _note_opening(turn: Turn, incident: Incident) -> None:
    times = turn.fleet.opened_at.setdefault(incident.tried, [])
    times[:] = [t for t in times if t > turn.now_ms - OPENINGS_KEPT_MS][-OPENINGS_KEPT_MAX:]
    times.append(turn.now_ms)


def register(turn: Turn, incident: Incident) -> None:
    """Make an incident findable and announce it."""
    fleet = turn.fleet
    count_sick(fleet, incident, 1)
    if incident.run is None:
        _note_opening(turn, incident)
    fleet.incidents[incident.id] = incident
    fleet.by_subject[incident.subject] = incident.id
    fleet.by_host.setdefault(incident.subject.host, {})[incident.id] = None
    if incident.target is not None:
        fleet.by_target.setdefault(incident.target, incident.id)
    turn.do(PhaseChanged(incident.id, incident.subject, None, Phase.OPEN, 0))


def add_symptom(turn: Turn, incident: Incident, event: Observed) -> None:
    """Another check sees the same target sick: it joins the incident that stands for it."""
    subject = Subject(event.host, event.check, event.key)
    known = subject in incident.symptoms
    since_ms = incident.symptoms[subject].since_ms if known else sample_time_ms(event)
    incident.symptoms[subject] = Symptom(
        subject,
        event.check_type,
        dict(event.finding),
        event.summary,
        since_ms,
        sample_time_ms(event),
        event.boot,
        event.sampled_clock_ms,
    )
    turn.fleet.symptom_of[subject] = incident.id
    if not known:
        turn.say(incident, Why.SAME_TARGET, f"{event.check} sees the same fault: {event.summary}")


def drop_symptom(turn: Turn, subject: Subject) -> Incident:
    """A symptom recovered; the incident that it belonged to."""
    incident = turn.fleet.incidents[turn.fleet.symptom_of.pop(subject)]
    incident.symptoms.pop(subject)
    return incident


def escalate(
    turn: Turn, incident: Incident, trigger: Trigger, why: Why, text: str, severity: str = "", part_of: str = ""
) -> None:
    """Hand the incident to people. It closes by itself when the check says OK again."""
    outbreak = turn.fleet.outbreaks.get(incident.fault)
    playbook = playbook_of(incident)
    to = playbook.escalate.to if playbook else turn.policy.default_escalate_to
    severity = severity or (playbook.escalate.severity if playbook else "ticket")
    release(turn, incident)
    turn.move(incident, trigger)
    _in_hand(turn, incident)
    turn.wake(incident, None)
    turn.say(incident, why, text)
    part_of = part_of or (outbreak.incident if outbreak is not None else "")
    turn.do(Escalated(incident.id, incident.subject, to, severity, why, text, incident.fault, part_of))


def close(turn: Turn, incident: Incident, trigger: Trigger, why: Why, text: str) -> list[Symptom]:
    """End an incident. Returns the symptoms that still seem sick: each must be looked at anew."""
    fleet = turn.fleet
    if incident.phase is Phase.ESCALATED:
        _in_hand(turn, incident)
    release(turn, incident)
    turn.move(incident, trigger)
    turn.say(incident, why, text)
    turn.do(_closed(turn, incident, why))
    count_sick(fleet, incident, -1)
    storms.recovered(fleet, incident)
    fleet.inquiries.pop(incident.id, None)
    del fleet.incidents[incident.id]
    del fleet.by_subject[incident.subject]
    of_host = fleet.by_host[incident.subject.host]
    del of_host[incident.id]
    if not of_host:
        del fleet.by_host[incident.subject.host]
    if incident.target is not None and fleet.by_target.get(incident.target) == incident.id:
        del fleet.by_target[incident.target]
    for subject in incident.symptoms:
        del fleet.symptom_of[subject]
    others = (fleet.incidents[i] for i in fleet.by_host.get(incident.subject.host, {}))
    if incident.drained and not any(other.drained for other in others):
        turn.do(UndrainHost(incident.subject.host))
    return list(incident.symptoms.values())


def _in_hand(turn: Turn, incident: Incident) -> None:
    """What people have in hand, or had, its host leaves alone, or need not any more."""
    host = turn.fleet.hosts.get(incident.subject.host)
    turn.permits_differ([] if host is None else [host])


def playbook_of(incident: Incident) -> Playbook | None:
    """The playbook by which this incident is being handled."""
    return incident.run or incident.book


def hold_budget(turn: Turn, incident: Incident, host: Host, playbook: Playbook) -> None:
    """Take the host's place in the budget of every group it is in. One ledger, whoever orders."""
    groups = dict.fromkeys(sorted(host.labels.items()))
    for budget in (playbook.limits.fleet, *turn.policy.budgets):
        # A host without the label is in the group of those that lack it.
        groups.update({(label, host.labels.get(label, "")): None for label in budget.labels})
    groups[EVERYBODY] = None
    incident.groups = tuple(groups)
    for group in incident.groups:
        hosts = turn.fleet.in_flight.setdefault(group, {})
        hosts[host.id] = hosts.get(host.id, 0) + 1


def release_host(turn: Turn, incident: Incident) -> None:
    """The action is over: the host is free for the next disruptive one."""
    acting = turn.fleet.acting.get(incident.subject.host)
    if acting is None or incident.id not in acting:
        return
    del acting[incident.id]
    if not acting:
        del turn.fleet.acting[incident.subject.host]


def release(turn: Turn, incident: Incident) -> None:
    """Give back everything the incident holds."""
    release_host(turn, incident)
    for group in incident.groups:
        hosts = turn.fleet.in_flight[group]
        hosts[incident.subject.host] -= 1
        if not hosts[incident.subject.host]:
            del hosts[incident.subject.host]
        if not hosts:
            del turn.fleet.in_flight[group]
    incident.groups = ()
    incident.order = None


def _closed(turn: Turn, incident: Incident, why: Why) -> Closed:
    opened, ordered, ended = incident.opened_ms, incident.ordered_ms, incident.ended_ms
    # What a host healed alone was over when it was well, not when it could tell.
    over = incident.ok_ms if why is Why.HEALED_ALONE and incident.ok_ms is not None else turn.now_ms
    return Closed(
        incident=incident.id,
        subject=incident.subject,
        why=why,
        playbook=incident.playbook,
        detect_ms=max(0, opened - incident.fault_since_ms),
        decide_ms=None if ordered is None else max(0, ordered - opened),
        act_ms=None if ordered is None or ended is None else max(0, ended - ordered),
        prove_ms=None if ended is None or why not in PROVED else max(0, over - ended),
        total_ms=max(0, over - incident.fault_since_ms),
        summary=incident.summary,
    )
