"""Deliberately broken worlds. A checker that lets one pass proves nothing, so each must be caught by the standard seeds."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from unittest import mock

from fleetmend_controller.core import fleet, orders, proof, repair
from fleetmend_controller.core.model import Status

Patch = tuple[Any, str, Callable[..., Any]]


@dataclass(frozen=True, slots=True)
class Flaw:
    """One defect: `world` is switched on in the simulated processes, `patches` replace pieces of the core.

    It must be caught in the worlds that the standard seeds draw. The few that show too rarely there name the dangers under
    which they do (`swarm`, every other danger is as drawn), and why.
    """

    name: str
    what: str
    world: str = ""
    patches: tuple[Patch, ...] = ()
    swarm: tuple[tuple[str, Any], ...] = ()
    why: str = ""


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


# Orders of one host must cross a change of deciders: the controller dies often, and what it sent is long on its way.
CROSSING = (
    ("hosts", 3), ("units", 3), ("fault_every_ms", 20_000), ("duration_ms", 600_000), ("controller_crash_every_ms", 20_000),
    ("delay_ms", 3_000), ("action_ms", 50), ("loss", 0.2), ("reload_every_ms", 0), ("storms", False),
)  # fmt: skip

_REAL_HOLD = orders.hold_budget


def _any_ok_proves(turn: Any, incident: Any, step: Any, event: Any) -> Any:
    return proof.ProofAnswer.PROVED if event.status is Status.OK else proof.ProofAnswer.OPEN


def _forget_attempt(turn: Any, host: Any, incident: Any, playbook: Any) -> None:
    """Forget to count a try."""


FLAWS: tuple[Flaw, ...] = (
    Flaw("pause_ignored", "healing goes on although it is paused", "gate:paused"),
    Flaw("stale_evidence", "orders on old or unknown evidence", "gate:evidence_fresh"),
    Flaw("blips_acted_on", "orders before the fault lasted long enough", "gate:fault_duration"),
    Flaw("two_at_once", "two disruptive actions on one host", "gate:one_at_a_time"),
    Flaw("no_back_off", "tries without limit or pause", "gate:attempts"),
    Flaw("host_rate_ignored", "a playbook acts on one host without bound", "gate:per_host"),
    Flaw("budget_ignored", "too many hosts of a group at once", "gate:fleet_budget"),
    Flaw("budget_not_taken", "an order takes no place in the budget", patches=((orders, "hold_budget", _no_budget),)),
    Flaw("budget_after_the_fact", "the budget is given back at once", patches=((orders, "hold_budget", _release_early),)),
    Flaw("attempts_not_counted", "a try is not counted", patches=((orders, "count_order", _forget_attempt),)),
    Flaw("old_results_prove", "a result from before the action counts", patches=((proof, "_counts", lambda *_: True),)),
    Flaw("one_ok_proves", "the first OK ends the watch", patches=((proof, "judge", _any_ok_proves),)),
    Flaw("doubles_taken", "a record that was seen already counts again", patches=((fleet, "is_new", lambda *_: True),)),
    Flaw("late_word_taken", "nobody gives up on an order without word", patches=((repair, "order_overdue", lambda *_: None),)),
    Flaw("ledger_ignored", "the executor runs an order that it knows", "ledger_ignored"),
    Flaw(
        "epoch_not_checked",
        "an order of a deposed decider runs",
        "epoch_not_checked",
        swarm=CROSSING,
        why="seal, ledger and expiry stop nearly all of those orders before their epoch is looked at",
    ),
    Flaw("expiry_not_checked", "an order runs after its time or on another boot", "expiry_not_checked"),
    Flaw("acknowledged_too_early", "a report is acknowledged before the journal holds it", "early_ack"),
    Flaw("effect_before_commit", "an order leaves before the journal holds it", "effect_before_commit"),
    Flaw("timers_not_journalled", "a wake-up is not in the journal", "timers_not_journalled"),
    Flaw("timers_lost", "a wake-up is never set", "timers_lost"),
    Flaw("not_resent", "an unacknowledged record is not sent again", "not_resent"),
)
