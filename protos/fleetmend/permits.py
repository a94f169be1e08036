"""Sealed permits: what a host may do by itself while no controller can be asked, and whether one covers what a check found.

Controller, agent and executor read the same document. A set replaces the one before it whole, so a newer one that lacks
a permit withdraws it. Conditions are the part of a playbook's `where` that needs no more than the finding, as nested lists:

    ["and", m, ...]  ["or", m, ...]  ["not", m]  ["is", name]  ["==", name, value]  ["in", name, [value, ...]]  ["<", name, 5]

What a finding lacks makes a condition undecided, and undecided covers nothing. Standard library only: the executor imports
this.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

KIND = "permits"
PREFIX = "permit-"
GRANTS_MAX = 64
PERMITS_PER_GRANT_MAX = 16
NODES_MAX = 500
DEPTH_MAX = 20
NAMES_MAX = 64
VALUES_MAX = 4096
LEFT_MAX = 1024
TEXT_CHARS_MAX = 1024
# A finding as the host sealed it into an outcome.
FINDING_FIELDS_MAX = 32

Scalar = str | int | float | bool
Condition = list[Any]

_ORDERS = {
    "<": lambda a, b: a < b,
    "<=": lambda a, b: a <= b,
    ">": lambda a, b: a > b,
    ">=": lambda a, b: a >= b,
}


class PermitError(ValueError):
    """A document that is no set of permits, or a permit that cannot be filled; the text begins with `cannot`."""


class Sighting(NamedTuple):
    """What a check found, confirmed bad: the only thing a permit is measured by."""

    check: str
    check_type: str
    key: str
    finding: Mapping[str, Scalar] = MappingProxyType({})

    @property
    def unit(self) -> str:
        """The unit that the finding names; empty if none."""
        unit = self.finding.get("unit")
        return unit if isinstance(unit, str) else ""


class Reach(NamedTuple):
    """Which findings are meant: names or types of checks, a condition, and the only values that some fields may have."""

    checks: tuple[str, ...]
    where: Condition | None = None
    values: Mapping[str, tuple[str, ...]] = MappingProxyType({})

    def covers(self, seen: Sighting) -> bool:
        """Whether this finding is meant, beyond doubt."""
        if seen.check not in self.checks and seen.check_type not in self.checks:
            return False
        if any(seen.finding.get(name) not in allowed for name, allowed in self.values.items()):
            return False
        return self.where is None or decide(self.where, seen) is True


class Deed(NamedTuple):
    """One action. A parameter written `{finding.x}` gets that value."""

    action: str
    params: Mapping[str, Any]
    timeout_ms: int


class Grant(NamedTuple):
    """The permits of one playbook: each id lets `deed` happen once, after the harmless deeds in `first`.

    `unless`: findings that another playbook answers before this one. `for_ms`: how long the fault must have lasted. At most
    `uses_max` uses in any `window_ms`. Proof, back-off and factor are those of the playbook.
    """

    playbook: str
    permits: tuple[str, ...]
    reach: Reach
    unless: tuple[Reach, ...]
    first: tuple[Deed, ...]
    deed: Deed
    for_ms: int
    within_ms: int
    stay_ok_ms: int
    backoff_ms: int
    factor: int
    uses_max: int
    window_ms: int


class PermitSet(NamedTuple):
    """All that one boot of one host may do alone, until `expires_clock_ms` of its boot clock. `left_*` is in people's hands."""

    host_id: str
    boot_id: str
    epoch: int
    version: int
    expires_clock_ms: int
    grants: tuple[Grant, ...] = ()
    left_units: frozenset[str] = frozenset()
    left_subjects: frozenset[tuple[str, str]] = frozenset()

    @property
    def age(self) -> tuple[int, int]:
        """What makes one set newer than another."""
        return self.epoch, self.version

    def grant_of(self, permit: str) -> Grant | None:
        """The grant that a permit belongs to."""
        return next((grant for grant in self.grants if permit in grant.permits), None)

    def why_not(self, grant: Grant, seen: Sighting) -> str:
        """Why the grant does not cover a finding, after `cannot use ...: `; empty if it does."""
        if seen.unit in self.left_units or (seen.check, seen.key) in self.left_subjects:
            return "people have it in hand"
        if not grant.reach.covers(seen):
            return "it is for other findings"
        if any(other.covers(seen) for other in grant.unless):
            return "another playbook answers this finding first"
        return ""


def decide(condition: Condition, seen: Sighting) -> bool | None:
    """True, False, or None where the finding lacks what the condition asks about."""
    word, arguments = condition[0], condition[1:]
    if word in ("and", "or"):
        answers = [decide(each, seen) for each in arguments]
        short = word == "or"
        return short if short in answers else None if None in answers else not short
    if word == "not":
        answer = decide(arguments[0], seen)
        return None if answer is None else not answer
    value = _value(arguments[0], seen)
    if value is None:
        return None
    if word == "is":
        return value if isinstance(value, bool) else None
    if word == "in":
        return any(type(value) is type(each) and value == each for each in arguments[1])
    if type(value) is not type(arguments[1]):
        return None
    return value == arguments[1] if word == "==" else bool(_ORDERS[word](value, arguments[1]))


def fill(deed: Deed, finding: Mapping[str, Scalar]) -> dict[str, Any]:
    """The deed's parameters with the finding's values. PermitError if the finding lacks one, or it is a fraction."""
    values: dict[str, Any] = {}
    for name, written in deed.params.items():
        value = written
        if isinstance(value, str) and value.startswith("{finding.") and value.endswith("}"):
            value = finding.get(value[len("{finding.") : -1])
            if value is None or isinstance(value, float):
                raise PermitError(f"cannot fill parameter {name} of {deed.action}: the finding has no {written[1:-1]} for it")
        values[name] = value
    return values


def plain_finding(finding: Mapping[str, Any]) -> dict[str, str | int | bool]:
    """A finding as it can be sealed: short names, scalars only, fractions as text."""
    kept: dict[str, str | int | bool] = {}
    for name in sorted(str(each) for each in finding)[:FINDING_FIELDS_MAX]:
        value = finding.get(name)
        if isinstance(value, float):
            kept[name] = f"{value:g}"
        elif isinstance(value, str):
            kept[name] = value[:TEXT_CHARS_MAX]
        elif isinstance(value, bool | int):
            kept[name] = value
    return kept


def parse(document: Mapping[str, Any]) -> PermitSet:
    """An unsealed document as values. PermitError when a part of it is not understood: then all of it is no permit."""
    if not isinstance(document, Mapping):
        raise PermitError("cannot read permits: they are not a mapping")
    if document.get("v") != 1:
        raise PermitError(f"cannot read permits: version {document.get('v')!r} of their form is unknown")
    try:
        left = document["left"]
        return PermitSet(
            host_id=_text(document, "host_id"),
            boot_id=_text(document, "boot_id"),
            epoch=_count(document, "epoch"),
            version=_count(document, "version"),
            expires_clock_ms=_count(document, "expires_clock_ms"),
            grants=tuple(_grant(each) for each in _list(document["grants"], GRANTS_MAX)),
            left_units=frozenset(_texts(left["units"], LEFT_MAX)),
            left_subjects=frozenset(_subject(each) for each in _list(left["subjects"], LEFT_MAX)),
        )
    except (KeyError, TypeError, IndexError, AttributeError) as error:
        raise PermitError(f"cannot read permits: a part is missing or of another form: {error!r}") from error


def _grant(given: Mapping[str, Any]) -> Grant:
    prove, budget = given["prove"], given["budget"]
    return Grant(
        playbook=_text(given, "playbook"),
        permits=_texts(given["permits"], PERMITS_PER_GRANT_MAX),
        reach=_reach(given["reach"]),
        unless=tuple(_reach(each) for each in _list(given["unless"], NAMES_MAX)),
        first=tuple(_deed(each) for each in _list(given["first"], NAMES_MAX)),
        deed=_deed(given["deed"]),
        for_ms=_count(given, "for_ms"),
        within_ms=_count(prove, "within_ms"),
        stay_ok_ms=_count(prove, "stay_ok_ms"),
        backoff_ms=_count(given, "backoff_ms"),
        factor=max(1, _count(given, "factor")),
        uses_max=_count(budget, "count"),
        window_ms=_count(budget, "window_ms"),
    )


def _deed(given: Mapping[str, Any]) -> Deed:
    params = given["params"]
    if not isinstance(params, dict):
        raise PermitError("cannot read permits: parameters are not a mapping")
    return Deed(_text(given, "action"), params, _count(given, "timeout_ms"))


def _reach(given: Mapping[str, Any]) -> Reach:
    where = given.get("where")
    if where is not None:
        _check(where, [NODES_MAX], 0)
    values = {str(name): _texts(allowed, VALUES_MAX) for name, allowed in given.get("values", {}).items()}
    return Reach(_texts(given["checks"], NAMES_MAX), where, values)


def _check(condition: Any, left: list[int], depth: int) -> None:
    """Refuse what `decide` could not work through."""
    left[0] -= 1
    word = condition[0] if isinstance(condition, list) and condition else None
    fits = left[0] >= 0 and depth < DEPTH_MAX
    if word in ("and", "or"):
        fits = fits and len(condition) > 1
        parts = condition[1:]
    elif word == "not":
        fits = fits and len(condition) == 2
        parts = condition[1:2]
    else:
        fits = fits and _is_term(word, condition)
        parts = []
    if not fits:
        raise PermitError("cannot read permits: a condition is not understood")
    for part in parts:
        _check(part, left, depth + 1)


def _is_term(word: Any, condition: Any) -> bool:
    if not isinstance(word, str) or len(condition) != (2 if word == "is" else 3) or not isinstance(condition[1], str):
        return False
    if word == "is":
        return True
    value = condition[2]
    if word == "in":
        return isinstance(value, list) and len(value) <= VALUES_MAX and all(isinstance(v, str | int) for v in value)
    if word == "==":
        return isinstance(value, str | int)
    return word in _ORDERS and isinstance(value, int) and not isinstance(value, bool)


def _value(name: str, seen: Sighting) -> Scalar | None:
    if name.startswith("finding."):
        return seen.finding.get(name.removeprefix("finding."))
    return {"check.name": seen.check, "check.type": seen.check_type, "status": "crit"}.get(name)


def _text(given: Mapping[str, Any], name: str) -> str:
    value = given[name]
    if not isinstance(value, str) or not 0 < len(value) <= TEXT_CHARS_MAX or not value.isprintable():
        raise PermitError(f"cannot read permits: {name} is not a short text")
    return value


def _texts(given: Any, count_max: int) -> tuple[str, ...]:
    values = _list(given, count_max)
    if not all(isinstance(value, str) and len(value) <= TEXT_CHARS_MAX for value in values):
        raise PermitError("cannot read permits: a list has something else than short texts")
    return tuple(values)


def _list(given: Any, count_max: int) -> list[Any]:
    if not isinstance(given, list) or len(given) > count_max:
        raise PermitError(f"cannot read permits: a list is missing or has more than {count_max} entries")
    return given


def _subject(given: Any) -> tuple[str, str]:
    words = _texts(given, 2)
    if len(words) != 2:
        raise PermitError("cannot read permits: a subject has a check and a key")
    return words[0], words[1]


def _count(given: Mapping[str, Any], name: str) -> int:
    value = given[name]
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise PermitError(f"cannot read permits: {name} is not a whole number")
    return value
