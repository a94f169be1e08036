"""What every gate would say at this moment about each open incident of a host. Looks, and changes nothing."""

from __future__ import annotations

from dataclasses import dataclass

from .gates import Answer, Candidate
from .incidents import WAITING, playbook_of
from .matching import substitute
from .model import ActionStep, Fleet, Incident, Trust
from .policy import Policy
from .standing import effective_trust


@dataclass(frozen=True, slots=True)
class Survey:
    """One open incident now. `action` and `answers` (gate, answer) are empty where no step waits for the gates."""

    incident: Incident
    action: str
    answers: tuple[tuple[str, Answer], ...]


def survey(fleet: Fleet, policy: Policy, host_id: str, now_ms: int) -> tuple[Survey, ...]:
    """Every open incident of a host, oldest first."""
    here = (fleet.incidents[incident_id] for incident_id in fleet.by_host.get(host_id, {}))
    return tuple(_look(fleet, policy, incident, now_ms) for incident in here)


def _look(fleet: Fleet, policy: Policy, incident: Incident, now_ms: int) -> Survey:
    host = fleet.hosts.get(incident.subject.host)
    playbook = playbook_of(incident)
    if host is None or playbook is None or incident.phase not in WAITING or incident.step >= len(playbook.steps):
        return Survey(incident, "", ())
    step = playbook.steps[incident.step]
    if not isinstance(step, ActionStep):
        return Survey(incident, "", ())
    trust = Trust.ACT if incident.run is not None else effective_trust(fleet, playbook)
    params = substitute(step, incident)
    if isinstance(params, str):
        return Survey(incident, "", ())
    candidate = Candidate(now_ms, fleet, policy, host, incident, playbook, step, trust, params)
    return Survey(incident, step.action, tuple((gate.name, gate.ask(candidate)) for gate in policy.gates))
