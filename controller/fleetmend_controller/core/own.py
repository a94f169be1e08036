"""Incidents that stand for no check's result: the core opens them for a lost host, a failed hook, a storm or a request."""

from __future__ import annotations

from .model import Incident, Phase, Status, Subject
from .turn import Turn


def next_id(turn: Turn) -> str:
    """The next incident's id; every call takes one."""
    number = turn.fleet.next_incident
    turn.fleet.next_incident = number + 1
    return f"inc-{number}"


def own_incident(turn: Turn, subject: Subject, text: str, phase: Phase = Phase.OPEN) -> Incident:
    """An incident that begins now, of the kind its subject's check names; registered by whoever opens it."""
    return Incident(
        id=next_id(turn),
        subject=subject,
        check_type=subject.check,
        finding={},
        summary=text,
        status=Status.CRIT,
        phase=phase,
        opened_ms=turn.now_ms,
        fault_since_ms=turn.now_ms,
        evidence_ms=turn.now_ms,
        policy=turn.policy.digest,
        phase_since_ms=turn.now_ms,
    )
