"""What a playbook says: which steps, what each may cost, what proves it, who must approve, who is told."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, unique

from .limits import Limits

Scalar = str | int | float | bool
Params = tuple[tuple[str, Scalar], ...]


@unique
class Cost(Enum):
    """What an action may cost when it is wrong."""

    HARMLESS = "harmless"
    DISRUPTIVE = "disruptive"
    DESTRUCTIVE = "destructive"


@unique
class Trust(Enum):
    """How far a playbook may go by itself."""

    OBSERVE = "observe"
    SUGGEST = "suggest"
    ACT = "act"


@dataclass(frozen=True, slots=True)
class Proof:
    """The check must say OK within `within_ms` of the action's end, again after `stay_ok_ms`, with no bad result between."""

    within_ms: int
    stay_ok_ms: int


@dataclass(frozen=True, slots=True)
class ActionStep:
    """One action of a playbook; `{finding.x}` is a value of the finding. `here`: the controller acts; `drain`: around it."""

    action: str
    params: Params
    cost: Cost
    prove: Proof | None
    timeout_ms: int
    here: bool = False
    drain: bool = False


@dataclass(frozen=True, slots=True)
class WaitStep:
    """Let time pass, then judge afresh."""

    wait_ms: int


Step = ActionStep | WaitStep


@unique
class NeedApproval(Enum):
    """Which steps of a playbook a person must approve. NEVER must be written down: it lets destructive steps run alone."""

    NEVER = "never"
    DESTRUCTIVE = "destructive"
    DISRUPTIVE = "disruptive"


@dataclass(frozen=True, slots=True)
class Approval:
    """`people` different persons of at least `role` must approve within `within_ms`, or the incident goes to people."""

    needed_for: NeedApproval = NeedApproval.DESTRUCTIVE
    people: int = 1
    within_ms: int = 3_600_000
    role: str = "responder"


@dataclass(frozen=True, slots=True)
class EscalateTo:
    """Who is told when healing ends without success. Severity: `page` or `ticket`."""

    to: str
    severity: str


@dataclass(frozen=True, slots=True)
class Playbook:
    """Which incidents, which steps, which limits, who is told. `check` and those in `also` are names or types of checks.

    `alone`: hosts may do it while no controller can be asked, by permits that were given ahead of time.
    """

    name: str
    summary: str
    owner: str
    trust: Trust
    check: str
    where: str
    for_ms: int
    steps: tuple[Step, ...]
    limits: Limits
    escalate: EscalateTo
    toil_minutes: int
    also: tuple[str, ...] = ()
    approval: Approval = Approval()
    alone: bool = False

    def answers(self, check: str, check_type: str) -> bool:
        """Whether incidents of this check are its business, its condition apart."""
        return any(name in (check, check_type) for name in (self.check, *self.also))
