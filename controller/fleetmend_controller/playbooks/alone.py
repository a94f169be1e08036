"""What a host may do by a playbook that is marked `alone`, and why a playbook cannot be: judged when the rules are loaded.

What depends on labels and declarations is decided here, host by host, when permits are given. What is left of the condition
must be simple enough for the host to judge. A playbook that would answer first keeps its place there, too.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..core.model import ActionStep, Cost, Host, NeedApproval, Trust
from ..core.permits import deed
from ..core.policy import MatchAnswer, Reach, ReachOf
from ..rules import LABEL_SETS_KEPT_MAX, Declaration, LabelSet, UnitRule
from .book import Book
from .build import BuiltPlaybook
from .cel import Condition
from .simple import NotSimpleError, parse_simple

UNITS_MAX = 1_000


@dataclass(frozen=True, slots=True)
class _Split:
    """A condition in two: what is known of host and unit ahead of a fault, and what only the finding tells."""

    ahead: Condition | None
    ahead_names_units: bool
    ahead_names_host: bool
    there: list[Any] | None


def check_alone(book: Book, each: BuiltPlaybook) -> None:
    """Problems of a playbook that is marked `alone` and must not be."""
    if not each.playbook.alone:
        return

    def refuse(text: str) -> None:
        book.problems.append(each.document.problem(("alone",), f"cannot let hosts run {each.playbook.name} alone: {text}"))

    if each.playbook.trust is not Trust.ACT:
        refuse("only a playbook with trust: act may")
    if each.playbook.approval.needed_for is NeedApproval.DISRUPTIVE:
        refuse("people must approve its steps, and nobody could be asked")
    if deed(each.playbook) is None:
        refuse("none of its steps is proved by the check")
    for step in each.playbook.steps:
        if isinstance(step, ActionStep) and (step.drain or step.here):
            refuse(f"{step.action} needs the controller: it drains hosts, and acts itself")
            continue
        spec = book.catalogue.actions.get(step.action) if isinstance(step, ActionStep) else None
        if spec is None or spec.cost == Cost.HARMLESS.value:
            continue
        if spec.cost == Cost.DESTRUCTIVE.value:
            refuse(f"{spec.name} destroys")
        elif not spec.target:
            refuse(f"{spec.name} does not say which one declared thing it touches")
    try:
        _split(each)
    except NotSimpleError as error:
        refuse(f"{error}; use ==, !=, in, !, && and || on fields of the finding")


def reaches(book: Book, built: Sequence[BuiltPlaybook], declarations: Sequence[Declaration]) -> dict[str, ReachOf]:
    """What hosts may do alone, by playbook. Left out is what another may answer first, and no host can tell when."""
    found: dict[str, ReachOf] = {}
    for index, each in enumerate(built):
        if not each.playbook.alone:
            continue
        earlier = [other for other in built[:index] if not set(other.types).isdisjoint(each.types)]
        try:
            splits = [(other, _split(other)) for other in earlier]
        except NotSimpleError as error:
            text = f"cannot let hosts run {each.playbook.name} alone: a playbook that is tried before it is not simple: {error}"
            book.warnings.append(each.document.problem(("alone",), text))
            continue
        found[each.playbook.name] = _reach_of(each, _split(each), splits, declarations)
    return found


def _reach_of(
    each: BuiltPlaybook,
    mine: _Split,
    earlier: Sequence[tuple[BuiltPlaybook, _Split]],
    declarations: Sequence[Declaration],
) -> ReachOf:
    found = deed(each.playbook)
    touches_unit = found is not None and "{finding.unit}" in dict(found[1].params).values()

    def work_out(host: Host) -> Reach | None:
        units = _units(host, declarations)
        covered = _ahead(mine, host, units)
        if covered is None or (not covered and (touches_unit or mine.ahead_names_units)):
            return None
        reach: dict[str, Any] = {"checks": _checks(each), "where": mine.there}
        if touches_unit or mine.ahead_names_units:
            reach["values"] = {"unit": covered}
        unless = [told for other, split in earlier if (told := _told(other, split, host, units)) is not None]
        text = json.dumps({"reach": reach, "unless": unless}, sort_keys=True, separators=(",", ":"))
        return Reach(each.types, text)

    if any(split.ahead_names_host for split in (mine, *(split for _, split in earlier))):
        return work_out
    # Hosts share few sets of labels; what follows from each set is worked out once.
    kept: dict[LabelSet, Reach | None] = {}

    def reach_of(host: Host) -> Reach | None:
        labels = tuple(sorted(host.labels.items()))
        if labels not in kept:
            if len(kept) >= LABEL_SETS_KEPT_MAX:
                kept.clear()
            kept[labels] = work_out(host)
        return kept[labels]

    return reach_of


def _told(other: BuiltPlaybook, split: _Split, host: Host, units: Mapping[str, UnitRule]) -> dict[str, Any] | None:
    covered = _ahead(split, host, units)
    if covered is None or (split.ahead_names_units and not covered):
        return None
    reach: dict[str, Any] = {"checks": _checks(other), "where": split.there}
    if split.ahead_names_units:
        reach["values"] = {"unit": covered}
    return reach


def _checks(each: BuiltPlaybook) -> list[str]:
    return [each.playbook.check, *each.playbook.also]


def _ahead(split: _Split, host: Host, units: Mapping[str, UnitRule]) -> list[str] | None:
    """The declared units for which the part that is known ahead holds; None if it cannot hold on this host at all."""
    names = sorted(units)[:UNITS_MAX]
    if split.ahead is None:
        return names
    if not split.ahead_names_units:
        return names if _holds(split.ahead, host, None) else None
    return [name for name in names if _holds(split.ahead, host, units[name])]


def _holds(condition: Condition, host: Host, rule: UnitRule | None) -> bool:
    values: dict[str, object] = {"host.name": host.name, "host.labels": host.labels}
    if rule is not None:
        values |= {"declared.restart": rule.restart, "declared.desired": rule.desired}
    return condition.matches(values).answer is MatchAnswer.YES


def _units(host: Host, declarations: Sequence[Declaration]) -> dict[str, UnitRule]:
    """What is declared about units on a host, the first declaration first, as conditions see it."""
    units: dict[str, UnitRule] = {}
    for declaration in declarations:
        if declaration.on.selects(host.labels):
            for name, rule in declaration.units.items():
                units.setdefault(name, rule)
    return units


def _split(each: BuiltPlaybook) -> _Split:
    """Raises NotSimpleError if a term needs both host and finding, or more than a host can judge."""
    compiled = each.compiled
    if compiled is None:
        return _Split(None, ahead_names_units=False, ahead_names_host=False, there=None)
    ahead: list[str] = []
    there: list[Any] = []
    asked: list[str] = []
    for text, names in compiled.terms():
        of_host = [name for name in names if name.startswith(("host.", "declared."))]
        if of_host and len(of_host) < len(names):
            raise NotSimpleError(f"{text} asks about the host and the finding in one term")
        if of_host:
            ahead.append(text)
            asked += of_host
        else:
            there.append(parse_simple(text))
    condition = compiled.only(ahead) if ahead else None
    names_units = any(name.startswith("declared.") for name in asked)
    return _Split(
        condition, names_units, "host.name" in asked, None if not there else there[0] if len(there) == 1 else ["and", *there]
    )
