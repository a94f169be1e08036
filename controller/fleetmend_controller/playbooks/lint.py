"""Warnings: rules that mean something, but hardly what their author wanted. They hold nothing up; check-config shows them."""

from __future__ import annotations

from collections.abc import Sequence

from fleetmend.catalogue import HOST_LOST

from ..core.model import ActionStep, Trust, WaitStep
from ..declarations.build import Built
from ..rules import Declaration
from .book import Book
from .build import BuiltPlaybook
from .checks import BuiltCheck

# What a clean-up and a restart both bring about is not what stopping does.
_STOPS = ("stop_unit", "kill_process")
# Alertmanager's own default of group_interval.
TOLD_WITHIN_MS = 300_000


def lint_playbooks(book: Book, built: Sequence[BuiltPlaybook]) -> None:
    """Look at the playbooks in the order in which they are tried."""
    for index, each in enumerate(built):
        _limits(book, each)
        _steps(book, each)
        _reachable(book, built[:index], each)
        _has_checks(book, each)
        _told_in_time(book, each)


def lint_declarations(book: Book, built: Sequence[Built]) -> None:
    """Look at what is declared."""
    for each in built:
        for index, pattern in enumerate(each.model.disposable):
            guard = next((p for p in each.model.protected if _covers(p, pattern)), None)
            if guard is not None:
                text = f"cannot ever clear {pattern}: {guard} is protected, and protection comes first"
                book.warnings.append(each.document.problem(("disposable", index), text))


def lint_checks(book: Book, built: Sequence[BuiltCheck], declarations: Sequence[Declaration]) -> None:
    """Look at what is checked beside the declarations."""
    for each in built:
        check = each.selected.spec
        if check.timeout_ms > check.every_ms:
            text = f"cannot keep the pace of {check.name}: every {check.every_ms} ms a run that may take {check.timeout_ms} ms"
            book.warnings.append(each.document.problem(each.path, text))
        unit = check.params.get("unit")
        known = any(unit in d.units and d.on.may_overlap(each.selected.on) for d in declarations)
        if unit and not known:
            text = f"cannot ever heal {unit} by what {check.name} finds: no declaration on the same hosts names that unit"
            book.warnings.append(each.document.problem((*each.path, "with", "unit"), text))


def _limits(book: Book, each: BuiltPlaybook) -> None:
    if each.playbook.trust is not Trust.OBSERVE and each.document.node(("limits",)) is None:
        text = f"cannot tell what {each.playbook.name} may do at most: it has no limits and gets the defaults; write them down"
        book.warnings.append(each.document.problem(("playbook",), text))


def _steps(book: Book, each: BuiltPlaybook) -> None:
    steps = each.playbook.steps
    for index, step in enumerate(steps):
        if isinstance(step, ActionStep) and step.action in _STOPS and "{finding.unit}" in dict(step.params).values():
            text = f"cannot heal by {step.action}: it stops the very unit that the incident is about"
            book.warnings.append(each.document.problem(("steps", index, "action"), text))
    if isinstance(steps[-1], WaitStep):
        text = "cannot follow this wait: no step comes after it"
        book.warnings.append(each.document.problem(("steps", len(steps) - 1), text))


def _reachable(book: Book, earlier: Sequence[BuiltPlaybook], each: BuiltPlaybook) -> None:
    mine = (each.playbook.check, *each.playbook.also)
    free, alike = set(mine), set(mine)
    for other in earlier:
        taken = {other.playbook.check, *other.playbook.also}
        names = {name for name in mine if name in taken or book.check_types.get(name) in taken}
        if other.condition is None:
            free -= names
        if other.condition is None or _same_text(other, each):
            alike -= names
        if free and alike:
            continue
        why = "has no condition" if not free else "has the same condition"
        text = (
            f"cannot ever reach {each.playbook.name}: {other.playbook.name} ({other.document.file}) is tried before it, "
            f"answers the same checks and {why}"
        )
        book.warnings.append(each.document.problem(("when", "check"), text))
        return


def _same_text(one: BuiltPlaybook, two: BuiltPlaybook) -> bool:
    return one.playbook.where.split() == two.playbook.where.split()


def _has_checks(book: Book, each: BuiltPlaybook) -> None:
    types = {*book.check_types.values(), *(check.name for check in book.catalogue.checks.values() if check.told_by)}
    if types.isdisjoint(each.types):
        text = f"cannot ever answer {' or '.join(each.types)}: no check of that type is written or follows from a declaration"
        book.warnings.append(each.document.problem(("when", "check"), text))


def _told_in_time(book: Book, each: BuiltPlaybook) -> None:
    told = (book.catalogue.checks[name] for name in each.types if name != HOST_LOST)
    teller = next((check.told_by for check in told if check.told_by), "")
    for index, step in enumerate(each.playbook.steps):
        if teller and isinstance(step, ActionStep) and step.prove is not None and step.prove.within_ms < TOLD_WITHIN_MS:
            text = (
                f"cannot expect {step.action} to be proved within {step.prove.within_ms // 1000} s: {teller} tells of the end "
                "of an alert only at its next group_interval; write prove: {within: 10m}"
            )
            book.warnings.append(each.document.problem(("steps", index, "action"), text))


def _covers(protected: str, disposable: str) -> bool:
    """Whether everything that the disposable pattern can mean is protected, as far as that shows in the text."""
    folder = protected.removesuffix("/**")
    return protected == disposable or (not any(c in folder for c in "*?[") and disposable.startswith(folder + "/"))
