"""Who belongs to the fleet: hosts come, go, fall silent; groups are counted over labels."""

from __future__ import annotations

from .alerts import forget_host
from .effects import Why
from .events import HostEnrolled, HostRemoved, PersonSeen
from .gates.observer import many_lost
from .incidents import close, count_sick
from .lost import MANY_LOST_CHECK
from .model import Fleet, Host, Presence, Subject
from .storms import FLEET
from .transitions import Trigger
from .turn import Turn


def is_new(host: Host, outbox: str, seq: int) -> bool:
    """Whether a record was not seen before; remembers it. What the gateway itself concludes (no outbox) is always new."""
    if not outbox:
        return True
    if host.outbox != outbox:
        host.outbox, host.outbox_seq = outbox, 0
    if seq <= host.outbox_seq:
        return False
    host.outbox_seq = seq
    return True


def enrol(turn: Turn, event: HostEnrolled) -> None:
    """Add a host, or give a known one new labels."""
    # The journal does not keep the order of labels, and groups are entered in it.
    labels = dict(sorted(event.labels.items()))
    host = turn.fleet.hosts.get(event.host)
    if host is None:
        turn.fleet.hosts[event.host] = Host(event.host, event.name, labels, event.at_ms)
        _count(turn.fleet, labels, 1)
        return
    open_here = [turn.fleet.incidents[i] for i in turn.fleet.by_host.get(host.id, {})]
    for incident in open_here:
        count_sick(turn.fleet, incident, -1)
    _count(turn.fleet, host.labels, -1)
    host.name, host.labels = event.name, labels
    _count(turn.fleet, host.labels, 1)
    for incident in open_here:
        count_sick(turn.fleet, incident, 1)
    turn.permits_differ([host])


def remove(turn: Turn, event: HostRemoved) -> None:
    """Take a host out; what was open there ends."""
    host = turn.fleet.hosts.get(event.host)
    if host is None:
        return
    for incident_id in list(turn.fleet.by_host.get(host.id, {})):
        close(turn, turn.fleet.incidents[incident_id], Trigger.RECOVERED, Why.HOST_REMOVED, f"{event.by} removed {host.name}")
    _count(turn.fleet, host.labels, -1)
    del turn.fleet.hosts[host.id]
    _forget(turn.fleet, host.id)
    for key in [k for k in turn.fleet.attempts_at if k.host == host.id]:
        del turn.fleet.attempts_at[key]


def heard(turn: Turn, host: Host) -> None:
    """A lost host is back; when few enough are lost, the controller trusts its eyes again, on fresh evidence only."""
    host.lost_since_ms = None
    turn.fleet.lost.pop(host.id, None)
    known = turn.fleet.by_subject.get(Subject(FLEET, MANY_LOST_CHECK, ""))
    if known is None or many_lost(turn.fleet, turn.policy):
        return
    text = f"{len(turn.fleet.lost)} hosts are still lost"
    close(turn, turn.fleet.incidents[known], Trigger.RECOVERED, Why.HOST_BACK, text)
    doubt(turn, "most of the fleet seemed lost")


def doubt(turn: Turn, why: str) -> None:
    """Believe only what is sampled from now on."""
    turn.fleet.doubt_ms = turn.now_ms
    turn.fleet.doubt = why


def person_seen(turn: Turn, event: PersonSeen) -> None:
    """Somebody is at work on a host; seeing them again makes it last longer."""
    if event.host not in turn.fleet.hosts:
        return
    before = turn.fleet.presence.get(event.host)
    known = before is not None and before.until_ms > turn.now_ms
    if before is not None and before.until_ms > event.until_ms:
        # A person who was there is believed longer than the program that is there now.
        return
    since_ms = before.since_ms if before is not None and known else turn.now_ms
    if not known:
        turn.permits_differ([turn.fleet.hosts[event.host]])
    turn.fleet.presence[event.host] = Presence(event.who, since_ms, event.until_ms)


def _forget(fleet: Fleet, host: str) -> None:
    fleet.lost.pop(host, None)
    fleet.presence.pop(host, None)
    fleet.drained.pop(host, None)
    forget_host(fleet, host)
    for hosts in fleet.fresh_bad.values():
        hosts.pop(host, None)
    for remembered in (fleet.opened_at, fleet.flapping, fleet.heals):
        for subject in [s for s in remembered if s.host == host]:
            remembered.pop(subject)


def _count(fleet: Fleet, labels: dict[str, str], change: int) -> None:
    for label, value in sorted(labels.items()):
        for group in ((label, value), (label, "*")):
            size = fleet.group_size.get(group, 0) + change
            if size:
                fleet.group_size[group] = size
            else:
                fleet.group_size.pop(group, None)
