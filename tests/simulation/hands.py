"""What a simulated server does alone: its newest set of permits, the agent's choice, the executor's ledger of uses."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from fleetmend_controller.core.effects import Grant, SendPermits
from fleetmend_controller.core.model import Outcome

if TYPE_CHECKING:
    from .server import Server

ALONE_AFTER_MS = 10_000
UNPROVED_MAX = 2
LOOKS_MS = (500, 6_500, 13_000, 21_000)


@dataclass(frozen=True, slots=True)
class Use:
    """What a permit was used for."""

    unit: str
    playbook: str
    boot: str
    since_ms: int
    started_ms: int
    away_ms: int
    window_ms: int


@dataclass(slots=True)
class Hands:
    """The part of one server that acts without orders.

    `held` is the newest set with its epoch, in agent and executor alike, and survives both. `used` and `tries` are the agent's
    memory and die with it; the ledger does not. `unit` is what the agent heals now, `busy` the permit whose action runs.
    """

    server: Server
    held: SendPermits | None = None
    epoch: int = 0
    used: set[str] = field(default_factory=set)
    tries: dict[str, list[int]] = field(default_factory=dict)
    unproved: dict[str, int] = field(default_factory=dict)
    unit: str = ""
    busy: str = ""

    def take(self, given: SendPermits, epoch: int) -> None:
        """A set from a controller: newer ones only, of this boot only."""
        age = (self.epoch, self.held.version if self.held else 0)
        if given.boot == self.server.boot and (epoch, given.version) > age:
            self.held, self.epoch = given, epoch

    def forget(self) -> None:
        """The agent died."""
        self.used, self.tries, self.unproved, self.unit = set(), {}, {}, ""

    def ask_executor(self) -> None:
        """A new agent asks the executor what was used, as soon as that answers."""
        life = self.server.life
        self.server.world.time.after(
            self.server.world.rng.randint(1, 30_000), lambda: self._retell() if life == self.server.life else None
        )

    def _retell(self) -> None:
        """Tell all of it: whether that was told before, nobody knows."""
        ledger = self.server.ledger
        for permit, use in ledger.uses.items():
            self.used.add(permit)
            if permit == self.busy:
                continue
            if ledger.begun[permit] is None:
                ledger.begun[permit] = Outcome.UNKNOWN
                ledger.ended_ms[permit] = self.server.clock_ms()
            self._tell(permit, use)

    def tick(self) -> None:
        """Look for something to heal."""
        server, held = self.server, self.held
        world = server.world
        if not (server.up and server.agent_up) or server.linked or held is None or self.unit or server.acting:
            return
        if held.boot != server.boot or world.time.now_ms - server.away_since_ms < ALONE_AFTER_MS:
            return
        for unit in server.units:
            if server.told.get(unit) != "crit" or unit in held.left_units or not self._may_try(unit):
                continue
            server.look(unit, requested=True)
            if server.told.get(unit) != "crit":
                continue
            for grant in held.grants:
                permit = next((p for p in grant.permits if p not in self.used), "")
                if permit:
                    self._use(held, grant, permit, unit)
                    return

    def _may_try(self, unit: str) -> bool:
        times = self.tries.get(unit, [])
        if self.unproved.get(unit, 0) >= UNPROVED_MAX:
            return False
        return not times or self.server.clock_ms() - times[-1] >= 5_000 * 2 ** (len(times) - 1)

    def _use(self, held: SendPermits, grant: Grant, permit: str, unit: str) -> None:
        """The executor: epoch, expiry, ledger, budget, and nothing else at the same time."""
        server, now_ms = self.server, self.server.clock_ms()
        world, ledger = server.world, self.server.ledger
        self.used.add(permit)
        self.tries.setdefault(unit, []).append(now_ms)
        if permit in ledger.begun and not world.faulty("permit_ledger_ignored"):
            return
        if now_ms >= held.expires_clock_ms and not world.faulty("permit_expiry_unchecked"):
            self.used.discard(permit)
            return
        if (self.epoch < ledger.epoch and not world.faulty("permit_epoch_unchecked")) or server.acting or self.busy:
            self.used.discard(permit)
            return
        recent = [
            u for u in ledger.uses.values()
            if u.playbook == grant.playbook and u.boot == server.boot and now_ms - u.started_ms < u.window_ms
        ]  # fmt: skip
        if len(recent) >= grant.count:
            return
        use = Use(unit, grant.playbook, server.boot, now_ms, now_ms, world.time.now_ms - server.away_since_ms, grant.window_ms)
        ledger.epoch = max(ledger.epoch, self.epoch)
        ledger.begun[permit], ledger.uses[permit] = None, use
        world.checker.alone(server, permit, held, self.epoch, grant)
        self.unit, self.busy = unit, permit
        server.keep("permit began", permit, use, Outcome.DONE)
        life, boot = server.life, server.boot_number
        world.time.after(world.swarm.action_ms, lambda: self._finish(permit, use, life, boot))

    def _finish(self, permit: str, use: Use, life: int, boot: int) -> None:
        server = self.server
        world = server.world
        if boot != server.boot_number or not server.up:
            return
        self.busy = ""
        works = world.rng.random() >= world.swarm.action_fails
        if works and use.unit not in server.cursed:
            server.bad.discard(use.unit)
        world.checker.alone_finished(server, permit)
        crashed = world.rng.random() < world.swarm.executor_crash
        server.ledger.begun[permit] = Outcome.UNKNOWN if crashed else Outcome.DONE if works else Outcome.FAILED
        server.ledger.ended_ms[permit] = server.clock_ms()
        if life != server.life or not server.agent_up:
            # The next agent asks the ledger.
            if server.agent_up:
                self._tell(permit, use)
            return
        self._tell(permit, use)
        for wait_ms in LOOKS_MS:
            world.time.after(wait_ms, lambda last=wait_ms == LOOKS_MS[-1]: self._prove(use.unit, life, last))

    def _prove(self, unit: str, life: int, last: bool) -> None:
        if life != self.server.life or not self.server.agent_up:
            return
        self.server.look(unit, requested=True)
        if last:
            well = self.server.told.get(unit) == "ok"
            self.unproved[unit] = 0 if well else self.unproved.get(unit, 0) + 1
            self.unit = ""

    def _tell(self, permit: str, use: Use) -> None:
        self.server.keep("permit ended", permit, use, self.server.ledger.begun[permit] or Outcome.UNKNOWN)
