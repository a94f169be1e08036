"""Who belongs to the fleet: hosts come, go, fall silent; groups are counted over labels."""

from __future__ import annotations

from .effects import Why
from .events import HostEnrolled, HostRemoved, HostSilent
from .incidents import close, escalate, open_host_lost
from .model import Fleet, Host, Phase
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
    host = turn.fleet.hosts.get(event.host)
    if host is None:
        turn.fleet.hosts[event.host] = Host(event.host, event.name, dict(event.labels), event.at_ms)
        _count(turn.fleet, event.labels, 1)
        return
    _count(turn.fleet, host.labels, -1)
    host.name, host.labels = event.name, dict(event.labels)
    _count(turn.fleet, host.labels, 1)


def remove(turn: Turn, event: HostRemoved) -> None:
    """Take a host out; what was open there ends."""
    host = turn.fleet.hosts.get(event.host)
    if host is None:
        return
    for incident_id in list(turn.fleet.by_host.get(host.id, {})):
        close(turn, turn.fleet.incidents[incident_id], Trigger.RECOVERED, Why.HOST_REMOVED, f"{event.by} removed {host.name}")
    _count(turn.fleet, host.labels, -1)
    del turn.fleet.hosts[host.id]
    for key in [k for k in turn.fleet.attempts_at if k.host == host.id]:
        del turn.fleet.attempts_at[key]


def silent(turn: Turn, event: HostSilent) -> None:
    """Heartbeats stopped. That is an incident of its own and never a reason to restart anything: a person is told."""
    host = turn.fleet.hosts.get(event.host)
    if host is None or host.lost_since_ms is not None:
        return
    host.lost_since_ms = turn.now_ms - event.silent_ms
    incident = open_host_lost(turn, host, event.silent_ms)
    if incident.phase is Phase.OPEN:
        escalate(
            turn, incident, Trigger.REFUSE, Why.HOST_LOST, f"{incident.summary}; nothing is done there until it is back", "page"
        )


def _count(fleet: Fleet, labels: dict[str, str], change: int) -> None:
    for label, value in sorted(labels.items()):
        for group in ((label, value), (label, "*")):
            size = fleet.group_size.get(group, 0) + change
            if size:
                fleet.group_size[group] = size
            else:
                fleet.group_size.pop(group, None)
