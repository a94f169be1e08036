"""What can happen to the fleet. Each event is journalled before its effects leave the process; replay feeds the same again."""

from __future__ import annotations

from dataclasses import dataclass, field

from .inquiry import Reach, Stream
from .model import Outcome, Params, Scalar, Status, Window


@dataclass(frozen=True, slots=True)
class HostEnrolled:
    """A server became a host, or its labels were changed by an operator."""

    at_ms: int
    host: str
    name: str
    labels: dict[str, str]


@dataclass(frozen=True, slots=True)
class HostRemoved:
    """An operator removed a host: nothing of it may remain open."""

    at_ms: int
    host: str
    by: str


@dataclass(frozen=True, slots=True)
class HostConnected:
    """An agent said Hello. `clock_ms` is the host's boot clock at `at_ms`."""

    at_ms: int
    host: str
    boot: str
    clock_ms: int


@dataclass(frozen=True, slots=True)
class HostSilent:
    """Heartbeats of a host stopped `silent_ms` ago."""

    at_ms: int
    host: str
    silent_ms: int
    stream: Stream = Stream.UNKNOWN


@dataclass(frozen=True, slots=True)
class WitnessSaid:
    """A host that was asked says whether it reaches the lost `host`; without a name, the controller itself does."""

    at_ms: int
    host: str
    incident: str
    witness: str
    round: int
    reach: Reach
    text: str


@dataclass(frozen=True, slots=True)
class Drained:
    """The hook that takes a host out of service answered, before `order` goes to it."""

    at_ms: int
    host: str
    order: str
    ok: bool
    text: str


@dataclass(frozen=True, slots=True)
class Undrained:
    """The hook that gives a host back answered; not ok: it was tried several times, and will be again."""

    at_ms: int
    host: str
    ok: bool
    text: str


@dataclass(frozen=True, slots=True)
class Observed:
    """A check result that changed something or was asked for. `clock_ms` is the host's boot clock at `at_ms`.

    `outbox` and `seq` name the agent's record: what was seen already changes nothing. Results that the gateway itself concludes
    (a subject that is gone from a snapshot) have an empty outbox.
    """

    at_ms: int
    host: str
    check: str
    check_type: str
    key: str
    status: Status
    finding: dict[str, Scalar] = field(hash=False)
    summary: str
    boot: str
    sampled_clock_ms: int
    clock_ms: int
    outbox: str = ""
    seq: int = 0


@dataclass(frozen=True, slots=True)
class AlertSaid:
    """What Alertmanager says about a host, or that it says nothing any more (UNKNOWN). No agent saw it: no boot, no sequence.

    `said_ms` is when it said so, on the controller's clock: the time of the sample. `starts_ms` and `ends_ms` are the alert's
    own times on its sender's clock; `ends_ms` of one that fires is when it is to be forgotten, 0 for not before it is said.
    """

    at_ms: int
    host: str
    check: str
    key: str
    status: Status
    finding: dict[str, Scalar] = field(hash=False)
    summary: str
    said_ms: int
    starts_ms: int
    ends_ms: int = 0


@dataclass(frozen=True, slots=True)
class EvidenceConfirmed:
    """A heartbeat says that a subject is still bad, with a newer sample."""

    at_ms: int
    host: str
    check: str
    key: str
    boot: str
    sampled_clock_ms: int
    clock_ms: int


@dataclass(frozen=True, slots=True)
class OrderStarted:
    """The executor holds the order in its ledger and begins."""

    at_ms: int
    host: str
    order: str
    outbox: str = ""
    seq: int = 0


@dataclass(frozen=True, slots=True)
class OrderEnded:
    """The executor's verified outcome, or the agent's refusal to hand the order on (`refusal`).

    `commands` are lines for people: what was run, how it exited, how long it took.
    """

    at_ms: int
    host: str
    order: str
    outcome: Outcome
    refusal: str
    detail: str
    boot: str
    ended_clock_ms: int
    clock_ms: int
    output: str = ""
    outbox: str = ""
    seq: int = 0
    commands: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class PermitUsed:
    """A host used a permit while it could ask nobody. `sealed`: its executor's word, not only its agent's.

    `since_clock_ms` is when the fault was first seen, `started_clock_ms` when the action began, `away_ms` how long the
    controller had not been heard then.
    """

    at_ms: int
    host: str
    permit: str
    playbook: str
    action: str
    params: tuple[tuple[str, Scalar], ...]
    within_ms: int
    stay_ok_ms: int
    timeout_ms: int
    check: str
    check_type: str
    key: str
    finding: dict[str, Scalar] = field(hash=False)
    summary: str
    boot: str
    since_clock_ms: int
    sampled_clock_ms: int
    started_clock_ms: int
    clock_ms: int
    away_ms: int
    sealed: bool
    outbox: str = ""
    seq: int = 0


@dataclass(frozen=True, slots=True)
class HostWoken:
    """The time has come to look at a host's permits again."""

    at_ms: int
    host: str


@dataclass(frozen=True, slots=True)
class Woken:
    """The time that an incident asked to be woken at has come."""

    at_ms: int
    incident: str


@dataclass(frozen=True, slots=True)
class PolicyLoaded:
    """Playbooks, declarations and limits changed; the documents are in the journal under their digest."""

    at_ms: int
    digest: str
    by: str


@dataclass(frozen=True, slots=True)
class Paused:
    """An operator switched healing off in a scope (see model.Pause)."""

    at_ms: int
    scope: str
    by: str
    reason: str
    until_ms: int | None


@dataclass(frozen=True, slots=True)
class Resumed:
    """An operator switched healing on again in a scope."""

    at_ms: int
    scope: str
    by: str


@dataclass(frozen=True, slots=True)
class RunRequested:
    """An operator wants one action on one host; it passes the gates like any other.

    `approve_myself`: what cannot be undone needs nobody else's approval, because an admin said so in so many words.
    """

    at_ms: int
    host: str
    action: str
    params: Params
    cost: str
    timeout_ms: int
    by: str
    request: str
    approve_myself: bool = False


@dataclass(frozen=True, slots=True)
class Approve:
    """An operator approves the order that an incident would give next; `order` and `what` as the incident named them.

    `what` is the digest of what was shown (see gates/approval). Rows from before there was one have none, and count no more.
    """

    at_ms: int
    order: str
    by: str
    what: str = ""


@dataclass(frozen=True, slots=True)
class Deny:
    """An operator says no: the incident goes to people. Without `what` it is a no to whatever the order would do."""

    at_ms: int
    order: str
    by: str
    reason: str
    what: str = ""


@dataclass(frozen=True, slots=True)
class Acknowledge:
    """An operator takes an incident: people are not reminded of it any more. What is done about it stays as it is."""

    at_ms: int
    incident: str
    by: str


@dataclass(frozen=True, slots=True)
class WindowAdded:
    """An operator announced maintenance."""

    at_ms: int
    window: Window


@dataclass(frozen=True, slots=True)
class WindowRemoved:
    """An operator ended or withdrew maintenance."""

    at_ms: int
    id: str
    by: str


@dataclass(frozen=True, slots=True)
class PersonSeen:
    """An agent saw an interactive login or a package manager at work; believed until `until_ms`."""

    at_ms: int
    host: str
    who: str
    until_ms: int


@dataclass(frozen=True, slots=True)
class TrustRestored:
    """An operator lifts a playbook's demotion."""

    at_ms: int
    playbook: str
    by: str


@dataclass(frozen=True, slots=True)
class ObserverDoubted:
    """The controller cannot trust what it knew: its clock jumped, its loop stood still."""

    at_ms: int
    why: str


@dataclass(frozen=True, slots=True)
class CommonCause:
    """What the hosts with one fault (see Incident.fault) share and healthy hosts lack: a label, a version, a recent change.

    `hosts` are those that failed when they were compared, `difference` the lines for people, the most telling first; without
    any nothing was found that tells them apart.
    """

    at_ms: int
    fault: str
    hosts: tuple[str, ...]
    difference: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class DeciderStarted:
    """A decider took over with this epoch."""

    at_ms: int
    epoch: int


Event = (
    HostEnrolled
    | HostRemoved
    | HostConnected
    | HostSilent
    | WitnessSaid
    | Drained
    | Undrained
    | Observed
    | AlertSaid
    | EvidenceConfirmed
    | OrderStarted
    | OrderEnded
    | PermitUsed
    | HostWoken
    | Woken
    | PolicyLoaded
    | Paused
    | Resumed
    | RunRequested
    | Approve
    | Deny
    | Acknowledge
    | WindowAdded
    | WindowRemoved
    | PersonSeen
    | TrustRestored
    | ObserverDoubted
    | CommonCause
    | DeciderStarted
)
