"""How long anything may take at most once all is calm, worked out from the rules; and what is waited for when it takes longer.

Nothing here is a guess: each term is a limit that some playbook, the policy or the core sets. What none of them bounds would
never end, and a seed would show it.
"""

from __future__ import annotations

from collections.abc import Iterable

from fleetmend_controller.core.incidents import HOST_LOST_CHECK
from fleetmend_controller.core.lost import WAIT_AFTER_START_MS, WAIT_MS
from fleetmend_controller.core.model import (
    ActionStep,
    Attempts,
    Cost,
    Fleet,
    Incident,
    NeedApproval,
    Phase,
    Playbook,
    Subject,
    Trust,
)
from fleetmend_controller.core.orders import DRAIN_MS_MAX, POWER_CYCLE, overdue_ms
from fleetmend_controller.core.permission import RECHECK_MS
from fleetmend_controller.core.policy import Policy
from fleetmend_controller.core.proof import ASK_AGAIN_MS
from fleetmend_controller.core.runs import OPERATOR_LIMITS
from fleetmend_controller.core.storms import AGAIN_MS, PAGE_WAIT_MS

from .timeline import clock

# A fault may end and leave a symptom behind that is looked at anew and goes the whole way itself.
CHAINS = 2


def liveness_ms(policies: Iterable[Policy], holds_ms: int, people_ms: int) -> int:
    """Within this time of calm every incident ends, or is a person's.

    `holds_ms` is how long what people announced may last (maintenance, somebody at work), `people_ms` how long they take to
    repair what a storm holds.
    """
    policies = tuple(policies)
    longest = max(playbook_ms(policy, playbook) for policy in policies for playbook in policy.playbooks)
    run = max(policy.stuck_ms for policy in policies) + RECHECK_MS + OPERATOR_LIMITS.attempts.backoff_ms
    storm = max(storm_ms(policy) for policy in policies)
    return people_ms + storm + holds_ms + CHAINS * max(longest, run)


def storm_ms(policy: Policy) -> int:
    """How long after the last repair a storm is over."""
    storms = [policy.storm, *(p.limits.storm for p in policy.playbooks if p.limits.storm is not None)]
    return max(storm.within_ms for storm in storms) + AGAIN_MS + PAGE_WAIT_MS


def playbook_ms(policy: Policy, playbook: Playbook) -> int:
    """From the first sight of a fault to its end by this playbook, or to a person."""
    actions = [step for step in playbook.steps if isinstance(step, ActionStep)]
    waits = sum(step.wait_ms + RECHECK_MS for step in playbook.steps if not isinstance(step, ActionStep))
    # One order more than steps: the one that was out, and whose end is lost, when the calm began.
    tries = [*actions, actions[-1]]
    ready = policy.evidence_max_age_ms + playbook.for_ms + playbook.limits.flapping.quiet_ms
    pauses = back_off_ms(playbook.limits.attempts, sum(1 for step in tries if step.cost is not Cost.HARMLESS))
    return ready + waits + pauses + sum(try_ms(policy, playbook, step) for step in tries)


def back_off_ms(attempts: Attempts, tries: int) -> int:
    """The longest pauses that so many tries can meet: the last ones before there are too many."""
    pauses = sorted((attempts.backoff_ms * attempts.factor**n for n in range(attempts.max - 1)), reverse=True)
    return sum(pauses[:tries])


def try_ms(policy: Policy, playbook: Playbook, step: ActionStep) -> int:
    """One step: a place in the budget or a person's answer, the order, its proof."""
    asks = step.cost is not Cost.HARMLESS and (
        playbook.trust is not Trust.OBSERVE or playbook.approval.needed_for is not NeedApproval.NEVER
    )
    approval = playbook.approval.within_ms + RECHECK_MS if asks else 0
    # A drain that begins late has the whole time of its order before it, and the order its own after it.
    order = overdue_ms(0, policy.order_ttl_ms, step.timeout_ms) * (2 if step.drain else 1) + (DRAIN_MS_MAX if step.drain else 0)
    # Witnesses are asked at once, and once more when people have answered.
    asking = WAIT_AFTER_START_MS + 2 * (WAIT_MS + RECHECK_MS) if step.action == POWER_CYCLE else 0
    proof = 0
    if step.prove is not None:
        # Until nobody can say whether it helped.
        proof = step.prove.within_ms + step.prove.stay_ok_ms + policy.stuck_ms + ASK_AGAIN_MS
    return policy.stuck_ms + RECHECK_MS + asking + approval + order + proof


def waits_for(fleet: Fleet) -> list[str]:
    """What each incident waits for that has neither ended nor reached a person.

    What else a lost host has waits for the host: people have that it is lost.
    """
    return [
        _waits(fleet, i) for i in fleet.incidents.values() if i.phase is not Phase.ESCALATED and not _waits_for_host(fleet, i)
    ]


def _waits_for_host(fleet: Fleet, incident: Incident) -> bool:
    lost = fleet.by_subject.get(Subject(incident.subject.host, HOST_LOST_CHECK, ""))
    told = lost is not None and lost != incident.id and fleet.incidents[lost].phase is Phase.ESCALATED
    return told and incident.phase is Phase.HELD


def _waits(fleet: Fleet, incident: Incident) -> str:
    parts = [f"{incident.id} ({incident.subject.host} {incident.subject.check} {incident.subject.key})"]
    parts.append(f"is {incident.phase.value} since {clock(incident.phase_since_ms)}, opened {clock(incident.opened_ms)}")
    parts.append(f"check says {incident.status.value}, evidence of {clock(incident.evidence_ms)}")
    if incident.holds:
        parts.append(f"held by {', '.join(incident.holds)}")
    if incident.order is not None:
        parts.append(f"{incident.order.id} is out, expires {clock(incident.order.expires_ms)}")
    if incident.asked_ms is not None:
        parts.append(f"people were asked {clock(incident.asked_ms)}")
    if incident.prove_by_ms is not None and incident.phase is Phase.PROVING:
        parts.append(f"to be proved by {clock(incident.prove_by_ms)}")
    wake = "nothing will wake it" if incident.wake_ms is None else f"wakes {clock(incident.wake_ms)}"
    parts.append(f"step {incident.step} of {incident.playbook or 'no playbook'}, now {clock(fleet.now_ms)}, {wake}")
    return "; ".join(parts)
