"""The end of an incident, by itself or with a person, and what becomes free by it."""

from __future__ import annotations

from collections.abc import Iterable

from .effects import RequestCheck, Why
from .events import Observed
from .incidents import close, escalate, open_incident
from .model import Incident, Status, Symptom
from .transitions import Trigger
from .turn import Turn


def reconsider(turn: Turn, incidents: Iterable[str]) -> None:
    """Look at these again before the turn ends."""
    turn.later.update(dict.fromkeys(incidents))


def end(turn: Turn, incident: Incident, trigger: Trigger, why: Why, text: str) -> None:
    """Close an incident; symptoms that are still sick become incidents of their own, and who waited may go on."""
    host_id, groups = incident.subject.host, incident.groups
    host = turn.fleet.hosts.get(host_id)
    ended = (incident.ended_boot, incident.ended_clock_ms)
    for symptom in close(turn, incident, trigger, why, text):
        if host is None or symptom.boot != host.boot:
            continue
        if symptom.boot == ended[0] and symptom.sampled_clock_ms <= ended[1]:
            # Seen before the repair: whether it is still so is not known. Acting on it would repair one fault twice.
            turn.do(RequestCheck(symptom.subject))
            continue
        reconsider(turn, [open_incident(turn, _as_event(turn, symptom)).id])
    freed(turn, host_id, groups)


def _as_event(turn: Turn, symptom: Symptom) -> Observed:
    s = symptom.subject
    clock_ms = symptom.sampled_clock_ms + turn.now_ms - symptom.sampled_ms
    return Observed(
        turn.now_ms, s.host, s.check, symptom.check_type, s.key, Status.CRIT, symptom.finding, symptom.summary,
        symptom.boot, symptom.sampled_clock_ms, clock_ms,
    )  # fmt: skip


def give_up(turn: Turn, incident: Incident, trigger: Trigger, why: Why, text: str) -> None:
    """Hand over to a person; an operator's own request just ends."""
    host_id, groups = incident.subject.host, incident.groups
    if incident.run is not None:
        end(turn, incident, Trigger.RECOVERED, why, text)
        return
    escalate(turn, incident, trigger, why, text)
    freed(turn, host_id, groups)


def freed(turn: Turn, host_id: str, groups: tuple[tuple[str, str], ...]) -> None:
    """A host or a place in a budget came free: those who waited for it look again, the longest waiting first."""
    of_host = turn.fleet.by_host.get(host_id, {})
    reconsider(turn, [i for i in of_host if any(hold.startswith("one_at_a_time:") for hold in turn.fleet.incidents[i].holds)])
    for group in groups:
        queue = turn.fleet.waiting.get(group)
        if not queue:
            continue
        first = next((i for i in queue if i in turn.fleet.incidents), None)
        for passed in list(queue):
            del queue[passed]
            if passed == first:
                break
        if not queue:
            del turn.fleet.waiting[group]
        if first is not None:
            reconsider(turn, [first])
