"""The playbooks of the simulated fleet, in three versions, and the deliberate defects that the checkers must catch."""

from __future__ import annotations

from dataclasses import replace

import fleetmend_controller.core.gates as gate_folder
from fleetmend import registry
from fleetmend_controller.core.gates import Gate, allow
from fleetmend_controller.core.model import (
    ActionStep,
    Approval,
    Attempts,
    Ceiling,
    Cost,
    EscalateTo,
    FleetBudget,
    Floor,
    Limits,
    Playbook,
    Proof,
    Rate,
    Storm,
    Trust,
    WaitStep,
)
from fleetmend_controller.core.policy import Policy, Reach

from .swarm import Swarm

GATES = tuple(sorted(registry.load(gate_folder, "GATE", Gate).values(), key=lambda gate: gate.order))
PERMIT_TTL_MS = 100_000
RESTART = ActionStep("restart_unit", (("unit", "{finding.unit}"),), Cost.DISRUPTIVE, Proof(20_000, 5_000), 30_000)
# What it would do changes while people think about it.
KILL = ActionStep(
    "kill_process", (("pid", "{finding.pid}"), ("unit", "{finding.unit}")), Cost.DISRUPTIVE, Proof(20_000, 5_000), 30_000
)
NO_STORM = Storm("role", 100, 1_000, hosts=1_000)
EVIDENCE = ActionStep("collect_evidence", (("unit", "{finding.unit}"),), Cost.HARMLESS, None, 10_000)


def _playbook(limits: Limits, steps: tuple[ActionStep | WaitStep, ...], for_ms: int) -> Playbook:
    return Playbook(
        "restart", "restart it", "ann", Trust.ACT, "unit_failed", "", for_ms, steps, limits, EscalateTo("ann", "page"), 5
    )


def policies(flaw: str, swarm: Swarm) -> tuple[Policy, ...]:
    """Versions of the rules. A flaw of the form `gate:<name>` makes that gate always allow."""
    gates = GATES
    if flaw.startswith("gate:"):
        skipped = flaw.removeprefix("gate:")
        gates = tuple(Gate(g.name, g.order, g.question, lambda _c: allow("skipped")) if g.name == skipped else g for g in GATES)
    storm = None if swarm.storms else NO_STORM
    tight = Limits(Rate(3, 3_600_000), FleetBudget("role", 10, 2), Attempts(4, 3_600_000, 5_000, 2), storm)
    loose = Limits(Rate(20, 3_600_000), FleetBudget("role", 30, 5), Attempts(8, 3_600_000, 1_000, 3), storm, Floor("role", 60))
    free = replace(loose, fleet=FleetBudget("role", 100, 20), floor=None)
    asked = replace(
        _playbook(loose, (EVIDENCE, KILL, KILL), 0), trust=Trust.SUGGEST, approval=Approval(people=2, within_ms=600_000)
    )
    first = (Policy("p0", (asked,), {}, gates),) if swarm.approvals else ()
    # Short, so that a partition outlasts them.
    alone = {"alone": {"restart": lambda _host: Reach(("unit_failed",), "{}")}, "permit_ttl_ms": PERMIT_TTL_MS}
    return (
        *first,
        Policy("p1", (_playbook(tight, (EVIDENCE, RESTART, WaitStep(20_000), RESTART), 0),), {}, gates, **alone),
        Policy("p2", (_playbook(loose, (RESTART,), 2_000),), {}, gates),
        Policy("p3", (_playbook(free, (RESTART, RESTART, RESTART), 0),), {}, gates, ceiling=Ceiling(10, 3, 50), **alone),
    )
