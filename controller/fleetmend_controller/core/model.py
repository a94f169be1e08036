"""The nouns of the flow. Times are whole milliseconds: `*_ms` on the controller's clock, `*_clock_ms` on a host's."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum, unique

from .allowance import Permits
from .inquiry import Inquiry
from .limits import Attempts, Ceiling, Flapping, FleetBudget, Floor, Limits, Rate, Storm
from .plan import (
    ActionStep,
    Approval,
    Cost,
    EscalateTo,
    NeedApproval,
    Params,
    Playbook,
    Proof,
    Scalar,
    Step,
    Trust,
    WaitStep,
)

# The nouns of limits.py and plan.py are found here, too.
__all__ = [
    "ActionStep",
    "Approval",
    "Attempts",
    "Ceiling",
    "Cost",
    "EscalateTo",
    "Flapping",
    "FleetBudget",
    "Floor",
    "Limits",
    "NeedApproval",
    "Params",
    "Playbook",
    "Proof",
    "Rate",
    "Scalar",
    "Step",
    "Storm",
    "Trust",
    "WaitStep",
]

# The group of all hosts: no label has an empty name.
EVERYBODY = ("", "fleet")

# The type of every alert of Prometheus; what the alert is about stands in the name of the check.
ALERT_TYPE = "prometheus_alert"
ALERT_PREFIX = "alert:"


@unique
class Status(Enum):
    """What a check says. UNKNOWN is never OK."""

    OK = "ok"
    WARN = "warn"
    CRIT = "crit"
    UNKNOWN = "unknown"


@unique
class Phase(Enum):
    """Where an incident stands."""

    OPEN = "open"
    HELD = "held"
    ORDERED = "ordered"
    RUNNING = "running"
    PROVING = "proving"
    RESOLVED = "resolved"
    ESCALATED = "escalated"


@unique
class Outcome(Enum):
    """What became of an order. UNKNOWN: it began, and its end was lost with a crash."""

    DONE = "done"
    FAILED = "failed"
    REFUSED = "refused"
    EXPIRED = "expired"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True, order=True)
class Subject:
    """What exactly is sick."""

    host: str
    check: str
    key: str


@dataclass(slots=True)
class Host:
    """What the core knows of one enrolled host.

    `lost_since_ms` is set while its heartbeat is missing; `connected_ms` is when its agent last said Hello.
    """

    id: str
    name: str
    labels: dict[str, str]
    enrolled_ms: int
    boot: str = ""
    clock_offset_ms: int = 0
    outbox: str = ""
    outbox_seq: int = 0
    lost_since_ms: int | None = None
    orders_at: dict[str, list[int]] = field(default_factory=dict)
    permits: Permits = field(default_factory=Permits)
    connected_ms: int = 0


@dataclass(slots=True)
class Order:
    """A permitted action, bound to one host, boot, subject and epoch. `expires_clock_ms` is on the host's boot clock.

    `permit`: the host did it alone; nothing was sent, and nothing can be sent again.
    """

    id: str
    incident: str
    host: str
    check: str
    key: str
    boot: str
    action: str
    params: Params
    cost: Cost
    timeout_ms: int
    issued_ms: int
    expires_ms: int
    expires_clock_ms: int
    requested_by: str
    started_ms: int | None = None
    permit: bool = False
    here: bool = False
    drain: bool = False


@dataclass(frozen=True, slots=True)
class AloneUse:
    """The newest use of a permit on an incident; `ended_clock_ms` is set once it is known to have done something."""

    order: Order
    boot: str = ""
    ended_clock_ms: int | None = None


@dataclass(frozen=True, slots=True)
class Attempt:
    """One order and how it ended, kept with its incident."""

    order: str
    action: str
    at_ms: int
    outcome: Outcome | None
    detail: str


@dataclass(frozen=True, slots=True)
class Approved:
    """One person's approval of the order that an incident would give next; `what` is the digest of what was shown to them."""

    order: str
    by: str
    at_ms: int
    what: str = ""


@dataclass(slots=True)
class Symptom:
    """Another sick subject on the same target as an open incident: one fault is one incident."""

    subject: Subject
    check_type: str
    finding: dict[str, Scalar]
    summary: str
    since_ms: int
    sampled_ms: int
    boot: str
    sampled_clock_ms: int


@dataclass(slots=True)
class Incident:
    """A fault from first sight to its end.

    `evidence_ms` is when its newest bad sample was taken, on the controller's clock; `bad_since_ms` the first one since the
    check last said OK, None while it says so. `ended_clock_ms` and `ended_boot` say after which sample on the host a result
    can be proof; `ok_clock_ms` is the first such OK sample, `was_ok` whether there was one that another check spoiled. `groups`
    are those whose budget it holds. `run` is the one-step playbook of an operator's request. `taken_by` is the person who
    acknowledged it; no decision looks at it. `asked_what` is the digest of what people were asked for at `asked_ms`, `changes`
    how often that changed before they answered. `inquiry` is what witnesses said about a lost host.
    """

    id: str
    subject: Subject
    check_type: str
    finding: dict[str, Scalar]
    summary: str
    status: Status
    phase: Phase
    opened_ms: int
    fault_since_ms: int
    evidence_ms: int
    playbook: str = ""
    policy: str = ""
    step: int = 0
    order: Order | None = None
    attempts: list[Attempt] = field(default_factory=list)
    symptoms: dict[Subject, Symptom] = field(default_factory=dict)
    groups: tuple[tuple[str, str], ...] = ()
    wake_ms: int | None = None
    wait_until_ms: int | None = None
    ended_ms: int | None = None
    ended_boot: str = ""
    ended_clock_ms: int = 0
    ok_clock_ms: int | None = None
    ok_ms: int | None = None
    was_ok: bool = False
    prove_by_ms: int | None = None
    phase_since_ms: int = 0
    ordered_ms: int | None = None
    acted_ms: int | None = None
    holds: tuple[str, ...] = ()
    noted: tuple[tuple[str, str], ...] = ()
    approvals: list[Approved] = field(default_factory=list)
    asked_ms: int | None = None
    asked_what: str = ""
    changes: int = 0
    run: Playbook | None = None
    bad_since_ms: int | None = None
    book: Playbook | None = None
    taken_by: str = ""
    taken_ms: int | None = None
    alone: AloneUse | None = None
    inquiry: Inquiry | None = None
    drained: bool = False

    @property
    def fault(self) -> str:
        """What kind of fault it is, the same on many hosts: the type of its check, or which alert."""
        return self.subject.check if self.check_type == ALERT_TYPE else self.check_type

    @property
    def tried(self) -> Subject:
        """Under what its tries are counted: the unit when there is one, whichever check or playbook found it sick."""
        target = self.target
        return self.subject if target is None else Subject(target[0], "", target[1])

    @property
    def target(self) -> tuple[str, str] | None:
        """(host, unit) when the finding names a unit: what a repair would touch."""
        unit = self.finding.get("unit")
        return (self.subject.host, unit) if isinstance(unit, str) and unit else None


@dataclass(frozen=True, slots=True)
class Pause:
    """Healing is off in a scope: `global`, `host:<id>`, `group:<label>=<value>` or `playbook:<name>`."""

    scope: str
    by: str
    reason: str
    since_ms: int
    until_ms: int | None


@dataclass(frozen=True, slots=True)
class Window:
    """Maintenance on hosts whose labels fit every term (label, values), or that are named.

    Without `repeat` from `start_ms` to `end_ms`. With it, the policy's calendar knows when (see Policy.window_end).
    """

    id: str
    terms: tuple[tuple[str, tuple[str, ...]], ...]
    hosts: tuple[str, ...]
    start_ms: int
    end_ms: int
    repeat: str
    by: str
    reason: str

    def covers(self, host: str, labels: dict[str, str]) -> bool:
        """Whether a host is meant. A window without terms and hosts covers none: empty is not everything."""
        if host in self.hosts:
            return True
        return bool(self.terms) and all(labels.get(label) in values for label, values in self.terms)


@dataclass(frozen=True, slots=True)
class Presence:
    """A person (or a package manager) at work on a host; believed until `until_ms`."""

    who: str
    since_ms: int
    until_ms: int


@dataclass(frozen=True, slots=True)
class Alert:
    """The last word on one alert. `starts_ms`, `ended_ms` and `expires_ms` are on its sender's clock, `said_ms` on ours.

    `ended_ms` is the end of its newest episode that is over, 0 if none is; `expires_ms` is 0 if it ends only when that is said.
    """

    firing: bool
    said_ms: int
    starts_ms: int
    ended_ms: int
    expires_ms: int
    finding: dict[str, Scalar] = field(hash=False)
    summary: str


@dataclass(slots=True)
class Outbreak:
    """Storm: many hosts turned bad in the same way.

    `groups` says where in words, with the number of hosts when it was noticed there; `where` names the same groups by label and
    value. `limit` is what noticed it, and what ends it. `hosts` are those in which a common cause was found. `told` once people
    were paged, which waits a moment for what the hosts share.
    """

    incident: str
    since_ms: int
    last_ms: int
    groups: dict[str, int] = field(default_factory=dict)
    where: list[tuple[str, str]] = field(default_factory=list)
    limit: Storm | None = None
    hosts: list[str] = field(default_factory=list)
    told: bool = True


@dataclass(slots=True)
class Standing:
    """A playbook's record since its last change of trust. `lowered` is the trust it was demoted to, with the reason."""

    proved: int = 0
    failed: int = 0
    failed_in_row: int = 0
    lowered: Trust | None = None
    why: str = ""


@dataclass(frozen=True, slots=True)
class Heal:
    """One repair by us: when, how long the fault was hidden from people, and by which playbook."""

    at_ms: int
    hidden_ms: int
    playbook: str = ""


@dataclass(frozen=True, slots=True)
class Flap:
    """A subject flaps: since when people know, how long it must be quiet until it does not, and by which incident they know."""

    since_ms: int
    quiet_ms: int
    incident: str


@dataclass(slots=True)
class Fleet:
    """Everything the core remembers. Changed in place by `advance` only.

    `by_target`: (host, unit) to the incident that stands for it. `acting`: host to incidents whose disruptive order is out.
    `group_size`: (label, value) to number of hosts, and (label, "*") to number of hosts that have the label at all.
    `in_flight`: group to hosts to number of incidents there that hold budget. `waiting`: group to incidents that wait for it.
    For these, EVERYBODY is a group, too.
    `sick`: group to hosts to number of open incidents there. `opened_at`: repair target to when it turned bad (flapping).
    `fresh_bad`: (fault, label, value) to hosts to when they turned bad, oldest first. `outbreaks`: storms by fault.
    `alerts`: what Alertmanager said last about each alert that fires, or fired a short while ago.
    `flapping`: repair targets that flap; `flaps_look_ms` is when the first of them may have been quiet for long enough.
    `compared_ms`: fault to when its failing hosts were last compared with the healthy ones.
    `inquiries`: incidents of lost hosts about which witnesses are being asked.
    `heals`: repair target to what we healed there. `doubt_ms`: evidence from before it is not believed, because of `doubt`.
    Dicts with None stand for ordered sets: iteration order must not depend on string hashing.
    """

    hosts: dict[str, Host] = field(default_factory=dict)
    incidents: dict[str, Incident] = field(default_factory=dict)
    by_subject: dict[Subject, str] = field(default_factory=dict)
    by_target: dict[tuple[str, str], str] = field(default_factory=dict)
    by_host: dict[str, dict[str, None]] = field(default_factory=dict)
    symptom_of: dict[Subject, str] = field(default_factory=dict)
    attempts_at: dict[Subject, list[int]] = field(default_factory=dict)
    acting: dict[str, dict[str, None]] = field(default_factory=dict)
    group_size: dict[tuple[str, str], int] = field(default_factory=dict)
    in_flight: dict[tuple[str, str], dict[str, int]] = field(default_factory=dict)
    waiting: dict[tuple[str, str], dict[str, None]] = field(default_factory=dict)
    sick: dict[tuple[str, str], dict[str, int]] = field(default_factory=dict)
    lost: dict[str, None] = field(default_factory=dict)
    opened_at: dict[Subject, list[int]] = field(default_factory=dict)
    flapping: dict[Subject, Flap] = field(default_factory=dict)
    flaps_look_ms: int = 0
    fresh_bad: dict[tuple[str, str, str], dict[str, int]] = field(default_factory=dict)
    outbreaks: dict[str, Outbreak] = field(default_factory=dict)
    compared_ms: dict[str, int] = field(default_factory=dict)
    windows: dict[str, Window] = field(default_factory=dict)
    presence: dict[str, Presence] = field(default_factory=dict)
    standing: dict[str, Standing] = field(default_factory=dict)
    heals: dict[Subject, list[Heal]] = field(default_factory=dict)
    doubt_ms: int = 0
    doubt: str = ""
    pauses: dict[str, Pause] = field(default_factory=dict)
    alerts: dict[Subject, Alert] = field(default_factory=dict)
    inquiries: dict[str, None] = field(default_factory=dict)
    drained: dict[str, None] = field(default_factory=dict)
    next_incident: int = 1
    epoch: int = 0
    now_ms: int = 0
