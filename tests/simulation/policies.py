"""The playbooks of the simulated fleet, in three versions, and the deliberate defects that the checkers must catch."""

from __future__ import annotations

import fleetmend_controller.core.gates as gate_folder
from fleetmend import registry
from fleetmend_controller.core.gates import Gate, allow
from fleetmend_controller.core.model import (
    ActionStep,
    Attempts,
    Cost,
    EscalateTo,
    FleetBudget,
    Limits,
    Playbook,
    Proof,
    Rate,
    Storm,
    Trust,
    WaitStep,
)
from fleetmend_controller.core.policy import DEFAULT_STORM, Policy

GATES = tuple(sorted(registry.load(gate_folder, "GATE", Gate).values(), key=lambda gate: gate.order))
STAY_OK_MS = 5_000
RESTART = ActionStep("restart_unit", (("unit", "{finding.unit}"),), Cost.DISRUPTIVE, Proof(20_000, STAY_OK_MS), 30_000)
# A share that no group reaches.
NEVER_STORM = Storm("role", 100_000, 300_000, hosts=1_000_000)
EVIDENCE = ActionStep("collect_evidence", (("unit", "{finding.unit}"),), Cost.HARMLESS, None, 10_000)


def _playbook(limits: Limits, steps: tuple[ActionStep | WaitStep, ...], for_ms: int) -> Playbook:
    return Playbook(
        "restart", "restart it", "ann", Trust.ACT, "unit_failed", "", for_ms, steps, limits, EscalateTo("ann", "page"), 5
    )


def policies(flaw: str, storms: bool) -> tuple[Policy, ...]:
    """Three versions of the rules, with storms or without. A flaw of the form `gate:<name>` makes that gate always allow."""
    gates = GATES
    if flaw.startswith("gate:"):
        skipped = flaw.removeprefix("gate:")
        gates = tuple(Gate(g.name, g.order, g.question, lambda _c: allow("skipped")) if g.name == skipped else g for g in GATES)
    tight = Limits(Rate(3, 3_600_000), FleetBudget("role", 10, 2), Attempts(4, 3_600_000, 5_000, 2))
    loose = Limits(Rate(20, 3_600_000), FleetBudget("role", 30, 5), Attempts(8, 3_600_000, 1_000, 3))
    storm = DEFAULT_STORM if storms else NEVER_STORM
    return (
        Policy("p1", (_playbook(tight, (EVIDENCE, RESTART, WaitStep(20_000), RESTART), 0),), {}, gates, storm=storm),
        Policy("p2", (_playbook(loose, (RESTART,), 2_000),), {}, gates, storm=storm),
        Policy("p3", (_playbook(loose, (RESTART, RESTART, RESTART), 0),), {}, gates, storm=storm),
    )
