"""One simulated server: the truth about its parts, its agent with a durable outbox, its executor with a durable ledger."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from fleetmend_controller.core.model import Cost, Order, Outcome
from fleetmend_controller.core.orders import REBOOT

from .hands import BUSY_MS, Hands, Use

if TYPE_CHECKING:
    from .world import World


REPORT_RECORDS_MAX = 20
PID_MS = 120_000
# How long a host takes to go down once it was told to.
DOWN_MS = (5_000, 25_000)
# Refusals of the agent itself; of all others the ledger of the executor knows.
AGENT_WORDS = ("executor_unreachable", "unreadable")

SubjectKey = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Part:
    """Something that can break. `checks` are (name, type) of the checks that watch it."""

    name: str
    checks: tuple[tuple[str, str], ...]

    @property
    def is_unit(self) -> bool:
        """Whether it is a service."""
        return self.name.endswith(".service")


def unit(name: str, symptoms: bool) -> Part:
    """A service; with symptoms a second check sees the same fault."""
    second = (("http", "http_endpoint"),) if symptoms else ()
    return Part(name, (("unit_failed", "unit_failed"), *second))


DISK = Part("/srv/data", (("space", "filesystem_space"),))
JOB = Part("backup", (("job", "file_age"),))
# No playbook answers it.
ODD = Part("sensor", (("sensor", "sensor_temperature"),))


@dataclass(slots=True)
class Record:
    """One outbox record: unacknowledged until the journal holds it. `states` are those of a snapshot."""

    seq: int
    boot: str
    kind: str
    check: str = ""
    check_type: str = ""
    key: str = ""
    status: str = ""
    finding: dict[str, str] = field(default_factory=dict)
    requested: bool = False
    order: str = ""
    outcome: Outcome = Outcome.DONE
    refusal: str = ""
    clock_ms: int = 0
    states: tuple[Record, ...] = ()
    use: Use | None = None
    box: str = ""
    on_disk: bool = True
    retold: bool = False


@dataclass(slots=True)
class Ledger:
    """What survives an executor's crash. `begun` maps an order to its end, or None while it runs or if the end was lost.

    `uses` says of each permit in it what it was used for; `ended_ms` when an order or a use was over.
    """

    begun: dict[str, Outcome | None] = field(default_factory=dict)
    epoch: int = 0
    uses: dict[str, Use] = field(default_factory=dict)
    ended_ms: dict[str, int] = field(default_factory=dict)


@dataclass(slots=True)
class Server:
    """The host `id`. `bad` are the parts that are sick in truth, `half` those of which only the first check is well.

    `told` is what the agent last reported in this life of it.
    """

    world: World
    id: str
    labels: dict[str, str]
    parts: tuple[Part, ...]
    drift_ppm: int = 0
    boot_number: int = 1
    booted_ms: int = 0
    bad: dict[str, None] = field(default_factory=dict)
    cursed: dict[str, None] = field(default_factory=dict)
    half: dict[str, None] = field(default_factory=dict)
    sick_since: dict[str, int] = field(default_factory=dict)
    well_since: dict[str, int] = field(default_factory=dict)
    grown: int = 0
    told: dict[SubjectKey, str] = field(default_factory=dict)
    sampled: dict[SubjectKey, int] = field(default_factory=dict)
    outbox: list[Record] = field(default_factory=list)
    next_seq: int = 1
    ledger: Ledger = field(default_factory=Ledger)
    acting: dict[str, None] = field(default_factory=dict)
    up: bool = True
    agent_up: bool = True
    _linked: bool = False
    away_since_ms: int = 0
    person_until_ms: int = 0
    partitioned: bool = False
    attended: bool = False
    life: int = 0
    offs: int = 0
    heard_ms: int = 0
    session: int = 0
    boot: str = ""
    box: str = ""
    boxes: int = 0
    disk_full: bool = False
    refused: dict[str, None] = field(default_factory=dict)
    release: str = "1.0"
    hands: Hands = field(init=False)

    def __post_init__(self) -> None:
        """The first boot has its id, and its outbox."""
        self.hands = Hands(self)
        self.away_since_ms = self.world.time.now_ms
        self.boot = f"{self.id}-boot-{self.boot_number}"
        self._begin_outbox()

    @property
    def linked(self) -> bool:
        """Whether a stream is up."""
        return self._linked

    @linked.setter
    def linked(self, value: bool) -> None:
        ends = self._linked and not value
        self._linked = value
        if ends:
            self.away_since_ms = self.world.time.now_ms
            self.hands.stir()

    @property
    def is_attended_by_people(self) -> bool:
        """Whether somebody is logged in there."""
        return self.world.time.now_ms < self.person_until_ms

    @property
    def reachable(self) -> bool:
        """Whether its agent could hold a link."""
        return self.up and self.agent_up and not self.partitioned

    def clock_ms(self) -> int:
        """The boot clock: never steps, starts anew with each boot, and runs a little fast or slow."""
        elapsed_ms = self.world.time.now_ms - self.booted_ms
        return elapsed_ms + elapsed_ms * self.drift_ppm // 1_000_000

    def status(self, part: Part, check: str) -> str:
        """What a check would say now."""
        unknown = self.world.swarm.unknown
        if unknown and not self.world.calm and self.world.rng.random() < unknown:
            return "unknown"
        half = part.name in self.half and check != part.checks[0][0]
        return "crit" if half or part.name in self.bad else "ok"

    def is_sick(self, part: str) -> bool:
        """In truth."""
        return part in self.bad or part in self.half

    def finding(self, part: Part) -> dict[str, str]:
        """The facts that a playbook may use."""
        if part.checks[0][1] == "filesystem_space":
            return {"mount": part.name}
        if part.is_unit:
            # A process that fails is another one every now and then.
            return {"unit": part.name, "pid": f"{self.boot_number}-{self.grown}-{self.clock_ms() // PID_MS}"}
        return {"what": part.name}

    def look(self, part: Part, requested: str = "") -> None:
        """The agent runs the part's checks and reports what changed. `requested`: only this check, reported in any case."""
        if not (self.up and self.agent_up):
            return
        for check, check_type in part.checks:
            if requested and check != requested:
                continue
            status, subject = self.status(part, check), (check, part.name)
            changed = self.told.get(subject, "ok") != status
            self.told[subject] = status
            self.sampled[subject] = self.clock_ms()
            self.world.nature.looked(self, subject, status)
            if changed or requested:
                self.add(self._observation(part, check, check_type, status, bool(requested)))

    def _observation(self, part: Part, check: str, check_type: str, status: str, requested: bool) -> Record:
        clock_ms = self.sampled[check, part.name]
        finding = self.finding(part)
        return Record(
            0, self.boot, "observation", check, check_type, part.name, status, finding, requested, clock_ms=clock_ms
        )  # fmt: skip

    def look_at_all(self) -> None:
        """The poll behind the events."""
        for part in self.parts:
            self.look(part)

    def asked(self, check: str, key: str) -> None:
        """Somebody wants a fresh result."""
        part = next((p for p in self.parts if p.name == key and any(name == check for name, _ in p.checks)), None)
        if part is not None:
            self.look(part, check)

    def snapshot(self) -> None:
        """Everything as it stands, once a link is up: it also says what is gone."""
        states = tuple(
            self._observation(part, check, check_type, self.told[check, part.name], False)
            for part in self.parts
            for check, check_type in part.checks
            if (check, part.name) in self.told
        )
        self.add(Record(0, self.boot, "snapshot", clock_ms=self.clock_ms(), states=states))

    def add(self, record: Record) -> None:
        """Into the durable outbox, and out at once if there is a stream."""
        record.seq, record.box, record.on_disk = self.next_seq, self.box, not self.disk_full
        self.next_seq += 1
        self.outbox.append(record)
        self.world.nature.recorded(self, record)
        self.send(only_new=self.world.faulty("not_resent"))
        self.world.attend(self)

    def keep(self, kind: str, permit: str, use: Use, outcome: Outcome) -> None:
        """Something about a permit, into the outbox."""
        clock_ms = self.ledger.ended_ms[permit] if kind == "permit ended" else use.started_ms
        self.add(Record(0, use.boot, kind, order=permit, outcome=outcome, clock_ms=clock_ms, use=use))

    def send(self, only_new: bool = False) -> None:
        """Offer everything unacknowledged, in order."""
        if self.linked and self.outbox:
            # A stream keeps order: what is sent is always the oldest that is not acknowledged.
            self.world.network.to_controller(self, self.outbox[-1:] if only_new else self.outbox[:REPORT_RECORDS_MAX])

    def acked(self, box: str, seq: int) -> None:
        """The journal holds everything of this outbox up to seq."""
        if box == self.box and self.outbox and self.outbox[0].seq <= seq:
            self.world.checker.acknowledged(self, [r for r in self.outbox if r.seq <= seq])
            self.outbox = [r for r in self.outbox if r.seq > seq]

    def receive_order(self, order: Order, epoch: int) -> None:
        """The agent gets an order: hand it on unless the fault is gone."""
        if not (self.up and self.agent_up):
            return
        self.world.nature.received(self, order)
        if self.hands.part:
            # The agent lets what it does alone come to its end first.
            self.world.time.after(BUSY_MS, self._again, order, epoch, self.life)
            return
        if order.id in self.refused and not self.world.faulty("refusal_forgotten"):
            # The controller was told that it will not run, and may have given another one by now.
            self._refuse(order)
            return
        gone = bool(order.check) and self.told.get((order.check, order.key)) == "ok"
        if gone and order.id not in self.ledger.begun:
            # Withdrawn: the ledger has its end, and a copy that is still on its way cannot run when the fault is back.
            self.ledger.begun[order.id] = Outcome.REFUSED
        if self.ledger.begun.get(order.id) is Outcome.REFUSED:
            self._end(order, Outcome.REFUSED, "fault_gone")
            return
        self._execute(order, epoch)

    def _again(self, order: Order, epoch: int, life: int) -> None:
        if life == self.life:
            self.receive_order(order, epoch)

    def _end(self, order: Order, outcome: Outcome, refusal: str = "") -> None:
        retold = order.boot == self.boot and order.id in self.ledger.ended_ms
        clock_ms = self.ledger.ended_ms[order.id] if retold else self.clock_ms()
        word = Record(0, self.boot, "ended", order=order.id, outcome=outcome, refusal=refusal, clock_ms=clock_ms, retold=retold)
        self.add(word)

    def _refuse(self, order: Order, word: str = "executor_unreachable") -> None:
        """The executor recorded nothing, so the agent answers: for good."""
        self.refused[order.id] = None
        self._end(order, Outcome.REFUSED, word)

    def _execute(self, order: Order, epoch: int) -> None:
        """The executor: checks, ledger, effect."""
        world = self.world
        if order.id in self.ledger.begun and not world.faulty("ledger_ignored"):
            outcome = self.ledger.begun[order.id]
            if outcome is not None:
                self._end(order, outcome)
            elif order.id not in self.acting:
                self.ledger.begun[order.id] = Outcome.UNKNOWN
                self._end(order, Outcome.UNKNOWN)
            return
        if not world.faulty("epoch_not_checked") and epoch < self.ledger.epoch:
            self._refuse(order, "unreadable")
            return
        late = order.boot != self.boot or self.clock_ms() > order.expires_clock_ms
        if late and not world.faulty("expiry_not_checked"):
            self.ledger.begun[order.id] = Outcome.EXPIRED
            self._end(order, Outcome.EXPIRED, "expired")
            return
        if self.disk_full:
            # Nothing is recorded, so nothing runs; the agent tries a few times and says so.
            self._refuse(order)
            return
        if self.hands.busy:
            # Nothing runs beside what the host does alone, whichever agent asks.
            world.time.after(BUSY_MS, self._again, order, epoch, self.life)
            return
        self.ledger.epoch = max(epoch, self.ledger.epoch)
        self.ledger.begun[order.id] = None
        world.say(f"{self.id} begins {order.id}: {order.action}")
        world.nature.began(self, order)
        world.checker.effect(self, order, epoch)
        self.acting[order.id] = None
        self.add(Record(0, self.boot, "started", order=order.id, clock_ms=self.clock_ms()))
        world.time.after(world.swarm.action_ms, self._finish, order, self.life, self.boot_number)

    def _finish(self, order: Order, life: int, boot: int) -> None:
        if boot != self.boot_number or not self.up:
            return
        world = self.world
        self.acting.pop(order.id, None)
        dies = world.rng.random() < world.swarm.executor_crash
        if dies and world.rng.random() < 0.5:
            world.say(f"{self.id} executor dies before the effect of {order.id}")
            world.checker.finished(self, order)
            return
        works = world.rng.random() >= world.swarm.action_fails
        target = str(dict(order.params).get("unit") or dict(order.params).get("mount", ""))
        if works and order.action == REBOOT:
            # Its end is written down and on its way first.
            world.time.after(world.rng.randint(*DOWN_MS), self._goes_down, order, boot)
        elif works and target not in self.cursed and order.cost is not Cost.HARMLESS:
            self.mend(target)
        world.checker.finished(self, order)
        if dies:
            world.say(f"{self.id} executor dies after the effect of {order.id}, before its end is written")
            return
        outcome = Outcome.DONE if works else Outcome.FAILED
        self.ledger.begun[order.id], self.ledger.ended_ms[order.id] = outcome, self.clock_ms()
        world.say(f"{self.id} ends {order.id}: {outcome.value}")
        if life != self.life or not self.agent_up:
            return
        self.hands.order_ended_ms = self.clock_ms()
        self._end(order, outcome)
        for part in self.parts:
            if part.name == target:
                self.look(part, part.checks[0][0])

    def _goes_down(self, order: Order, boot: int) -> None:
        if self.up and boot == self.boot_number:
            self.world.checker.lost.rebooted(self, order)
            self.world.trouble.reboot(self)
            if self.world.faulty("reboots_again"):
                self.world.time.after(2 * DOWN_MS[1], self._goes_down, order, boot + 1)

    def well(self, part: str) -> None:
        """In truth."""
        for sick in (self.bad, self.half, self.sick_since):
            sick.pop(part, None)
        self.well_since[part] = self.world.time.now_ms

    def mend(self, target: str) -> None:
        """A part is well again, or only half of it."""
        self.well(target)
        part = next((p for p in self.parts if p.name == target), None)
        if part is not None and len(part.checks) > 1 and self.world.rng.random() < self.world.swarm.half_heals:
            self.half[target] = None

    def crash_agent(self, back: Callable[[], None] | None) -> None:
        """kill -9 of the agent: the outbox stays as far as it is on disk, everything else is forgotten."""
        self.agent_up = False
        self._forget()
        if any(not record.on_disk for record in self.outbox) or self.disk_full:
            # Numbers may have been given that no disk remembers: none of them may be used for anything else.
            self.outbox = [record for record in self.outbox if record.on_disk]
            self._begin_outbox()
        if back is not None:
            self.world.time.after(self.world.rng.randint(100, 5_000), back)

    def power_off(self, back: Callable[[], None] | None) -> None:
        """Off and on again: a new boot id, a new boot clock, parts well again unless cursed. Without `back`, off for good."""
        self.up = self.agent_up = False
        self.offs += 1
        self._forget()
        self.hands.powered_off()
        self.acting.clear()
        # A power cut takes with it what no disk has yet.
        kept = len(self.outbox) if self.world.rng.random() < 0.5 else self.world.rng.randint(0, len(self.outbox))
        self.outbox = [record for record in self.outbox[:kept] if record.on_disk]
        self.world.checker.powered_off(self)
        self.world.nature.off(self)
        if back is not None:
            self.world.time.after(self.world.rng.randint(5_000, 90_000), self._back, back, self.offs)

    def _back(self, back: Callable[[], None], off: int) -> None:
        """Unless somebody was faster, or took the power from it again."""
        if not self.up and off == self.offs:
            back()

    def power_on(self) -> None:
        """A new boot."""
        self.up = self.agent_up = True
        self.boot_number += 1
        self.boot = f"{self.id}-boot-{self.boot_number}"
        self.booted_ms = self.world.time.now_ms
        self.bad = {name: None for name in self.bad if name in self.cursed}
        self.half = {}
        self.sick_since = dict.fromkeys(self.bad, self.world.time.now_ms)
        self._begin_outbox()
        self.world.nature.on(self)

    def fill_disk(self, ms: int) -> None:
        """The outbox goes to memory, and the executor takes nothing on."""
        if not self.disk_full:
            self.disk_full = True
            self.world.say(f"{self.id} disk is full for {ms} ms")
            self.world.time.after(ms, self.free_disk)

    def free_disk(self) -> None:
        """What waits in memory is written down."""
        self.disk_full = False
        for record in self.outbox:
            record.on_disk = True

    def _begin_outbox(self) -> None:
        """A new one, which carries over what was left, under new numbers."""
        self.boxes += 1
        self.box, self.next_seq = f"box-{self.id}-{self.boxes}", 1
        self.outbox = [replace(record, seq=number, box=self.box) for number, record in enumerate(self.outbox, 1)]
        self.next_seq += len(self.outbox)
        for record in self.outbox:
            self.world.nature.recorded(self, record)

    def _forget(self) -> None:
        self.world.unlink(self)
        self.life += 1
        self.told = {}
        self.sampled = {}
        self.hands.forget()
        self.refused = {r.order: None for r in self.outbox if r.refusal in AGENT_WORDS}
