"""From a file in playbooks/ to a playbook of the core and its condition as a pure function."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from fleetmend.catalogue import HOST_LOST, ActionSpec

from ..core import policy
from ..core.model import (
    ActionStep,
    Approval,
    Attempts,
    Cost,
    EscalateTo,
    Flapping,
    FleetBudget,
    Floor,
    Host,
    Incident,
    Limits,
    NeedApproval,
    Playbook,
    Proof,
    Rate,
    Scalar,
    Step,
    Storm,
    Trust,
    WaitStep,
)
from ..rules import Declaration
from .book import Book, declared_job, declared_unit
from .cel import LABELS_KIND, Condition, ConditionError, Variables
from .judge import try_validate, validate
from .params import ANY_FINDING, read_params
from .schema import ActionModel, AnsweredModel, ApprovalModel, LimitsModel, PlaybookFile, ProveModel, WaitModel
from .text import Document, Path, did_you_mean, shown

# Incidents that the controller itself opens; people answer them.
_NOT_FOR_PLAYBOOKS = {
    "operator_run": "an operator's request is no fault",
}
UNDECLARED = "undeclared"


@dataclass(frozen=True, slots=True)
class BuiltPlaybook:
    """One playbook with where it came from, the types of the checks it answers, and its condition if it has one."""

    document: Document
    model: PlaybookFile
    playbook: Playbook
    types: tuple[str, ...]
    condition: policy.Condition | None
    compiled: Condition | None = None


@dataclass(frozen=True, slots=True)
class _Answered:
    """The checks that a playbook answers: their types, and the fields that all their findings have."""

    types: tuple[str, ...]
    finding: Mapping[str, str]


def build_playbook(book: Book, document: Document, declarations: Sequence[Declaration]) -> BuiltPlaybook | None:
    """The playbook of one file; None when something is wrong with it, and then why is in the book.

    Its parts are judged one by one even if the whole is not understood, so that every problem is found at once.
    """
    before = len(book.problems)
    whole = validate(document, (), PlaybookFile, book.problems)
    named = try_validate(document, ("when",), AnsweredModel)
    answered = _answered(book, document, named.check) if named else None
    compiled = _compiled(book, document, answered) if answered else None
    steps = _steps(book, document, answered)
    if whole is None:
        return None
    fresh = book.claim("playbook", whole.playbook, document, ("playbook",))
    if not fresh or answered is None or len(book.problems) > before:
        return None
    condition = _condition(compiled, answered, declarations) if compiled is not None else None
    return BuiltPlaybook(document, whole, _playbook(whole, steps), answered.types, condition, compiled)


def _playbook(model: PlaybookFile, steps: tuple[Step, ...]) -> Playbook:
    escalate = model.escalate
    return Playbook(
        name=model.playbook,
        summary=model.summary,
        owner=model.owner,
        trust=Trust(model.trust),
        check=model.when.check[0],
        also=tuple(model.when.check[1:]),
        where=model.when.where or "",
        for_ms=model.when.for_,
        steps=steps,
        limits=_limits(model.limits),
        escalate=EscalateTo(escalate.to, escalate.severity) if escalate else EscalateTo(model.owner, "ticket"),
        toil_minutes=model.toil_minutes,
        approval=_approval(model.approval),
        alone=model.alone,
    )


def _approval(model: ApprovalModel) -> Approval:
    return Approval(NeedApproval(model.needed_for), model.people, model.within, model.role)


def _limits(model: LimitsModel) -> Limits:
    fleet, tries, storm = model.fleet, model.attempts, model.storm
    return Limits(
        per_host=Rate(*model.per_host),
        fleet=FleetBudget(fleet.by[0], fleet.percent, fleet.at_most, tuple(fleet.by[1:])),
        attempts=Attempts(tries.max, tries.within, tries.backoff, tries.factor),
        storm=Storm(storm.by, storm.percent, storm.within, storm.hosts) if storm else None,
        floor=Floor(model.minimum_healthy.by, model.minimum_healthy.percent) if model.minimum_healthy else None,
        flapping=_flapping(model),
    )


def _flapping(model: LimitsModel) -> Flapping:
    """Where nothing is said, the limit of tries speaks first: it knows more than that something comes and goes."""
    given = model.flapping
    if given is None:
        return Flapping(max(6, model.attempts.max + 1), 600_000, 600_000)
    return Flapping(given.count, given.within, given.quiet)


def _answered(book: Book, document: Document, names: Sequence[str]) -> _Answered | None:
    types: list[str] = []
    listed = document.node(("when", "check"))
    for index, name in enumerate(names):
        path: Path = ("when", "check", index) if listed is not None and listed.items else ("when", "check")
        check_type = name if name in book.catalogue.checks else book.check_types.get(name, "")
        if check_type:
            types.append(check_type)
        elif name in _NOT_FOR_PLAYBOOKS:
            book.problems.append(document.problem(path, f"cannot answer {name}: {_NOT_FOR_PLAYBOOKS[name]}"))
        elif book.complete:
            known = [*book.catalogue.checks, *book.check_types]
            text = f"cannot find a check or check type named {shown(name)}: {did_you_mean(name, known)}"
            book.problems.append(document.problem(path, text))
    if len(types) != len(names):
        return None
    findings = [{f.name: f.kind for f in book.catalogue.checks[t].finding} for t in types]
    common = {name: kind for name, kind in findings[0].items() if all(other.get(name) == kind for other in findings)}
    return _Answered(tuple(dict.fromkeys(types)), common)


def _compiled(book: Book, document: Document, answered: _Answered) -> Condition | None:
    where = document.text_at(("when", "where"))
    if not where:
        return None
    kinds = {f"finding.{name}": kind for name, kind in answered.finding.items()}
    kinds |= {"host.name": "text", "host.labels": LABELS_KIND, "check.name": "text", "check.type": "text"}
    kinds |= {"status": "text", "summary": "text"}
    if answered.finding.get("unit") == "text":
        kinds |= {"declared.restart": "text", "declared.desired": "text", "declared.job": "text"}
    variables = Variables(tuple(kinds.items()), " and ".join(answered.types))
    try:
        return Condition.compile(where, variables)
    except ConditionError as error:
        for fault in error.faults:
            text = f"cannot use the condition: {fault.text}"
            book.problems.append(document.problem_inside(("when", "where"), fault.offset, text))
        return None


def _condition(compiled: Condition, answered: _Answered, declarations: Sequence[Declaration]) -> policy.Condition:
    fields = tuple(answered.finding)

    def judge(host: Host, incident: Incident) -> policy.Match:
        return compiled.matches(_values(host, incident, fields, declarations))

    return judge


def _values(host: Host, incident: Incident, fields: tuple[str, ...], declarations: Sequence[Declaration]) -> dict[str, object]:
    values: dict[str, object] = {f"finding.{name}": incident.finding[name] for name in fields if name in incident.finding}
    unit = incident.finding.get("unit")
    if isinstance(unit, str) and unit:
        rule = declared_unit(declarations, host.labels, unit)
        values["declared.restart"] = rule.restart if rule else UNDECLARED
        values["declared.desired"] = rule.desired if rule else UNDECLARED
        values["declared.job"] = declared_job(declarations, host.labels, unit) or UNDECLARED
    values |= {"host.name": host.name, "host.labels": host.labels, "check.name": incident.subject.check}
    values |= {"check.type": incident.check_type, "status": incident.status.value, "summary": incident.summary}
    return values


def _steps(book: Book, document: Document, answered: _Answered | None) -> tuple[Step, ...]:
    listed = document.node(("steps",))
    steps: list[Step] = []
    for index in range(len(listed.items) if listed else 0):
        path: Path = ("steps", index)
        node = document.node(path)
        waits = node is not None and "wait" in node.entries and "action" not in node.entries
        if waits:
            wait = try_validate(document, path, WaitModel)
            steps += [WaitStep(wait.wait)] if wait else []
            continue
        name = document.text_at((*path, "action"))
        spec = book.catalogue.actions.get(name)
        if spec:
            steps.append(_action(book, document, path, spec, answered))
        elif name:
            text = f"cannot find the action {shown(name)}: {did_you_mean(name, book.catalogue.actions)}"
            book.problems.append(document.problem((*path, "action"), text))
    return tuple(steps)


def _action(book: Book, document: Document, path: Path, spec: ActionSpec, answered: _Answered | None) -> ActionStep:
    model = try_validate(document, path, ActionModel) or ActionModel(action=spec.name)
    finding = answered.finding if answered else ANY_FINDING
    params = read_params(document, path, spec, book.problems, finding)
    cost = Cost(spec.cost)
    if answered is not None and HOST_LOST in answered.types and not spec.here:
        text = f"cannot run {spec.name} on a lost host: nothing reaches it but what the controller does itself"
        book.problems.append(document.problem((*path, "action"), text))
        answered = None
    heals = bool(spec.proved_by) or not spec.here
    prove = model.prove or (None if cost is Cost.HARMLESS or not heals else ProveModel())
    if model.drain and (cost is Cost.HARMLESS or spec.here):
        text = f"cannot drain the host around {spec.name}: it disturbs nothing there"
        book.problems.append(document.problem((*path, "drain"), text, key=True))
    if prove is not None and answered is not None:
        for check_type in answered.types:
            # What an alert is about only its author knows: its end proves whatever ended it.
            free = bool(book.catalogue.checks[check_type].told_by) and not spec.here and check_type != HOST_LOST
            if check_type not in spec.proved_by and not free:
                able = ", ".join(spec.proved_by) or "no check"
                text = f"cannot prove {spec.name} by a check of type {check_type}: it can be proved by {able}"
                book.problems.append(document.problem((*path, "action"), text))
    scalars: tuple[tuple[str, Scalar], ...] = tuple(sorted(params.items()))
    return ActionStep(
        action=spec.name,
        params=scalars,
        cost=cost,
        prove=Proof(prove.within, prove.stay_ok) if prove else None,
        timeout_ms=round(spec.timeout_s * 1000) if model.timeout is None else model.timeout,
        here=spec.here,
        drain=model.drain,
    )
