"""The nouns of the flow. Times are whole milliseconds: `*_ms` on the controller's clock, `*_clock_ms` on a host's."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum, unique

from .inquiry import Inquiry

Scalar = str | int | float | bool

# The type of every alert of Prometheus; what the alert is about stands in the name of the check.
ALERT_TYPE = "prometheus_alert"


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


@dataclass(frozen=True, slots=True)
class Proof:
    """The check must say OK within `within_ms` of the action's end, again after `stay_ok_ms`, with no bad result between."""

    within_ms: int
    stay_ok_ms: int


@dataclass(frozen=True, slots=True)
class ActionStep:
    """One action of a playbook; `{finding.x}` is a value of the finding. `here`: the controller acts; `drain`: around it."""

    action: str
    params: tuple[tuple[str, Scalar], ...]
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


@dataclass(frozen=True, slots=True)
class Rate:
    """At most `count` in any window of `window_ms`."""

    count: int
    window_ms: int


@dataclass(frozen=True, slots=True)
class FleetBudget:
    """At most max(1, percent) of the hosts with equal label `by`, and never more than `at_most`, are disturbed at once."""

    by: str
    percent: int
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
    """The same fault on `percent` of a group of equal label `by` within `within_ms` is one cause: people, not repairs."""

    by: str
    percent: int
    within_ms: int


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
    """Which incidents, which steps, which limits, who is told. `check` and those in `also` are names or types of checks."""

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

    def answers(self, check: str, check_type: str) -> bool:
        """Whether incidents of this check are its business, its condition apart."""
        return any(name in (check, check_type) for name in (self.check, *self.also))


@dataclass(slots=True)
class Host:
    """What the core knows of one enrolled host. `lost_since_ms` is set while its heartbeat is missing."""

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


@dataclass(slots=True)
class Order:
    """A permitted action, bound to one host, boot, subject and epoch. `expires_clock_ms` is on the host's boot clock."""

    id: str
    incident: str
    host: str
    check: str
    key: str
    boot: str
    action: str
    params: tuple[tuple[str, Scalar], ...]
    cost: Cost
    timeout_ms: int
    issued_ms: int
    expires_ms: int
    expires_clock_ms: int
    requested_by: str
    started_ms: int | None = None
    here: bool = False
    drain: bool = False


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
    """One person's approval of the order that an incident would give next."""

    order: str
    by: str
    at_ms: int


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
    can be proof; `ok_clock_ms` is the first such OK sample. `groups` are those whose budget it holds. `run` is the one-step
    playbook of an operator's request. `taken_by` is the person who acknowledged it; no decision looks at it. `inquiry` is what
    witnesses said about a lost host.
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
    prove_by_ms: int | None = None
    phase_since_ms: int = 0
    ordered_ms: int | None = None
    acted_ms: int | None = None
    holds: tuple[str, ...] = ()
    noted: tuple[tuple[str, str], ...] = ()
    approvals: list[Approved] = field(default_factory=list)
    asked_ms: int | None = None
    run: Playbook | None = None
    bad_since_ms: int | None = None
    book: Playbook | None = None
    taken_by: str = ""
    taken_ms: int | None = None
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
    """Storm: many hosts turned bad in the same way. `groups` says where, with the number of hosts when it was noticed."""

    incident: str
    since_ms: int
    last_ms: int
    groups: dict[str, int] = field(default_factory=dict)


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


@dataclass(slots=True)
class Fleet:
    """Everything the core remembers. Changed in place by `advance` only.

    `by_target`: (host, unit) to the incident that stands for it. `acting`: host to incidents whose disruptive order is out.
    `group_size`: (label, value) to number of hosts, and (label, "*") to number of hosts that have the label at all.
    `in_flight`: group to hosts to number of incidents there that hold budget. `waiting`: group to incidents that wait for it.
    `sick`: group to hosts to number of open incidents there. `opened_at`: repair target to when it turned bad (flapping).
    `fresh_bad`: (check type, label, value) to hosts to when they turned bad, oldest first. `outbreaks`: storms by check type.
    `alerts`: what Alertmanager said last about each alert that fires, or fired a short while ago.
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
    flaps_told: dict[Subject, int] = field(default_factory=dict)
    fresh_bad: dict[tuple[str, str, str], dict[str, int]] = field(default_factory=dict)
    outbreaks: dict[str, Outbreak] = field(default_factory=dict)
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
