"""The invariants of what one event touched: its incidents, and the hosts that they are on.

The whole fleet is swept now and then.
"""

from __future__ import annotations

from fleetmend_controller.core.effects import SendOrder, Step
from fleetmend_controller.core.model import Cost, Fleet, Incident, Phase

OUT = (Phase.ORDERED, Phase.RUNNING)


def touched(step: Step) -> list[str]:
    """The incidents that a step says something of."""
    found = dict.fromkeys(reason.incident for reason in step.reasons)
    for effect in step.effects:
        found[effect.order.incident if isinstance(effect, SendOrder) else getattr(effect, "incident", "")] = None
    return [incident for incident in found if incident]


def broken(fleet: Fleet, step: Step) -> str:
    """The first violation, or nothing."""
    hosts: dict[str, None] = {}
    for incident_id in touched(step):
        incident = fleet.incidents.get(incident_id)
        if incident is None:
            continue
        hosts[incident.subject.host] = None
        text = _incident(fleet, incident)
        if text:
            return f"{incident_id} {text}"
    return next((text for text in (_host(fleet, host) for host in hosts) if text), "")


def _incident(fleet: Fleet, incident: Incident) -> str:
    if fleet.by_subject.get(incident.subject) != incident.id:
        return "is not found under its subject"
    if incident.id not in fleet.by_host.get(incident.subject.host, {}):
        return "is not found under its host"
    if incident.phase is Phase.RESOLVED:
        return "is resolved and still here"
    if incident.phase in OUT and incident.order is None:
        return f"is {incident.phase.value} without an order"
    if incident.phase not in (*OUT, Phase.PROVING) and incident.order is not None:
        return f"is {incident.phase.value} and still has {incident.order.id}"
    if incident.phase is not Phase.ESCALATED and incident.wake_ms is None:
        return f"is {incident.phase.value} and nothing will wake it"
    missing = [g for g in incident.groups if incident.subject.host not in fleet.in_flight.get(g, {})]
    return f"holds budget that the ledger has not: {missing}" if missing else ""


def _host(fleet: Fleet, host: str) -> str:
    out = []
    for incident_id in fleet.by_host.get(host, {}):
        incident = fleet.incidents.get(incident_id)
        if incident is None:
            return f"{host} points at {incident_id}, which is closed"
        # What a host does alone is no order of ours: it keeps the two apart itself.
        ours = incident.order is not None and not incident.order.permit and incident.order.cost is not Cost.HARMLESS
        if incident.phase in OUT and ours:
            out.append(incident_id)
    acting = list(fleet.acting.get(host, {}))
    if len(out) > 1 or sorted(acting) != sorted(out):
        return f"{host}: orders of {out} are out, {acting} are marked as acting"
    return ""
