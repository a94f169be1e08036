"""The playbooks of the simulated fleet, in three versions, and the deliberate defects that the checkers must catch."""

from __future__ import annotations

import fleetmend_controller.core.gates as gate_folder
from fleetmend import registry
from fleetmend_controller.core.gates import Gate, allow
from fleetmend_controller.core.model import (
    ActionStep,
    Approval,
    Attempts,
    Cost,
    EscalateTo,
    FleetBudget,
    Host,
    Incident,
    Limits,
    NeedApproval,
    Playbook,
    Proof,
    Rate,
    Trust,
    WaitStep,
)
from fleetmend_controller.core.policy import Match, MatchAnswer, Policy

GATES = tuple(sorted(registry.load(gate_folder, "GATE", Gate).values(), key=lambda gate: gate.order))
RESTART = ActionStep("restart_unit", (("unit", "{finding.unit}"),), Cost.DISRUPTIVE, Proof(20_000, 5_000), 30_000)
REBOOT = ActionStep("reboot_host", (), Cost.DESTRUCTIVE, Proof(200_000, 5_000), 30_000)
CYCLE = ActionStep("power_cycle", (), Cost.DESTRUCTIVE, Proof(300_000, 0), 30_000, here=True)
EVIDENCE = ActionStep("collect_evidence", (("unit", "{finding.unit}"),), Cost.HARMLESS, None, 10_000)


def _playbook(limits: Limits, steps: tuple[ActionStep | WaitStep, ...], for_ms: int) -> Playbook:
    return Playbook(
        "restart", "restart it", "ann", Trust.ACT, "unit_failed", "", for_ms, steps, limits, EscalateTo("ann", "page"), 5,
        approval=Approval(NeedApproval.NEVER),
    )  # fmt: skip


def policies(flaw: str) -> tuple[Policy, ...]:
    """Three versions of the rules. A flaw of the form `gate:<name>` makes that gate always allow."""
    gates = GATES
    if flaw.startswith("gate:"):
        skipped = flaw.removeprefix("gate:")
        gates = tuple(Gate(g.name, g.order, g.question, lambda _c: allow("skipped")) if g.name == skipped else g for g in GATES)
    tight = Limits(Rate(3, 3_600_000), FleetBudget("role", 10, 2), Attempts(4, 3_600_000, 5_000, 2))
    loose = Limits(Rate(20, 3_600_000), FleetBudget("role", 30, 5), Attempts(8, 3_600_000, 1_000, 3))
    cycle = Playbook(
        "cycle", "switch it on", "ann", Trust.ACT, "host_lost", "", 0, (CYCLE,), loose, EscalateTo("ann", "page"), 5,
        approval=Approval(NeedApproval.NEVER),
    )  # fmt: skip
    conditions = {"cycle": _is_dead}
    return (
        Policy("p1", (_playbook(tight, (EVIDENCE, RESTART, WaitStep(20_000), RESTART), 0), cycle), conditions, gates),
        Policy("p2", (_playbook(loose, (RESTART, REBOOT), 2_000), cycle), conditions, gates),
        Policy("p3", (_playbook(loose, (RESTART, RESTART, RESTART), 0), cycle), conditions, gates),
    )


def _is_dead(_host: Host, incident: Incident) -> Match:
    return Match(MatchAnswer.YES if incident.finding.get("verdict") == "dead" else MatchAnswer.NO)
