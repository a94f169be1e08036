"""What is remembered of a host's permits: what it may do while no controller can be asked, and what it did."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Used:
    """A permit that was used: on which incident, by which playbook, when."""

    incident: str
    playbook: str
    at_ms: int


@dataclass(slots=True)
class Allowance:
    """What one playbook may do alone on one host: permits not used, and when others were used lately, oldest first."""

    live: list[str] = field(default_factory=list)
    used_ms: list[int] = field(default_factory=list)


@dataclass(slots=True)
class Permits:
    """What a host may do while no controller can be asked.

    `granted` are the permits in its newest set, `told` the digest of that set, `expires_ms` its end; `due_ms` is when it is
    looked at again. `used` is every use that was reported, by permit.
    """

    version: int = 0
    minted: int = 0
    expires_ms: int = 0
    due_ms: int | None = None
    told: str = ""
    granted: list[str] = field(default_factory=list)
    books: dict[str, Allowance] = field(default_factory=dict)
    used: dict[str, Used] = field(default_factory=dict)
