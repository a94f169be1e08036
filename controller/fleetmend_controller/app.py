"""One controller process: builds store, decider, gateway, admin desk and metrics page, runs them, takes them down in order."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import signal
import socket
from collections.abc import Callable
from dataclasses import dataclass, field

from sqlalchemy.engine import Connection

from fleetmend.catalogue import load_catalogue

from . import clock
from .admin.desk import Desk, Progress
from .admin.service import AdminService
from .alertmanager.inbox import Inbox
from .config import Config
from .core.model import Fleet
from .core.policy import Policy
from .decider.ledger import PolicyMissing, PolicyUnusable
from .decider.loop import Decider
from .decider.ports import JournalUnavailable
from .gateway.authz import caller
from .gateway.gateway import Gateway, Surroundings
from .gateway.servers import CannotListen
from .handover.outbox import Outbox
from .handover.sender import Sender
from .hands import Tools
from .hands._desk import Hands
from .http import alertmanager
from .http.app import program_version, serve, serve_app
from .http.metrics import Metrics
from .pki.authority import Authority, read_master_secret
from .pki.files import StateError
from .pki.operators import Operators
from .pki.registry import Registry
from .pki.tokens import Tokens
from .playbooks.load import compile_rules, read_documents
from .rules import RulesError
from .sdnotify import notify, watchdog_interval_s
from .store import journal
from .store.engine import Store, StoreUnavailable, open_engine
from .store.journal import Head, JournalDamaged
from .store.migrate import SchemaError, ensure_schema

log = logging.getLogger("fleetmend.controller")

EXIT_OK, EXIT_FAILED = 0, 1
# Another controller took over this database. The unit does not start this one again: the two would chase each other.
EXIT_SUPERSEDED = 10


@dataclass(slots=True)
class RuleFiles:
    """The rule directories. What cannot be compiled never replaces what is in force; `problem` says why it was refused."""

    config: Config
    decider: Decider
    metrics: Metrics
    changed: Callable[[], None]
    problem: str = ""

    async def load(self, by: str) -> bool:
        """Read, compile and put in force. False, with the problem kept and logged, if that cannot be done."""
        try:
            rules = await asyncio.to_thread(lambda: compile_rules(read_documents(self.config.rules_dirs)))
        except RulesError as error:
            self.problem = str(error)
            self.metrics.rules_reloads.labels("refused").inc()
            for problem in error.problems:
                log.error("rules refused, those in force stay: %s", problem)  # noqa: TRY400 - the problem says it; a trace helps nobody
            return False
        for warning in rules.warnings:
            log.warning("rules: %s", warning)
        try:
            fresh = await self.decider.load_rules(rules, by)
        except JournalUnavailable as error:
            self.problem = f"cannot put the rules in force: {error}"
            return False
        self.problem = ""
        self.metrics.rules_reloads.labels("loaded" if fresh else "unchanged").inc()
        if fresh:
            log.info(
                "rules %s in force: %d playbooks, %d checks",
                rules.digest[:12],
                len(rules.policy.playbooks),
                len(rules.check_types),
            )
            self.changed()
        return True


@dataclass(slots=True)
class Parts:
    """A controller that is built but not yet running."""

    config: Config
    store: Store
    metrics: Metrics
    decider: Decider
    registry: Registry
    gateway: Gateway
    rules: RuleFiles
    sender: Sender | None
    inbox: Inbox | None
    hands: Hands
    stop: asyncio.Event = field(default_factory=asyncio.Event)


async def run_controller(config: Config) -> int:
    """Run until SIGTERM or SIGINT; the exit code. Errors of the start are logged as one line each."""
    try:
        parts = build(config)
    except (StateError, SchemaError, StoreUnavailable) as error:
        log.critical("%s", error)
        return EXIT_FAILED
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, parts.stop.set)
    reload_wanted = asyncio.Event()
    loop.add_signal_handler(signal.SIGHUP, reload_wanted.set)
    try:
        return await _run(parts, reload_wanted)
    except (JournalDamaged, PolicyMissing, PolicyUnusable, CannotListen, StateError, StoreUnavailable, OSError) as error:
        log.critical("%s", error)
        return EXIT_FAILED
    finally:
        parts.store.close()


def build(config: Config) -> Parts:
    """Everything, wired; nothing is bound or started. The one place that knows how the parts fit."""
    master = read_master_secret(config.state_dir)
    authority = Authority(config.state_dir)
    engine = open_engine(config.database_url)
    ensure_schema(engine)
    store, metrics = Store(engine), Metrics()
    outbox = Outbox(config.notify) if config.notify is not None else None
    decider = Decider(store, master, compile_rules, metrics, clock.now_ms, clock.CLOCK, outbox)
    sender = _sender(outbox, store, decider, metrics)
    inbox = _inbox(config, store, decider, metrics)
    hands = _hands(config, store, decider)
    registry = Registry(store, decider, clock.now_ms, clock.wall_ms)
    tokens, operators, catalogue = Tokens(store), Operators(store), load_catalogue()

    gateway = Gateway(
        Surroundings(
            config=config,
            store=store,
            decider=decider,
            metrics=metrics,
            catalogue=catalogue,
            authority=authority,
            master=master,
            registry=registry,
            tokens=tokens,
            operators=operators,
            clock=clock.now_ms,
            wall_ms=clock.wall_ms,
            alert_asked=inbox.asked if inbox is not None else lambda _subject: None,
        )
    )
    rules = RuleFiles(config, decider, metrics, gateway.rules_changed)

    def verify(connection: Connection, progress: Progress) -> Head:
        return journal.verify(connection, master, progress)

    desk = Desk(
        store=store,
        decider=decider,
        registry=registry,
        sessions=gateway.sessions,
        tokens=tokens,
        catalogue=catalogue,
        verify=verify,
        rules_problem=lambda: rules.problem,
        who=lambda _context: str(caller()),
        now_ms=clock.now_ms,
        version=program_version(),
        started_ms=clock.now_ms(),
        unplaced=lambda: inbox.unplaced if inbox is not None else (),
    )
    gateway.bind(AdminService(desk))
    return Parts(config, store, metrics, decider, registry, gateway, rules, sender, inbox, hands)


def _hands(config: Config, store: Store, decider: Decider) -> Hands:
    tools = Tools(config.bmc_file, config.drain)
    hands = Hands(store, decider, lambda: decider.fleet, tools, clock.now_ms, decider.require_active)
    decider.do_here(hands.take, hands.drains)
    return hands


def _sender(outbox: Outbox | None, store: Store, decider: Decider, metrics: Metrics) -> Sender | None:
    if outbox is None:
        return None
    for problem in outbox.notify.missing_secrets():
        log.error("notify: %s; it is read again at each message", problem)
    sender = Sender(store, outbox.notify, metrics, clock.now_ms, decider.require_active)
    outbox.wake = sender.wake
    return sender


def _inbox(config: Config, store: Store, decider: Decider, metrics: Metrics) -> Inbox | None:
    if config.alertmanager is None:
        return None
    return Inbox(decider, store, metrics, clock.now_ms, config.alertmanager.silent_after_ms)


async def _run(parts: Parts, reload_wanted: asyncio.Event) -> int:
    holder = f"{socket.gethostname()}:{os.getpid()}"
    recovered = await parts.decider.start(holder, parts.gateway)
    log.info("journal read: %d rows, %d events replayed, epoch %d", recovered.head.seq, recovered.replayed, parts.decider.epoch)
    if not await parts.rules.load("start") and not recovered.policy:
        raise StateError("cannot start: the rules in the files are refused (see above), and none were in force before")
    await parts.registry.load()
    # The fleet that was just read stays: to walk over it again and again would stop every decision for as long as that takes.
    gc.collect()
    gc.freeze()
    await parts.gateway.start()
    parts.hands.recover()
    tasks = [
        asyncio.create_task(_reload_on_hup(parts, reload_wanted), name="reload"),
        asyncio.create_task(_watchdog(parts), name="watchdog"),
        asyncio.create_task(_serve_metrics(parts), name="metrics"),
        *_with_other_systems(parts),
    ]
    servers = parts.gateway.servers
    notify("READY=1", f"STATUS=Serving {len(parts.registry)} hosts on port {servers.port}")
    log.info(
        "serving agents and operators on port %d, enrolment on %d, metrics on %s",
        servers.port,
        servers.enrol_port,
        parts.config.metrics_listen,
    )
    code = await _until_the_end(parts, tasks)
    notify("STOPPING=1")
    parts.stop.set()
    await parts.gateway.stop()
    if parts.sender is not None:
        await parts.sender.stop()
    await parts.hands.stop()
    await parts.decider.stop()
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    return code


def _with_other_systems(parts: Parts) -> list[asyncio.Task[None]]:
    """Tell people, and hear Alertmanager, as far as the configuration says so."""
    if parts.sender is not None:
        parts.sender.start()
    settings, inbox = parts.config.alertmanager, parts.inbox
    if settings is None or inbox is None:
        return []
    app = alertmanager.make_app(inbox, parts.metrics, settings.token_file)
    log.info("alerts of Alertmanager are taken on %s%s", settings.listen, alertmanager.PATH)
    return [
        asyncio.create_task(inbox.run(), name="alerts"),
        asyncio.create_task(serve_app(app, settings.listen, "alerts", parts.stop), name="alertmanager"),
    ]


async def _until_the_end(parts: Parts, tasks: list[asyncio.Task[None]]) -> int:
    """Wait for a signal; the death of any part ends the process with a failure, so that it starts again from the journal."""
    ends = ((parts.stop, ""), (parts.decider.died, "the decider died"), (parts.gateway.died, "the gateway died"))
    waits = [asyncio.create_task(_wait(event), name=text) for event, text in ends]
    done, _ = await asyncio.wait([*waits, *tasks], return_when=asyncio.FIRST_COMPLETED)
    failed = [f"{task.get_name()} {task.exception() or ''}".strip() for task in done if task is not waits[0]]
    for task in waits:
        task.cancel()
    for text in failed:
        log.critical("the controller stops: %s", text)
    if parts.decider.superseded:
        return EXIT_SUPERSEDED
    return EXIT_FAILED if failed else EXIT_OK


async def _wait(event: asyncio.Event) -> None:
    await event.wait()


async def _reload_on_hup(parts: Parts, wanted: asyncio.Event) -> None:
    while True:
        await wanted.wait()
        wanted.clear()
        notify("RELOADING=1")
        await parts.rules.load("SIGHUP")
        notify("READY=1")


async def _watchdog(parts: Parts) -> None:
    """Tell systemd that the loop lives. A decider whose journal cannot be written lives too: it waits for space."""
    interval_s = watchdog_interval_s()
    while True:
        await asyncio.sleep(interval_s)
        notify(
            "WATCHDOG=1",
            f"STATUS=Serving {len(parts.registry)} hosts" if parts.decider.writable else f"STATUS={parts.decider.failure}",
        )


async def _serve_metrics(parts: Parts) -> None:
    def not_ready() -> list[str]:
        # Rules that were refused keep nobody from work: those in force stay. Status, log and metric tell of them.
        return [] if parts.decider.writable else [f"journal not writable: {parts.decider.failure}"]

    def fleet() -> tuple[Fleet, Policy]:
        return parts.decider.fleet, parts.decider.rules.policy

    await serve(parts.config.metrics_listen, parts.metrics, fleet, parts.gateway, not_ready, parts.stop)
