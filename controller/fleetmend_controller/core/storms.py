"""Storms: many hosts turn bad in the same way at about one time. One page for all, and no repairs until it is over."""

from __future__ import annotations

from .effects import Escalated, PhaseChanged, Why
from .model import EVERYBODY, Fleet, Incident, Outbreak, Phase, Status, Storm, Subject
from .policy import Policy
from .turn import Turn

FLEET = "fleet"
STORM_CHECK = "storm"
# A share of few hosts is chance: so many at least must be sick, or all of a smaller group.
STORM_HOSTS_MIN = 5
# So many hosts of the whole fleet are enough, whatever share of it they are.
FLEET_HOSTS_MAX = 100
# How often a storm looks whether it is over.
AGAIN_MS = 60_000


def note(turn: Turn, incident: Incident, limit: Storm) -> None:
    """Count a fresh fault in every group of its host; notice when a group has too many."""
    host = turn.fleet.hosts[incident.subject.host]
    since_ms = turn.now_ms - limit.within_ms
    groups = dict.fromkeys(sorted(host.labels.items()))
    groups[(limit.by, host.labels.get(limit.by, ""))] = None
    groups[EVERYBODY] = None
    incident.noted = tuple(groups)
    for group in groups:
        hosts = turn.fleet.fresh_bad.setdefault((incident.check_type, *group), {})
        hosts.pop(host.id, None)
        hosts[host.id] = turn.now_ms
        _forget_older(hosts, since_ms)
        if len(hosts) >= _threshold(turn.fleet, limit, group):
            _notice(turn, incident, limit, group, len(hosts))


def recovered(fleet: Fleet, incident: Incident) -> None:
    """A fault is over: its host no longer counts, unless it has another of that type."""
    if any(fleet.incidents[i].check_type == incident.check_type for i in fleet.by_host.get(incident.subject.host, {})):
        return
    for label, value in incident.noted:
        hosts = fleet.fresh_bad.get((incident.check_type, label, value))
        if hosts is None:
            continue
        hosts.pop(incident.subject.host, None)
        if not hosts:
            del fleet.fresh_bad[(incident.check_type, label, value)]


def ending(turn: Turn, check_type: str) -> str:
    """Why a storm has passed, in words; empty while it has not.

    Nothing new for its window, and fewer hosts still sick than make one. That nothing new comes is not enough: when all are
    sick already nothing new can come, and to repair them one after the other is what the storm held back.
    """
    outbreak = turn.fleet.outbreaks.get(check_type)
    if outbreak is None:
        return ""
    limit = limit_of(outbreak, turn.policy)
    if turn.now_ms - outbreak.last_ms < limit.within_ms:
        return ""
    still = []
    for group, count in _sick(turn.fleet, check_type, outbreak).items():
        if count >= _threshold(turn.fleet, limit, group):
            return ""
        still.append(f"{count} hosts of {_named(group)}")
    return f"no new {check_type} for {limit.within_ms // 60_000} min, {' and '.join(still) or 'no host'} still sick"


def limit_of(outbreak: Outbreak, policy: Policy) -> Storm:
    """The limit by which a storm was noticed; one from before that was kept ends by the fleet's."""
    return outbreak.limit or policy.storm


def _sick(fleet: Fleet, check_type: str, outbreak: Outbreak) -> dict[tuple[str, str], int]:
    """How many hosts of each group of the storm have an open incident of its type now."""
    hosts = dict.fromkeys(i.subject.host for i in fleet.incidents.values() if i.check_type == check_type and i.run is None)
    labels = [fleet.hosts[host].labels for host in hosts if host in fleet.hosts]
    # A storm from before its groups were kept may be in any.
    where = outbreak.where or list(dict.fromkeys(group for each in labels for group in each.items()))
    return {group: sum(1 for each in labels if _is_in(each, group)) for group in where}


def _is_in(labels: dict[str, str], group: tuple[str, str]) -> bool:
    return group == EVERYBODY or labels.get(group[0], "") == group[1]


def _named(group: tuple[str, str]) -> str:
    label, value = group
    if group == EVERYBODY:
        return "the fleet"
    return f"{label}={value}" if value else f"without {label}"


def _threshold(fleet: Fleet, limit: Storm, group: tuple[str, str]) -> int:
    """How many hosts of a group make a storm: the share, but five at least, or all of a smaller group, if those are enough."""
    label, value = group
    if group == EVERYBODY:
        size = len(fleet.hosts)
    else:
        size = fleet.group_size.get(group, 0) if value else len(fleet.hosts) - fleet.group_size.get((label, "*"), 0)
    few = max(limit.hosts, min(STORM_HOSTS_MIN, size))
    share = -(-size * limit.percent // 100)
    return max(few, min(share, FLEET_HOSTS_MAX) if group == EVERYBODY else share)


def _forget_older(hosts: dict[str, int], since_ms: int) -> None:
    while hosts:
        oldest = next(iter(hosts))
        if hosts[oldest] > since_ms:
            return
        del hosts[oldest]


def _notice(turn: Turn, cause: Incident, limit: Storm, group: tuple[str, str], count: int) -> None:
    outbreak = turn.fleet.outbreaks.get(cause.check_type)
    named = _named(group)
    if outbreak is None:
        text = f"{count} hosts of {named} fail {cause.check_type} together: held, one cause is more likely than {count}"
        incident = fleet_incident(turn, STORM_CHECK, cause.check_type, text, Why.STORM)
        outbreak = Outbreak(incident.id, turn.now_ms, turn.now_ms, limit=limit)
        turn.fleet.outbreaks[cause.check_type] = outbreak
        turn.wake(incident, turn.now_ms + limit.within_ms)
    outbreak.last_ms = turn.now_ms
    if group not in outbreak.where:
        outbreak.where.append(group)
        outbreak.groups[named] = count


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
    turn.do(Escalated(incident.id, incident.subject, turn.policy.default_escalate_to, "page", why, text))
    return incident
