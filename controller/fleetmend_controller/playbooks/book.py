"""What the parts of compiling share: the catalogue, the names seen so far, and the problems found so far."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from fleetmend.catalogue import Catalogue

from ..rules import Declaration as DeclarationRule
from ..rules import Labels, Problem, Selector, UnitRule
from .text import Document, Path, shown


@dataclass(slots=True)
class Book:
    """One compilation. `complete` is false once a file that could name checks was not understood: unknown names may be its."""

    catalogue: Catalogue
    problems: list[Problem] = field(default_factory=list)
    warnings: list[Problem] = field(default_factory=list)
    check_types: dict[str, str] = field(default_factory=dict)
    complete: bool = True
    _names: dict[tuple[str, str], Problem] = field(default_factory=dict)

    def claim(self, what: str, name: str, document: Document, path: Path) -> bool:
        """Take a name that must be unique; a problem if it is taken."""
        here = document.problem(path, "")
        taken = self._names.setdefault((what, name), here)
        if taken is here:
            return True
        text = f"cannot use the name {shown(name)} for another {what}: {taken.file}:{taken.line} has it already"
        self.problems.append(document.problem(path, text))
        return False


def selector(on: Mapping[str, list[str]] | None) -> Selector:
    """The hosts that `on` means."""
    return Selector(tuple((label, tuple(values)) for label, values in sorted((on or {}).items())))


def declared_unit(declarations: Iterable[DeclarationRule], labels: Labels, unit: str) -> UnitRule | None:
    """What is declared about a unit on a host with these labels."""
    for declaration in declarations:
        rule = declaration.units.get(unit)
        if rule is not None and declaration.on.selects(labels):
            return rule
    return None


def declared_job(declarations: Iterable[DeclarationRule], labels: Labels, unit: str) -> str:
    """Whether a unit is a job that may be run once: `allowed` or `never`; empty if it is none."""
    for declaration in declarations:
        job = declaration.parts.get("jobs", {}).get(unit)
        if job is not None and declaration.on.selects(labels):
            return str(job["run_once"])
    return ""
