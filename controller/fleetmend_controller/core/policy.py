"""What the core is told about the rules in force: an input like any event, and part of the journal."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, unique

from .gates import Gate
from .model import Host, Incident, Playbook


@unique
class MatchAnswer(Enum):
    """What a playbook's condition says. ERROR counts as no, and is shown."""

    YES = "yes"
    NO = "no"
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class Match:
    """The answer of one condition, with the term that decided it, for people."""

    answer: MatchAnswer
    text: str = ""


Condition = Callable[[Host, Incident], Match]


@dataclass(frozen=True, slots=True)
class Policy:
    """Playbooks in the order in which they are tried, their compiled conditions, the gates, and the fleet-wide settings.

    `conditions` maps a playbook's name to a pure function; a playbook without `where` has none. `order_ttl_ms` is how long an
    order may wait for its start; `evidence_max_age_ms` how old the newest bad sample of an incident may be; one that lacks
    evidence for `blind_escalate_ms` goes to people.
    """

    digest: str
    playbooks: tuple[Playbook, ...]
    conditions: dict[str, Condition]
    gates: tuple[Gate, ...]
    order_ttl_ms: int = 30_000
    evidence_max_age_ms: int = 30_000
    blind_escalate_ms: int = 600_000
    default_escalate_to: str = "oncall"
