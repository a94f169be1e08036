"""Storms: many hosts turn bad in the same way at about one time. One page for all, and no repairs until it is over."""

from __future__ import annotations

from .effects import Escalated, PhaseChanged, Why
from .model import Fleet, Incident, Outbreak, Phase, Status, Storm, Subject
from .turn import Turn

FLEET = "fleet"
STORM_CHECK = "storm"
# Fewer hosts than this are never a storm: the fleet budget alone holds small groups.
STORM_HOSTS_MIN = 5


def note(turn: Turn, incident: Incident, limit: Storm) -> None:
    """Count a fresh fault in every group of its host; notice when a group has too many."""
    host = turn.fleet.hosts[incident.subject.host]
    since_ms = turn.now_ms - limit.within_ms
    groups = dict.fromkeys(sorted(host.labels.items()))
    groups[(limit.by, host.labels.get(limit.by, ""))] = None
    incident.noted = tuple(groups)
    for label, value in groups:
        hosts = turn.fleet.fresh_bad.setdefault((incident.fault, label, value), {})
        hosts.pop(host.id, None)
        hosts[host.id] = turn.now_ms
        _forget_older(hosts, since_ms)
        if len(hosts) >= _threshold(turn.fleet, limit, label, value):
            _notice(turn, incident, f"{label}={value}" if value else f"without {label}", len(hosts))


def recovered(fleet: Fleet, incident: Incident) -> None:
    """A fault is over: its host no longer counts."""
    for label, value in incident.noted:
        hosts = fleet.fresh_bad.get((incident.fault, label, value))
        if hosts is None:
            continue
        hosts.pop(incident.subject.host, None)
        if not hosts:
            del fleet.fresh_bad[(incident.fault, label, value)]


def over(turn: Turn, check_type: str) -> bool:
    """Whether a storm has passed: nothing new for its window, and fewer sick hosts than make one."""
    outbreak = turn.fleet.outbreaks.get(check_type)
    if outbreak is None:
        return False
    limit = turn.policy.storm
    if turn.now_ms - outbreak.last_ms < limit.within_ms:
        return False
    for (kind, label, value), hosts in turn.fleet.fresh_bad.items():
        if kind != check_type:
            continue
        _forget_older(hosts, turn.now_ms - limit.within_ms)
        if len(hosts) >= _threshold(turn.fleet, limit, label, value):
            return False
    return True


def _threshold(fleet: Fleet, limit: Storm, label: str, value: str) -> int:
    size = fleet.group_size.get((label, value), 0) if value else len(fleet.hosts) - fleet.group_size.get((label, "*"), 0)
    return max(STORM_HOSTS_MIN, -(-size * limit.percent // 100))


def _forget_older(hosts: dict[str, int], since_ms: int) -> None:
    while hosts:
        oldest = next(iter(hosts))
        if hosts[oldest] > since_ms:
            return
        del hosts[oldest]


def _notice(turn: Turn, cause: Incident, group: str, count: int) -> None:
    outbreak = turn.fleet.outbreaks.get(cause.fault)
    if outbreak is not None:
        outbreak.last_ms = turn.now_ms
        outbreak.groups.setdefault(group, count)
        return
    text = f"{count} hosts of {group} fail {cause.fault} together: held, one cause is more likely than {count}"
    incident = fleet_incident(turn, STORM_CHECK, cause.fault, text, Why.STORM)
    turn.permits_differ(turn.fleet.hosts.values())
    turn.fleet.outbreaks[cause.fault] = Outbreak(incident.id, turn.now_ms, turn.now_ms, {group: count})
    turn.wake(incident, turn.now_ms + turn.policy.storm.within_ms)


def fleet_incident(turn: Turn, check: str, key: str, text: str, why: Why) -> Incident:
    """An incident of the fleet as a whole: paged once, healed by nobody here."""
    number = turn.fleet.next_incident
    turn.fleet.next_incident = number + 1
    incident = Incident(
        id=f"inc-{number}",
        subject=Subject(FLEET, check, key),
        check_type=check,
        finding={},
        summary=text,
        status=Status.CRIT,
        phase=Phase.ESCALATED,
        opened_ms=turn.now_ms,
        fault_since_ms=turn.now_ms,
        evidence_ms=turn.now_ms,
        policy=turn.policy.digest,
        phase_since_ms=turn.now_ms,
    )
    fleet = turn.fleet
    fleet.incidents[incident.id] = incident
    fleet.by_subject[incident.subject] = incident.id
    fleet.by_host.setdefault(FLEET, {})[incident.id] = None
    turn.do(PhaseChanged(incident.id, incident.subject, None, Phase.ESCALATED, 0))
    turn.say(incident, why, text)
    turn.do(Escalated(incident.id, incident.subject, turn.policy.default_escalate_to, "page", why, text, check))
    return incident
