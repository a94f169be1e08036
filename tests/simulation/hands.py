"""What a simulated server does alone: its newest set of permits, the agent's choice, the executor's ledger of uses."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from fleetmend_controller.core.effects import Grant, SendPermits
from fleetmend_controller.core.model import Outcome, Params

if TYPE_CHECKING:
    from .host import Part, Server

ALONE_AFTER_MS = 10_000
AFTER_ORDER_MS = 60_000
TICK_MS = 2_500
PAUSE_MS_MIN = 5_000
BUSY_MS = 500
UNPROVED_MAX = 2
ASK_EXECUTOR_MS_MAX = 30_000
LOOKS_MS = (500, 6_500, 13_000, 21_000)


@dataclass(frozen=True, slots=True)
class Use:
    """What a permit was used for."""

    part: Part
    finding: dict[str, str]
    grant: Grant
    params: Params
    boot: str
    since_ms: int
    started_ms: int
    away_ms: int


@dataclass(slots=True)
class Hands:
    """The part of one server that acts without orders.

    `held` is the newest set with its epoch, in agent and executor alike, and survives both. `used`, `tries`, `unproved` and
    `order_ended_ms` are the agent's memory and die with it; the ledger does not. `part` is what the agent heals now, `busy` the
    permit whose action runs.
    """

    server: Server
    held: SendPermits | None = None
    epoch: int = 0
    used: dict[str, None] = field(default_factory=dict)
    tries: dict[str, list[int]] = field(default_factory=dict)
    unproved: dict[str, int] = field(default_factory=dict)
    order_ended_ms: int | None = None
    part: str = ""
    busy: str = ""
    stirred: bool = False

    def take(self, given: SendPermits, epoch: int) -> None:
        """A set from a controller: newer ones only, of this boot only."""
        age = (self.epoch, self.held.version if self.held else 0)
        if given.boot == self.server.boot and (epoch, given.version) > age:
            self.held, self.epoch = given, epoch

    def forget(self) -> None:
        """The agent died."""
        self.used, self.tries, self.unproved, self.part, self.order_ended_ms = {}, {}, {}, "", None

    def powered_off(self) -> None:
        """So did everything else."""
        self.forget()
        self.busy = ""

    def ask_executor(self) -> None:
        """A new agent asks the executor what was used, as soon as that answers."""
        world = self.server.world
        world.time.after(world.rng.randint(1, ASK_EXECUTOR_MS_MAX), self._retell, self.server.life)

    def _retell(self, life: int) -> None:
        """Tell all of it: whether that was told before, nobody knows."""
        if life != self.server.life or not self.server.agent_up:
            return
        ledger = self.server.ledger
        for permit, use in list(ledger.uses.items()):
            self.used[permit] = None
            if permit == self.busy:
                continue
            if ledger.begun[permit] is None:
                self._end(permit, Outcome.UNKNOWN)
            self._tell(permit, use)

    # Choosing.

    def stir(self) -> None:
        """Something may be to heal alone: look every now and then for as long as that is so."""
        if not self.stirred and self._may_matter():
            self.stirred = True
            self.server.world.time.after(TICK_MS, self._tick)

    def _may_matter(self) -> bool:
        server = self.server
        awake = server.up and server.agent_up and not server.linked
        return awake and self.held is not None and bool(self.held.grants) and bool(server.bad)

    def _tick(self) -> None:
        self.stirred = False
        if not self._may_matter():
            return
        if self._may_begin():
            self.server.look_at_all()
            self._choose()
        self.stir()

    def _may_begin(self) -> bool:
        server, held, now_ms = self.server, self.held, self.server.world.time.now_ms
        if self.part or server.acting or held is None or held.boot != server.boot:
            return False
        if now_ms - server.away_since_ms < ALONE_AFTER_MS or self._sees_people():
            return False
        return self.order_ended_ms is None or server.clock_ms() - self.order_ended_ms >= AFTER_ORDER_MS

    def _sees_people(self) -> bool:
        return self.server.is_attended_by_people and not self.server.world.faulty("people_unseen")

    def _choose(self) -> None:
        server, held = self.server, self.held
        for part in server.parts:
            check = part.checks[0][0]
            if held is None or server.told.get((check, part.name)) != "crit" or not part.is_unit:
                continue
            if part.name in held.left_units or (check, part.name) in held.left_subjects:
                continue
            found = self._permit_for(held, part)
            if found is None:
                continue
            server.look(part, check)
            if server.told.get((check, part.name)) == "crit":
                self._use(held, *found, part)
                return

    def _permit_for(self, held: SendPermits, part: Part) -> tuple[Grant, str] | None:
        if self.unproved.get(part.name, 0) >= UNPROVED_MAX:
            return None
        times = self.tries.get(part.name, [])
        for grant in held.grants:
            pause_ms = max(PAUSE_MS_MIN, grant.backoff_ms * grant.factor ** (len(times) - 1)) if times else 0
            if times and self.server.clock_ms() - times[-1] < pause_ms:
                continue
            permit = next((permit for permit in grant.permits if permit not in self.used), "")
            if permit:
                return grant, permit
        return None

    # Doing.

    def _use(self, held: SendPermits, grant: Grant, permit: str, part: Part) -> None:
        """The executor: epoch, expiry, ledger, budget, and nothing else at the same time."""
        server, now_ms = self.server, self.server.clock_ms()
        world, ledger = server.world, server.ledger
        self.tries.setdefault(part.name, []).append(now_ms)
        if permit in ledger.begun and not world.faulty("permit_ledger_ignored"):
            self.used[permit] = None
            return
        if now_ms >= held.expires_clock_ms and not world.faulty("permit_expiry_unchecked"):
            return
        if self.epoch < ledger.epoch and not world.faulty("permit_epoch_unchecked"):
            return
        if server.acting or self.busy or server.disk_full:
            return
        if self._spent(grant) >= grant.count and not world.faulty("permit_budget_unchecked"):
            return
        finding = server.finding(part)
        params = tuple((name, finding[str(value)[9:-1]]) for name, value in grant.step.params)
        use = Use(part, finding, grant, params, server.boot, now_ms, now_ms, world.time.now_ms - server.away_since_ms)
        self.used[permit] = None
        ledger.epoch = max(ledger.epoch, self.epoch)
        ledger.begun[permit], ledger.uses[permit] = None, use
        world.say(f"{server.id} uses {permit}: {grant.step.action} {part.name}")
        world.nature.began_alone(server, permit)
        world.checker.hands.used(server, permit, held, self.epoch, grant, part.name)
        self.part, self.busy = part.name, permit
        server.keep("permit began", permit, use, Outcome.DONE)
        world.time.after(world.swarm.action_ms, self._finish, permit, use, server.life, server.boot_number)

    def _spent(self, grant: Grant) -> int:
        """How often this boot used the playbook within its window, by the executor's ledger."""
        now_ms, uses = self.server.clock_ms(), self.server.ledger.uses.values()
        mine = [use for use in uses if use.grant.playbook == grant.playbook and use.boot == self.server.boot]
        return sum(1 for use in mine if now_ms - use.started_ms < use.grant.window_ms)

    def _finish(self, permit: str, use: Use, life: int, boot: int) -> None:
        server = self.server
        world = server.world
        if boot != server.boot_number or not server.up:
            return
        self.busy = ""
        dies = world.rng.random() < world.swarm.executor_crash
        works = world.rng.random() >= world.swarm.action_fails and not (dies and world.rng.random() < 0.5)
        if works and use.part.name not in server.cursed:
            server.mend(use.part.name)
        world.checker.hands.finished(server, permit)
        self._end(permit, Outcome.UNKNOWN if dies else Outcome.DONE if works else Outcome.FAILED)
        world.say(f"{server.id} ends {permit}: {server.ledger.begun[permit]}")
        if server.agent_up:
            # If not, the next agent asks the ledger.
            self._tell(permit, use)
        if life == server.life and server.agent_up:
            for wait_ms in LOOKS_MS:
                world.time.after(wait_ms, self._prove, use.part, life, wait_ms == LOOKS_MS[-1])

    def _prove(self, part: Part, life: int, last: bool) -> None:
        server = self.server
        if life != server.life or not server.agent_up:
            return
        server.look(part, part.checks[0][0])
        if last:
            well = server.told.get((part.checks[0][0], part.name)) == "ok"
            self.unproved[part.name] = 0 if well else self.unproved.get(part.name, 0) + 1
            self.part = ""

    def _end(self, permit: str, outcome: Outcome) -> None:
        self.server.ledger.begun[permit] = outcome
        self.server.ledger.ended_ms[permit] = self.server.clock_ms()

    def _tell(self, permit: str, use: Use) -> None:
        self.server.keep("permit ended", permit, use, self.server.ledger.begun[permit] or Outcome.UNKNOWN)
