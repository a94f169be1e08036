"""What bounds healing: on one host, on one subject, in a group of hosts, in the fleet. Plain numbers; the gates ask them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Rate:
    """At most `count` in any window of `window_ms`."""

    count: int
    window_ms: int


@dataclass(frozen=True, slots=True)
class FleetBudget:
    """At most max(1, percent) of the hosts with equal label `by`, and never more than `at_most`, are disturbed at once.

    So also of those with equal label of each in `also`: a host may fail with its rack as well as with its role.
    """

    by: str
    percent: int
    at_most: int
    also: tuple[str, ...] = ()

    @property
    def labels(self) -> tuple[str, ...]:
        """Every label whose groups it bounds."""
        return (self.by, *self.also)


@dataclass(frozen=True, slots=True)
class Ceiling:
    """At most `percent` of all hosts, but `at_least` and `at_most` so many, are disturbed at once, whoever wants it."""

    percent: int
    at_least: int
    at_most: int


@dataclass(frozen=True, slots=True)
class Attempts:
    """Tries on one subject: at most `max` in `window_ms`; the n-th waits `backoff_ms` * factor^(n-1) after the one before."""

    max: int
    window_ms: int
    backoff_ms: int
    factor: int


@dataclass(frozen=True, slots=True)
class Storm:
    """The same fault on `percent` of a group of equal label `by` within `within_ms` is one cause: people, not repairs.

    `hosts` is the fewest that can be one.
    """

    by: str
    percent: int
    within_ms: int
    hosts: int = 3


@dataclass(frozen=True, slots=True)
class Floor:
    """While one host is disturbed, `percent` of those with equal label `by` must be healthy; one may always be disturbed."""

    by: str
    percent: int


@dataclass(frozen=True, slots=True)
class Flapping:
    """A subject that turns bad `count` times within `within_ms` flaps, until it was quiet for `quiet_ms`."""

    count: int
    within_ms: int
    quiet_ms: int


@dataclass(frozen=True, slots=True)
class Limits:
    """What bounds a playbook."""

    per_host: Rate
    fleet: FleetBudget
    attempts: Attempts
    storm: Storm | None = None
    floor: Floor | None = None
    flapping: Flapping = Flapping(6, 600_000, 600_000)
