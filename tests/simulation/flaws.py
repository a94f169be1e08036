"""Deliberately broken worlds. A checker that lets one pass proves nothing, so each must be caught by the standard seeds."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from unittest import mock

from fleetmend_controller.core import (
    alerts,
    alone,
    ending,
    fleet,
    flow,
    lost,
    orders,
    permission,
    permits,
    proof,
    repair,
    standing,
    storms,
)
from fleetmend_controller.core.effects import DrainHost, Escalated, SendOrder, Why
from fleetmend_controller.core.events import HostSilent
from fleetmend_controller.core.gates import approval, fleet_budget, one_at_a_time
from fleetmend_controller.core.inquiry import Judgement, Reach
from fleetmend_controller.core.model import Status
from fleetmend_controller.core.transitions import Trigger

from .policies import GATES

Patch = tuple[Any, str, Any]


@dataclass(frozen=True, slots=True)
class Flaw:
    """One defect: `world` is switched on in the simulated processes, `patches` replace pieces of the core.

    It must be caught in the worlds that the standard seeds draw. The few that show too rarely there name the dangers under
    which they do (`swarm`, every other danger is as drawn), and why. Worlds that lack what it `needs` are left out: it cannot
    show there. `watch` is the promise about lost hosts that it breaks.
    """

    name: str
    what: str
    world: str = ""
    patches: tuple[Patch, ...] = ()
    swarm: tuple[tuple[str, Any], ...] = ()
    why: str = ""
    needs: str = ""
    watch: str = ""


@contextmanager
def broken_by(flaw: Flaw) -> Iterator[None]:
    """The core with this defect."""
    active = [mock.patch.object(owner, name, replacement) for owner, name, replacement in flaw.patches]
    for patch in active:
        patch.start()
    try:
        yield
    finally:
        for patch in reversed(active):
            patch.stop()


# Orders of one host must cross a change of deciders: much is sick at once, nothing holds it, who decides often stands still.
CROSSING = (
    ("hosts", 8), ("units", 3), ("fault_every_ms", 40_000), ("duration_ms", 1_200_000), ("controller_crash_every_ms", 600_000),
    ("delay_ms", 3_000), ("action_ms", 50), ("loss", 0.4), ("dies", 0.0), ("stands_still", 0.3), ("rules", 0), ("cursed", 0.2),
    ("storms", False), ("reload_every_ms", 0), ("pause_every_ms", 0), ("window_every_ms", 0), ("presence_every_ms", 0),
    ("cut_every_ms", 0), ("reboot_every_ms", 0), ("partition_every_ms", 0), ("agent_crash_every_ms", 0),
)  # fmt: skip
# Hosts are often alone, what they are told is often lost, and the controller dies often.
CUT_OFF = (
    ("hosts", 3), ("units", 3), ("fault_every_ms", 40_000), ("duration_ms", 1_800_000), ("controller_crash_every_ms", 60_000),
    ("loss", 0.5), ("cut_off_every_ms", 60_000), ("alone", True), ("permit_ttl_ms", 3_600_000), ("rules", 2),
    ("reload_every_ms", 0), ("storms", False), ("window_every_ms", 0), ("presence_every_ms", 0), ("pause_every_ms", 0),
)  # fmt: skip
# Disks are full now and then, and words of that are long on their way.
REFUSING = (
    ("hosts", 8), ("units", 3), ("fault_every_ms", 40_000), ("duration_ms", 1_200_000), ("delay_ms", 3_000), ("loss", 0.4),
    ("disk_full_every_ms", 60_000), ("partition_every_ms", 60_000), ("reload_every_ms", 0), ("pause_every_ms", 0),
    ("window_every_ms", 0), ("cut_every_ms", 0), ("storms", False),
)  # fmt: skip
QUIET = (
    ("storms", False), ("reload_every_ms", 0), ("pause_every_ms", 0), ("window_every_ms", 0), ("presence_every_ms", 0),
    ("cut_every_ms", 0), ("cut_off_every_ms", 0), ("reboot_every_ms", 0), ("partition_every_ms", 0), ("loss", 0.0),
    ("agent_crash_every_ms", 0), ("journal_full_every_ms", 0), ("stall_every_ms", 0), ("wall_step_every_ms", 0),
    ("mass_fault", False), ("clock_step", False), ("agent_death_every_ms", 0), ("island_every_ms", 0), ("alerts", False),
)  # fmt: skip
# Hosts die one after the other, and hardly anything else happens.
DYING = (
    *QUIET, ("hosts", 12), ("units", 1), ("fault_every_ms", 3_600_000), ("duration_ms", 7_200_000),
    ("death_every_ms", 2_400_000), ("controller_crash_every_ms", 0), ("board_fails", 0.5), ("board_slow", 0.5),
    ("misled", 0.1), ("shy", 0.2), ("rules", 2),
)  # fmt: skip
# Restarts often fail, reboots come then, and faults go away by themselves meanwhile.
REBOOTING = (
    *QUIET, ("hosts", 8), ("units", 1), ("fault_every_ms", 60_000), ("duration_ms", 1_800_000), ("death_every_ms", 0),
    ("controller_crash_every_ms", 0), ("flap", 0.7), ("cursed", 0.0), ("action_fails", 0.5), ("action_ms", 50),
    ("executor_crash", 0.0), ("disk_full_every_ms", 0), ("rules", 1), ("delay_ms", 50),
)  # fmt: skip
_REAL_HOLD = orders.hold_budget
_REAL_CONSIDER = repair.consider
_REAL_USED = alone.used
_REAL_JUDGE = lost.judge
_REAL_SILENT = lost.silent
_REAL_NEXT = repair._next_try
_REAL_NEEDED = approval.needed


def _no_budget(*_: object) -> None:
    """Forget to take a place in the budget."""


def _release_early(turn: Any, incident: Any, host: Any, by: str) -> None:
    """Count the budget only after the fact: taken and given back at once."""
    _REAL_HOLD(turn, incident, host, by)
    for group in incident.groups:
        hosts = turn.fleet.in_flight[group]
        hosts[host.id] -= 1
        if not hosts[host.id]:
            del hosts[host.id]
        if not hosts:
            del turn.fleet.in_flight[group]
    incident.groups = ()


def _any_ok_proves(turn: Any, incident: Any, step: Any, event: Any) -> Any:
    return proof.ProofAnswer.PROVED if event.status is Status.OK else proof.ProofAnswer.OPEN


def _open(*_: object) -> Any:
    return proof.ProofAnswer.OPEN


def _nothing(*_: object) -> None:
    """Forget to count a try, to give up, to lower trust."""


def _nobody(*_: object) -> dict[Any, int]:
    """Count nobody as sick."""
    return {}


def _same(*_: object) -> str:
    """What is asked for is always the same."""
    return "same"


def _credit(turn: Any, incident: Any, *_: object) -> None:
    """Healed, whoever did it."""
    ending.end(turn, incident, Trigger.PROVED, Why.HEALED, "healed")


def _leave_what_is_taken(turn: Any, incident: Any) -> None:
    """Take an acknowledgement for an order to do nothing."""
    if not incident.taken_by:
        _REAL_CONSIDER(turn, incident)


def _counts_again(turn: Any, event: Any) -> None:
    """Forget which permits were told of."""
    host = turn.fleet.hosts.get(event.host)
    if host is not None:
        host.permits.used.pop(event.permit, None)
    _REAL_USED(turn, event)


def _no(*_: object) -> bool:
    """Nothing is late."""
    return False


def _hour(turn: Any, _host: Any) -> int:
    """Whatever is announced."""
    return int(turn.now_ms) + 3_600_000


def _ask_nobody(*_: object) -> list[Any]:
    """No gate is asked before a host gets permits."""
    return []


def _plenty(*_: object) -> int:
    """No ceiling."""
    return 1_000


def _page_again(turn: Any, incident: Any, outbreak: Any, difference: Any = ()) -> None:
    """Page at each look."""
    turn.do(Escalated(incident.id, incident.subject, "ann", "page", Why.STORM, "storm"))


def _one_is_enough(inquiry: Any, by_rack: bool) -> Any:
    """Believe the first witness that cannot reach a host."""
    verdict, text = _REAL_JUDGE(inquiry, by_rack)
    missed = any(word.reach is Reach.NOT_REACHED for word in inquiry.words)
    return (Judgement.DEAD if missed and verdict is Judgement.UNCLEAR else verdict), text


def _racks_do_not_matter(inquiry: Any, _by_rack: bool) -> Any:
    """Take two witnesses behind one switch for two."""
    return _REAL_JUDGE(inquiry, False)


def _restart_what_was_there(turn: Any, event: Any) -> None:
    """Take silence for a sign that what was sick there still is."""
    _REAL_SILENT(turn, event)
    host = turn.fleet.hosts.get(event.host)
    since_ms, host.lost_since_ms = host.lost_since_ms, None
    for incident_id in list(turn.fleet.by_host.get(host.id, {})):
        incident = turn.fleet.incidents.get(incident_id)
        if incident is not None and incident.inquiry is None and incident.phase in repair.WAITING:
            incident.evidence_ms = turn.now_ms
            _REAL_CONSIDER(turn, incident)
    host.lost_since_ms = since_ms


def _cycle_again(turn: Any, incident: Any, why: Any, text: str) -> None:
    """What did not work the first time may work the second."""
    if incident.inquiry is None:
        _REAL_NEXT(turn, incident, why, text)
    else:
        repair._back_to_gates(turn, incident, Trigger.RETRY)


def _needs_no_leave(playbook: Any, step: Any, trust: Any) -> bool:
    return step.action != orders.POWER_CYCLE and _REAL_NEEDED(playbook, step, trust)


def _send_at_once(turn: Any, order: Any) -> None:
    """Drain a host and disturb it, in whatever order that comes."""
    if order.drain:
        turn.do(DrainHost(order))
    turn.do(SendOrder(order))


# Every gate there is: one that nobody watches fails the test.
SKIPPED = tuple(Flaw(f"gate:{gate.name}", f"nobody asks: {gate.question}", f"gate:{gate.name}") for gate in GATES)

IN_THE_CORE: tuple[Flaw, ...] = (
    Flaw("budget_not_taken", "an order takes no place in the budget", patches=((orders, "hold_budget", _no_budget),)),
    Flaw("budget_after_the_fact", "the budget is given back at once", patches=((orders, "hold_budget", _release_early),)),
    Flaw("ceiling_ignored", "the whole fleet at once", patches=((fleet_budget, "fleet_allowance", _plenty),)),
    Flaw("attempts_not_counted", "a try is not counted", patches=((orders, "count_order", _nothing),)),
    Flaw("old_results_prove", "a result from before the action counts", patches=((proof, "_counts", lambda *_: True),)),
    Flaw("one_ok_proves", "the first OK ends the watch", patches=((proof, "judge", _any_ok_proves),)),
    Flaw(
        "symptoms_ignored",
        "healed while another check fails",
        patches=((proof, "spoiler", lambda *_: ""), (proof, "spoiled", _open)),
    ),
    Flaw("unknown_is_credited", "an order without word heals", patches=((repair, "_recovered", _credit),)),
    Flaw("doubles_taken", "a record that was seen already counts again", patches=((fleet, "is_new", lambda *_: True),)),
    Flaw("late_word_taken", "nobody gives up on an order without word", patches=((repair, "order_overdue", _nothing),)),
    Flaw(
        "late_alerts_believed", "that an alert fires counts after its end", patches=((alerts, "_is_late", _no),), needs="alerts"
    ),
    Flaw("taken_means_left_alone", "what a person took is not healed", patches=((repair, "consider", _leave_what_is_taken),)),
    Flaw(
        "permits_for_nothing",
        "no gate is asked before a permit is given",
        patches=((permits, "_ask", _ask_nobody),),
        needs="alone",
    ),
    Flaw(
        "permits_into_maintenance",
        "permits last into announced maintenance",
        patches=((permits, "_expires_ms", _hour),),
        needs="alone",
    ),
    Flaw(
        "uses_counted_twice", "a use that is told again counts again", patches=((alone, "used", _counts_again),), needs="alone"
    ),
    Flaw("uses_not_counted", "what a host did alone is no try", patches=((alone, "count_order", _nothing),), needs="alone"),
    Flaw(
        "uses_hold_no_budget",
        "what a host does alone takes no place",
        patches=((alone, "hold_budget", _nothing),),
        needs="alone",
    ),
    Flaw("never_demoted", "a playbook that fails and fails keeps its trust", patches=((standing, "failed", _nothing),)),
    Flaw("storm_over_too_soon", "a storm ends while all are sick", patches=((storms, "_sick", _nobody),)),
    Flaw("storm_paged_again", "a storm pages more than once", patches=((storms, "tell", _page_again),)),
    Flaw(
        "approval_by_name_only",
        "a yes is for whatever the order does by then",
        patches=((approval, "digest", _same), (permission, "digest", _same)),
    ),
    Flaw("one_person_is_two", "a person counts once a role", patches=((approval, "person", lambda by: by),)),
)
# As CROSSING, for the product's own processes.
REAL_CROSSING = (
    ("hosts", 1), ("units", 2), ("fault_every_ms", 30_000), ("duration_ms", 600_000), ("controller_crash_every_ms", 600_000),
    ("delay_ms", 3_000), ("action_ms", 50), ("dies", 0.0), ("stands_still", 0.3), ("rules", 0), ("reload_every_ms", 0),
    ("pause_every_ms", 0), ("window_every_ms", 0), ("presence_every_ms", 0), ("cut_every_ms", 0), ("reboot_every_ms", 0),
    ("partition_every_ms", 60_000), ("agent_crash_every_ms", 0), ("disk_full_every_ms", 0), ("journal_full_every_ms", 0),
    ("run_every_ms", 5_000),
)  # fmt: skip
# Hosts boot between an order and its arrival.
REAL_LATE = (
    ("hosts", 1), ("units", 2), ("fault_every_ms", 30_000), ("duration_ms", 600_000), ("controller_crash_every_ms", 600_000),
    ("delay_ms", 3_000), ("dies", 0.0), ("stands_still", 0.5), ("reboot_every_ms", 60_000), ("run_every_ms", 10_000),
    ("window_every_ms", 0), ("pause_every_ms", 0),
)  # fmt: skip
# The executor's own defences, broken in the executor itself (see real/executor.py).
IN_THE_EXECUTOR: tuple[Flaw, ...] = (
    Flaw("ledger_ignored", "the executor runs an order that it knows", "ledger_ignored"),
    Flaw(
        "epoch_not_checked",
        "an order of a deposed decider runs",
        "epoch_not_checked",
        swarm=REAL_CROSSING,
        why="seal, ledger and expiry stop nearly all of those orders before their epoch is looked at",
    ),
    Flaw(
        "expiry_not_checked",
        "an order runs after its time or on another boot",
        "expiry_not_checked",
        swarm=REAL_LATE,
        why="an order must be on its way while its host boots",
    ),
)
OF_THE_LOST: tuple[Flaw, ...] = (
    Flaw(
        "one_witness_is_enough",
        "a host is power-cycled on the word of one",
        patches=((lost, "judge", _one_is_enough),),
        needs="death_every_ms",
        watch="dead_by_two",
    ),
    Flaw(
        "one_rack_is_two_witnesses",
        "witnesses of one rack count as two",
        patches=((lost, "judge", _racks_do_not_matter),),
        swarm=DYING,
        why="the witness of another rack must be silent, and in most worlds few die",
        watch="dead_by_two",
    ),
    Flaw(
        "lost_host_restarts_things",
        "what was sick on a host that fell silent is restarted",
        patches=((flow, "_HANDLERS", {**flow._HANDLERS, HostSilent: _restart_what_was_there}),),
        watch="nothing_for_silence",
    ),
    Flaw(
        "cycled_again",
        "a power cycle that did not help is done again",
        patches=((repair, "_next_try", _cycle_again),),
        swarm=DYING,
        why="few hosts die in most worlds, and people are asked before the second try",
        watch="once_a_death",
    ),
    Flaw(
        "cycled_without_leave",
        "nobody is asked before a power cycle",
        patches=((approval, "needed", _needs_no_leave),),
        needs="death_every_ms",
        watch="by_leave",
    ),
    Flaw(
        "two_cycles_at_a_time",
        "a second host is power-cycled before the first is back",
        patches=((one_at_a_time, "_power_cycled", lambda *_: ""),),
        swarm=DYING,
        why="two hosts must be dead at one time, and people say yes to both",
        watch="one_cycle_at_a_time",
    ),
    Flaw(
        "deed_repeated_after_crash",
        "the controller does again what it may have done",
        "deeds_forgotten",
        swarm=(*DYING, ("controller_crash_every_ms", 60_000), ("dies", 0.01)),
        why="the controller must die while it acts itself, which it seldom does in most worlds",
    ),
    Flaw(
        "reboot_proved_by_the_same_boot",
        "what a host says before it goes down proves its reboot",
        patches=((repair, "NOT_IN_THIS_BOOT_MS", 0),),
        swarm=REBOOTING,
        why="the fault must go away in the seconds between the order's end and the host's",
    ),
    Flaw(
        "reboots_again",
        "an order takes its host down twice",
        "reboots_again",
        swarm=REBOOTING,
        why="the rules reboot what a restart did not heal, and only in one version of four",
    ),
    Flaw("drain_not_awaited", "a host is disturbed before it is out of service", patches=((orders, "send", _send_at_once),)),
    Flaw("never_undrained", "a host that was drained stays so", "never_undrained"),
)
IN_THE_PROCESSES: tuple[Flaw, ...] = (
    Flaw("ledger_ignored", "the executor runs an order that it knows", "ledger_ignored"),
    Flaw(
        "epoch_not_checked",
        "an order of a deposed decider runs",
        "epoch_not_checked",
        swarm=CROSSING,
        why="ledger and expiry stop nearly all of those orders before their epoch is looked at",
    ),
    Flaw("permit_used_twice", "a permit runs although the ledger knows it", "permit_ledger_ignored", needs="alone"),
    Flaw(
        "permit_expiry_unchecked",
        "a permit is used after its end",
        "permit_expiry_unchecked",
        swarm=(*CUT_OFF, ("permit_ttl_ms", 60_000)),
        why="permits last longer than hosts are cut off in most worlds, so that healing alone is seen in them",
        needs="alone",
    ),
    Flaw(
        "permit_budget_unchecked",
        "more permits of a playbook are used than its limit allows",
        "permit_budget_unchecked",
        needs="alone",
    ),
    Flaw(
        "permit_of_a_deposed_one",
        "a permit is used after a newer controller commanded",
        "permit_epoch_unchecked",
        swarm=CUT_OFF,
        why="every new decider sends its permits at once: they must be lost, its orders not, and the host cut off then",
        needs="alone",
    ),
    Flaw("permit_beside_people", "a permit is used while somebody is at work", "people_unseen", needs="alone"),
    Flaw("expiry_not_checked", "an order runs after its time or on another boot", "expiry_not_checked"),
    Flaw(
        "refusal_forgotten",
        "the agent hands on what it has refused",
        "refusal_forgotten",
        swarm=REFUSING,
        why="a full disk must come free in the seconds between an order's refusal and the journal's knowing of it",
    ),
    Flaw("acknowledged_too_early", "a report is acknowledged before the journal holds it", "early_ack"),
    Flaw("effect_before_commit", "an order leaves before the journal holds it", "effect_before_commit"),
    Flaw("effect_after_refusal", "an order leaves although the journal took no row", "effect_after_refusal"),
    Flaw("never_doubts", "the controller does not notice that it was away", "never_doubts"),
    Flaw("timers_not_journalled", "a wake-up is not in the journal", "timers_not_journalled"),
    Flaw("timers_lost", "a wake-up is never set", "timers_lost"),
    Flaw("never_polls", "what a signal missed is never looked at", "never_polls"),
    Flaw("not_resent", "an unacknowledged record is not sent again", "not_resent"),
)
FLAWS = (*SKIPPED, *IN_THE_CORE, *OF_THE_LOST, *IN_THE_PROCESSES)
