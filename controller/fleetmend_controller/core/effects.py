"""What the core wants done, and why it decided so. The core performs nothing itself."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, unique

from .model import ActionStep, Order, Params, Phase, Subject


@unique
class Why(Enum):
    """Every reason a decision can have: the same word in explain, log, metrics and audit."""

    FAULT_SEEN = "fault_seen"
    SAME_TARGET = "same_target"
    PLAYBOOK_MATCHED = "playbook_matched"
    PLAYBOOK_OTHER_CHECK = "playbook_other_check"
    PLAYBOOK_LATER = "playbook_later"
    PLAYBOOK_WHERE_FALSE = "playbook_where_false"
    PLAYBOOK_WHERE_ERROR = "playbook_where_error"
    PLAYBOOK_BAD_PARAMETER = "playbook_bad_parameter"
    NO_PLAYBOOK = "no_playbook"
    ALLOWED = "allowed"
    PAUSED = "paused"
    TRUST_OBSERVE = "trust_observe"
    EVIDENCE_STALE = "evidence_stale"
    EVIDENCE_UNKNOWN = "evidence_unknown"
    FAULT_EASED = "fault_eased"
    HOST_LOST = "host_lost"
    HOST_NEVER_CONNECTED = "host_never_connected"
    FAULT_TOO_YOUNG = "fault_too_young"
    WAIT_STEP = "wait_step"
    HOST_BUSY = "host_busy"
    BACKING_OFF = "backing_off"
    ATTEMPTS_EXHAUSTED = "attempts_exhausted"
    HOST_RATE = "host_rate"
    FLEET_BUDGET = "fleet_budget"
    GROUP_UNKNOWN = "group_unknown"
    ORDERED = "ordered"
    ACTION_STARTED = "action_started"
    ACTION_DONE = "action_done"
    ACTION_FAILED = "action_failed"
    ACTION_REFUSED = "action_refused"
    FAULT_GONE = "fault_gone"
    EXECUTOR_UNREACHABLE = "executor_unreachable"
    ACTION_EXPIRED = "action_expired"
    ACTION_UNKNOWN = "action_unknown"
    PROOF_FIRST_OK = "proof_first_ok"
    PROOF_TIMEOUT = "proof_timeout"
    PROOF_BROKEN = "proof_broken"
    HEALED = "healed"
    RECOVERED_UNSURE = "recovered_unsure"
    WENT_AWAY = "went_away"
    HEALED_BY_PERSON = "healed_by_person"
    RAN = "ran"
    HOST_BACK = "host_back"
    HOST_REMOVED = "host_removed"
    STEPS_EXHAUSTED = "steps_exhausted"
    OPERATOR_REQUEST = "operator_request"
    TRUST_DEMOTED = "trust_demoted"
    TRUST_RESTORED = "trust_restored"
    MAINTENANCE = "maintenance"
    FLAPPING = "flapping"
    FLAPPING_OVER = "flapping_over"
    MINIMUM_HEALTHY = "minimum_healthy"
    STORM = "storm"
    STORM_BREWING = "storm_brewing"
    STORM_OVER = "storm_over"
    COMMON_CAUSE = "common_cause"
    HUMAN_PRESENT = "human_present"
    APPROVAL_NEEDED = "approval_needed"
    APPROVAL_EXPIRED = "approval_expired"
    APPROVAL_CHANGED = "approval_changed"
    APPROVED = "approved"
    DENIED = "denied"
    OBSERVER_DOUBTED = "observer_doubted"
    MANY_HOSTS_LOST = "many_hosts_lost"
    MASKING = "masking"
    ACKNOWLEDGED = "acknowledged"
    ALONE_USED = "alone_used"
    HEALED_ALONE = "healed_alone"
    WITNESSES_ASKED = "witnesses_asked"
    WITNESS_SAID = "witness_said"
    HOST_JUDGED = "host_judged"
    HOST_NOT_DEAD = "host_not_dead"
    HOST_REBOOTS = "host_reboots"
    HOST_REBOOTED = "host_rebooted"
    DRAINED = "drained"
    DRAIN_FAILED = "drain_failed"
    UNDRAINED = "undrained"
    UNDRAIN_FAILED = "undrain_failed"


# How an incident ends that an action of ours healed, proved by its check.
PROVED = (Why.HEALED, Why.HEALED_ALONE)

# True, and worth keeping, but never why an incident stands where it stands.
ASIDES = (Why.ALLOWED, Why.PLAYBOOK_OTHER_CHECK, Why.PLAYBOOK_LATER, Why.FLAPPING_OVER, Why.ACKNOWLEDGED)


@unique
class Verdict(Enum):
    """A gate's answer."""

    ALLOW = "allow"
    HOLD = "hold"
    REFUSE = "refuse"


@dataclass(frozen=True, slots=True)
class Reason:
    """One thing that was decided about one incident. `gate` names the gate or is empty; `text` is the sentence for people."""

    incident: str
    why: Why
    text: str
    gate: str = ""
    verdict: Verdict | None = None
    playbook: str = ""


@dataclass(frozen=True, slots=True)
class SendOrder:
    """Seal the order and send it until its outcome is journalled."""

    order: Order


@dataclass(frozen=True, slots=True)
class DrainHost:
    """Take the order's host out of service; the order waits for it."""

    order: Order


@dataclass(frozen=True, slots=True)
class UndrainHost:
    """Give a host back to service: nothing of it is being repaired any more."""

    host: str


@dataclass(frozen=True, slots=True)
class RequestCheck:
    """Ask the agent for a fresh result of one subject."""

    subject: Subject


@dataclass(frozen=True, slots=True)
class AskWitness:
    """Ask one host whether it reaches the lost `host`, and `control`, which lives; without a name, the controller itself."""

    incident: str
    host: str
    witness: str
    control: str
    round: int


@dataclass(frozen=True, slots=True)
class WakeAt:
    """Send Woken for the incident at this time; a later WakeAt replaces an earlier one."""

    incident: str
    at_ms: int


@dataclass(frozen=True, slots=True)
class PhaseChanged:
    """An incident moved; `spent_ms` is how long it stood in the phase before."""

    incident: str
    subject: Subject
    before: Phase | None
    after: Phase
    spent_ms: int


@dataclass(frozen=True, slots=True)
class Escalated:
    """Tell people: `to` an owner, with severity `page` or `ticket`.

    `fault` is what kind it is (see Incident.fault). `part_of` names the incident of the whole fleet that people are told of
    instead: one cause is one page.
    """

    incident: str
    subject: Subject
    to: str
    severity: str
    why: Why
    text: str
    fault: str = ""
    part_of: str = ""


@dataclass(frozen=True, slots=True)
class Acknowledged:
    """A person has the incident: whoever was told may be told that, and need not be reminded."""

    incident: str
    by: str


@dataclass(frozen=True, slots=True)
class Closed:
    """An incident ended. The durations are None where the incident never came so far."""

    incident: str
    subject: Subject
    why: Why
    playbook: str
    detect_ms: int | None
    decide_ms: int | None
    act_ms: int | None
    prove_ms: int | None
    total_ms: int
    summary: str = ""
    """What was wrong; empty in rows of earlier versions."""


@dataclass(frozen=True, slots=True)
class ActionEnded:
    """An order is over, for the count of actions by outcome."""

    incident: str
    order: str
    host: str
    action: str
    params: Params
    outcome: str
    detail: str


@dataclass(frozen=True, slots=True)
class ApprovalWanted:
    """Ask people: `order` will be given once enough of them approve `what`, its digest, before `until_ms`."""

    incident: str
    order: str
    to: str
    people: int
    until_ms: int
    text: str
    what: str = ""


@dataclass(frozen=True, slots=True)
class Grant:
    """The permits of one playbook on one host: `step` once each, after the harmless steps in `first`.

    `reach` says which findings they cover, as text that only hosts read; `for_ms` how long a fault must have lasted. At most
    `count` uses in any `window_ms`.
    """

    playbook: str
    permits: tuple[str, ...]
    reach: str
    first: tuple[ActionStep, ...]
    step: ActionStep
    for_ms: int
    backoff_ms: int
    factor: int
    count: int
    window_ms: int


@dataclass(frozen=True, slots=True)
class SendPermits:
    """Seal this set and send it, if the host is there: it replaces the one before. `fresh` permits in it are new."""

    host: str
    boot: str
    version: int
    expires_clock_ms: int
    grants: tuple[Grant, ...]
    left_units: tuple[str, ...]
    left_subjects: tuple[tuple[str, str], ...]
    fresh: int


@dataclass(frozen=True, slots=True)
class PermitSpent:
    """A host used a permit: the order that it stands for. Nothing is to be sent."""

    order: Order


@dataclass(frozen=True, slots=True)
class WakeHostAt:
    """Send HostWoken for the host at this time; a later one replaces an earlier one."""

    host: str
    at_ms: int


@dataclass(frozen=True, slots=True)
class CompareHosts:
    """Compare the hosts that have this fault (see Incident.fault) with those that do not; what comes of it is CommonCause.

    `incident` is the storm that waits for it, or the fault with which there were many.
    """

    incident: str
    fault: str


Effect = (
    Acknowledged
    | ApprovalWanted
    | SendOrder
    | SendPermits
    | PermitSpent
    | DrainHost
    | UndrainHost
    | RequestCheck
    | AskWitness
    | WakeAt
    | WakeHostAt
    | PhaseChanged
    | Escalated
    | Closed
    | ActionEnded
    | CompareHosts
)


@dataclass(frozen=True, slots=True)
class Step:
    """What one event led to."""

    effects: tuple[Effect, ...]
    reasons: tuple[Reason, ...]
