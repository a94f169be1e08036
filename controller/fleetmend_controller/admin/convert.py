"""From the controller's values to the messages that operators get."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from fleetmend.v1 import admin_pb2 as pb

from ..core import model
from ..core.standing import effective_trust
from .case import Case, show
from .explain import Line, Section, Topic

_PHASES = {phase.value: pb.IncidentPhase.Value(f"INCIDENT_PHASE_{phase.name}") for phase in model.Phase}
_COSTS = {cost.value: pb.ActionCost.Value(f"ACTION_COST_{cost.name}") for cost in model.Cost}
_TRUSTS = {trust.value: pb.PlaybookTrust.Value(f"PLAYBOOK_TRUST_{trust.name}") for trust in model.Trust}
_NEEDS = {need.value: pb.ApprovalNeed.Value(f"APPROVAL_NEED_{need.name}") for need in model.NeedApproval}
_TOPICS = {topic: pb.ExplainTopic.Value(f"EXPLAIN_TOPIC_{topic.name}") for topic in Topic}
_ROLES = {"responder": pb.APPROVAL_ROLE_RESPONDER, "admin": pb.APPROVAL_ROLE_ADMIN}


OUTPUT_CHARS_MAX = 16 * 1024


def cut(text: str, chars_max: int) -> str:
    """The end of a text that is too long, and how much is missing."""
    return text if len(text) <= chars_max else f"[{len(text) - chars_max} characters before]\n{text[len(text) - chars_max :]}"


def phase_of(word: str) -> pb.IncidentPhase.ValueType:
    """The phase that a stored word names; unspecified for none."""
    return _PHASES.get(word, pb.INCIDENT_PHASE_UNSPECIFIED)


def phase_word(phase: pb.IncidentPhase.ValueType) -> str:
    """The stored word of a phase; empty for unspecified."""
    return next((word for word, value in _PHASES.items() if value == phase), "")


def cost_of(word: str) -> pb.ActionCost.ValueType:
    """The cost that a word names; unspecified for none."""
    return _COSTS.get(word, pb.ACTION_COST_UNSPECIFIED)


def trust_of(trust: model.Trust) -> pb.PlaybookTrust.ValueType:
    """A trust."""
    return _TRUSTS[trust.value]


def role_of(word: str) -> pb.ApprovalRole.ValueType:
    """The role that a word names; unspecified for none."""
    return _ROLES.get(word, pb.APPROVAL_ROLE_UNSPECIFIED)


def incident_of_row(row: Any, host_name: str) -> pb.Incident:
    """A row of the incidents' list."""
    return pb.Incident(
        id=row.id,
        host_id=row.host,
        host_name=host_name,
        check=row.check,
        key=row.key,
        phase=phase_of(row.phase),
        why=row.why,
        summary=row.summary,
        playbook=row.playbook,
        opened_ms=row.opened_ms,
        changed_ms=row.changed_ms,
        closed_ms=row.closed_ms,
        taken_by=row.taken_by,
        taken_ms=row.taken_ms,
    )


def incident_of_case(case: Case, host_name: str) -> pb.Incident:
    """An incident as its story tells it."""
    return pb.Incident(
        id=case.incident,
        host_id=case.host,
        host_name=host_name,
        check=case.check,
        key=case.key,
        phase=phase_of(case.phase),
        why=case.why,
        summary=case.summary,
        playbook=case.playbook,
        opened_ms=case.opened_ms,
        changed_ms=case.changed_ms,
        closed_ms=case.closed_ms,
        taken_by=case.taken_by,
        taken_ms=case.taken_ms,
    )


def attempts_of(case: Case) -> list[pb.IncidentAttempt]:
    """The orders of an incident."""
    return [
        pb.IncidentAttempt(
            order_id=order.id,
            action=order.action,
            params=order.params,
            requested_by=order.requested_by,
            ordered_ms=order.ordered_ms,
            started_ms=order.started_ms,
            ended_ms=order.ended_ms,
            outcome=order.outcome,
            detail=order.detail,
            output=cut(order.output, OUTPUT_CHARS_MAX),
            commands=order.commands,
        )
        for order in case.orders.values()
    ]


def sections_of(sections: Iterable[Section]) -> list[pb.ExplainSection]:
    """The sections of an explanation."""
    return [
        pb.ExplainSection(topic=_TOPICS[section.topic], title=section.title, lines=[_line(line) for line in section.lines])
        for section in sections
    ]


def _line(line: Line) -> pb.ExplainLine:
    return pb.ExplainLine(
        at_ms=line.at_ms,
        until_ms=line.until_ms,
        count=line.count,
        host_clock_ms=line.host_clock_ms,
        text=line.text,
        why=line.why,
        gate=line.gate,
        verdict=line.verdict,
        playbook=line.playbook,
        evidence=line.evidence,
    )


def pause_of(pause: model.Pause) -> pb.HealingPause:
    """A pause."""
    return pb.HealingPause(
        scope=pause.scope, by=pause.by, reason=pause.reason, since_ms=pause.since_ms, until_ms=pause.until_ms
    )


def playbook_of(playbook: model.Playbook, fleet: model.Fleet) -> pb.Playbook:
    """A playbook, and what became of its trust."""
    standing = fleet.standing.get(playbook.name, model.Standing())
    return pb.Playbook(
        name=playbook.name,
        summary=playbook.summary,
        owner=playbook.owner,
        trust=_TRUSTS[playbook.trust.value],
        check=", ".join((playbook.check, *playbook.also)),
        where=playbook.where,
        for_ms=playbook.for_ms,
        steps=[_step(step) for step in playbook.steps],
        per_host_count=playbook.limits.per_host.count,
        per_host_window_ms=playbook.limits.per_host.window_ms,
        fleet_by=", ".join(playbook.limits.fleet.labels),
        fleet_percent=playbook.limits.fleet.percent,
        fleet_at_most=playbook.limits.fleet.at_most,
        escalate_to=playbook.escalate.to,
        escalate_severity=playbook.escalate.severity,
        toil_minutes=playbook.toil_minutes,
        effective_trust=_TRUSTS[effective_trust(fleet, playbook).value],
        demoted_because=standing.why if standing.lowered is not None else "",
        approval_needed_for=_NEEDS[playbook.approval.needed_for.value],
        approval_people=playbook.approval.people,
        approval_within_ms=playbook.approval.within_ms,
        approval_role=role_of(playbook.approval.role),
    )


def _step(step: model.Step) -> pb.PlaybookStep:
    if isinstance(step, model.WaitStep):
        return pb.PlaybookStep(wait_ms=step.wait_ms)
    action = pb.PlaybookAction(
        action=step.action,
        params={name: show(value) for name, value in step.params},
        cost=cost_of(step.cost.value),
        timeout_ms=step.timeout_ms,
        prove_within_ms=step.prove.within_ms if step.prove else None,
        prove_stay_ok_ms=step.prove.stay_ok_ms if step.prove else None,
    )
    return pb.PlaybookStep(action=action)
