"""Whether a world can be: what hosts truly did and saw, against what is said of them. An impossible world proves nothing.

The checkers judge the product; this judges the simulation. It is kept by the hosts and the network themselves, below everything
that the controller believes.
"""

from __future__ import annotations

import copy
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from fleetmend_controller.core.effects import AskWitness
from fleetmend_controller.core.events import (
    AlertSaid,
    Approve,
    DeciderStarted,
    Drained,
    Event,
    EvidenceConfirmed,
    HostConnected,
    HostSilent,
    Observed,
    OrderEnded,
    OrderStarted,
    PermitUsed,
    PersonSeen,
    PolicyLoaded,
    Undrained,
    WitnessSaid,
)
from fleetmend_controller.core.inquiry import Reach
from fleetmend_controller.core.model import Order, Outcome, Status, Subject
from fleetmend_controller.core.permits import is_permit

if TYPE_CHECKING:
    from .host import Record, Server
    from .world import World

# What an agent recorded alone may be told long after, and it looks often then.
SAMPLES_KEPT = 4096
SubjectKey = tuple[str, str]
Sample = tuple[str, int, str]


class Impossible(AssertionError):
    """The world itself is wrong."""


@dataclass(slots=True)
class Boot:
    """One boot of a host: when it was on, its clock at the last hello, and the last of its records with its clock."""

    since_ms: int
    until_ms: int | None = None
    hello_ms: int = 0
    told: tuple[str, int] = ("", 0)
    told_ms: int = 0


@dataclass(slots=True)
class Begun:
    """An order that an executor began."""

    host: str
    boot: str
    clock_ms: int


@dataclass(slots=True)
class Nature:
    """What truly happened.

    `late`: events are told a moment after they were true, when not everything can be asked of that moment any more.
    """

    world: World
    late: bool = False
    boots: dict[str, dict[str, Boot]] = field(default_factory=dict)
    samples: dict[Subject, deque[Sample]] = field(default_factory=dict)
    records: dict[tuple[str, str, int], Record] = field(default_factory=dict)
    sent_ms: dict[str, int] = field(default_factory=dict)
    at_host: dict[str, str] = field(default_factory=dict)
    begun: dict[str, Begun] = field(default_factory=dict)
    shown: dict[tuple[str, str], None] = field(default_factory=dict)
    looks: dict[tuple[str, str, int], dict[Reach, None]] = field(default_factory=dict)
    here: dict[str, Outcome | None] = field(default_factory=dict)
    hooked: dict[str, None] = field(default_factory=dict)
    alerts: dict[tuple[str, str, Status, int, int], None] = field(default_factory=dict)
    epoch: int = 0
    now_ms: int = 0

    # What hosts, network and people do.

    def on(self, server: Server) -> None:
        """A machine boots."""
        of_host = self.boots.setdefault(server.id, {})
        if server.boot in of_host:
            self.refuse(f"{server.boot} begins twice")
        of_host[server.boot] = Boot(server.booted_ms)

    def off(self, server: Server) -> None:
        """A machine goes off."""
        self.boots[server.id][server.boot].until_ms = self.world.time.now_ms

    def looked(self, server: Server, subject: SubjectKey, status: str) -> None:
        """A check took a sample."""
        self._must_be_on(server, "looks")
        of = Subject(server.id, *subject)
        known = self.samples.get(of)
        if known is None:
            known = self.samples[of] = deque(maxlen=SAMPLES_KEPT)
        known.append((server.boot, server.sampled[subject], status))

    def recorded(self, server: Server, record: Record) -> None:
        """An agent put a record into its outbox, or carried it over into a new one."""
        if record.boot == server.boot:
            self._must_be_on(server, "records something")
        self.records[server.id, record.box, record.seq] = copy.copy(record)

    def sent(self, order: Order) -> None:
        """The controller handed an order to the network."""
        self.sent_ms.setdefault(order.id, self.world.time.now_ms)

    def received(self, server: Server, order: Order) -> None:
        """An order reached the agent."""
        if order.id not in self.sent_ms:
            self.refuse(f"{order.id} reaches {server.id} and was never sent")
        self.at_host[order.id] = server.id

    def began(self, server: Server, order: Order) -> None:
        """An executor begins."""
        self._must_be_on(server, f"begins {order.id}")
        if self.at_host.get(order.id) != server.id:
            self.refuse(f"{server.id} begins {order.id}, which never reached it")
        self.begun.setdefault(order.id, Begun(server.id, server.boot, server.clock_ms()))

    def began_alone(self, server: Server, permit: str) -> None:
        """An executor begins what a permit is for."""
        self._must_be_on(server, f"uses {permit}")
        self.at_host.setdefault(permit, server.id)
        self.begun.setdefault(permit, Begun(server.id, server.boot, server.clock_ms()))

    def witnessed(self, wish: AskWitness, reach: Reach) -> None:
        """A witness looked."""
        if wish.witness:
            self._must_be_on(self.world.servers[wish.witness], "looks at a neighbour")
        self.looks.setdefault((wish.incident, wish.witness, wish.round), {})[reach] = None

    def begun_here(self, order: Order) -> None:
        """The controller wrote down that it will do it."""
        self.here[order.id] = None

    def ended_here(self, order: Order, outcome: Outcome) -> None:
        """And how that ended."""
        self.here[order.id] = outcome

    def refuse(self, text: str) -> None:
        """End the run: nothing that it shows means anything."""
        raise Impossible(f"seed {self.world.seed} at {self.world.time.now_ms} ms: the world is impossible: {text}")

    def _must_be_on(self, server: Server, what: str) -> None:
        boot = self.boots[server.id].get(server.boot)
        if boot is None or boot.until_ms is not None or not server.up:
            self.refuse(f"{server.id} is off and {what}")

    # What the controller is told.

    def possible(self, event: Event) -> None:
        """Refuse an event that no real fleet could bring about."""
        if self.world.time.now_ms < self.now_ms:
            self.refuse("time goes backwards")
        self.now_ms = self.world.time.now_ms
        judge = _JUDGES.get(type(event))
        if judge is not None:
            judge(self, event)

    def connected(self, event: HostConnected) -> None:
        """Only a machine that is on says hello, with its own boot and clock."""
        server = self.world.servers[event.host]
        if not self.late:
            self._must_be_on(server, "says hello")
        if not self.late and (event.boot != server.boot or not server.agent_up or server.partitioned):
            self.refuse(f"{event.host} says hello as {event.boot} and cannot")
        self._clock(event.host, event.boot, event.clock_ms)
        boot = self.boots[event.host][event.boot]
        # Told late, a clock seems behind by as long as the hello was on its way.
        if event.clock_ms < boot.hello_ms and not self.late:
            self.refuse(f"the clock of {event.boot} goes backwards")
        boot.hello_ms = event.clock_ms

    def silent(self, event: HostSilent) -> None:
        """Who is linked is heard."""
        if self.world.servers[event.host].linked and not self.late:
            self.refuse(f"{event.host} is called silent and is linked")

    def observed(self, event: Observed) -> None:
        """What an agent reports a check has seen, at that moment of that boot."""
        if event.outbox:
            self._record(event, event.boot)
        sample = (event.boot, event.sampled_clock_ms, event.status.value)
        gone = event.finding.get("gone") is True
        if not gone and not self._was_seen(Subject(event.host, event.check, event.key), sample):
            self.refuse(f"{event.host} reports {event.check} {event.key} as {event.status.value}, which no check saw")
        self._clock(event.host, event.boot, event.sampled_clock_ms)
        if not self.late:
            # What an outbox carries over may come twice.
            self._in_order(event, event.sampled_clock_ms)
        if event.clock_ms < event.sampled_clock_ms:
            self.refuse(f"{event.host} reports a sample from its future")

    def confirmed(self, event: EvidenceConfirmed) -> None:
        """So is what a heartbeat names."""
        sample = (event.boot, event.sampled_clock_ms, "crit")
        if not self._was_seen(Subject(event.host, event.check, event.key), sample):
            self.refuse(f"{event.host} confirms {event.check} {event.key}, which no check saw")

    def order_started(self, event: OrderStarted) -> None:
        """Begun where it was sent to, and after it was sent."""
        if not event.outbox and event.order in self.here:
            return
        self._record(event, "")
        begun = self.begun.get(event.order)
        if begun is None or begun.host != event.host:
            self.refuse(f"{event.host} says that it began {event.order}, which it did not")
        if event.order not in self.sent_ms:
            self.refuse(f"{event.order} began before it was sent")

    def order_ended(self, event: OrderEnded) -> None:
        """Ended after it began; refused only where it arrived."""
        if not event.outbox:
            if self.here.get(event.order) is not event.outcome:
                self.refuse(f"the controller says that {event.order} is {event.outcome.value}: {self.here.get(event.order)}")
            return
        begun = self.begun.get(event.order)
        if is_permit(event.order):
            # It may be told again long after, and that its end is lost, by a later boot.
            self._record(event, "")
        elif self.late:
            # So may an order that reaches its host again after a boot. When the agent learns of an end, it may be long past.
            self._record(event, "")
            self._clock(event.host, event.boot, event.ended_clock_ms)
        else:
            self._record(event, event.boot)
            self._clock(event.host, event.boot, event.ended_clock_ms)
            self._in_order(event, event.ended_clock_ms)
        if event.outcome in (Outcome.DONE, Outcome.FAILED, Outcome.UNKNOWN) and begun is None:
            self.refuse(f"{event.host} says that {event.order} is {event.outcome.value}, and it never began")
        known = begun is not None and begun.boot == event.boot and (self.late or event.outcome is not Outcome.UNKNOWN)
        if known and event.ended_clock_ms < begun.clock_ms:
            self.refuse(f"{event.order} ended before it began")
        if self.at_host.get(event.order) != event.host:
            self.refuse(f"{event.host} speaks of {event.order}, which never reached it")

    def permit_used(self, event: PermitUsed) -> None:
        """Used where it says, and when."""
        if event.outbox:
            self._record(event, event.boot)
        begun = self.begun.get(event.permit)
        if begun is None or (begun.host, begun.boot, begun.clock_ms) != (event.host, event.boot, event.started_clock_ms):
            self.refuse(f"{event.host} says that it used {event.permit} at {event.started_clock_ms} of {event.boot}: {begun}")

    def alert(self, event: AlertSaid) -> None:
        """Prometheus saw it."""
        if (event.host, event.key, event.status, event.starts_ms, event.ends_ms) not in self.alerts:
            self.refuse(f"an alert about {event.key} of {event.host} is {event.status.value}, and nobody saw that")

    def witness(self, event: WitnessSaid) -> None:
        """Nobody tells what nobody saw."""
        if event.reach not in self.looks.get((event.incident, event.witness, event.round), {}):
            self.refuse(f"{event.witness} says that {event.host} is {event.reach.value}, and never looked")

    def drained(self, event: Drained | Undrained) -> None:
        """Only a hook that was called answers."""
        if event.host not in self.hooked:
            self.refuse(f"a hook answers about {event.host}, and was not called")

    def approve(self, event: Approve) -> None:
        """Nobody approves what was shown to nobody."""
        if (event.order, event.what) not in self.shown:
            self.refuse(f"{event.by} approves {event.order} ({event.what}), which nobody was asked for")

    def person(self, event: PersonSeen) -> None:
        """Who works on a machine works on one that is on."""
        if not self.late:
            self._must_be_on(self.world.servers[event.host], "says that somebody works there")

    def started(self, event: DeciderStarted) -> None:
        """Epochs rise."""
        if event.epoch <= self.epoch:
            self.refuse(f"a decider takes over with epoch {event.epoch} after {self.epoch}")
        self.epoch = event.epoch

    def loaded(self, event: PolicyLoaded) -> None:
        """Only rules that exist come into force."""
        if all(policy.digest != event.digest for policy in self.world.brain.policies):
            self.refuse(f"rules {event.digest} come into force and do not exist")

    def _was_seen(self, subject: Subject, sample: Sample) -> bool:
        known = self.samples.get(subject)
        if not known:
            return False
        if self.late:
            # What is told is what was confirmed: the newest sample may say otherwise until another one does.
            return any(each[:2] == sample[:2] for each in reversed(known))
        return known[-1] == sample or sample in known

    def _record(self, event: Any, boot: str) -> None:
        record = self.records.get((event.host, event.outbox, event.seq))
        if record is None:
            self.refuse(f"{event.host} speaks with record {event.seq} of {event.outbox}, which it never wrote")
        elif boot and record.boot != boot:
            self.refuse(f"{event.host} speaks of {boot} with a record of {record.boot}")

    def _in_order(self, event: Observed | OrderEnded, clock_ms: int) -> None:
        """What an agent writes later bears a later clock."""
        boot, number = self.boots[event.host][event.boot], (event.outbox, event.seq)
        record = self.records.get((event.host, *number))
        if record is None or record.kind == "snapshot" or record.retold:
            return
        if number[0] == boot.told[0] and number[1] > boot.told[1] and clock_ms < boot.told_ms:
            self.refuse(f"the clock of {event.boot} goes backwards from record {boot.told} to {number}")
        if number[0] != boot.told[0] or number[1] > boot.told[1]:
            boot.told, boot.told_ms = number, clock_ms

    def _clock(self, host: str, name: str, clock_ms: int) -> None:
        """A clock lies within its boot."""
        boot = self.boots[host].get(name)
        if boot is None:
            self.refuse(f"{host} never booted as {name}")
            return
        # A hello that waits is told with the clocks of the moment at which it is told.
        until_ms = self.world.time.now_ms if boot.until_ms is None or self.late else boot.until_ms
        # Clocks drift by less than this.
        if clock_ms < 0 or clock_ms > (until_ms - boot.since_ms) * 1.001 + 1:
            self.refuse(f"{host} tells a clock of {clock_ms} ms in {name}, which was on for {until_ms - boot.since_ms} ms")


_JUDGES: dict[type, Callable[[Nature, Any], None]] = {
    HostConnected: Nature.connected,
    HostSilent: Nature.silent,
    Observed: Nature.observed,
    EvidenceConfirmed: Nature.confirmed,
    OrderStarted: Nature.order_started,
    OrderEnded: Nature.order_ended,
    PermitUsed: Nature.permit_used,
    AlertSaid: Nature.alert,
    WitnessSaid: Nature.witness,
    Drained: Nature.drained,
    Undrained: Nature.drained,
    Approve: Nature.approve,
    PersonSeen: Nature.person,
    DeciderStarted: Nature.started,
    PolicyLoaded: Nature.loaded,
}
