"""The gateway as one thing: builds its parts, serves, looks after what is periodic, and answers the decider's calls."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, replace

from fleetmend.catalogue import Catalogue
from fleetmend.seal import SealError
from fleetmend.v1 import admin_pb2_grpc, link_pb2

from ..config import Config
from ..core.effects import AskWitness, SendPermits
from ..core.model import ALERT_PREFIX, Order, Subject
from ..decider.ports import DeciderPort, JournalUnavailable
from ..http.metrics import Metrics
from ..pki.authority import Authority
from ..pki.files import StateError
from ..pki.operators import Operators
from ..pki.registry import Registry
from ..pki.tokens import Tokens
from ..rules import RuleSet
from ..store.engine import Store, StoreUnavailable
from .authz import Judge
from .enroll_service import EnrollService
from .gauges import Gauges
from .handshakes import Handshakes
from .hostconfig import HostConfigs
from .intake import PRESENCE_EVERY_MS
from .inventory import Inventory
from .limiter import Limiter
from .link_service import LinkParts, LinkService
from .orders import Sealer
from .servers import ServerCertificate, Servers, Services, build_servers
from .sessions import HISTORIES_MAX, Sessions
from .silence import Silence
from .witnesses import Witnesses

log = logging.getLogger(__name__)

TICK_S = 1.0
TOUCH_EVERY = 30
CERTIFICATE_EVERY = 600
PRUNE_EVERY = 3_600
TOKEN_KEPT_MS = 7 * 24 * 3_600_000
STOP_GRACE_S = 2.0
PUSH_BATCH = 100
AUDIT_BURST, AUDIT_EVERY_MS = 5, 60_000


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What the gateway is given. `clock` never steps, `wall_ms` may.

    `alert_asked` hears of every alert that the core wants a fresh result of.
    """

    config: Config
    store: Store
    decider: DeciderPort
    metrics: Metrics
    catalogue: Catalogue
    authority: Authority
    master: bytes
    registry: Registry
    tokens: Tokens
    operators: Operators
    clock: Callable[[], int]
    wall_ms: Callable[[], int]
    alert_asked: Callable[[Subject], None] = lambda _subject: None


class Gateway:
    """Agents' streams, identities and gauges. It is the decider's GatewayPort."""

    def __init__(self, given: Surroundings) -> None:
        self._given = given
        metrics, clock, config = given.metrics, given.clock, given.config
        self.sessions = Sessions(metrics, clock)
        self.silence = Silence(config.silent_after_ms)
        self.gauges = Gauges(given.catalogue, lambda reason, count: metrics.rejected_records.labels(reason).inc(count))
        self.inventory = Inventory(given.store)
        self._sealer = Sealer(given.master)
        self._rules: RuleSet | None = None
        self._configs = HostConfigs(self._rules_in_force, lambda: given.decider.epoch, self._sealer, given.wall_ms)
        self._handshakes = Handshakes(metrics, clock)
        look = config.witness
        self.witnesses = Witnesses(self.sessions, given.store, given.decider, clock, self._spawn, look.ports, look.timeout_ms)
        self._servers: Servers | None = None
        self._certificate: ServerCertificate | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        # A defect ended a task: the process must end, to start again.
        self.died = asyncio.Event()
        given.registry.on_removed.append(self._forget)
        given.registry.on_labelled.append(self.labels_changed)

    @property
    def servers(self) -> Servers:
        """The bound servers; RuntimeError before `bind`."""
        if self._servers is None:
            raise RuntimeError("cannot name the servers: they are not bound yet")
        return self._servers

    def bind(self, admin: admin_pb2_grpc.AdminServiceServicer) -> Servers:
        """Bind all addresses; nothing is served yet. CannotListen says which one is taken."""
        given = self._given
        parts = LinkParts(
            registry=given.registry,
            sessions=self.sessions,
            silence=self.silence,
            decider=given.decider,
            gauges=self.gauges,
            inventory=self.inventory,
            configs=self._configs,
            sealer=self._sealer,
            metrics=given.metrics,
            audits=Limiter(AUDIT_BURST, AUDIT_EVERY_MS),
            witnesses=self.witnesses,
            presences=Limiter(1, PRESENCE_EVERY_MS, HISTORIES_MAX),
            heartbeat_interval_ms=given.config.heartbeat_interval_ms,
            clock=given.clock,
            wall_ms=given.wall_ms,
        )
        enroll = EnrollService(
            given.registry,
            given.tokens,
            given.authority,
            given.master,
            given.decider,
            given.metrics,
            given.clock,
            given.wall_ms,
        )
        judge = Judge(given.registry, given.operators, given.decider, given.metrics, given.clock)
        certificate = self._certificate = ServerCertificate(given.authority, given.config.names, given.wall_ms)
        expiry = given.metrics.certificate_expiry
        expiry.labels("server").set_function(lambda: certificate.identity.not_after_ms / 1000)
        expiry.labels("ca").set(given.authority.not_after_ms / 1000)
        services = Services(LinkService(parts), enroll, admin)
        self._servers = build_servers(given.config, self._certificate, judge, self._handshakes, services)
        return self._servers

    async def start(self) -> None:
        """Bring table and fleet together, then serve. The registry must be loaded and the decider started."""
        given = self._given
        self._rules = await given.decider.rules_in_force()
        known = await given.decider.known_hosts()
        await given.registry.reconcile(known)
        seen = [host.id for host in given.registry.all() if host.last_seen_ms is not None]
        self.silence.expect(seen, given.clock(), given.config.start_grace_ms)
        self.silence.known_silent(host.id for host in known if host.lost)
        await self.servers.start()
        self._spawn(self._tick())

    async def stop(self) -> None:
        """Tell the agents, let go of everything, write down what waits."""
        for session in self.sessions.all():
            session.end("shutting_down", "the controller stops", 1_000)
        if self._servers is not None:
            await self._servers.stop(STOP_GRACE_S)
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        with contextlib.suppress(StoreUnavailable):
            await self._given.registry.flush()
        await self.inventory.flush()

    def is_up(self, host: str) -> bool:
        """Whether the host's agent holds a stream and talks."""
        return self.sessions.is_online(host) and not self.silence.is_silent(host)

    def render(self) -> bytes:
        """The gauges of all hosts for Prometheus."""
        return self.gauges.render(self._given.registry.all(), self.is_up)

    def send_order(self, order: Order, epoch: int) -> None:
        """Seal and send; an absent host gets it when it is back and the decider calls again."""
        session = self.sessions.get(order.host)
        if session is None:
            return
        try:
            session.send(link_pb2.LinkResponse(order=self._sealer.order(order, epoch)))
        except SealError:
            # It ends as expired; the rules' validation keeps such parameters out.
            log.exception("cannot send %s to %s", order.id, order.host)

    def send_permits(self, permits: SendPermits, epoch: int) -> None:
        """Seal and send; an absent host gets its set when it is back and the decider calls again."""
        session = self.sessions.get(permits.host)
        if session is None or session.boot != permits.boot:
            return
        try:
            session.send(link_pb2.LinkResponse(permits=self._sealer.permits(permits, epoch)))
        except SealError:
            # The rules' validation keeps such parameters out. What the host has ends by itself.
            log.exception("cannot send permits to %s", permits.host)

    def request_check(self, subject: Subject) -> None:
        """Ask the host's agent for a fresh result; of an alert, whoever hears Alertmanager."""
        if subject.check.startswith(ALERT_PREFIX):
            self._given.alert_asked(subject)
            return
        session = self.sessions.get(subject.host)
        if session is not None:
            session.send(link_pb2.LinkResponse(check_now=link_pb2.CheckNow(check=subject.check, key=subject.key)))

    def ask_witness(self, wish: AskWitness) -> None:
        """Ask one agent, or look ourselves, whether a lost host answers."""
        self.witnesses.ask(wish)

    def close_host(self, host: str, reason: str) -> None:
        """End the host's stream at once."""
        session = self.sessions.get(host)
        if session is not None:
            session.end(reason, "", 60_000)

    def rules_changed(self) -> None:
        """Ask for the rules in force, and send new configuration to the hosts whose configuration changed."""
        self._spawn(self._push())

    def labels_changed(self, host: str) -> None:
        """Send a host its new configuration, if its labels lead to another one."""
        session, record = self.sessions.get(host), self._given.registry.get(host)
        if session is None or record is None:
            return
        config = self._configs.refresh(session, record)
        if config is not None:
            session.send(link_pb2.LinkResponse(config=config))

    def _forget(self, host: str) -> None:
        self.close_host(host, "removed")
        self.silence.forget(host)
        self.gauges.forget(host)
        self.inventory.forget(host)
        self.sessions.forget(host)

    def _rules_in_force(self) -> RuleSet:
        if self._rules is None:
            raise RuntimeError("cannot configure hosts: the gateway has not started yet")
        return self._rules

    async def _push(self) -> None:
        self._rules = await self._given.decider.rules_in_force()
        for number, session in enumerate(self.sessions.all()):
            self.labels_changed(session.host)
            if number % PUSH_BATCH == PUSH_BATCH - 1:
                await asyncio.sleep(0)

    async def _tick(self) -> None:
        given = self._given
        count = 0
        while True:
            await asyncio.sleep(TICK_S)
            count += 1
            self._handshakes.sweep()
            self._end_expired()
            await self._tell_silence()
            await given.registry.announce()
            await self.inventory.flush()
            if count % TOUCH_EVERY == 0:
                await self._touch()
            if count % CERTIFICATE_EVERY == 0:
                await self._renew()
            if count % PRUNE_EVERY == 0:
                with contextlib.suppress(StoreUnavailable):
                    await given.tokens.prune(given.wall_ms() - TOKEN_KEPT_MS)

    def _end_expired(self) -> None:
        """An agent that renewed in time is on a newer stream; one that could not must not go on under a name that has ended."""
        now_ms = self._given.wall_ms()
        for session in self.sessions.all():
            if 0 < session.not_after_ms <= now_ms:
                log.warning("the stream of %s ends with its certificate", session.host)
                session.end(
                    "expired", "the certificate with which this stream began has ended; renew it: fleetmend-agent renew"
                )

    async def _tell_silence(self) -> None:
        found = self.silence.look(self._given.clock())
        if not found:
            return
        silent = [replace(e, stream=self.sessions.stream(e.host, e.at_ms - e.silent_ms)) for e in found]
        for event in silent:
            self.gauges.hide(event.host)
        try:
            await self._given.decider.submit(silent)
        except JournalUnavailable as error:
            self.silence.untold(silent)
            log.warning("cannot tell the decider of %d silent hosts: %s", len(silent), error)

    async def _renew(self) -> None:
        if self._certificate is None:
            return
        try:
            await self._certificate.renew_if_due()
        except (StateError, OSError):
            log.exception("cannot renew the controller's certificate; the old one serves until its end")

    async def _touch(self) -> None:
        now_ms = self._given.wall_ms()
        for session in self.sessions.all():
            self._given.registry.touch(session.host, now_ms)
        try:
            await self._given.registry.flush()
        except StoreUnavailable as error:
            log.warning("cannot note who was heard: %s", error)

    def _spawn(self, job: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(job)
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            log.critical("a task of the gateway failed", exc_info=task.exception())
            self.died.set()
