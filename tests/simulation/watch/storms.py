"""Storms from the checkers' own books: where they are, that people are told once, and that none ends while all are sick."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from fleetmend_controller.core.effects import Closed, Effect, Escalated, PhaseChanged, Why
from fleetmend_controller.core.events import CommonCause, Event
from fleetmend_controller.core.model import Status, Storm
from fleetmend_controller.core.storms import STORM_CHECK

from ..books import Books, Case

Group = tuple[str, str]
EVERYBODY = ("", "")
# So many hosts with one cause are a storm; of the whole fleet this many are enough, whatever share they are.
CAUSE_HOSTS = 5
FLEET_HOSTS_MAX = 100


@dataclass(slots=True)
class Tempest:
    """A storm that is on: its groups, the hosts with a cause in common, how often people were paged for it."""

    kind: str
    groups: dict[Group, None] = field(default_factory=dict)
    hosts: tuple[str, ...] = ()
    pages: int = 0


def threshold(size: int, limit: Storm, everybody: bool = False) -> int:
    """How many hosts of a group make a storm."""
    share = -(-size * limit.percent // 100)
    return max(limit.hosts, min(5, size), min(share, FLEET_HOSTS_MAX) if everybody else share)


def groups_of(labels: dict[str, str]) -> Iterator[Group]:
    """Those that a host is in."""
    yield EVERYBODY
    yield from labels.items()


def too_many(books: Books, group: Group, hosts: set[str], limit: Storm) -> bool:
    """Whether so many hosts of a group are a storm."""
    label, value = group
    size = len(books.labels) if group == EVERYBODY else books.size(label, value)
    count = sum(1 for host in hosts if group == EVERYBODY or books.labels[host].get(label) == value)
    return count >= threshold(size, limit, everybody=group == EVERYBODY)


def fresh(books: Books, kind: str, within_ms: int) -> set[str]:
    """The hosts that fell sick in this way lately, and still are."""
    return {c.subject.host for c in books.open_cases(kind) if c.opened_ms > books.now_ms - within_ms}


def sick(books: Books, kind: str) -> set[str]:
    """The hosts that are sick in this way by the last word of their checks."""
    cases = books.open_cases(kind)
    return {c.subject.host for c in cases if not _is_well(books, c)}


def _is_well(books: Books, case: Case) -> bool:
    result = books.results.get(case.subject)
    return result is not None and result.status is Status.OK


class Storms:
    """Follows each storm from its first page to its end."""

    def __init__(self, books: Books, limit: Storm) -> None:
        self._books = books
        self._limit = limit
        self._on: dict[str, Tempest] = {}

    def watch(self, event: Event, effect: Effect) -> str:
        """What is broken with this effect. Called after the books noted it, but before they close a case."""
        if isinstance(effect, PhaseChanged) and effect.before is None:
            return self._opened(event, effect)
        if isinstance(effect, Escalated):
            return self._escalated(effect)
        if isinstance(effect, Closed) and effect.incident in self._on:
            return self._over(self._on.pop(effect.incident))
        return ""

    def _opened(self, event: Event, effect: PhaseChanged) -> str:
        case = self._books.cases[effect.incident]
        if effect.subject.check == STORM_CHECK:
            storm = self._on[effect.incident] = Tempest(effect.subject.key)
            storm.hosts = event.hosts if isinstance(event, CommonCause) else ()
        for storm in self._on.values():
            host = case.subject.host if case.kind == storm.kind else getattr(event, "host", "")
            hosts = fresh(self._books, storm.kind, self._limit.within_ms)
            for group in groups_of(self._books.labels.get(host, {})):
                if too_many(self._books, group, hosts, self._limit):
                    storm.groups[group] = None
        return ""

    def _escalated(self, effect: Escalated) -> str:
        storm = self._on.get(effect.incident)
        if storm is not None:
            storm.pages += 1
            return f"{effect.incident} is a storm, and people are paged {storm.pages} times" if storm.pages > 1 else ""
        case = self._books.cases[effect.incident]
        begun = self._books.storms.get(case.kind)
        newcomer = begun is not None and case.opened_ms >= self._books.cases[begun].opened_ms and not case.run
        if newcomer and effect.why not in (Why.DENIED, Why.PLAYBOOK_BAD_PARAMETER):
            return f"{effect.incident} is of the storm {begun}, and people are told of it, too: {effect.why.value}"
        return ""

    def _over(self, storm: Tempest) -> str:
        hosts = sick(self._books, storm.kind)
        still = [group for group in storm.groups if too_many(self._books, group, hosts, self._limit)]
        if still:
            return f"the storm of {storm.kind} is called over, and {still} are as sick as before"
        of_cause = [host for host in storm.hosts if host in hosts]
        return (
            f"the storm of {storm.kind} is called over, and {of_cause} have its cause" if len(of_cause) >= CAUSE_HOSTS else ""
        )
