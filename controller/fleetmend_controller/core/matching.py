"""Which playbook answers an incident, and the values its step gets."""

from __future__ import annotations

from .effects import Why
from .model import ActionStep, Host, Incident, Params, Playbook, Scalar
from .policy import MatchAnswer
from .turn import Turn

_ERRORS = {MatchAnswer.NO: Why.PLAYBOOK_WHERE_FALSE, MatchAnswer.ERROR: Why.PLAYBOOK_WHERE_ERROR}


def match(turn: Turn, host: Host, incident: Incident) -> Playbook | None:
    """The first playbook, in policy order, whose check and condition fit. Every answer is recorded."""
    for playbook in turn.policy.playbooks:
        if not playbook.answers(incident.subject.check, incident.check_type):
            continue
        condition = turn.policy.conditions.get(playbook.name)
        if condition is not None:
            answer = condition(host, incident)
            if answer.answer is not MatchAnswer.YES:
                turn.say(incident, _ERRORS[answer.answer], f"{playbook.name} does not match: {answer.text}")
                continue
        incident.playbook = playbook.name
        turn.say(incident, Why.PLAYBOOK_MATCHED, f"{playbook.name} answers it: {playbook.summary}")
        return playbook
    incident.playbook = ""
    return None


def substitute(step: ActionStep, incident: Incident) -> Params | str:
    """The step's parameters with `{finding.x}` replaced by typed values, or why that cannot be."""
    values: list[tuple[str, Scalar]] = []
    for name, written in step.params:
        value = written
        if isinstance(value, str) and value.startswith("{finding.") and value.endswith("}"):
            field = value[len("{finding.") : -1]
            if field not in incident.finding:
                return f"cannot fill parameter {name} of {step.action}: the finding has no {field}"
            value = incident.finding[field]
        values.append((name, value))
    return tuple(values)
