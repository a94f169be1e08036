"""The rules in force: what every host is checked for, what may be touched on it, and what answers a fault.

A `RuleSet` is a value made from documents by `playbooks.load.compile_rules`; it is never changed, only replaced by a newer one.
"""

from __future__ import annotations

import glob
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from .core.policy import Policy
from .declarations.merge import merged

Labels = Mapping[str, str]
LabelSet = tuple[tuple[str, str], ...]
T = TypeVar("T")

# A filesystem check that looks at every local mount, and what only the names of derived checks contain.
EVERY_MOUNT = "*"
DERIVED_MARK = ":"
# Checks of the whole host that a declaration may derive with limits of its own.
ONE_A_HOST = ("pid_usage", "semaphores")
# Hosts share few sets of labels; what follows from each set is worked out once.
LABEL_SETS_KEPT_MAX = 4096


@dataclass(frozen=True, slots=True, order=True)
class Problem:
    """One thing that is wrong in a rule file. Line and column count from 1; the text begins with `cannot`."""

    file: str
    line: int
    column: int
    text: str

    def __str__(self) -> str:
        """As editors and people expect it."""
        return f"{self.file}:{self.line}:{self.column}: {self.text}"


class RulesError(Exception):
    """The rules cannot be used; every problem of every file, in order of file and place."""

    def __init__(self, problems: tuple[Problem, ...]) -> None:
        self.problems = problems
        super().__init__("\n".join(str(problem) for problem in problems))


@dataclass(frozen=True, slots=True)
class CheckSpec:
    """One check that a host runs. `params` are normalised: durations in integer milliseconds, sizes in integer bytes.

    `confirm_bad` and `confirm_good` are how many results in a row it takes before the status changes.
    """

    name: str
    type: str
    params: dict[str, Any]
    every_ms: int
    timeout_ms: int
    confirm_bad: int = 1
    confirm_good: int = 1


@dataclass(frozen=True, slots=True)
class Selector:
    """Which hosts, by their labels: every label named must have one of its values. An empty selector is every host."""

    terms: tuple[tuple[str, tuple[str, ...]], ...] = ()

    def selects(self, labels: Labels) -> bool:
        """Whether a host with these labels is meant."""
        return all(labels.get(label) in values for label, values in self.terms)

    def may_overlap(self, other: Selector) -> bool:
        """Whether some host could be meant by both."""
        theirs = dict(other.terms)
        return all(label not in theirs or set(values) & set(theirs[label]) for label, values in self.terms)


@dataclass(frozen=True, slots=True)
class UnitRule:
    """What is declared about one unit. Restart: `allowed`, `clean-only` or `never`; desired: `running` or `stopped`."""

    desired: str
    restart: str


@dataclass(frozen=True, slots=True)
class Declaration:
    """What should be true on some hosts, and what may be touched there. `parts`: what sections tell executors, by key."""

    name: str
    owner: str
    on: Selector
    units: Mapping[str, UnitRule]
    disposable: tuple[str, ...]
    protected: tuple[str, ...]
    checks: tuple[CheckSpec, ...]
    parts: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class SelectedCheck:
    """A check and the hosts that run it."""

    on: Selector
    spec: CheckSpec


@dataclass(frozen=True, slots=True)
class RuleSet:
    """Everything that one set of documents says. `check_types` maps each check's name to its type; warnings hold nothing up."""

    digest: str
    documents: Mapping[str, str]
    policy: Policy
    checks: tuple[SelectedCheck, ...]
    declarations: tuple[Declaration, ...]
    check_types: Mapping[str, str]
    warnings: tuple[Problem, ...] = ()
    _checks_of: dict[LabelSet, tuple[CheckSpec, ...]] = field(default_factory=dict, repr=False, compare=False)
    _document_of: dict[LabelSet, dict[str, Any]] = field(default_factory=dict, repr=False, compare=False)

    def checks_for(self, labels: Labels) -> tuple[CheckSpec, ...]:
        """The checks of a host with these labels, by name."""
        return _kept(self._checks_of, labels, self._work_out_checks)

    def declaration_for(self, labels: Labels) -> dict[str, Any]:
        """What the executor of a host with these labels is told: units, disposable, protected, parts. Do not change it."""
        return _kept(self._document_of, labels, self._work_out_declaration)

    def owner_for(self, labels: Labels, unit: str = "") -> str:
        """Who answers for a unit on a host with these labels, else for the host; empty when nobody declared either."""
        selected = [d for d in self.declarations if d.on.selects(labels)]
        of_unit = [d for d in selected if unit in d.units]
        return next((d.owner for d in (*of_unit, *selected)), "")

    def _work_out_checks(self, labels: Labels) -> tuple[CheckSpec, ...]:
        written = [check.spec for check in self.checks if check.on.selects(labels)]
        derived = [spec for d in self.declarations if d.on.selects(labels) for spec in d.checks]
        by_name = {spec.name: spec for spec in (*written, *derived)}
        facts = self._told_to_checks(labels)
        specs = [_filled(by_name[name], facts) for name in sorted(by_name)]
        return tuple(narrowed for spec in specs if (narrowed := _narrowed(spec, specs)) is not None)

    def _told_to_checks(self, labels: Labels) -> dict[str, list[str]]:
        """What checks are told of all declarations of a host at once: they spare what is declared, and name killable users."""
        selected = [d for d in self.declarations if d.on.selects(labels)]
        units = {name for d in selected for name in (*d.units, *d.parts.get("jobs", {}))}
        users = {str(each["user"]) for d in selected for each in d.parts.get("killable", ())}
        jobs = {name: job for d in selected for name, job in d.parts.get("jobs", {}).items()}
        addresses = {str(each["address"]) for d in selected for each in d.parts.get("listeners", ())}
        return {
            "declared_units": sorted(units),
            "killable_users": sorted(users),
            "declared_listeners": sorted(addresses),
            "heavy_units": sorted(name for name, job in jobs.items() if job.get("heavy")),
        }

    def _work_out_declaration(self, labels: Labels) -> dict[str, Any]:
        selected = [d for d in self.declarations if d.on.selects(labels)]
        units = {name: rule for d in selected for name, rule in d.units.items()}
        return {
            "units": {name: {"desired": units[name].desired, "restart": units[name].restart} for name in sorted(units)},
            "disposable": sorted({pattern for d in selected for pattern in d.disposable}),
            "protected": sorted({pattern for d in selected for pattern in d.protected}),
            "parts": merged(d.parts for d in selected),
        }


def _filled(spec: CheckSpec, facts: Mapping[str, list[str]]) -> CheckSpec:
    """A check with the parameters that come from declarations; what somebody wrote there stays."""
    told = {name: sorted({*spec.params[name], *values}) for name, values in facts.items() if name in spec.params and values}
    return replace(spec, params={**spec.params, **told}) if told else spec


def _narrowed(spec: CheckSpec, specs: Sequence[CheckSpec]) -> CheckSpec | None:
    """A check of every mount leaves out those with one of their own, and gives way to a derived one: no fault shows twice.

    So does a check of the whole host.
    """
    if spec.type in ONE_A_HOST and DERIVED_MARK not in spec.name:
        return None if any(other.type == spec.type and DERIVED_MARK in other.name for other in specs) else spec
    if spec.params.get("mount") != EVERY_MOUNT:
        return spec
    alike = [other for other in specs if other.type == spec.type and other.name != spec.name]
    if DERIVED_MARK not in spec.name and any(
        DERIVED_MARK in other.name and other.params["mount"] == EVERY_MOUNT for other in alike
    ):
        return None
    own = [glob.escape(str(other.params["mount"])) for other in alike if other.params["mount"] != EVERY_MOUNT]
    ignore = sorted({*spec.params.get("ignore", ()), *own})
    return replace(spec, params={**spec.params, "ignore": ignore}) if own else spec


def _kept(kept: dict[LabelSet, T], labels: Labels, work_out: Callable[[Labels], T]) -> T:
    key = tuple(sorted(labels.items()))
    if key not in kept:
        if len(kept) >= LABEL_SETS_KEPT_MAX:
            kept.clear()
        kept[key] = work_out(labels)
    return kept[key]
