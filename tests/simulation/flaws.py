"""Deliberately broken worlds. A checker that lets one pass proves nothing, so each must be caught by the standard seeds."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from unittest import mock

from fleetmend_controller.core import alerts, fleet, lost, orders, proof, repair
from fleetmend_controller.core.inquiry import Judgement, Reach
from fleetmend_controller.core.model import Status

Patch = tuple[Any, str, Any]


@dataclass(frozen=True, slots=True)
class Flaw:
    """One defect: `world` is switched on in the simulated processes, `patches` replace pieces of the core.

    `swarm` are the dangers under which it shows soon, `near` those among neighbours; every other is as the seed draws it.
    """

    name: str
    what: str
    world: str = ""
    patches: tuple[Patch, ...] = ()
    swarm: tuple[tuple[str, Any], ...] = ()
    near: tuple[tuple[str, Any], ...] = ()


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


# Much goes wrong at once in a small fleet, and the controller dies often.
BUSY = (("hosts", 3), ("units", 3), ("fault_every_ms", 20_000), ("duration_ms", 600_000))
DEADLY = (*BUSY, ("controller_crash_every_ms", 20_000), ("delay_ms", 3_000), ("action_ms", 50))
# A lost report stays lost: no restart of agent or host tells the fault again.
# Hosts fall silent often, and nothing else happens.
LONELY = (
    ("hosts", 8),
    ("units", 1),
    ("fault_every_ms", 600_000),
    ("duration_ms", 1_800_000),
    ("controller_crash_every_ms", 60_000),
)
DYING = (("racks", 2), ("shy", 0.4), ("death_every_ms", 60_000), ("island_every_ms", 0))
ONCE = (*DEADLY, ("hosts", 20), ("agent_crash_every_ms", 0), ("reboot_every_ms", 0), ("flap", 0.0), ("unknown", 0.0))

_REAL_HOLD = orders.hold_budget
_REAL_CONSIDER = repair.consider
_REAL_JUDGE = lost.judge


def _any_ok_proves(turn: Any, incident: Any, step: Any, event: Any) -> Any:
    return proof.ProofAnswer.PROVED if event.status is Status.OK else proof.ProofAnswer.OPEN


def _forget_attempt(turn: Any, host: Any, incident: Any, playbook: Any) -> None:
    """Forget to count a try."""


def _leave_what_is_taken(turn: Any, incident: Any) -> None:
    """Take an acknowledgement for an order to do nothing."""
    if not incident.taken_by:
        _REAL_CONSIDER(turn, incident)


def _one_is_enough(inquiry: Any, by_rack: bool) -> Any:
    """Believe the first witness that cannot reach a host."""
    verdict, text = _REAL_JUDGE(inquiry, by_rack)
    missed = any(word.reach is Reach.NOT_REACHED for word in inquiry.words)
    return (Judgement.DEAD, text) if missed and verdict is Judgement.UNCLEAR else (verdict, text)


def _racks_do_not_matter(inquiry: Any, _by_rack: bool) -> Any:
    """Take two witnesses behind one switch for two."""
    return _REAL_JUDGE(inquiry, False)


FLAWS: tuple[Flaw, ...] = (
    Flaw(
        "one_witness_is_enough",
        "a host is power-cycled on the word of one",
        patches=((lost, "judge", _one_is_enough),),
        swarm=LONELY,
        near=DYING,
    ),
    Flaw(
        "one_rack_is_two_witnesses",
        "witnesses of one rack count as independent",
        patches=((lost, "judge", _racks_do_not_matter),),
        swarm=LONELY,
        near=DYING,
    ),
    Flaw("deeds_forgotten", "the controller does again what it may have done", "deeds_forgotten", swarm=LONELY, near=DYING),
    Flaw(
        "the_old_boot_proves",
        "what a host says before it reboots proves the reboot",
        patches=((repair, "NOT_IN_THIS_BOOT_MS", 0),),
        swarm=(
            *BUSY,
            ("hosts", 8),
            ("flap", 0.5),
            ("action_fails", 0.5),
            ("action_ms", 50),
            ("reload_every_ms", 50_000),
            ("cursed", 0.0),
        ),
    ),
    Flaw(
        "late_alerts_believed",
        "that an alert fires is believed although it is over",
        patches=((alerts, "_is_late", lambda *_: False),),
        swarm=BUSY,
    ),
    Flaw(
        "taken_means_left_alone",
        "an incident that a person took is not healed",
        patches=((repair, "consider", _leave_what_is_taken),),
        swarm=BUSY,
    ),
    Flaw("pause_ignored", "healing goes on although it is paused", "gate:paused", swarm=(*BUSY, ("pause_every_ms", 100_000))),
    Flaw("stale_evidence", "orders on old or unknown evidence", "gate:evidence_fresh"),
    Flaw(
        "blips_acted_on",
        "orders before the fault lasted long enough",
        "gate:fault_duration",
        swarm=(*BUSY, ("reload_every_ms", 100_000)),
    ),
    Flaw("two_at_once", "two disruptive actions on one host", "gate:one_at_a_time"),
    Flaw("no_back_off", "tries without limit or pause", "gate:attempts", swarm=(*BUSY, ("cursed", 0.2))),
    Flaw("host_rate_ignored", "a playbook acts on one host without bound", "gate:per_host"),
    Flaw("budget_ignored", "too many hosts of a group at once", "gate:fleet_budget"),
    Flaw("budget_not_taken", "an order takes no place in the budget", patches=((orders, "hold_budget", _no_budget),)),
    Flaw("budget_after_the_fact", "the budget is given back at once", patches=((orders, "hold_budget", _release_early),)),
    Flaw("attempts_not_counted", "a try is not counted", patches=((orders, "count_order", _forget_attempt),)),
    Flaw("old_results_prove", "a result from before the action counts", patches=((proof, "_counts", lambda *_: True),)),
    Flaw("one_ok_proves", "the first OK ends the watch", patches=((proof, "judge", _any_ok_proves),)),
    Flaw(
        "doubles_taken",
        "a record that was seen already counts again",
        patches=((fleet, "is_new", lambda *_: True),),
        swarm=(*BUSY, ("doubled", 0.3), ("flap", 0.3), ("delay_ms", 3_000)),
    ),
    Flaw("late_word_taken", "nobody gives up on an order without word", patches=((repair, "order_overdue", lambda *_: None),)),
    Flaw("ledger_ignored", "the executor runs an order that it knows", "ledger_ignored", swarm=DEADLY),
    Flaw("epoch_not_checked", "an order of a deposed decider runs", "epoch_not_checked", swarm=DEADLY),
    Flaw(
        "expiry_not_checked",
        "an order runs after its time or on another boot",
        "expiry_not_checked",
        swarm=(*DEADLY, ("reboot_every_ms", 200_000)),
    ),
    Flaw("acknowledged_too_early", "a report is acknowledged before the journal holds it", "early_ack", swarm=ONCE),
    Flaw("effect_before_commit", "an order leaves before the journal holds it", "effect_before_commit", swarm=DEADLY),
    Flaw("timers_not_journalled", "a wake-up is not in the journal", "timers_not_journalled", swarm=DEADLY),
    Flaw("not_resent", "an unacknowledged record is not sent again", "not_resent", swarm=(*BUSY, ("loss", 0.2))),
)
