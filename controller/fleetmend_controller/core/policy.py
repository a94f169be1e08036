"""What the core is told about the rules in force: an input like any event, and part of the journal."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum, unique

from .gates import Gate
from .model import Ceiling, FleetBudget, Floor, Host, Incident, Playbook, Storm, Window


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


# A playbook without a condition answers whatever its checks find.
ANSWERS_ALL = Match(MatchAnswer.YES)


def one_off(window: Window, now_ms: int) -> int | None:
    """When the occurrence of a window that covers now ends; None if none does. Knows windows without repetition only."""
    return window.end_ms if not window.repeat and window.start_ms <= now_ms < window.end_ms else None


DEFAULT_STORM = Storm("role", 30, 300_000)
DEFAULT_CEILING = Ceiling(10, 5, 50)

Condition = Callable[[Host, Incident], Match]


@dataclass(frozen=True, slots=True)
class Policy:
    """Playbooks in the order in which they are tried, their compiled conditions, the gates, and the fleet-wide settings.

    `conditions` maps a playbook's name to a pure function; a playbook without `where` has none. `order_ttl_ms` is how long an
    order may wait for its start; `evidence_max_age_ms` how old the newest bad sample of an incident may be; one that lacks
    evidence, or waits for what should pass, for `stuck_ms` goes to people. `window_end` is the calendar. When
    `lost_share_percent` of the fleet (and at least three hosts) seem lost, the observer is suspected. `storm` applies where a
    playbook sets no limit of its own, `ceiling` to all that is under way in the fleet.

    `budgets` and `floors` follow from the playbooks: each different limit once, for whom every one of them binds.
    """

    digest: str
    playbooks: tuple[Playbook, ...]
    conditions: dict[str, Condition]
    gates: tuple[Gate, ...]
    order_ttl_ms: int = 30_000
    evidence_max_age_ms: int = 30_000
    stuck_ms: int = 600_000
    window_end: Callable[[Window, int], int | None] = one_off
    lost_share_percent: int = 50
    storm: Storm = DEFAULT_STORM
    default_escalate_to: str = "oncall"
    ceiling: Ceiling = DEFAULT_CEILING
    budgets: tuple[FleetBudget, ...] = field(init=False, compare=False, default=())
    floors: tuple[Floor, ...] = field(init=False, compare=False, default=())

    def __post_init__(self) -> None:
        """Look through the playbooks once, not at every question."""
        limits = [playbook.limits for playbook in self.playbooks]
        object.__setattr__(self, "budgets", tuple(dict.fromkeys(each.fleet for each in limits)))
        object.__setattr__(self, "floors", tuple(dict.fromkeys(each.floor for each in limits if each.floor is not None)))
