"""A small fleet with the real core, a real SQLite store and a real journal, driven by hand."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from fleetmend import registry
from fleetmend_controller.core import gates
from fleetmend_controller.core.effects import Step
from fleetmend_controller.core.events import (
    DeciderStarted,
    Event,
    HostConnected,
    HostEnrolled,
    HostRemoved,
    Observed,
    OrderEnded,
    OrderStarted,
    RunRequested,
    Woken,
)
from fleetmend_controller.core.flow import advance
from fleetmend_controller.core.model import (
    ActionStep,
    Attempts,
    Cost,
    EscalateTo,
    Fleet,
    FleetBudget,
    Limits,
    Outcome,
    Playbook,
    Proof,
    Rate,
    Scalar,
    Status,
    Trust,
    WaitStep,
)
from fleetmend_controller.core.policy import Match, MatchAnswer, Policy
from fleetmend_controller.decider import ledger
from fleetmend_controller.store.engine import Store, open_engine
from fleetmend_controller.store.journal import GENESIS, Head, append
from fleetmend_controller.store.tables import metadata

START_MS = 1_764_000_000_000
BOOT = "6a1f3a52-0000-4000-8000-000000000001"
MASTER = b"m" * 32
GATES = tuple(sorted(registry.load(gates, "GATE", gates.Gate).values(), key=lambda gate: gate.order))


def playbook(name: str = "restart-failed-unit", **changes: Any) -> Playbook:
    """A playbook that restarts a failed unit twice."""
    step = ActionStep("restart_unit", (("unit", "{finding.unit}"),), Cost.DISRUPTIVE, Proof(30_000, 10_000), 60_000)
    values: dict[str, Any] = {
        "name": name,
        "summary": "Restart a failed systemd unit.",
        "owner": "platform",
        "trust": Trust.ACT,
        "check": "unit_failed",
        "where": 'finding.unit != "sshd.service"',
        "for_ms": 2_000,
        "steps": (step, WaitStep(60_000), step),
        "limits": Limits(Rate(3, 3_600_000), FleetBudget("role", 10, 20), Attempts(3, 3_600_000, 1_000, 2)),
        "escalate": EscalateTo("platform-oncall", "page"),
        "toil_minutes": 15,
    }
    return Playbook(**{**values, **changes})


def policy(*playbooks: Playbook) -> Policy:
    """The rules in force; the condition of a playbook named `never` says no."""
    no = {
        p.name: lambda _host, _incident: Match(MatchAnswer.NO, "host.labels.role is web")
        for p in playbooks
        if p.name == "never"
    }
    return Policy("sha256:" + "0" * 64, playbooks or (playbook(),), no, GATES)


class World:
    """Journals and advances events as the decider does, in this thread, at a time that the test sets."""

    def __init__(self, folder: Path, rules: Policy | None = None) -> None:
        engine = open_engine(f"sqlite:///{folder / 'fleetmend.db'}")
        metadata.create_all(engine)
        self.store = Store(engine)
        self.policy = rules or policy()
        self.fleet = Fleet()
        self.now_ms = START_MS
        self.head = Head(0, GENESIS)
        self._seq = itertools.count(1)
        self.feed(DeciderStarted(self.now_ms, 1))

    def feed(self, event: Event) -> Step:
        """One event, as the decider works it: decide, journal, tell."""
        step = advance(self.fleet, event, self.policy)
        head = self.head
        entries = ledger.entries_of(event, step, head.seq + 1)

        def commit(connection: sa.Connection) -> Head:
            ledger.project(connection, self.fleet, [step], self.now_ms)
            return append(connection, MASTER, head, 1, entries)

        self.head = self.store.write_soon(commit).result()
        return step

    def wait(self, seconds: float) -> None:
        """Let time pass and wake whoever asked for it."""
        end = self.now_ms + round(seconds * 1000)
        while due := [(i.wake_ms, i.id) for i in self.fleet.incidents.values() if i.wake_ms is not None and i.wake_ms <= end]:
            at_ms, incident = min(due)
            self.now_ms = max(self.now_ms, at_ms)
            self.feed(Woken(self.now_ms, incident))
        self.now_ms = end

    def enrol(self, name: str, *, connected: bool = True, **labels: str) -> str:
        """A host of this name; its id is made of it."""
        host = f"h-{name.encode().hex():0>16.16}"
        self.feed(HostEnrolled(self.now_ms, host, name, labels))
        if connected:
            self.feed(HostConnected(self.now_ms, host, BOOT, self.clock_ms))
        return host

    @property
    def clock_ms(self) -> int:
        """The boot clock of every host: they all started an hour before the test."""
        return self.now_ms - START_MS + 3_600_000

    def observe(
        self, host: str, status: Status, key: str = "nginx.service", check: str = "unit_failed", **finding: Scalar
    ) -> None:
        """A result of a check, sampled 9 ms before it arrives."""
        finding = finding or {"unit": key, "result": "signal"}
        summary = f"{key} failed (signal)" if status is Status.CRIT else f"{key} is well"
        clock = self.clock_ms
        common = (check, check, key, status, finding, summary, BOOT)
        self.feed(Observed(self.now_ms, host, *common, clock - 9, clock, "box", next(self._seq)))

    def start(self, host: str, order: str) -> None:
        """The executor begins."""
        self.feed(OrderStarted(self.now_ms, host, order, "box", next(self._seq)))

    def end(
        self, host: str, order: str, outcome: Outcome = Outcome.DONE, detail: str = "", output: str = "", *commands: str
    ) -> None:
        """The executor is through."""
        clock = self.clock_ms
        box = {"outbox": "box", "seq": next(self._seq), "commands": commands}
        self.feed(OrderEnded(self.now_ms, host, order, outcome, "", detail, BOOT, clock, clock, output, **box))

    def heal(self, host: str) -> None:
        """A unit fails, is restarted, and proves itself."""
        self.observe(host, Status.CRIT)
        self.wait(2.0)
        order = next(o.id for i in self.fleet.incidents.values() if (o := i.order) is not None and i.subject.host == host)
        self.wait(0.02)
        self.start(host, order)
        self.wait(0.3)
        self.end(host, order, Outcome.DONE, "done", "", "systemctl restart nginx.service: exit 0 after 290 ms")
        self.wait(0.05)
        self.observe(host, Status.OK)
        self.wait(10)
        self.observe(host, Status.OK)

    def close(self) -> None:
        self.store.close()


__all__ = ["BOOT", "MASTER", "START_MS", "HostRemoved", "Outcome", "RunRequested", "Status", "World", "playbook", "policy"]
