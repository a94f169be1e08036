"""Storms: many hosts turn bad in the same way at about one time. One page for all, and no repairs until it is over.

Two things make one: too large a share of some group of hosts, or a cause that fewer hosts share and healthy ones lack.
"""

from __future__ import annotations

from .effects import CompareHosts, Escalated, PhaseChanged, Why
from .events import CommonCause
from .model import EVERYBODY, Fleet, Incident, Outbreak, Phase, Status, Storm, Subject
from .own import own_incident
from .policy import Policy
from .turn import Turn

FLEET = "fleet"
STORM_CHECK = "storm"
# A share of few hosts is chance: so many at least must be sick, or all of a smaller group.
STORM_HOSTS_MIN = 5
# So many hosts of the whole fleet are enough, whatever share of it they are.
FLEET_HOSTS_MAX = 100
# So many that fail alike are compared with the others, and so many with a cause in common are a storm.
COMPARE_HOSTS_MIN = 5
COMPARE_EVERY_MS = 30_000
# How long a page waits for what the hosts have in common.
PAGE_WAIT_MS = 5_000
# How often a storm looks whether it is over.
AGAIN_MS = 60_000

Group = tuple[str, str]


def note(turn: Turn, incident: Incident, limit: Storm) -> None:
    """Count a fresh fault in every group of its host; notice when a group has too many, have them compared before that."""
    host = turn.fleet.hosts[incident.subject.host]
    since_ms = turn.now_ms - limit.within_ms
    groups = dict.fromkeys(sorted(host.labels.items()))
    groups[(limit.by, host.labels.get(limit.by, ""))] = None
    groups[EVERYBODY] = None
    incident.noted = tuple(groups)
    hosts: dict[str, int] = {}
    for group in groups:
        hosts = turn.fleet.fresh_bad.setdefault((incident.fault, *group), {})
        hosts.pop(host.id, None)
        hosts[host.id] = turn.now_ms
        _forget_older(hosts, since_ms)
        if len(hosts) >= _threshold(turn.fleet, limit, group):
            _notice(turn, incident, limit, group, len(hosts))
    # The last group was everybody.
    if len(hosts) >= COMPARE_HOSTS_MIN and incident.fault not in turn.fleet.outbreaks:
        _compare(turn, incident)


def recovered(fleet: Fleet, incident: Incident) -> None:
    """A fault is over: its host no longer counts, unless it has another of that kind."""
    others = (fleet.incidents[i] for i in fleet.by_host.get(incident.subject.host, {}) if i != incident.id)
    other = next((other for other in others if other.fault == incident.fault), None)
    if other is not None:
        # It may never have been counted (a host healed it alone), or in other groups: the last one to end takes them all.
        other.noted = tuple(dict.fromkeys((*other.noted, *incident.noted)))
        return
    for label, value in incident.noted:
        hosts = fleet.fresh_bad.get((incident.fault, label, value))
        if hosts is None:
            continue
        hosts.pop(incident.subject.host, None)
        if not hosts:
            del fleet.fresh_bad[(incident.fault, label, value)]


def common_cause(turn: Turn, event: CommonCause) -> None:
    """What the comparison found: it completes a storm's page, or is a storm itself."""
    outbreak = turn.fleet.outbreaks.get(event.fault)
    if outbreak is not None:
        incident = turn.fleet.incidents[outbreak.incident]
        if event.difference:
            turn.say(incident, Why.COMMON_CAUSE, f"the hosts share what healthy ones lack: {'; '.join(event.difference)}")
        tell(turn, incident, outbreak, event.difference)
        return
    known = _hosts_with(turn.fleet, event.fault)
    sick = [host for host in event.hosts if host in known]
    if not event.difference or len(sick) < COMPARE_HOSTS_MIN:
        return
    text = f"{len(sick)} hosts fail {event.fault} and share what healthy ones lack: held, one cause is more likely"
    incident = fleet_incident(turn, STORM_CHECK, event.fault, text, Why.STORM)
    turn.say(incident, Why.COMMON_CAUSE, "; ".join(event.difference))
    limit = turn.policy.storm
    outbreak = Outbreak(incident.id, turn.now_ms, turn.now_ms, {event.difference[0]: len(sick)}, [], limit, sick, told=False)
    turn.fleet.outbreaks[event.fault] = outbreak
    turn.permits_differ(turn.fleet.hosts.values())
    tell(turn, incident, outbreak, event.difference)
    turn.wake(incident, look_again_ms(turn, outbreak))


def tell(turn: Turn, incident: Incident, outbreak: Outbreak, difference: tuple[str, ...] = ()) -> None:
    """Page people of a storm, once, with what is known of its cause."""
    if outbreak.told:
        return
    outbreak.told = True
    text = incident.summary + (f". In common: {'; '.join(difference)}" if difference else "")
    to = turn.policy.default_escalate_to
    turn.do(Escalated(incident.id, incident.subject, to, "page", Why.STORM, text, STORM_CHECK))


def ending(turn: Turn, fault: str, outbreak: Outbreak) -> str:
    """Why a storm has passed, in words; empty while it has not.

    Nothing new for its window, and fewer hosts still sick than make one. That nothing new comes is not enough: when all are
    sick already nothing new can come, and to repair them one after the other is what the storm held back.
    """
    limit = limit_of(outbreak, turn.policy)
    if turn.now_ms - outbreak.last_ms < limit.within_ms:
        return ""
    still = []
    sick = _hosts_with(turn.fleet, fault)
    for group, count in _sick(turn.fleet, sick, outbreak).items():
        if count >= _threshold(turn.fleet, limit, group):
            return ""
        still.append(f"{count} hosts of {_named(group)}")
    if outbreak.hosts:
        count = sum(1 for host in outbreak.hosts if host in sick)
        if count >= COMPARE_HOSTS_MIN:
            return ""
        still.append(f"{count} hosts with that cause")
    return f"no new {fault} for {limit.within_ms // 60_000} min, {' and '.join(still) or 'no host'} still sick"


def look_again_ms(turn: Turn, outbreak: Outbreak) -> int:
    """When a storm may be over at the earliest."""
    quiet_ms = outbreak.last_ms + limit_of(outbreak, turn.policy).within_ms
    return quiet_ms if quiet_ms > turn.now_ms else turn.now_ms + AGAIN_MS


def limit_of(outbreak: Outbreak, policy: Policy) -> Storm:
    """The limit by which a storm was noticed; one from before that was kept ends by the fleet's."""
    return outbreak.limit or policy.storm


def _hosts_with(fleet: Fleet, fault: str) -> dict[str, None]:
    """The hosts that are sick in this way now; one whose check says ok already is not."""
    incidents = (i for i in fleet.incidents.values() if i.fault == fault and i.run is None)
    return dict.fromkeys(i.subject.host for i in incidents if i.status is not Status.OK)


def _sick(fleet: Fleet, sick: dict[str, None], outbreak: Outbreak) -> dict[Group, int]:
    """How many hosts of each group of the storm are sick now."""
    labels = [fleet.hosts[host].labels for host in sick if host in fleet.hosts]
    where = outbreak.where
    if not where and not outbreak.hosts:
        # A storm from before its groups were kept may be in any.
        where = list(dict.fromkeys(group for each in labels for group in each.items()))
    return {group: sum(1 for each in labels if _is_in(each, group)) for group in where}


def _is_in(labels: dict[str, str], group: Group) -> bool:
    return group == EVERYBODY or labels.get(group[0], "") == group[1]


def _named(group: Group) -> str:
    label, value = group
    if group == EVERYBODY:
        return "the fleet"
    return f"{label}={value}" if value else f"without {label}"


def _threshold(fleet: Fleet, limit: Storm, group: Group) -> int:
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


def _notice(turn: Turn, cause: Incident, limit: Storm, group: Group, count: int) -> None:
    outbreak = turn.fleet.outbreaks.get(cause.fault)
    named = _named(group)
    if outbreak is None:
        text = f"{count} hosts of {named} fail {cause.fault} together: held, one cause is more likely than {count}"
        incident = fleet_incident(turn, STORM_CHECK, cause.fault, text, Why.STORM)
        outbreak = Outbreak(incident.id, turn.now_ms, turn.now_ms, limit=limit, told=False)
        turn.fleet.outbreaks[cause.fault] = outbreak
        turn.permits_differ(turn.fleet.hosts.values())
        turn.do(CompareHosts(incident.id, cause.fault))
        turn.wake(incident, turn.now_ms + PAGE_WAIT_MS)
    outbreak.last_ms = turn.now_ms
    if group not in outbreak.where:
        outbreak.where.append(group)
        outbreak.groups[named] = count


def _compare(turn: Turn, incident: Incident) -> None:
    """Have the failing hosts compared, every half minute at most."""
    before_ms = turn.fleet.compared_ms.get(incident.fault)
    if before_ms is None or turn.now_ms - before_ms >= COMPARE_EVERY_MS:
        turn.fleet.compared_ms[incident.fault] = turn.now_ms
        turn.do(CompareHosts(incident.id, incident.fault))


def fleet_incident(turn: Turn, check: str, key: str, text: str, why: Why) -> Incident:
    """An incident of the fleet as a whole, in the hands of people, healed by nobody here. Whoever opens it tells them."""
    incident = own_incident(turn, Subject(FLEET, check, key), text, Phase.ESCALATED)
    fleet = turn.fleet
    fleet.incidents[incident.id] = incident
    fleet.by_subject[incident.subject] = incident.id
    fleet.by_host.setdefault(FLEET, {})[incident.id] = None
    turn.do(PhaseChanged(incident.id, incident.subject, None, Phase.ESCALATED, 0))
    turn.say(incident, why, text)
    return incident
