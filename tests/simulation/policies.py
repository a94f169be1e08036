"""The playbooks of the simulated fleet, in four versions of the rules."""

from __future__ import annotations

from dataclasses import replace

import fleetmend_controller.core.gates as gate_folder
from fleetmend import registry
from fleetmend_controller.calendar import next_start, window_end
from fleetmend_controller.core.gates import Gate, allow
from fleetmend_controller.core.incidents import HOST_LOST_CHECK
from fleetmend_controller.core.inquiry import Judgement
from fleetmend_controller.core.model import (
    ActionStep,
    Approval,
    Attempts,
    Ceiling,
    Cost,
    EscalateTo,
    FleetBudget,
    Floor,
    Host,
    Incident,
    Limits,
    NeedApproval,
    Playbook,
    Proof,
    Rate,
    Step,
    Storm,
    Trust,
    WaitStep,
)
from fleetmend_controller.core.orders import POWER_CYCLE, REBOOT
from fleetmend_controller.core.policy import DEFAULT_STORM, Match, MatchAnswer, Policy, Reach, ReachOf

from .swarm import Swarm

GATES = tuple(sorted(registry.load(gate_folder, "GATE", Gate).values(), key=lambda gate: gate.order))
HOUR_MS = 3_600_000
STAY_OK_MS = 5_000
PROOF = Proof(20_000, STAY_OK_MS)
RESTART = ActionStep("restart_unit", (("unit", "{finding.unit}"),), Cost.DISRUPTIVE, PROOF, 30_000)
# What it would do changes while people think about it.
KILL = ActionStep("kill_process", (("unit", "{finding.unit}"), ("pid", "{finding.pid}")), Cost.DISRUPTIVE, PROOF, 30_000)
CLEAR = ActionStep("clear_directory", (("mount", "{finding.mount}"), ("keep", "none")), Cost.DESTRUCTIVE, PROOF, 30_000)
THIN = ActionStep("clear_directory", (("mount", "{finding.mount}"), ("keep", "some")), Cost.DESTRUCTIVE, PROOF, 30_000)
RERUN = ActionStep("restart_unit", (("unit", "{finding.what}"),), Cost.DISRUPTIVE, PROOF, 30_000)
EVIDENCE = ActionStep("collect_evidence", (("unit", "{finding.unit}"),), Cost.HARMLESS, None, 10_000)
DRAINED = replace(RESTART, drain=True)
DRAIN = ActionStep("drain", (), Cost.DISRUPTIVE, None, 120_000, here=True)
BOOT = ActionStep(REBOOT, (), Cost.DESTRUCTIVE, Proof(200_000, STAY_OK_MS), 30_000)
CYCLE = ActionStep(POWER_CYCLE, (), Cost.DESTRUCTIVE, Proof(300_000, 1_000), 30_000, here=True)
# A share that no group reaches.
NEVER_STORM = Storm("role", 100_000, 300_000, hosts=1_000_000)

TIGHT = Limits(Rate(3, HOUR_MS), FleetBudget("role", 10, 2, also=("rack",)), Attempts(4, HOUR_MS, 5_000, 2))
LOOSE = Limits(Rate(20, HOUR_MS), FleetBudget("role", 30, 5), Attempts(8, HOUR_MS, 1_000, 3))
FREE = replace(LOOSE, fleet=FleetBudget("role", 100, 20))
FLOORED = replace(LOOSE, floor=Floor("role", 60))


def book(name: str, check: str, limits: Limits, *steps: Step, trust: Trust = Trust.ACT, **more: object) -> Playbook:
    """One playbook."""
    to = EscalateTo("ann", "page")
    also = ("http",) if check == "unit_failed" else ()
    made = Playbook(name, f"{name} it", "ann", trust, check, "", 0, steps, limits, to, 5, also)
    return replace(made, **more)


def is_database(host: Host, _incident: Incident) -> Match:
    """The condition of a playbook."""
    return Match(MatchAnswer.YES if host.labels.get("role") == "db" else MatchAnswer.NO, "role")


def is_dead(_host: Host, incident: Incident) -> Match:
    """The condition of every power cycle."""
    dead = incident.finding.get("verdict") == Judgement.DEAD.value
    return Match(MatchAnswer.YES if dead else MatchAnswer.NO, "verdict")


def units(_host: Host) -> Reach:
    """What hosts may answer alone."""
    return Reach(("unit_failed",), "{}")


# By version; p4 wants people to approve it, so nothing may be given.
ALONE: dict[str, dict[str, ReachOf]] = {name: {"restart": units} for name in ("p1", "p3", "p4")}
WATCH = book("watch", "file_age", LOOSE, RERUN, trust=Trust.OBSERVE)
NOBODY = Approval(NeedApproval.NEVER)
ONE = Approval(people=1, within_ms=900_000, role="admin")
TWO = Approval(people=2, within_ms=600_000)
ONE_FOR_ALL = Approval(NeedApproval.DISRUPTIVE, within_ms=600_000)


def books() -> dict[str, tuple[Playbook, ...]]:
    """The versions. Each has another way to heal units and disks."""
    return {
        "p1": (
            book("restart", "unit_failed", TIGHT, EVIDENCE, RESTART, WaitStep(20_000), DRAINED),
            book("clear", "filesystem_space", TIGHT, CLEAR, approval=TWO),
            book("cycle", HOST_LOST_CHECK, TIGHT, CYCLE, trust=Trust.SUGGEST, approval=ONE),
            WATCH,
        ),
        "p2": (
            book("restart-db", "unit_failed", FLOORED, DRAINED, approval=ONE_FOR_ALL),
            book("restart", "unit_failed", FLOORED, RESTART, BOOT, for_ms=2_000, approval=NOBODY),
            book("clear", "filesystem_space", LOOSE, CLEAR, approval=NOBODY),
            book("cycle", HOST_LOST_CHECK, LOOSE, CYCLE, for_ms=120_000, approval=ONE),
            WATCH,
        ),
        "p3": (
            book("restart", "unit_failed", FREE, RESTART, RESTART, RESTART, approval=NOBODY),
            book("clear", "filesystem_space", FREE, THIN, DRAIN, CLEAR, approval=ONE),
            book("cycle", HOST_LOST_CHECK, FREE, CYCLE, approval=ONE_FOR_ALL),
            WATCH,
        ),
        "p4": (
            book("restart", "unit_failed", LOOSE, EVIDENCE, KILL, KILL, trust=Trust.SUGGEST, approval=TWO),
            book("clear", "filesystem_space", LOOSE, replace(THIN, drain=True), approval=TWO),
            book("cycle", HOST_LOST_CHECK, LOOSE, CYCLE, approval=TWO),
            WATCH,
        ),
    }


def _real_step(step: Step) -> Step:
    if not isinstance(step, ActionStep):
        return step
    return RESTART if step in (KILL, DRAIN, BOOT) else replace(step, drain=False)


def _real_books() -> dict[str, tuple[Playbook, ...]]:
    """With steps that a real executor knows how to plan, and none that the controller does with its own hands."""
    return {
        name: tuple(replace(p, steps=tuple(map(_real_step, p.steps))) for p in playbooks if CYCLE not in p.steps)
        for name, playbooks in books().items()
    }


def policies(flaw: str, swarm: Swarm) -> tuple[Policy, ...]:
    """The versions of the rules, the first in force first. A flaw of the form `gate:<name>` makes that gate always allow."""
    gates = GATES
    if flaw.startswith("gate:"):
        skipped = flaw.removeprefix("gate:")
        gates = tuple(Gate(g.name, g.order, g.question, lambda _c: allow("skipped")) if g.name == skipped else g for g in GATES)
    storm = DEFAULT_STORM if swarm.storms else NEVER_STORM
    ceilings = {"p3": Ceiling(10, 2, 50)}
    conditions = {name: {"cycle": is_dead} for name in books()}
    conditions["p2"]["restart-db"] = is_database
    made = [
        Policy(
            name, playbooks, conditions[name], gates, storm=storm, window_end=window_end,
            ceiling=ceilings.get(name, Ceiling(10, 5, 50)), window_start=next_start,
            alone=ALONE.get(name, {}) if swarm.alone else {}, permit_ttl_ms=swarm.permit_ttl_ms,
        )
        for name, playbooks in (books() if not swarm.real else _real_books()).items()
    ]  # fmt: skip
    return (*made[swarm.rules :], *made[: swarm.rules])
