"""One simulated server: the truth about its units, its agent with a durable outbox, its executor with a durable ledger."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from fleetmend_controller.core.model import Cost, Order, Outcome
from fleetmend_controller.core.orders import REBOOT

if TYPE_CHECKING:
    from .world import World


REPORT_RECORDS_MAX = 20
REBOOT_DELAY_MS = 20_000


@dataclass(slots=True)
class Record:
    """One outbox record: unacknowledged until the journal holds it."""

    seq: int
    boot: str
    kind: str
    unit: str = ""
    status: str = ""
    order: str = ""
    outcome: Outcome = Outcome.DONE
    refusal: str = ""
    clock_ms: int = 0


@dataclass(slots=True)
class Ledger:
    """What survives an executor's crash. `begun` maps an order to its end, or None while it runs or if the end was lost."""

    begun: dict[str, Outcome | None] = field(default_factory=dict)
    epoch: int = 0


@dataclass(slots=True)
class Server:
    """The host `id`. `bad` is the hidden truth; `told` what the agent last reported in this life of it."""

    world: World
    id: str
    units: tuple[str, ...]
    boot_number: int = 1
    booted_ms: int = 0
    bad: set[str] = field(default_factory=set)
    cursed: set[str] = field(default_factory=set)
    told: dict[str, str] = field(default_factory=dict)
    outbox: list[Record] = field(default_factory=list)
    next_seq: int = 1
    ledger: Ledger = field(default_factory=Ledger)
    acting: set[str] = field(default_factory=set)
    up: bool = True
    agent_up: bool = True
    linked: bool = False
    partitioned: bool = False
    life: int = 0

    @property
    def boot(self) -> str:
        """The boot id."""
        return f"{self.id}-boot-{self.boot_number}"

    def clock_ms(self) -> int:
        """The boot clock: never steps, starts anew with each boot."""
        return self.world.time.now_ms - self.booted_ms

    def status(self, unit: str) -> str:
        """What a check would say now."""
        if self.world.rng.random() < self.world.swarm.unknown:
            return "unknown"
        return "crit" if unit in self.bad else "ok"

    def look(self, unit: str, requested: bool = False) -> None:
        """The agent runs a check and reports what changed or was asked for."""
        if not (self.up and self.agent_up):
            return
        status = self.status(unit)
        if requested or self.told.get(unit, "ok") != status:
            self.told[unit] = status
            self.add(Record(0, self.boot, "observation", unit=unit, status=status, clock_ms=self.clock_ms()))

    def look_at_all(self) -> None:
        """The poll behind the events."""
        for unit in self.units:
            self.look(unit)

    def add(self, record: Record) -> None:
        """Into the durable outbox, and out at once if there is a stream."""
        record.seq = self.next_seq
        self.next_seq += 1
        self.outbox.append(record)
        self.send(only_new=self.world.faulty("not_resent"))

    def send(self, only_new: bool = False) -> None:
        """Offer everything unacknowledged, in order."""
        if self.linked and self.outbox:
            # A stream keeps order: what is sent is always the oldest that is not acknowledged.
            self.world.network.to_controller(self, self.outbox[-1:] if only_new else self.outbox[:REPORT_RECORDS_MAX])

    def acked(self, seq: int) -> None:
        """The journal holds everything up to seq."""
        self.outbox = [r for r in self.outbox if r.seq > seq]

    def receive_order(self, order: Order, epoch: int) -> None:
        """The agent gets an order: hand it on unless the fault is gone."""
        if not (self.up and self.agent_up):
            return
        if order.check and self.told.get(order.key, "ok") == "ok" and order.id not in self.ledger.begun:
            # Withdrawn: the ledger has its end, and a copy that is still on its way cannot run when the fault is back.
            self.ledger.begun[order.id] = Outcome.REFUSED
        if self.ledger.begun.get(order.id) is Outcome.REFUSED:
            self._refuse(order, "fault_gone")
            return
        self._execute(order, epoch)

    def _refuse(self, order: Order, refusal: str, outcome: Outcome = Outcome.REFUSED) -> None:
        self.add(Record(0, self.boot, "ended", order=order.id, outcome=outcome, refusal=refusal, clock_ms=self.clock_ms()))

    def _execute(self, order: Order, epoch: int) -> None:
        """The executor: checks, ledger, effect."""
        if order.id in self.ledger.begun and not self.world.faulty("ledger_ignored"):
            outcome = self.ledger.begun[order.id]
            if outcome is not None:
                self.add(Record(0, self.boot, "ended", order=order.id, outcome=outcome, clock_ms=self.clock_ms()))
            elif order.id not in self.acting:
                self.ledger.begun[order.id] = Outcome.UNKNOWN
                self.add(Record(0, self.boot, "ended", order=order.id, outcome=Outcome.UNKNOWN, clock_ms=self.clock_ms()))
            return
        if not self.world.faulty("epoch_not_checked") and epoch < self.ledger.epoch:
            self._refuse(order, "", Outcome.REFUSED)
            return
        late = order.boot != self.boot or self.clock_ms() > order.expires_clock_ms
        if late and not self.world.faulty("expiry_not_checked"):
            self._refuse(order, "expired", Outcome.EXPIRED)
            return
        self.ledger.epoch = max(epoch, self.ledger.epoch)
        self.ledger.begun[order.id] = None
        self.world.checker.effect(self, order, epoch)
        self.acting.add(order.id)
        self.add(Record(0, self.boot, "started", order=order.id, clock_ms=self.clock_ms()))
        life, boot = self.life, self.boot_number
        self.world.time.after(self.world.swarm.action_ms, lambda: self._finish(order, life, boot))

    def _finish(self, order: Order, life: int, boot: int) -> None:
        if boot != self.boot_number or not self.up:
            return
        works = self.world.rng.random() >= self.world.swarm.action_fails
        unit = str(dict(order.params).get("unit", ""))
        if works and order.action == REBOOT:
            # The outcome is written down and synced first; the reboot comes a moment later.
            self.world.time.after(REBOOT_DELAY_MS, lambda: self._reboot(boot))
        elif works and unit not in self.cursed and order.cost is not Cost.HARMLESS:
            self.bad.discard(unit)
        self.acting.discard(order.id)
        self.world.checker.finished(self, order)
        if self.world.rng.random() < self.world.swarm.executor_crash:
            # The effect is there, its end was not written down.
            return
        self.ledger.begun[order.id] = Outcome.DONE if works else Outcome.FAILED
        if life != self.life or not self.agent_up:
            return
        self.add(
            Record(
                0,
                self.boot,
                "ended",
                order=order.id,
                outcome=self.ledger.begun[order.id] or Outcome.UNKNOWN,
                clock_ms=self.clock_ms(),
            )
        )
        self.look(order.key or unit, requested=True)

    def _reboot(self, boot: int) -> None:
        if self.up and boot == self.boot_number:
            self.reboot(lambda: self.world.boot(self))

    def crash_agent(self, back: Callable[[], None]) -> None:
        """kill -9 of the agent: the outbox stays, everything else is forgotten."""
        self.agent_up = False
        self.linked = False
        self.life += 1
        self.told = {}
        self.world.time.after(self.world.rng.randint(100, 5_000), back)

    def reboot(self, back: Callable[[], None]) -> None:
        """Power off and on: a new boot id, a new boot clock, units up again unless cursed."""
        self.switch_off()
        self.world.time.after(self.world.rng.randint(5_000, 90_000), back)

    def switch_off(self) -> None:
        """The power is gone."""
        self.up = self.agent_up = self.linked = False
        self.life += 1
        self.told = {}
        self.acting.clear()
        self.world.checker.powered_off(self)
