"""Which playbook answers an incident, and the values its step gets."""

from __future__ import annotations

from .effects import Why
from .model import ActionStep, Host, Incident, Params, Playbook, Scalar
from .policy import ANSWERS_ALL, MatchAnswer
from .turn import Turn

_ERRORS = {MatchAnswer.NO: Why.PLAYBOOK_WHERE_FALSE, MatchAnswer.ERROR: Why.PLAYBOOK_WHERE_ERROR}
# Those that answer other checks are told in one line, and of many only the first by name.
NAMED_MAX = 20


def match(turn: Turn, host: Host, incident: Incident) -> Playbook | None:
    """The first playbook, in policy order, whose check and condition fit. Every answer is recorded, also of those after it."""
    found: Playbook | None = None
    others: list[str] = []
    for playbook in turn.policy.playbooks:
        if not playbook.answers(incident.subject.check, incident.check_type):
            others.append(playbook.name)
            continue
        condition = turn.policy.conditions.get(playbook.name)
        answer = condition(host, incident) if condition is not None else ANSWERS_ALL
        if answer.answer is not MatchAnswer.YES:
            turn.say(incident, _ERRORS[answer.answer], f"{playbook.name} does not match: {answer.text}")
        elif found is not None:
            turn.say(incident, Why.PLAYBOOK_LATER, f"{playbook.name} would answer it, too, but {found.name} comes before it")
        else:
            found = playbook
            incident.playbook = playbook.name
            turn.say(incident, Why.PLAYBOOK_MATCHED, f"{playbook.name} answers it: {playbook.summary}")
    if found is None:
        incident.playbook = ""
    if others:
        turn.say(incident, Why.PLAYBOOK_OTHER_CHECK, _others(others))
    return found


def _others(names: list[str]) -> str:
    more = f" and {len(names) - NAMED_MAX} more" if len(names) > NAMED_MAX else ""
    verb = "answers" if len(names) == 1 else "answer"
    return f"{', '.join(names[:NAMED_MAX])}{more} {verb} other checks"


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
