"""Deliberately broken worlds. A checker that lets one pass proves nothing, so each must be caught by the standard seeds."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from unittest import mock

from fleetmend_controller.core import alerts, alone, ending, fleet, orders, permission, proof, repair, storms
from fleetmend_controller.core.effects import Escalated, Why
from fleetmend_controller.core.gates import approval, fleet_budget
from fleetmend_controller.core.model import Status
from fleetmend_controller.core.transitions import Trigger

Patch = tuple[Any, str, Callable[..., Any]]


@dataclass(frozen=True, slots=True)
class Flaw:
    """One defect: `world` is switched on in the simulated processes, `patches` replace pieces of the core.

    `swarm` are the dangers under which it shows soon; every other danger is as the seed draws it.
    """

    name: str
    what: str
    world: str = ""
    patches: tuple[Patch, ...] = ()
    swarm: tuple[tuple[str, Any], ...] = ()


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
BUSY = (
    ("hosts", 3),
    ("units", 3),
    ("fault_every_ms", 20_000),
    ("duration_ms", 600_000),
    ("storms", False),
    ("approvals", False),
)
# Many hosts fall sick together, and stay so until people come.
STORMY = (
    *BUSY,
    ("hosts", 20),
    ("units", 1),
    ("mass_fault", True),
    ("storms", True),
    ("fault_every_ms", 300_000),
    ("flap", 0.0),
)
ASKED = (*BUSY, ("approvals", True), ("hosts", 8), ("reload_every_ms", 0))
WIDE = (*BUSY, ("hosts", 20), ("units", 1), ("reload_every_ms", 100_000), ("mass_fault", True))
DEADLY = (*BUSY, ("controller_crash_every_ms", 20_000), ("delay_ms", 3_000), ("action_ms", 50))
# A lost report stays lost: no restart of agent or host tells the fault again.
ONCE = (*DEADLY, ("hosts", 20), ("agent_crash_every_ms", 0), ("reboot_every_ms", 0), ("flap", 0.0), ("unknown", 0.0))

_REAL_HOLD = orders.hold_budget
_REAL_CONSIDER = repair.consider


def _any_ok_proves(turn: Any, incident: Any, step: Any, event: Any) -> Any:
    return proof.ProofAnswer.PROVED if event.status is Status.OK else proof.ProofAnswer.OPEN


def _forget_attempt(turn: Any, host: Any, incident: Any, playbook: Any) -> None:
    """Forget to count a try."""


def _leave_what_is_taken(turn: Any, incident: Any) -> None:
    """Take an acknowledgement for an order to do nothing."""
    if not incident.taken_by:
        _REAL_CONSIDER(turn, incident)


# Hosts are often alone, their agents die, and what is broken is often cursed.
CUT_OFF = (
    *(("hosts", 3), ("units", 3), ("fault_every_ms", 20_000), ("duration_ms", 1_800_000), ("partition_every_ms", 60_000)),
    *(("agent_crash_every_ms", 60_000), ("cursed", 0.2), ("action_ms", 2_000), ("flap", 0.0), ("unknown", 0.0)),
)


def _counts_again(turn: Any, event: Any) -> None:
    """Forget which permits were told of."""
    host = turn.fleet.hosts.get(event.host)
    if host is not None:
        host.permits.used.pop(event.permit, None)
    _REAL_USED(turn, event)


_REAL_USED = alone.used


def _none(*_: object) -> dict[Any, int]:
    """Count nobody."""
    return {}


def _same(*_: object) -> str:
    """What is asked for is always the same."""
    return "same"


def _credit(turn: Any, incident: Any, *_: object) -> None:
    """Healed, whoever did it."""
    ending.end(turn, incident, Trigger.PROVED, Why.HEALED, "healed")


def _plenty(*_: object) -> int:
    """No ceiling."""
    return 1_000


def _page_again(turn: Any, incident: Any, outbreak: Any, difference: Any = ()) -> None:
    """Page at each look."""
    turn.do(Escalated(incident.id, incident.subject, "ann", "page", Why.STORM, "storm"))


FLAWS: tuple[Flaw, ...] = (
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
    Flaw("storm_ignored", "repairs go on in a storm", "gate:storm", swarm=STORMY),
    Flaw("storm_over_too_soon", "a storm ends while all are sick", patches=((storms, "_sick", _none),), swarm=STORMY),
    Flaw("storm_paged_again", "a storm pages more than once", patches=((storms, "tell", _page_again),), swarm=STORMY),
    Flaw("floor_ignored", "a group goes below its floor", "gate:minimum_healthy", swarm=WIDE),
    Flaw("ceiling_ignored", "the whole fleet at once", patches=((fleet_budget, "fleet_allowance", _plenty),), swarm=WIDE),
    Flaw("approval_ignored", "nobody needs to approve", "gate:approval", swarm=ASKED),
    Flaw(
        "approval_by_name_only",
        "a yes is for whatever the order does by then",
        patches=((approval, "digest", _same), (permission, "digest", _same)),
        swarm=ASKED,
    ),
    Flaw("one_person_is_two", "a person counts once a role", patches=((approval, "person", lambda by: by),), swarm=ASKED),
    Flaw("unknown_is_credited", "an order without word heals", patches=((repair, "_recovered", _credit),), swarm=DEADLY),
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
    Flaw(
        "epoch_not_checked",
        "an order of a deposed decider runs",
        "epoch_not_checked",
        # People order beside playbooks: an order of before and one of now meet on a host.
        swarm=(*DEADLY, ("loss", 0.2), ("hosts", 8), ("reload_every_ms", 0), ("run_every_ms", 5_000)),
    ),
    Flaw(
        "expiry_not_checked",
        "an order runs after its time or on another boot",
        "expiry_not_checked",
        swarm=(*DEADLY, ("reboot_every_ms", 200_000)),
    ),
    Flaw("permit_used_twice", "a permit runs although the ledger knows it", "permit_ledger_ignored", swarm=CUT_OFF),
    Flaw("permit_expiry_unchecked", "a permit is used after its end", "permit_expiry_unchecked", swarm=CUT_OFF),
    Flaw(
        "permit_of_a_deposed_one",
        "a permit is used after a newer controller commanded",
        "permit_epoch_unchecked",
        swarm=(*CUT_OFF, ("controller_crash_every_ms", 20_000), ("loss", 0.5), ("delay_ms", 3_000)),
    ),
    Flaw(
        "permits_while_paused",
        "a host that is paused gets permits",
        "gate:paused",
        swarm=(*CUT_OFF, ("pause_every_ms", 60_000)),
    ),
    Flaw(
        "uses_counted_twice",
        "a use that is told again counts again",
        patches=((alone, "used", _counts_again),),
        swarm=CUT_OFF,
    ),
    Flaw("acknowledged_too_early", "a report is acknowledged before the journal holds it", "early_ack", swarm=ONCE),
    Flaw("effect_before_commit", "an order leaves before the journal holds it", "effect_before_commit", swarm=DEADLY),
    Flaw("timers_not_journalled", "a wake-up is not in the journal", "timers_not_journalled", swarm=DEADLY),
    Flaw("not_resent", "an unacknowledged record is not sent again", "not_resent", swarm=(*BUSY, ("loss", 0.2))),
)
