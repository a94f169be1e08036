"""The end of an incident, by itself or with a person, and what becomes free by it."""

from __future__ import annotations

from collections.abc import Iterable

from .effects import RequestCheck, Why
from .incidents import close, escalate
from .model import Incident
from .transitions import Trigger
from .turn import Turn


def reconsider(turn: Turn, incidents: Iterable[str]) -> None:
    """Look at these again before the turn ends."""
    turn.later.update(dict.fromkeys(incidents))


def held_by(turn: Turn, gate: str, incidents: Iterable[str]) -> list[str]:
    """Those of the incidents that this gate holds, alone or with others."""
    return [i for i in incidents if any(hold.startswith(f"{gate}:") for hold in turn.fleet.incidents[i].holds)]


def end(turn: Turn, incident: Incident, trigger: Trigger, why: Why, text: str) -> None:
    """Close an incident; symptoms that still seem sick are looked at anew, and who waited may go on."""
    host_id, groups = incident.subject.host, incident.groups
    host = turn.fleet.hosts.get(host_id)
    for symptom in close(turn, incident, trigger, why, text):
        # It may date from before the repair, or from the moment in which the service was not yet up. Only a fresh result can
        # make it a fault of its own: acting on what it last said would repair one fault twice.
        if host is not None:
            turn.do(RequestCheck(symptom.subject))
    freed(turn, host_id, groups)


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
    reconsider(turn, held_by(turn, "one_at_a_time", turn.fleet.by_host.get(host_id, {})))
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
