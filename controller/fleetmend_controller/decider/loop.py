"""The active decider: takes events in groups, runs the core, journals both in one transaction, then performs the effects.

Nothing leaves the process before the commit. If the commit fails, what the core did in memory is thrown away and the fleet is
read back from the journal: no order was sent, nothing was acknowledged, agents keep and resend. A commit that is reported as
failed may be durable all the same; so the journal, not this process, says where it ends. If another decider took over, this one
dies.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import logging
from collections.abc import Callable, Mapping, Sequence

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from ..clock import Clock
from ..core.effects import DrainHost, PhaseChanged, Step, UndrainHost
from ..core.events import DeciderStarted, Event, ObserverDoubted, PolicyLoaded
from ..core.flow import advance
from ..core.model import Fleet, Order, Phase, Status, Subject
from ..core.policy import Policy
from ..handover.outbox import Outbox
from ..http.metrics import Metrics
from ..rules import RuleSet
from ..store import codec, journal
from ..store.engine import Store, StoreUnavailable
from ..store.journal import Entry, Head
from . import ledger
from .cohorts import Cohorts
from .doubt import LOOK_EVERY_S, Cause, Doubt, SelfWatch
from .perform import Performer
from .ports import GatewayPort, HostState, JournalUnavailable, KnownHost
from .timers import Timers

log = logging.getLogger("fleetmend.decider")

GROUP_EVENTS_MAX = 512
QUEUE_MAX = 10_000
SNAPSHOT_ROWS = 20_000
PROBE_EVERY_S = 1.0
EVIDENCE_REFRESH_SHARE = 3


@dataclasses.dataclass(slots=True)
class _Work:
    """Something that waits for the next group: events, or ready rows (audit), or new rules."""

    events: Sequence[Event]
    done: asyncio.Future[None]
    rows: Sequence[Entry] = ()
    rules: RuleSet | None = None


class Decider:
    """The one active decider of a fleet."""

    def __init__(
        self,
        store: Store,
        master: bytes,
        compile_rules: Callable[[Mapping[str, str]], RuleSet],
        metrics: Metrics,
        now_ms: Callable[[], int],
        clock: Clock | None = None,
        outbox: Outbox | None = None,
    ) -> None:
        """`clock` is what `now_ms` reads, for what else it can tell; without it the wall clock is taken for right.

        `outbox` takes what people are to be told, in the transaction that journals it.
        """
        self.fleet = Fleet()
        self.rules = compile_rules({})
        self.writable = True
        self.failure = ""
        self.superseded = False
        self._store = store
        self._master = master
        self._compile = compile_rules
        self._metrics = metrics
        self._now_ms = now_ms
        self._clock = clock
        self._outbox = outbox
        self._self_watch = SelfWatch(now_ms, clock.wall_ahead_ms if clock is not None else lambda: 0)
        self._head = Head(0, journal.GENESIS)
        self._snapshot_seq = 0
        self._policy = ""
        self._epoch = 0
        self._queue: asyncio.Queue[_Work] = asyncio.Queue(QUEUE_MAX)
        self._timers = Timers()
        self._timer_changed = asyncio.Event()
        self._performer = Performer(metrics, self._timers)
        self._cohorts = Cohorts(store, self, now_ms)
        self._performer.on_compare = self._cohorts.compare
        self._tasks: list[asyncio.Task[None]] = []
        self._in_work: list[_Work] = []
        # Set while the fleet in memory holds nothing that is not durable: what is told of it may be relied upon (host_state).
        self._durable = asyncio.Event()
        self._durable.set()
        self._asking = 0
        self.died = asyncio.Event()
        self._subscribers: dict[int, asyncio.Queue[PhaseChanged]] = {}

    @property
    def epoch(self) -> int:
        """The epoch under which this decider writes and commands."""
        return self._epoch

    async def start(self, holder: str, gateway: GatewayPort | None = None) -> ledger.Recovered:
        """Verify and replay the journal, take the lease, and begin. JournalDamaged names the first wrong row.

        PolicyMissing and PolicyUnusable: events are to be replayed, and the rules by which they were decided cannot be used.
        """
        await self._store.read(lambda c: journal.verify(c, self._master))
        recovered = await self._store.read(self._recover)
        self._go_on_from(self.fleet.now_ms)
        self._epoch = await self._store.write(lambda c: ledger.take_lease(c, holder, self._now_ms()))
        if recovered.unusable:
            log.warning("this version does not take the rules of the last run: %s; none are in force now", recovered.unusable)
            # What is decided from here on is decided without them, and must be replayed without them.
            await self._snapshot()
        self._performer.epoch = self._epoch
        self._performer.gateway = gateway
        self._performer.listeners.append(self._publish)
        self._metrics.journal_writable.set(1)
        self._tasks = [
            asyncio.create_task(self._run(), name="decider"),
            asyncio.create_task(self._wake(), name="decider-timers"),
            asyncio.create_task(self._watch_self(), name="decider-self-watch"),
        ]
        for task in self._tasks:
            task.add_done_callback(self._ended)
        await self.submit([DeciderStarted(self._now_ms(), self._epoch)])
        return recovered

    async def stop(self) -> None:
        """Stop after the group in work; a snapshot makes the next start quick."""
        await self._cohorts.stop()
        for task in self._tasks:
            task.cancel()
        # What ended one before was said then, and must not keep the process from its orderly end.
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self.writable and self._head.seq > self._snapshot_seq:
            with contextlib.suppress(StoreUnavailable):
                await self._snapshot()

    async def submit(self, events: Sequence[Event]) -> None:
        """Return once the events are durable and decided upon. Raises JournalUnavailable."""
        await self._enqueue(_Work(events, asyncio.get_running_loop().create_future()))

    async def audit(self, what: str, who: str, host: str, detail: dict[str, str], incident: str = "") -> None:
        """Append a row to the audit trail: an operator's act, a refused attempt, or what was found out about an incident."""
        body = codec.dumps({"what": what, "who": who, "detail": detail})
        row = Entry("audit", self._now_ms(), host, incident, body)
        await self._enqueue(_Work((), asyncio.get_running_loop().create_future(), rows=(row,)))

    def do_here(self, hands: Callable[[Order], None], drains: Callable[[DrainHost | UndrainHost], None]) -> None:
        """Who does what the controller does itself."""
        self._performer.hands, self._performer.drains = hands, drains

    def require_active(self, connection: Connection) -> None:
        """StaleEpoch, within a transaction, if another decider has taken over."""
        ledger.check_epoch(connection, self._epoch)

    async def load_rules(self, rules: RuleSet, by: str) -> bool:
        """Put rules in force, journalled with their documents. False if they are in force already."""
        if rules.digest == self._policy:
            return False
        event = PolicyLoaded(self._now_ms(), rules.digest, by)
        await self._enqueue(_Work((event,), asyncio.get_running_loop().create_future(), rules=rules))
        return True

    async def host_state(self, host: str, outbox: str) -> HostState:
        """What is held about a host, and is durable: an agent forgets the records up to what it is told here."""
        await self._until_durable()
        known = self.fleet.hosts.get(host)
        if known is None:
            return HostState(False, 0, {})
        sick: dict[tuple[str, str], Status] = {}
        for incident_id in self.fleet.by_host.get(host, {}):
            incident = self.fleet.incidents[incident_id]
            sick[(incident.subject.check, incident.subject.key)] = incident.status
            for subject in incident.symptoms:
                sick[(subject.check, subject.key)] = Status.CRIT
        return HostState(True, known.outbox_seq if known.outbox == outbox else 0, sick)

    async def known_hosts(self) -> Sequence[KnownHost]:
        """Every host of the fleet."""
        return [
            KnownHost(host.id, host.name, dict(host.labels), host.lost_since_ms is not None)
            for host in self.fleet.hosts.values()
        ]

    async def order_hosts(self, orders: Sequence[str]) -> Mapping[str, str]:
        """To which hosts these orders were issued, as far as their incidents are open."""
        found = {order: self.fleet.incidents.get(f"inc-{order.removeprefix('ord-').split('-')[0]}") for order in orders}
        return {
            order: incident.subject.host
            for order, incident in found.items()
            if incident is not None and any(attempt.order == order for attempt in incident.attempts)
        }

    async def rules_in_force(self) -> RuleSet:
        """The rules by which is decided now."""
        return self.rules

    async def wants_evidence(self, subjects: Sequence[Subject]) -> Sequence[Subject]:
        """Those of the sick subjects whose incident waits and whose newest sample grows old."""
        limit_ms = self.rules.policy.evidence_max_age_ms // EVIDENCE_REFRESH_SHARE
        return [s for s in subjects if self._grows_old(s, limit_ms)]

    def subscribe(self) -> tuple[int, asyncio.Queue[PhaseChanged]]:
        """A queue of phase changes as they become durable; a subscriber that does not read loses the oldest."""
        queue: asyncio.Queue[PhaseChanged] = asyncio.Queue(1000)
        key = max(self._subscribers, default=0) + 1
        self._subscribers[key] = queue
        return key, queue

    def unsubscribe(self, key: int) -> None:
        """End a subscription."""
        self._subscribers.pop(key, None)

    async def _until_durable(self) -> None:
        self._asking += 1
        try:
            while not self._durable.is_set():
                await self._durable.wait()
        finally:
            self._asking -= 1

    def _grows_old(self, subject: Subject, limit_ms: int) -> bool:
        incident_id = self.fleet.by_subject.get(subject)
        if incident_id is None:
            return False
        incident = self.fleet.incidents[incident_id]
        return incident.phase in (Phase.OPEN, Phase.HELD) and self._now_ms() - incident.evidence_ms > limit_ms

    def _ended(self, task: asyncio.Task[None]) -> None:
        """A defect or a successor ended the loop: who waits must hear of it, and the process must end (`died`)."""
        error = None if task.cancelled() else task.exception()
        if error is None:
            return
        self.writable = False
        self._metrics.journal_writable.set(0)
        if isinstance(error, ledger.StaleEpoch):
            self.superseded = True
            self.failure = f"another controller took over: {error}"
            log.critical("another controller took over, this one commands nobody and ends: %s", error)
        else:
            self.failure = f"the decider stopped: {error!r}"
            log.critical("the decider stopped", exc_info=error)
        while not self._queue.empty():
            self._in_work.append(self._queue.get_nowait())
        for work in self._in_work:
            if not work.done.done():
                work.done.set_exception(JournalUnavailable(self.failure))
        self.died.set()

    async def _enqueue(self, work: _Work) -> None:
        if not self.writable:
            raise JournalUnavailable(self.failure)
        await self._queue.put(work)
        await work.done

    async def _run(self) -> None:
        while True:
            group = self._in_work = [await self._queue.get()]
            count = len(group[0].events)
            while not self._queue.empty() and count < GROUP_EVENTS_MAX:
                work = self._queue.get_nowait()
                group.append(work)
                count += len(work.events)
            begun_ms = self._now_ms()
            # Before anything is decided: what waited while this process stood still is not as fresh as it looks.
            self._doubt_first(group)
            try:
                steps = await self._decide_and_commit(group)
            except (StoreUnavailable, sa.exc.SQLAlchemyError) as error:
                await self._journal_failed(group, error)
                continue
            self._durable.set()
            for step in steps:
                self._performer.perform(step)
            self._timer_changed.set()
            self._metrics.decisions.observe((self._now_ms() - begun_ms) / 1000)
            for work in group:
                if not work.done.done():
                    work.done.set_result(None)
            if self._head.seq - self._snapshot_seq >= SNAPSHOT_ROWS:
                with contextlib.suppress(StoreUnavailable):
                    await self._snapshot()
            if self._asking:
                # Who asks for what is durable gets a turn before the next group is decided upon.
                await asyncio.sleep(0)

    async def _decide_and_commit(self, group: list[_Work]) -> list[Step]:
        entries: list[Entry] = []
        steps: list[Step] = []
        new_rules: list[RuleSet] = []
        self._durable.clear()
        for work in group:
            entries.extend(work.rows)
            if work.rules is not None:
                self.rules = work.rules
                new_rules.append(work.rules)
            for event in work.events:
                step = advance(self.fleet, event, self.rules.policy)
                entries.extend(ledger.entries_of(event, step, self._head.seq + len(entries) + 1))
                steps.append(step)
        head, epoch, master, now_ms = self._head, self._epoch, self._master, self._now_ms()

        def commit(connection: Connection) -> Head:
            ledger.check_epoch(connection, epoch)
            for rules in new_rules:
                ledger.save_policy(connection, rules.digest, dict(rules.documents), now_ms)
            ledger.project(connection, self.fleet, steps, now_ms)
            if self._outbox is not None:
                self._outbox.note(connection, self.fleet, steps, now_ms)
            return journal.append(connection, master, head, epoch, entries)

        with self._metrics.journal_commit.time():
            self._head = await self._store.write(commit)
        if self._outbox is not None:
            self._outbox.committed()
        if new_rules:
            self._policy = new_rules[-1].digest
        self._metrics.journal_rows.inc(len(entries))
        return steps

    async def _journal_failed(self, group: list[_Work], error: Exception) -> None:
        """Forget what was decided on top, refuse everything, and wait until the store takes rows again."""
        self.writable = False
        self.failure = str(error)
        since_ms = self._now_ms()
        self._metrics.journal_writable.set(0)
        self._metrics.journal_failures.inc()
        log.error("journal not writable, no orders are given: %s", error)
        unavailable = JournalUnavailable(str(error))
        while not self._queue.empty():
            group.append(self._queue.get_nowait())
        for work in group:
            if not work.done.done():
                work.done.set_exception(unavailable)
        with contextlib.suppress(StoreUnavailable, sa.exc.SQLAlchemyError):
            # At once: who asks meanwhile must not hear of what was only decided in memory.
            await self._store.read(self._recover)
            self._durable.set()
        while not self.writable:
            await asyncio.sleep(PROBE_EVERY_S)
            await self._probe()
        # Nothing waits between the line above and here: it is the first thing decided upon after the outage.
        text = f"the journal took no rows for {(self._now_ms() - since_ms) / 1000:.1f} s"
        self._queue.put_nowait(self._doubted([Doubt(Cause.JOURNAL_OUTAGE, text)]))

    def _go_on_from(self, journal_ms: int) -> None:
        skipped_ms = self._clock.never_before(journal_ms) if self._clock is not None else 0
        if skipped_ms:
            log.warning("the system's clock is %.1f s behind the journal's newest row; going on from there", skipped_ms / 1000)
        self._self_watch.look()

    async def _watch_self(self) -> None:
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            found = self._self_watch.look()
            # While the journal is out nothing is decided, and its return is a doubt of its own.
            if found and self.writable:
                await self._queue.put(self._doubted(found))

    def _doubt_first(self, group: list[_Work]) -> None:
        found = self._self_watch.look()
        if found:
            group.insert(0, self._doubted(found))

    def _doubted(self, found: Sequence[Doubt]) -> _Work:
        for doubt in found:
            self._metrics.observer_doubted.labels(doubt.cause.value).inc()
            log.warning(
                "why=observer_doubted cause=%s: %s; nothing is done until hosts are heard", doubt.cause.value, doubt.text
            )
        done = asyncio.get_running_loop().create_future()
        # Nobody waits for it; an outage that takes it away ends in a doubt again.
        done.add_done_callback(lambda future: future.cancelled() or future.exception())
        return _Work((ObserverDoubted(self._now_ms(), "; ".join(doubt.text for doubt in found)),), done)

    async def _probe(self) -> None:
        row = Entry(
            "audit",
            self._now_ms(),
            "",
            "",
            codec.dumps({"what": "journal_recovered", "who": "controller", "detail": {"after": self.failure}}),
        )

        def commit(connection: Connection) -> None:
            ledger.check_epoch(connection, self._epoch)
            head = journal.read_head(connection, self._master)
            journal.append(connection, self._master, head, self._epoch, [row])

        try:
            await self._store.write(commit)
            await self._store.read(self._recover)
            self._durable.set()
        except (StoreUnavailable, sa.exc.SQLAlchemyError) as error:
            self.failure = str(error)
            return
        self.writable = True
        self.failure = ""
        self._metrics.journal_writable.set(1)
        log.warning("journal writable again; the fleet was read back from it up to row %d", self._head.seq)
        self._performer.repeat(self.fleet)

    def _recover(self, connection: Connection) -> ledger.Recovered:
        compiled: list[RuleSet] = [self.rules]

        def compile_policy(documents: dict[str, str]) -> Policy:
            compiled.append(self._compile(documents))
            return compiled[-1].policy

        recovered = ledger.recover(connection, self._master, compile_policy)
        self.fleet, self._head, self.rules = recovered.fleet, recovered.head, compiled[-1]
        self._policy = recovered.policy
        self._timers.reset(self.fleet.incidents.values(), self.fleet.hosts.values())
        return recovered

    async def _snapshot(self) -> None:
        body = codec.dumps(codec.encode(self.fleet))
        seq, policy, now_ms = self._head.seq, self._policy, self._now_ms()
        await self._store.write(lambda c: ledger.save_snapshot(c, self._master, seq, now_ms, policy, body))
        self._snapshot_seq = seq

    async def _wake(self) -> None:
        while True:
            self._timer_changed.clear()
            next_ms = self._timers.next_ms()
            delay_s = None if next_ms is None else max(0.0, (next_ms - self._now_ms()) / 1000)
            # Not wait_for: in Python 3.11 it can swallow a cancellation that comes together with the event.
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(delay_s):
                    await self._timer_changed.wait()
            due = self._timers.events(self._now_ms(), GROUP_EVENTS_MAX)
            if not due:
                continue
            try:
                await self.submit(due)
            except JournalUnavailable:
                # The fleet and its timers are read back from the journal when it recovers.
                await asyncio.sleep(PROBE_EVERY_S)

    def _publish(self, change: PhaseChanged) -> None:
        for queue in self._subscribers.values():
            if queue.full():
                queue.get_nowait()
            queue.put_nowait(change)
