"""A fleet on a time line: say what happens when, and read what the core did about it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import fleetmend_controller.core.gates as gate_folder
from fleetmend import registry
from fleetmend_controller.core import invariants
from fleetmend_controller.core.effects import ApprovalWanted, Closed, Effect, Escalated, RequestCheck, SendOrder, Step, WakeAt
from fleetmend_controller.core.events import (
    Approve,
    Event,
    EvidenceConfirmed,
    HostConnected,
    HostEnrolled,
    HostSilent,
    Observed,
    OrderEnded,
    OrderStarted,
    RunRequested,
    Woken,
)
from fleetmend_controller.core.flow import advance
from fleetmend_controller.core.gates import Gate
from fleetmend_controller.core.model import (
    ActionStep,
    Attempts,
    Cost,
    EscalateTo,
    Flapping,
    Fleet,
    FleetBudget,
    Incident,
    Limits,
    Order,
    Outcome,
    Playbook,
    Proof,
    Rate,
    Status,
    Trust,
    WaitStep,
)
from fleetmend_controller.core.policy import Policy

GATES = tuple(sorted(registry.load(gate_folder, "GATE", Gate).values(), key=lambda gate: gate.order))
# The host's boot clock is not the controller's: tests must not work by accident.
CLOCK_OFFSET_MS = -400_000
RESTART = ActionStep("restart_unit", (("unit", "{finding.unit}"),), Cost.DISRUPTIVE, Proof(30_000, 10_000), 60_000)
EVIDENCE = ActionStep("collect_evidence", (("unit", "{finding.unit}"),), Cost.HARMLESS, None, 10_000)
# No flapping limit: for tests in which the same subject fails again and again.
CALM = Flapping(1_000, 600_000, 600_000)
LIMITS = Limits(Rate(3, 3_600_000), FleetBudget("role", 10, 20), Attempts(5, 3_600_000, 5_000, 2))


def playbook(**changes: Any) -> Playbook:
    """The restart playbook of the design page, changed as asked."""
    plain = Playbook(
        name="restart-failed-unit",
        summary="Restart a failed systemd unit.",
        owner="platform",
        trust=Trust.ACT,
        check="unit_failed",
        where="",
        for_ms=0,
        steps=(RESTART, WaitStep(60_000), RESTART),
        limits=LIMITS,
        escalate=EscalateTo("platform-oncall", "page"),
        toil_minutes=15,
    )
    return replace(plain, **changes)


def policy(*playbooks: Playbook, **changes: Any) -> Policy:
    """A policy of these playbooks without conditions, under every gate."""
    return replace(Policy("p1", playbooks or (playbook(),), {}, GATES), **changes)


class Timeline:
    """Feeds events, wakes incidents when they asked for it, and checks every invariant after each event."""

    def __init__(self, rules: Policy | None = None, hosts: int = 1, labels: dict[str, str] | None = None) -> None:
        self.fleet = Fleet()
        self.policy = rules or policy()
        self.now_ms = 1_000_000
        self.steps: list[Step] = []
        self.wakes: dict[str, int] = {}
        self.seq = 0
        for number in range(1, hosts + 1):
            self.feed(
                HostEnrolled(self.now_ms, f"h-{number}", f"web-{number}", labels if labels is not None else {"role": "web"})
            )
            self.feed(HostConnected(self.now_ms, f"h-{number}", "boot-1", self.clock()))

    def clock(self, at_ms: int | None = None) -> int:
        """The hosts' boot clock."""
        return (self.now_ms if at_ms is None else at_ms) + CLOCK_OFFSET_MS

    def feed(self, event: Event) -> Step:
        """One event; every invariant must hold after it."""
        step = advance(self.fleet, event, self.policy)
        self.steps.append(step)
        for effect in step.effects:
            if isinstance(effect, WakeAt):
                self.wakes[effect.incident] = effect.at_ms
        assert invariants.broken(self.fleet, self.policy, (*invariants.ALWAYS, invariants.budgets_are_kept)) == []
        return step

    def wait(self, ms: int, fresh: bool = True) -> None:
        """Let time pass; incidents are woken at their time. `fresh`: heartbeats keep the evidence young."""
        until_ms = self.now_ms + ms
        while True:
            due = [(at, i) for i, at in self.wakes.items() if at <= until_ms and i in self.fleet.incidents]
            if not due:
                break
            at_ms, incident = min(due)
            del self.wakes[incident]
            self.now_ms = max(self.now_ms, at_ms)
            if fresh:
                self.confirm(incident)
            self.feed(Woken(self.now_ms, incident))
        self.now_ms = until_ms

    def confirm(self, incident_id: str) -> None:
        """A heartbeat says that the subject is still bad."""
        incident = self.fleet.incidents[incident_id]
        subject = incident.subject
        if incident.status is Status.CRIT:
            event = EvidenceConfirmed(
                self.now_ms, subject.host, subject.check, subject.key, "boot-1", self.clock(), self.clock()
            )
            self.feed(event)

    def seen(
        self, status: Status, unit: str = "nginx.service", host: str = "h-1", check: str = "unit_failed", **more: Any
    ) -> Step:
        """A check result, sampled now unless `sampled_ms` says otherwise."""
        self.seq += 1
        sampled_ms = more.pop("sampled_ms", self.now_ms)
        boot = more.pop("boot", "boot-1")
        finding = more.pop("finding", {"unit": unit})
        return self.feed(
            Observed(
                self.now_ms, host, check, check, unit, status, finding, f"{unit} is {status.value}", boot,
                self.clock(sampled_ms), self.clock(),
                more.pop("outbox", f"box-{host}"), more.pop("seq", self.seq),
            )
        )  # fmt: skip

    def started(self, order: Order) -> Step:
        """The executor began."""
        return self.feed(OrderStarted(self.now_ms, order.host, order.id))

    def ended(self, order: Order, outcome: Outcome = Outcome.DONE, refusal: str = "", detail: str = "", host: str = "") -> Step:
        """The order's end, now."""
        return self.feed(
            OrderEnded(
                self.now_ms, host or order.host, order.id, outcome, refusal, detail, "boot-1", self.clock(), self.clock()
            )
        )

    def approve(self, order: str, by: str, what: str | None = None) -> Step:
        """A person's yes, to what people were last asked for unless something else is said."""
        asked = next((w.what for w in reversed(self.all(ApprovalWanted)) if w.order == order), "")
        return self.feed(Approve(self.now_ms, order, by, asked if what is None else what))

    def relabel(self, host: str, **labels: str) -> Step:
        """An operator gives a host other labels."""
        return self.feed(HostEnrolled(self.now_ms, host, self.fleet.hosts[host].name, labels))

    def silent(self, host: str = "h-1") -> Step:
        """Heartbeats are missing for 30 s."""
        return self.feed(HostSilent(self.now_ms, host, 30_000))

    def run(self, host: str = "h-1") -> Step:
        """An operator asks for a restart."""
        return self.feed(
            RunRequested(
                self.now_ms, host, "restart_unit", (("unit", "a.service"),), "disruptive", 60_000, "ann", f"req-{self.seq}"
            )
        )

    def all(self, kind: type) -> list[Any]:
        """Every effect of a kind so far."""
        return [effect for step in self.steps for effect in step.effects if isinstance(effect, kind)]

    @property
    def orders(self) -> list[Order]:
        """Every order sent so far, resends included."""
        return [effect.order for effect in self.all(SendOrder)]

    @property
    def closed(self) -> list[Closed]:
        """Every incident that ended."""
        return self.all(Closed)

    @property
    def escalated(self) -> list[Escalated]:
        """Everything handed to people."""
        return self.all(Escalated)

    @property
    def asked(self) -> list[RequestCheck]:
        """Every fresh result asked for."""
        return self.all(RequestCheck)

    @property
    def only(self) -> Incident:
        """The one open incident."""
        (incident,) = self.fleet.incidents.values()
        return incident

    def why(self) -> list[str]:
        """Every reason so far, as words."""
        return [reason.why.value for step in self.steps for reason in step.reasons]


def effects(step: Step, kind: type) -> list[Effect]:
    """The effects of a kind in one step."""
    return [effect for effect in step.effects if isinstance(effect, kind)]
