"""Warnings about danger: playbooks that can cause what they answer, work against each other, prove nothing, or may not act.

What cannot be decided from the text alone (a condition may rule it out) is warned about only when nothing in it does.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from fnmatch import fnmatchcase

from ..core.model import ActionStep, Cost, Trust
from ..rules import CheckSpec
from .book import Book
from .build import BuiltPlaybook

_STOPS = ("stop_unit", "kill_process")
_STARTS = ("start_unit", "restart_unit")
_EVIDENCE = "collect_evidence"
_FINDING_UNIT = "{finding.unit}"
_EQUALS = re.compile(r"^\(*\s*([a-z][\w.]*)\s*==\s*\"([^\"]*)\"\s*\)*$")
_AMONG = re.compile(r"^\(*\s*([a-z][\w.]*)\s+in\s+\[([^\]]*)\]\s*\)*$")
_TEXT = re.compile(r"\"([^\"]*)\"")


def lint_hazards(book: Book, built: Sequence[BuiltPlaybook], checks: Sequence[CheckSpec]) -> None:
    """Look at each playbook, and at each with those before it. `checks` are those written and those that declarations make."""
    for index, each in enumerate(built):
        _proof(book, each)
        _self_made(book, each, [spec for spec in checks if each.playbook.answers(spec.name, spec.type)])
        for other in built[:index]:
            _same_answer(book, other, each)
            _against(book, other, each, checks)
            _against(book, each, other, checks)


def lint_permitted(book: Book, built: Sequence[BuiltPlaybook], host_policies: Mapping[str, Collection[str]]) -> None:
    """Steps that would run nowhere. `host_policies` maps host policy files to the actions that they list."""
    for each in built:
        for index, step in actions_of(each):
            if step.here or any(step.action in allowed for allowed in host_policies.values()):
                continue
            text = f"cannot ever run {step.action}: no host policy lists it ({', '.join(sorted(host_policies))})"
            book.warnings.append(each.document.problem(("steps", index, "action"), text))


def actions_of(each: BuiltPlaybook) -> Iterator[tuple[int, ActionStep]]:
    """The action steps with their places."""
    return ((index, step) for index, step in enumerate(each.playbook.steps) if isinstance(step, ActionStep))


def _proof(book: Book, each: BuiltPlaybook) -> None:
    steps = list(actions_of(each))
    if all(step.prove is None for _, step in steps) and any(step.action != _EVIDENCE for _, step in steps):
        text = f"cannot ever heal by {each.playbook.name}: none of its steps is proved by the check"
        book.warnings.append(each.document.problem(("steps",), text, key=True))
    if each.playbook.trust is Trust.OBSERVE:
        return
    for index, step in steps:
        if step.cost is not Cost.HARMLESS and step.prove is not None and step.prove.stay_ok_ms == 0:
            text = f"cannot tell whether {step.action} holds: with stay_ok of 0s one good moment proves it"
            book.warnings.append(each.document.problem(("steps", index, "prove", "stay_ok"), text))


def _self_made(book: Book, each: BuiltPlaybook, answered: Sequence[CheckSpec]) -> None:
    """A step that brings about the fault that it answers."""
    if "desired" in each.playbook.where:
        # The condition looks at what should be so; the text alone cannot tell more.
        answered = [spec for spec in answered if spec.type != "unit_active"]
    for index, step in actions_of(each):
        params = dict(step.params)
        for spec in answered:
            text = _cause(step.action, params, spec)
            if text:
                book.warnings.append(each.document.problem(("steps", index, "action"), f"cannot heal by {step.action}: {text}"))
                break


def _cause(action: str, params: Mapping[str, object], spec: CheckSpec) -> str:
    unit, watched = str(params.get("unit", "")), str(spec.params.get("unit") or "")
    if spec.type == "unit_active" and watched and unit in (watched, _FINDING_UNIT):
        stopped = spec.params.get("desired") == "stopped"
        if action in _STARTS and stopped:
            return f"{spec.name} wants {watched} stopped, and this starts it"
        if action in _STOPS and not stopped and unit == watched:
            return f"{spec.name} wants {watched} running, and this stops it"
    folder, path = str(params.get("path", "")), str(spec.params.get("path") or "")
    if action == "clear_directory" and spec.type == "file_age" and folder and path and _holds(folder, path):
        return f"{spec.name} looks at {path}, and this deletes it"
    return ""


def _holds(pattern: str, path: str) -> bool:
    folder = pattern.removesuffix("/**").removesuffix("/*").removesuffix("/")
    return path == folder or path.startswith(folder + "/") or fnmatchcase(path, pattern)


def _same_answer(book: Book, other: BuiltPlaybook, each: BuiltPlaybook) -> None:
    """Two playbooks that answer the same incidents with opposite actions on the same unit, by turns of their conditions."""
    names = {each.playbook.check, *each.playbook.also, *each.types}
    if names.isdisjoint({other.playbook.check, *other.playbook.also, *other.types}) or _apart(other, each):
        return
    for index, step in actions_of(each):
        against = next((s for _, s in actions_of(other) if _opposite(s, step)), None)
        if against is not None:
            text = (
                f"cannot let {each.playbook.name} and {other.playbook.name} ({other.document.file}) both answer this: "
                f"{step.action} here, {against.action} there, on the same unit"
            )
            book.warnings.append(each.document.problem(("steps", index, "action"), text))
            return


def _against(book: Book, stopper: BuiltPlaybook, starter: BuiltPlaybook, checks: Sequence[CheckSpec]) -> None:
    """A playbook that stops a unit which another starts as soon as a check sees it down."""
    watched = {
        str(spec.params.get("unit"))
        for spec in checks
        if spec.type == "unit_active"
        and spec.params.get("desired") != "stopped"
        and starter.playbook.answers(spec.name, spec.type)
    }
    starts = {str(dict(s.params).get("unit", "")) for _, s in actions_of(starter) if s.action in _STARTS}
    started = watched if _FINDING_UNIT in starts else watched & starts
    for index, step in actions_of(stopper):
        if step.action not in _STOPS:
            continue
        unit = next((u for u in _units(stopper, step, checks) if u in started), "")
        if unit and not _shares(stopper, starter):
            text = f"cannot keep {unit} stopped: {starter.playbook.name} ({starter.document.file}) starts it again"
            book.warnings.append(stopper.document.problem(("steps", index, "action"), text))
            return


def _shares(one: BuiltPlaybook, two: BuiltPlaybook) -> bool:
    return not set(one.types).isdisjoint(two.types)


def _units(each: BuiltPlaybook, step: ActionStep, checks: Sequence[CheckSpec]) -> list[str]:
    unit = str(dict(step.params).get("unit", ""))
    if unit != _FINDING_UNIT:
        return [unit] if unit else []
    found = (spec.params.get("unit") for spec in checks if each.playbook.answers(spec.name, spec.type))
    return sorted({str(u) for u in found if u})


def _opposite(one: ActionStep, two: ActionStep) -> bool:
    kinds = (one.action in _STARTS and two.action in _STOPS) or (one.action in _STOPS and two.action in _STARTS)
    units = [str(dict(step.params).get("unit", "")) for step in (one, two)]
    return kinds and bool(units[0]) and (units[0] == units[1] or _FINDING_UNIT in units)


def _apart(one: BuiltPlaybook, two: BuiltPlaybook) -> bool:
    """Whether the conditions can never both hold, as far as equalities with texts show it."""
    mine, theirs = _demands(one.playbook.where), _demands(two.playbook.where)
    return any(name in theirs and values.isdisjoint(theirs[name]) for name, values in mine.items())


def _demands(where: str) -> dict[str, set[str]]:
    demands: dict[str, set[str]] = {}
    if "||" in where or "?" in where:
        return demands
    for term in where.split("&&"):
        equals, among = _EQUALS.match(term.strip()), _AMONG.match(term.strip())
        if equals:
            demands[equals[1]] = {equals[2]}
        elif among:
            demands[among[1]] = set(_TEXT.findall(among[2]))
    return demands
