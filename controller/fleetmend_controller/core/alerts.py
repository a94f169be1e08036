"""Alerts of Prometheus as results of a check: which word about an alert is news, and which is late or said twice."""

from __future__ import annotations

from .events import AlertSaid, Observed
from .model import ALERT_TYPE, Alert, Fleet, Host, Incident, Phase, Status, Subject

# That an alert fires may be said again by the other one of a pair after it is over; for so long that is no new fault. Later,
# the same alert has come back: its sender was cut off from Alertmanager, which then took it for over.
LATE_MS = 900_000


def heard(fleet: Fleet, event: AlertSaid, now_ms: int) -> bool:
    """Remember what is said. False if it is an older word than what is known."""
    subject = Subject(event.host, event.check, event.key)
    known = fleet.alerts.get(subject)
    if event.status is Status.UNKNOWN:
        return True
    if known is not None and _is_late(known, event, now_ms):
        return False
    fires = event.status is not Status.OK
    ended_ms = known.ended_ms if known is not None else 0
    if not fires:
        ended_ms = max(ended_ms, event.ends_ms)
        _forget_old(fleet, now_ms)
    said_ms = event.said_ms
    if known is not None and known.firing is fires:
        # Of what fires the newest word counts, of what is over the first that tells of this end.
        newer_end = not fires and event.ends_ms > known.ended_ms
        said_ms = said_ms if newer_end else max(said_ms, known.said_ms) if fires else known.said_ms
    expires_ms = event.ends_ms if fires else 0
    fleet.alerts[subject] = Alert(fires, said_ms, event.starts_ms, ended_ms, expires_ms, dict(event.finding), event.summary)
    return True


def observed(host: Host, event: AlertSaid) -> Observed:
    """The word as a result that was sampled when it was said, on the host's clock as the controller knows it."""
    clock_ms = event.at_ms + host.clock_offset_ms
    return Observed(
        at_ms=event.at_ms,
        host=event.host,
        check=event.check,
        check_type=ALERT_TYPE,
        key=event.key,
        status=event.status,
        finding=event.finding,
        summary=event.summary,
        boot=host.boot,
        sampled_clock_ms=clock_ms - max(0, event.at_ms - event.said_ms),
        clock_ms=clock_ms,
    )


def only_told(incident: Incident) -> bool:
    """An alert that no playbook answers: people have it, and what an agent sees of the same unit is not healed by waiting."""
    return incident.check_type == ALERT_TYPE and incident.phase is Phase.ESCALATED and incident.book is None


def forget_host(fleet: Fleet, host: str) -> None:
    """The host was removed."""
    for subject in [s for s in fleet.alerts if s.host == host]:
        del fleet.alerts[subject]


def _is_late(known: Alert, event: AlertSaid, now_ms: int) -> bool:
    if event.status is Status.OK:
        # The end of an earlier episode than the one that is known to go on.
        return known.firing and event.ends_ms <= max(known.starts_ms, known.ended_ms)
    return not known.firing and event.starts_ms < known.ended_ms and now_ms - known.said_ms < LATE_MS


def _forget_old(fleet: Fleet, now_ms: int) -> None:
    for subject in [s for s, a in fleet.alerts.items() if not a.firing and now_ms - a.said_ms >= LATE_MS]:
        del fleet.alerts[subject]
