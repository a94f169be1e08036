"""What hosts may do alone, and do: each permit given against the gates, each use once, in time, alone, and told once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from fleetmend_controller.core.effects import Grant, SendPermits
from fleetmend_controller.core.model import Fleet, Order, Phase, Playbook, Subject
from fleetmend_controller.core.permits import PERMITS_MAX, deed
from fleetmend_controller.core.policy import Policy

from ..books import Case
from ..hands import ALONE_AFTER_MS
from ..policies import GATES
from .gates import WATCHES, Asked

if TYPE_CHECKING:
    from ..checker import Checker
    from ..host import Server

# The gates that need no fault to look at.
AHEAD: dict[str, Callable[[Asked], str]] = {gate.name: WATCHES[gate.name] for gate in GATES if gate.ahead}


@dataclass(frozen=True, slots=True)
class Use:
    """One use, as the host did it."""

    host: str
    playbook: str
    boot: str
    clock_ms: int


@dataclass(slots=True)
class Hands:
    """`given`: permit to host and playbook. `uses` is what hosts truly did, `spent` how often the core counted it."""

    checker: Checker
    given: dict[str, tuple[str, str]] = field(default_factory=dict)
    uses: dict[str, Use] = field(default_factory=dict)
    spent: dict[str, int] = field(default_factory=dict)

    def give(self, fleet: Fleet, policy: Policy, effect: SendPermits) -> None:
        """A set leaves: no gate is against it, nothing in it was used, and it ends before maintenance that is announced."""
        for grant in effect.grants:
            self._gates(policy, effect, grant)
            for permit in grant.permits:
                if permit in self.spent:
                    self.checker.fail(f"{permit} is given again although it was used")
                if self.given.setdefault(permit, (effect.host, grant.playbook)) != (effect.host, grant.playbook):
                    self.checker.fail(f"{permit} is given to {effect.host} for {grant.playbook}, and was {self.given[permit]}")
        host = fleet.hosts[effect.host]
        ends_ms = effect.expires_clock_ms - host.clock_offset_ms
        for window in self.checker.books.windows.values():
            begins = not window.repeat and window.covers(host.id, host.labels) and window.start_ms > self.checker.books.now_ms
            if effect.grants and begins and ends_ms > window.start_ms:
                self.checker.fail(f"the permits of {host.id} last into maintenance {window.id}")

    def _gates(self, policy: Policy, effect: SendPermits, grant: Grant) -> None:
        playbook = next((book for book in policy.playbooks if book.name == grant.playbook), None)
        found = deed(playbook) if playbook is not None else None
        if playbook is None or found is None or found[1] != grant.step:
            self.checker.fail(
                f"{effect.host} gets permits for {grant.playbook}, which the rules in force do not know like that"
            )
            return
        for name, watch in AHEAD.items():
            text = watch(self._supposed(policy, effect, grant, playbook))
            if text:
                self.checker.fail(f"{effect.host} gets permits for {grant.playbook} {text} ({name})")

    def _supposed(self, policy: Policy, effect: SendPermits, grant: Grant, playbook: Playbook) -> Asked:
        """As if the host had a fault now that the playbook answers."""
        books, step = self.checker.books, grant.step
        subject = Subject(effect.host, playbook.check, "")
        case = Case("", subject, playbook.check, subject, 0, Phase.OPEN, run=False)
        order = Order(
            "", "", effect.host, "", "", effect.boot, step.action, step.params, step.cost, step.timeout_ms, 0, 0, 0, ""
        )  # fmt: skip
        return Asked(books, order, case, playbook, step, policy, self.checker.generous.storm)

    def used(self, server: Server, permit: str, held: SendPermits, epoch: int, grant: Grant, part: str) -> None:
        """A host begins something without an order."""
        fail, now_ms = self.checker.fail, server.clock_ms()
        if permit in self.uses:
            fail(f"{permit} was used twice on {server.id}")
        if self.given.get(permit) != (server.id, grant.playbook):
            fail(f"{permit} is used on {server.id} although it was never given")
        if held.boot != server.boot or now_ms >= held.expires_clock_ms:
            fail(f"{permit} is used after its expiry or on another boot")
        if epoch < self.checker.epochs.get(server.id, 0):
            fail(f"{permit} of epoch {epoch} is used after epoch {self.checker.epochs[server.id]} commanded {server.id}")
        if server.linked or self.checker.world.time.now_ms - server.away_since_ms < ALONE_AFTER_MS:
            fail(f"{permit} is used although a controller could be asked")
        if server.is_attended_by_people:
            fail(f"{permit} is used on {server.id} while somebody is at work there")
        if part in held.left_units:
            fail(f"{permit} is used on {part} of {server.id}, which people have in hand")
        mine = [u for u in self.uses.values() if (u.host, u.playbook, u.boot) == (server.id, grant.playbook, server.boot)]
        recent = [use for use in mine if now_ms - use.clock_ms < grant.window_ms]
        if len(recent) >= PERMITS_MAX:
            fail(f"{permit} is one too many on {server.id}: {len(recent)} were used")
        if server.id in self.checker.running:
            fail(f"{permit} is used on {server.id} while {self.checker.running[server.id]} runs")
        self.checker.epochs[server.id] = epoch
        self.uses[permit] = Use(server.id, grant.playbook, server.boot, now_ms)
        self.checker.running[server.id] = permit

    def finished(self, server: Server, permit: str) -> None:
        """Its effect is over."""
        if self.checker.running.get(server.id) == permit:
            del self.checker.running[server.id]

    def spend(self, order: Order) -> None:
        """The core counts a use: one that was, and once."""
        self.spent[order.id] = self.spent.get(order.id, 0) + 1
        if self.spent[order.id] > 1:
            self.checker.fail(f"{order.id} counts {self.spent[order.id]} times")
        if order.id not in self.uses:
            self.checker.fail(f"{order.id} counts although it was never used")

    def at_rest(self) -> None:
        """Whatever was used was told, and counted."""
        for permit in self.uses:
            if permit not in self.spent:
                self.checker.fail(f"{permit} was used, and nobody was told")
