"""From the files in declarations/ to what is declared on hosts, and the conflicts between files that may meet on one host."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace

from fleetmend.catalogue import validate as validate_values

from ..playbooks.book import Book, selector
from ..playbooks.judge import validate
from ..playbooks.params import with_defaults
from ..playbooks.text import Document, shown
from ..rules import CheckSpec, Declaration, Problem, UnitRule
from .derive import derive
from .merge import disagreements
from .schema import DeclarationFile, UnitModel
from .section import Derived, told_to_hosts, wanted_running, whole_file
from .units import told_of_units

# Several declarations meet in one sealed document, which holds 256 KiB.
DECLARED_BYTES_MAX = 64 * 1024
TEXT_OVERHEAD_BYTES = 48


@dataclass(frozen=True, slots=True)
class Built:
    """One declaration with where it came from."""

    document: Document
    model: DeclarationFile
    derived: tuple[Derived, ...]
    rule: Declaration


def build_declaration(book: Book, document: Document) -> Built | None:
    """The declaration of one file; None when it cannot be understood, and then why is in the book."""
    model = validate(document, (), whole_file(), book.problems)
    if model is None:
        book.complete = False
        return None
    book.claim("declaration", model.declare, document, ("declare",))
    told = told_to_hosts(model)
    if of_units := told_of_units(model):
        told["units"] = of_units
    _check_bonds(book, document, model)
    size_bytes = sum(len(text.encode()) + TEXT_OVERHEAD_BYTES for text in (*model.units, *model.disposable, *model.protected))
    size_bytes += len(json.dumps(told))
    if size_bytes > DECLARED_BYTES_MAX:
        text = f"cannot send this to hosts: what it declares takes {size_bytes} bytes, limit {DECLARED_BYTES_MAX}"
        book.problems.append(document.problem(("declare",), text))
    derived = derive(model)
    checks = tuple(check for each in derived if (check := _check(book, document, each)) is not None)
    for check in checks:
        book.check_types[check.name] = check.type
    rule = Declaration(
        name=model.declare,
        owner=model.owner,
        on=selector(model.on),
        units=_of_mounts(model)
        | {name: UnitRule("running", "never") for name in wanted_running(model)}
        | {name: UnitRule(unit.desired, unit.restart) for name, unit in model.units.items()},
        disposable=tuple(model.disposable),
        protected=tuple(model.protected),
        checks=checks,
        parts=told,
    )
    return Built(document, model, derived, rule)


def _of_mounts(model: DeclarationFile) -> dict[str, UnitRule]:
    """The unit of a declared mount should run, like the mount itself; it is never restarted under those who use it."""
    return {mount.unit: UnitRule("running", "never") for mount in model.mounts.values() if mount.unit is not None}


def find_conflicts(book: Book, built: Sequence[Built]) -> None:
    """Declarations that may select the same host must agree about every unit, and derive the same check for the same thing."""
    units: dict[str, list[Built]] = {}
    checks: dict[str, list[tuple[Built, Derived]]] = {}
    for each in built:
        for name in each.model.units:
            units.setdefault(name, []).append(each)
        for check in each.derived:
            checks.setdefault(check.name, []).append((each, check))
    for index, later in enumerate(built):
        _check_parts(book, built[:index], later)
    for name, declaring in units.items():
        for index, later in enumerate(declaring):
            _check_unit(book, name, declaring[:index], later)
    for deriving in checks.values():
        for index, (later, check) in enumerate(deriving):
            _check_derived(book, deriving[:index], later, check)


def _check_bonds(book: Book, document: Document, model: DeclarationFile) -> None:
    for name, unit in model.units.items():
        if unit.bound_to is not None and (unit.bound_to == name or unit.bound_to not in model.units):
            text = f"cannot bind {shown(name)} to {shown(unit.bound_to)}: it must be another unit of this declaration"
            book.problems.append(document.problem(("units", name, "bound_to"), text))


def _check(book: Book, document: Document, derived: Derived) -> CheckSpec | None:
    spec = book.catalogue.checks.get(derived.type)
    if spec is None:
        text = f"cannot check {derived.name}: this version has no check type {derived.type}"
        book.problems.append(document.problem(derived.origin, text))
        return None
    params, errors = validate_values(spec.params, derived.params)
    for error in errors:
        book.problems.append(document.problem(derived.origin, f"cannot check {derived.name}: {error}"))
    return CheckSpec(
        name=derived.name,
        type=derived.type,
        params=with_defaults(spec, params),
        every_ms=derived.every_ms,
        timeout_ms=round(spec.timeout_s * 1000) if derived.timeout_ms is None else derived.timeout_ms,
        confirm_bad=derived.confirm.bad,
        confirm_good=derived.confirm.good,
    )


def _check_unit(book: Book, name: str, earlier: Sequence[Built], later: Built) -> None:
    for other in earlier:
        mine, theirs = later.model.units[name], other.model.units[name]
        differing = [part for part in UnitModel.model_fields if getattr(mine, part) != getattr(theirs, part)]
        if differing and later.rule.on.may_overlap(other.rule.on):
            text = f"cannot declare {shown(name)} here: {_named(other)} says otherwise about {', '.join(differing)}"
            book.problems.append(_conflict(later, ("units", name), text))


def _check_parts(book: Book, earlier: Sequence[Built], later: Built) -> None:
    for other in earlier:
        for path in disagreements(later.rule.parts, other.rule.parts):
            if later.rule.on.may_overlap(other.rule.on):
                text = f"cannot declare {shown('.'.join(map(str, path)))} here: {_named(other)} says otherwise"
                book.problems.append(_conflict(later, path, text))


def _check_derived(book: Book, earlier: Sequence[tuple[Built, Derived]], later: Built, check: Derived) -> None:
    if check.origin[0] == "units":
        # Compared as units, with better words.
        return
    for other, theirs in earlier:
        same = replace(check, origin=()) == replace(theirs, origin=())
        if not same and later.rule.on.may_overlap(other.rule.on):
            text = f"cannot derive {shown(check.name)} here: {_named(other)} derives it otherwise"
            book.problems.append(_conflict(later, check.origin, text))


def _conflict(built: Built, path: tuple[str | int, ...], text: str) -> Problem:
    return built.document.problem(
        path, f"{text}; one host may be selected by both: make the labels under `on` exclude each other", key=True
    )


def _named(built: Built) -> str:
    return f"declaration {built.model.declare} ({built.document.file})"
