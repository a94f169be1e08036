"""The resident agent: puts the parts together and keeps the one clock by which everything periodic runs."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Awaitable, Callable
from pathlib import Path

from google.protobuf.message import DecodeError

from fleetmend import registry
from fleetmend.v1 import link_pb2 as pb

from . import alone, boots, call, facts, identity, link, orders, renewal, wire
from .backoff import chance
from .checks import Status
from .config import Settings
from .executor_client import ExecutorClient
from .facts import Fact
from .hands import Declaration, Hands
from .host import Host, Roots
from .inventory import Inventory
from .log import LOG
from .notify import Notifier
from .outbox import Outbox
from .presence import Presence
from .pulse import Pulse
from .runner import Observed, Runner
from .schedule import Schedule
from .signals.inotify import InotifySignal
from .signals.logs import LogsSignal
from .signals.mounts import MountsSignal
from .signals.netlink import NetlinkSignal
from .signals.pressure import PressureSignal
from .signals.systemd import SystemdSignal
from .version import version
from .witness import Witness
from .workers import Workers

CONFIG_FILE = "config.pb"
WELCOME_FILE = "welcome.json"
SKEW_MS_MAX = 60_000
EXECUTOR_FIRST_S = 3.0
SYSTEMD_FIRST_S = 2.0
CONFIG_BYTES_MAX = 1 << 20
START_SPREAD_MS = 1000
HEARTBEAT_MS = 10_000
HEARTBEAT_MS_MIN = 500
HOUSEKEEPING_MS = 10_000
RENEW_CHECK_MS = 600_000
EXECUTOR_RETRY_MS = 30_000
SNAPSHOT_DELAY_S = 1.0
LOOK_AGAIN_S = 0.3
ALONE_EVERY_MS = 1_000


class Agent:
    """Everything that runs in the event loop. `run` returns when `stop` was called."""

    def __init__(self, settings: Settings, notifier: Notifier, renew: Callable[[], Awaitable[int]]) -> None:
        """`renew` runs the short-lived child that renews the certificate: its exit code. Raises IdentityError and OSError."""
        self._settings = settings
        self._state_dir = Path(settings.state_dir)
        self._identity = identity.load(self._state_dir)
        self._notifier = notifier
        self._renew = renew
        self._loop = asyncio.get_running_loop()
        self._stopped = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._timer_ms = 0
        self._snapshot_timer: asyncio.TimerHandle | None = None
        self._config = pb.AgentConfig()
        self._changed_facts: set[str] = set()
        self._version = version()

        self.host = Host(Roots(**settings.roots), state_dir=settings.state_dir)
        self._boot_id = self.host.boot_id()
        self._boot = boots.begin(self.host, settings.state_dir, boots.current(self.host))
        self.outbox = Outbox(self._state_dir / "outbox", self._boot_id, settings.outbox_bytes_max)
        self._workers = Workers()
        self._systemd = SystemdSignal(self.host, settings.dbus_socket, lambda _: self._signal("systemd"))
        self.host.unit_source = self._systemd.units
        self.runner = Runner(
            self.host, self._workers, self._observed, self._snapshot_soon, refreshers={"systemd": self._systemd.refresh}
        )
        presence = Presence(self.host)
        self._pulse = Pulse(self.host, self._boot_id, self.runner, self.outbox, presence if settings.report_presence else None)
        self._pressure = PressureSignal(self.host, lambda: self._signal("pressure"))
        self._mounts = MountsSignal(self.host, self._mounts_changed)
        self._inotify = InotifySignal(self._files_touched)
        self._logs = LogsSignal(self.host, self._signal)
        self._netlink = NetlinkSignal(lambda: self._signal("netlink"))
        self._facts = registry.load(facts, "FACT", Fact)
        self._inventory = Inventory(self.host, self._workers, self._facts, self._facts_changed)
        self._executor = ExecutorClient(settings.executor_socket)
        self.host.look = self._executor.looking(self._loop)
        self._alone = alone.Alone(self._alone_desk(presence), self._state_dir, self._boot_id, settings.alone_after_ms)
        self._hands = Hands(self._executor, self._alone, self._declaration, self._say_hello_again)
        self._orders = orders.Orders(self._executor, self._orders_desk(), orders.refused_in(self.outbox))
        self._witness = Witness(self.host, lambda said: self.link.answer(pb.LinkRequest(probed=said)), self._now_ms)
        self.link = link.Link(self._dial, self.outbox, self._link_desk())
        self._schedule = Schedule(int(chance() * (1 << 30)))

    async def run(self) -> None:
        """Until stopped."""
        self._load_config()
        now_ms = self._now_ms()
        for index, name in enumerate(self._facts):
            every_ms = int(self._facts[name].every_s * 1000)
            self._schedule.add(f"fact:{name}", every_ms, now_ms, first_in_ms=200 + 50 * index)
        self._schedule.add("heartbeat", HEARTBEAT_MS, now_ms)
        self._schedule.add("housekeeping", HOUSEKEEPING_MS, now_ms)
        self._schedule.add("renew", RENEW_CHECK_MS, now_ms, first_in_ms=1000)
        # Asked before the link is dialled; this is the next try.
        self._schedule.add("executor", EXECUTOR_RETRY_MS, now_ms)
        if self._notifier.watchdog_ms:
            self._schedule.add("watchdog", self._notifier.watchdog_ms, now_ms)
        self._watch_alone()
        self._pressure.start()
        self._mounts.start()
        if self.outbox.trouble:
            LOG.error("%s", self.outbox.trouble)
        for signal in (self._pressure, self._mounts):
            if signal.problem:
                LOG.info("%s", signal.problem)
        self._spawn(self._systemd.run())
        # A check that ran before the unit table is there would say UNKNOWN for nothing.
        await self._systemd.ready(SYSTEMD_FIRST_S)
        self._spawn(self._link_up())
        self._tick()
        self._notifier.send("READY=1")
        self._say_status()
        LOG.info("host %s, boot %s, %d checks", self._identity.host_id, self._boot_id, len(self.runner.watches))
        await self._stopped.wait()
        await self._shut_down()

    def stop(self) -> None:
        """Ends the agent within a second."""
        self._notifier.send("STOPPING=1")
        self._stopped.set()

    async def _shut_down(self) -> None:
        for timer in (self._timer, self._snapshot_timer):
            if timer is not None:
                timer.cancel()
        boots.end(self.host, self._settings.state_dir, self._boot)
        self._pressure.stop()
        self._mounts.stop()
        self._inotify.stop()
        self._netlink.stop()
        for task in (tasks := list(self._tasks)):
            task.cancel()
        parts = (self.runner, self._inventory, self._orders, self._alone, self._logs, self._witness)
        await asyncio.gather(*(part.stop() for part in parts), *tasks, return_exceptions=True)
        self._workers.close()
        self.outbox.close()

    # The clock: one timer for all that is periodic.

    def _now_ms(self) -> int:
        return int(self._loop.time() * 1000)

    def _tick(self) -> None:
        self._timer = None
        for name in self._schedule.due(self._now_ms()):
            kind, _, rest = name.partition(":")
            match kind:
                case "check":
                    self.runner.start(rest)
                case "fact":
                    self._inventory.collect(rest)
                case "heartbeat":
                    self._heartbeat()
                case "housekeeping":
                    self._keep_house()
                case "alone":
                    self._alone.tick()
                case "watchdog":
                    self._notifier.send("WATCHDOG=1")
                case "executor":
                    self._spawn(self._tend_executor())
                case "renew":
                    self._spawn(self._renew_if_due())
        self._arm()

    def _arm(self) -> None:
        due_ms = self._schedule.next_due_ms()
        if due_ms is None or (self._timer is not None and self._timer_ms <= due_ms):
            return
        if self._timer is not None:
            self._timer.cancel()
        self._timer_ms = due_ms
        # A whole millisecond later, so that the loop's clock has surely passed the instant.
        self._timer = self._loop.call_at((due_ms + 1) / 1000, self._tick)

    def _spawn(self, work: Awaitable[None]) -> None:
        async def guard() -> None:
            await work

        task = self._loop.create_task(guard())
        self._tasks.add(task)
        task.add_done_callback(self._task_ended)

    def _task_ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            # A defect in the agent itself: systemd starts it anew, which is better than half an agent.
            LOG.critical("cannot go on", exc_info=task.exception())
            self.failed = True
            self.stop()

    failed = False

    # What checks and signals say.

    def _signal(self, source: str) -> None:
        for name in self.runner.named_by(source):
            self.runner.start(name, by_signal=True)

    def _files_touched(self, paths: set[str]) -> None:
        for name in self.runner.named_by("inotify"):
            if not paths.isdisjoint(self.runner.watches[name].paths):
                self.runner.start(name, by_signal=True)

    def _mounts_changed(self) -> None:
        """What is mounted anew has folders that are not watched yet."""
        self._signal("mounts")
        self._watch_files(anew=True)

    def _watch_files(self, *, anew: bool = False) -> None:
        self._inotify.watch((path for watch in self.runner.watches.values() for path in watch.paths), anew=anew)

    def _observed(self, observed: Observed) -> None:
        self._alone.observed(observed)
        result = observed.result
        if not observed.requested or result.status is not Status.OK:
            LOG.info("%s %s is %s: %s", observed.check, result.key, result.status.value, result.summary)
        self._keep(pb.Record(boot_id=self._boot_id, observation=wire.observation(observed, self.host.wall_ms())))
        if result.status is Status.CRIT and not observed.requested:
            self._heartbeat()
            self._spawn(self._executor.rouse())

    def _keep(self, record: pb.Record) -> None:
        before = self.outbox.trouble
        try:
            self.outbox.append(record.SerializeToString())
        except ValueError as error:
            LOG.error("cannot report one %s: %s", record.WhichOneof("body"), error)
            return
        if self.outbox.trouble != before:
            LOG.error("%s", self.outbox.trouble or "the outbox is on disk again")
            self._say_status()
        self.link.wake()

    def _snapshot_soon(self) -> None:
        """A check can say of everything how it is: what it does not name any more is gone, and only a snapshot says so."""
        if self._snapshot_timer is None:
            self._snapshot_timer = self._loop.call_later(SNAPSHOT_DELAY_S, self._snapshot)

    def _snapshot(self) -> None:
        self._snapshot_timer = None
        if self.link.connected:
            self._keep(pb.Record(boot_id=self._boot_id, snapshot=self._pulse.snapshot()))

    # The link.

    async def _link_up(self) -> None:
        """Asks the executor first, shortly: Hello says what the host permits."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(EXECUTOR_FIRST_S):
                await self._tend_executor()
        await self.link.run()

    async def _dial(self) -> link.Call:
        return await call.dial(self._settings.controller, self._state_dir)

    def _link_desk(self) -> link.Desk:
        return link.Desk(
            hello=self._hello,
            stamp=self._stamp,
            welcome=self._welcome,
            config=self._take_config,
            order=self._orders.take,
            check_now=self.runner.ask,
            probe=self._witness.take,
            lost=self._lost,
            permits=self._take_permits,
        )

    def _lost(self, _: str) -> None:
        self._say_status()
        self._watch_alone()

    def _hello(self) -> pb.Hello:
        return pb.Hello(
            protocol_version=link.PROTOCOL_VERSION,
            agent_version=self._version,
            boot_id=self._boot_id,
            sent_clock_ms=self.host.clock_ms(),
            wall_ms=self.host.wall_ms(),
            config_digest=self._config.digest,
            outbox_id=self.outbox.outbox_id,
            permitted_actions=self._hands.permitted or [],
        )

    def _stamp(self, report: pb.Report) -> None:
        report.sent_clock_ms = self.host.clock_ms()
        report.boot_id = self._boot_id

    def _welcome(self, welcome: pb.Welcome) -> None:
        every_ms = max(HEARTBEAT_MS_MIN, welcome.heartbeat_interval_ms or HEARTBEAT_MS)
        self._schedule.add("heartbeat", every_ms, self._now_ms())
        self._schedule.remove("alone")
        self._arm()
        self._watch_clock(welcome.wall_ms)
        if welcome.HasField("config") and (welcome.config.digest or welcome.config.checks):
            self._hold_config(welcome.config)
        self._snapshot()
        self._changed_facts.update(section.name for section in self._inventory.message().sections)
        self._want_facts()
        self._heartbeat()
        self._look_again()
        self._say_status()

    def _look_again(self) -> None:
        """What was bad while nobody listened is looked at anew: the controller does not act on old evidence."""
        bad = (watch.spec.name for watch, _, subject in self.runner.subjects() if subject.confirmed.status is not Status.OK)
        sick = dict.fromkeys(bad)
        for name in sick:
            self.runner.start(name, by_signal=True)
        if sick:
            self._loop.call_later(LOOK_AGAIN_S, self._heartbeat)

    def _watch_clock(self, controller_ms: int) -> None:
        """Nothing depends on synchronised clocks but what people read; so it is said, and kept for `doctor`."""
        skew_ms = self.host.wall_ms() - controller_ms
        if controller_ms and abs(skew_ms) > SKEW_MS_MAX:
            LOG.warning(
                "the clock of this host is %+.0f s off the controller's; times shown to people are wrong", skew_ms / 1000
            )
        document = {"skew_ms": skew_ms if controller_ms else 0, "at_ms": self.host.wall_ms()}
        try:
            identity.write(self._state_dir / WELCOME_FILE, json.dumps(document).encode(), 0o600)
        except OSError as error:
            LOG.warning("cannot write %s: %s", WELCOME_FILE, error)

    def _heartbeat(self) -> None:
        self.link.want("heartbeat", lambda session: pb.LinkRequest(heartbeat=self._pulse.heartbeat(session.gauges)))

    def _facts_changed(self, names: list[str]) -> None:
        self._changed_facts.update(names)
        self._want_facts()

    def _want_facts(self) -> None:
        if self._changed_facts:
            self.link.want("facts", self._build_facts)

    def _build_facts(self, _: link.Session) -> pb.LinkRequest:
        """One section a message: a message stays small, and the link carries something more urgent in between."""
        name = min(self._changed_facts)
        self._changed_facts.discard(name)
        if self._changed_facts:
            self._loop.call_soon(self._want_facts)
        return pb.LinkRequest(facts=self._inventory.message([name]))

    # Configuration.

    def _load_config(self) -> None:
        """The last configuration, so that the agent watches while the controller is away."""
        path = self._state_dir / CONFIG_FILE
        try:
            self._apply(pb.AgentConfig.FromString(path.read_bytes()[:CONFIG_BYTES_MAX]))
        except FileNotFoundError:
            return
        except (OSError, DecodeError) as error:
            LOG.warning("cannot use %s: %s; waiting for the controller", path, error)

    def _take_config(self, config: pb.AgentConfig) -> None:
        self._hold_config(config)
        self._snapshot()

    def _hold_config(self, config: pb.AgentConfig) -> None:
        if config == self._config:
            return
        try:
            identity.write(self._state_dir / CONFIG_FILE, config.SerializeToString(), 0o600)
        except OSError as error:
            LOG.error("cannot keep the configuration: %s; a restart without controller would run the one before", error)
        self._apply(config)

    def _apply(self, config: pb.AgentConfig) -> None:
        self._config = config
        before = set(self.runner.watches)
        changed = self.runner.configure(wire.specs(config))
        now_ms = self._now_ms()
        for name in before - set(self.runner.watches):
            self._schedule.remove(f"check:{name}")
        for name in sorted(changed):
            watch = self.runner.watches[name]
            if watch.problem:
                LOG.warning("check %s cannot run: %s", name, watch.problem)
            spread_ms = int(chance() * min(START_SPREAD_MS, watch.spec.every_ms))
            self._schedule.add(f"check:{name}", watch.spec.every_ms, now_ms, first_in_ms=spread_ms)
        self._watch_files()
        self._logs.follow_for(self.runner)
        self._netlink.want(bool(self.runner.named_by("netlink")))
        if self._hands.behind:
            self._schedule.add("executor", EXECUTOR_RETRY_MS, now_ms, first_in_ms=0)
        self._arm()
        self._say_status()

    def _declaration(self) -> Declaration:
        return self._config.declaration_payload, self._config.declaration_mac

    async def _tend_executor(self) -> None:
        if await self._hands.tend():
            self._schedule.remove("executor")

    def _say_hello_again(self) -> None:
        if self.link.connected:
            # Hello went out without it: say it again, on a stream of its own.
            self.link.rotate()

    def _order_started(self, order_id: str, clock_ms: int) -> None:
        self._keep(pb.Record(boot_id=self._boot_id, started=pb.OrderStarted(order_id=order_id, started_clock_ms=clock_ms)))

    def _order_ended(self, outcome: pb.OrderOutcome) -> None:
        self._alone.order_ended()
        self._keep(pb.Record(boot_id=self._boot_id, outcome=outcome))

    def _orders_desk(self) -> orders.Desk:
        told = (self.runner.latest, self._order_started, self._order_ended, self.runner.ask, self.host.clock_ms)
        return orders.Desk(*told, settled=self._alone.settled)

    def _alone_desk(self, presence: Presence) -> alone.Desk:
        return alone.Desk(
            runner=self.runner,
            executor=self._executor,
            clock_ms=self.host.clock_ms,
            away_ms=lambda: self.link.away_ms,
            busy=lambda: self._orders.busy,
            present=presence.look,
            keep=lambda use: self._keep(pb.Record(boot_id=self._boot_id, permit_use=use)),
        )

    def _watch_alone(self) -> None:
        """Only while no controller is heard, and only with permits: an agent at rest does not wake up for this."""
        if self._alone.armed:
            self._schedule.add("alone", ALONE_EVERY_MS, self._now_ms())
            self._arm()

    def _take_permits(self, sealed: pb.SealedPermits) -> None:
        if self._alone.take(sealed):
            self._schedule.add("executor", EXECUTOR_RETRY_MS, self._now_ms(), first_in_ms=0)
            self._arm()

    def _keep_house(self) -> None:
        if self.outbox.trouble and self.outbox.flush():
            LOG.info("the outbox is on disk again")
        if self.link.session is not None:
            self.link.session.resend_late()

    async def _renew_if_due(self) -> None:
        now_ms = self.host.wall_ms()
        if not self._identity.not_after_ms or now_ms < self._identity.renew_at_ms:
            return
        try:
            self._identity = await renewal.attempt(self._renew, self._state_dir)
        except renewal.NotRenewed as problem:
            LOG.warning("cannot renew the certificate: %s; trying again in %d s", problem, RENEW_CHECK_MS // 1000)
            return
        LOG.info("certificate renewed")
        self.link.rotate()

    def _say_status(self) -> None:
        linked = "linked" if self.link.connected else (self.link.problem or "not linked yet")
        trouble = f"; {self.outbox.trouble}" if self.outbox.trouble else ""
        self._notifier.status(f"{linked}; {len(self.runner.watches)} checks; outbox {self.outbox.depth}{trouble}")
