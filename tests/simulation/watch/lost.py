"""Hosts that fall silent, and what the controller does itself: only the dead are power-cycled, each deed is done once.

One function a promise. It says how an order, or a deed, breaks it, or nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from fleetmend_controller.core.incidents import HOST_LOST_CHECK
from fleetmend_controller.core.inquiry import Reach
from fleetmend_controller.core.model import Order
from fleetmend_controller.core.orders import POWER_CYCLE, REBOOT

from ..books import Books, Case
from .gates import Asked, people

if TYPE_CHECKING:
    from ..checker import Checker
    from ..host import Server


def dead_by_two(a: Asked) -> str:
    """A power cycle stands on fresh words of two witnesses who do not share a rack, and nobody reached the host since."""
    if a.order.action != POWER_CYCLE:
        return ""
    words = a.books.words_of.get(a.case.id, {})
    seen = [witness or "the controller" for witness, word in words.items() if word.reach is Reach.REACHED]
    if seen:
        return f"although {seen} reached {a.order.host}"
    fresh = [witness for witness, ms in a.books.missed_ms(a.case.id).items() if a.now_ms - ms <= a.policy.evidence_max_age_ms]
    racks = {labels.get("rack", "") for labels in a.books.labels.values()}
    distinct = {a.books.labels[w].get("rack", "") for w in fresh} if len(racks) > 1 else set(fresh)
    return f"although only {fresh} missed {a.order.host} lately" if len(distinct) < 2 else ""


def by_leave(a: Asked) -> str:
    """No playbook here may power-cycle without a person's yes."""
    if a.order.action != POWER_CYCLE or people(a):
        return ""
    return "although nobody approved it"


def once_a_death(a: Asked) -> str:
    """Between two power cycles of a host it was heard."""
    before = a.books.cycled.get(a.order.host)
    if a.order.action != POWER_CYCLE or before is None or before[1] != a.books.silences.get(a.order.host):
        return ""
    return f"after {before[0]}, and {a.order.host} was not heard since"


def one_cycle_at_a_time(a: Asked) -> str:
    """In the whole fleet: a second host that dies may be the first one's doing."""
    busy = [i for i in a.books.cycling if i != a.case.id]
    return f"while {busy} are not over" if a.order.action == POWER_CYCLE and busy else ""


def nothing_for_silence(a: Asked) -> str:
    """That a host fell silent leads to nothing but what the controller does itself, and to that only if it is a power cycle."""
    silent = a.case.subject.check == HOST_LOST_CHECK
    if a.order.host in a.books.lost and not (silent and a.order.here):
        return f"although {a.order.host} is lost"
    return f"because {a.order.host} fell silent" if silent and a.order.action != POWER_CYCLE else ""


WATCHES: dict[str, Callable[[Asked], str]] = {
    watch.__name__: watch for watch in (dead_by_two, by_leave, once_a_death, one_cycle_at_a_time, nothing_for_silence)
}


def proved_by_another_boot(books: Books, case: Case, order: Order) -> str:
    """What a reboot or a power cycle healed, said so in a later boot."""
    boots = books.boots[case.subject.host]
    later = boots[boots.index(order.boot) + 1 :] if order.boot in boots else boots
    if order.action == POWER_CYCLE:
        return "" if later else f"is called healed by {order.id}, and {order.host} still has {order.boot}"
    well = any(boot in later for boot, _ in books.oks.get(case.subject, []))
    return "" if well else f"is called healed by {order.id}, and no later boot than {order.boot} said so"


@dataclass(slots=True)
class Lost:
    """`deeds` counts what the controller did for each order, `reboots` how often each order rebooted its host."""

    checker: Checker
    deeds: dict[str, int] = field(default_factory=dict)
    reboots: dict[str, int] = field(default_factory=dict)
    cycles: int = 0

    def deed(self, order: Order) -> None:
        """The controller begins to act: once for an order, in its time, for an order that the journal holds."""
        self.deeds[order.id] = self.deeds.get(order.id, 0) + 1
        self.cycles += order.action == POWER_CYCLE
        if self.deeds[order.id] > 1:
            self.checker.fail(f"{order.id} was done {self.deeds[order.id]} times to {order.host}")
        if order.id not in self.checker.books.issued:
            self.checker.fail(f"{order.id} is done to {order.host} although it was never journalled")
        if order.id in self.checker.books.words:
            self.checker.fail(f"{order.id} is done to {order.host} although its end was told already")

    def rebooted(self, server: Server, order: Order) -> None:
        """An order takes its host down: once, and in the boot that it is for."""
        self.reboots[order.id] = self.reboots.get(order.id, 0) + 1
        if self.reboots[order.id] > 1:
            self.checker.fail(f"{order.id} reboots {server.id} {self.reboots[order.id]} times")
        if order.action != REBOOT or order.boot != server.boot:
            self.checker.fail(f"{order.id} ({order.action}) reboots {server.id} in {server.boot}, it is for {order.boot}")

    def at_peace(self) -> None:
        """No host is left out of service, nor believed to be."""
        world = self.checker.world
        left = [*world.desk.hook.out, *world.brain.fleet.drained]
        if left:
            self.checker.fail(f"all is well, and {left} are still drained")
