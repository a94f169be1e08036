"""A controller's admin side: the real service, decider, store and gatekeeper on a socket, with hosts that obey by hand."""

from __future__ import annotations

import asyncio
import itertools
import json
import sqlite3
import threading
from collections.abc import Coroutine, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import grpc

from fleetmend.catalogue import ActionSpec, Catalogue, ParamSpec
from fleetmend.v1 import admin_pb2_grpc
from fleetmend_controller.admin.desk import Desk
from fleetmend_controller.admin.service import AdminService
from fleetmend_controller.clock import now_ms
from fleetmend_controller.core.effects import AskWitness
from fleetmend_controller.core.events import (
    Event,
    HostConnected,
    HostSilent,
    Observed,
    OrderEnded,
    OrderStarted,
    WitnessSaid,
)
from fleetmend_controller.core.inquiry import Reach
from fleetmend_controller.core.model import (
    Approval,
    Attempts,
    FleetBudget,
    Limits,
    NeedApproval,
    Order,
    Outcome,
    Proof,
    Rate,
    Scalar,
    Status,
    Subject,
)
from fleetmend_controller.decider.loop import Decider
from fleetmend_controller.gateway.authz import Gatekeeper, Judge, caller
from fleetmend_controller.gateway.permissions import Door
from fleetmend_controller.http.metrics import Metrics
from fleetmend_controller.pki.operators import Operators
from fleetmend_controller.pki.registry import Registry
from fleetmend_controller.pki.tokens import Tokens
from fleetmend_controller.store import journal
from fleetmend_controller.store.engine import Store, open_engine
from fleetmend_controller.store.tables import facts, hosts, metadata

from .world import BOOT, MASTER, playbook, policy

ACTIONS = {
    "restart_unit": ActionSpec(
        "restart_unit",
        "Restart a systemd unit.",
        "disruptive",
        (
            ParamSpec("unit", "text", "The unit.", required=True),
            ParamSpec("wait", "duration_ms", "How long to wait for it.", default=5000),
        ),
        ("unit_failed",),
    ),
    "collect_evidence": ActionSpec("collect_evidence", "Look, and touch nothing.", "harmless"),
}
PLAIN = playbook().steps[0]
RESTART = playbook(for_ms=0, steps=(replace(PLAIN, prove=Proof(30_000, 0)),))

# Tries may follow each other at once.
GENEROUS = Limits(Rate(100, 3_600_000), FleetBudget("role", 10, 20), Attempts(100, 3_600_000, 0, 1))


class Office:
    """Everything behind one admin socket. The controller's side runs on a thread of its own; tests may call every method."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.socket = folder / "admin.sock"
        self.online: set[str] = set()
        self.permits = ["restart_unit", "collect_evidence"]
        self.orders: list[Order] = []
        self.rules_problem = ""
        self._seq = itertools.count(1)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="office", daemon=True)
        self._thread.start()
        self._server: grpc.aio.Server | None = None
        self.do(self._open())

    def do(self, work: Coroutine[Any, Any, Any]) -> Any:
        """Run a coroutine on the controller's side."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(30)

    async def _open(self) -> None:
        engine = open_engine(f"sqlite:///{self.folder / 'fleetmend.db'}")
        metadata.create_all(engine)
        self.store = Store(engine)
        self.rules = rules = SimpleNamespace(
            policy=policy(RESTART, playbook("never")), digest="sha256:" + "0" * 64, documents={}
        )
        metrics = Metrics()
        self.decider = Decider(self.store, MASTER, lambda _documents: rules, metrics, now_ms)
        self.registry = Registry(self.store, self.decider, now_ms)
        await self.registry.load()
        await self.decider.start("test", self)
        desk = self.desk = Desk(
            store=self.store,
            decider=self.decider,
            registry=self.registry,
            sessions=SimpleNamespace(is_online=lambda host: host in self.online, get=self._session),
            tokens=Tokens(self.store),
            catalogue=Catalogue(actions=ACTIONS),
            verify=lambda connection, progress: journal.verify(connection, MASTER, progress),
            rules_problem=lambda: self.rules_problem,
            who=lambda _context: str(caller()),
            now_ms=now_ms,
            version="0.1.0",
            started_ms=now_ms(),
        )
        judge = Judge(self.registry, Operators(self.store), self.decider, metrics, now_ms)
        self._server = grpc.aio.server(interceptors=(Gatekeeper(Door.SOCKET, judge, lambda _peer: None),))
        admin_pb2_grpc.add_AdminServiceServicer_to_server(AdminService(desk), self._server)
        self._server.add_insecure_port(f"unix:{self.socket}")
        await self._server.start()

    def close(self) -> None:
        """End the controller's side."""
        self.do(self._close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _close(self) -> None:
        if self._server is not None:
            await self._server.stop(None)
        await self.decider.stop()
        self.store.close()

    def _session(self, host: str) -> Any:
        known = SimpleNamespace(permitted_actions=tuple(self.permits), skew_ms=-90_000)
        return known if host in self.online else None

    # What the decider asks of a gateway.

    def send_order(self, order: Order, epoch: int) -> None:
        self.orders.append(order)

    def ask_witness(self, wish: AskWitness) -> None:
        """Nobody is asked."""

    def request_check(self, subject: Subject) -> None:
        pass

    def close_host(self, host: str, reason: str) -> None:
        self.online.discard(host)

    def rules_changed(self) -> None:
        pass

    # What hosts do.

    def enrol(self, name: str, *, connected: bool = True, **labels: str) -> str:
        """A host of this name; its id is made of it."""
        host = f"h-{name.encode().hex():0>16.16}"
        row = {
            "id": host,
            "name": name,
            "labels": json.dumps(labels),
            "machine_id": name,
            "enrolled_ms": now_ms(),
            "certificate_serial": "01",
            "certificate_not_after_ms": now_ms() + 86_400_000,
            "last_seen_ms": now_ms() if connected else None,
            "agent_version": "0.1.0" if connected else None,
        }
        self.write(hosts.insert().values(row))
        self.do(self.registry.load())
        self.do(self._reconcile())
        if connected:
            self.online.add(host)
            self.submit(HostConnected(now_ms(), host, BOOT, clock_ms()))
        return host

    async def _reconcile(self) -> None:
        await self.registry.reconcile(await self.decider.known_hosts())

    def observe(
        self,
        host: str,
        status: Status,
        key: str = "nginx.service",
        summary: str = "",
        *,
        ahead_ms: int = 0,
        **finding: Scalar,
    ) -> None:
        """A result of unit_failed, sampled so much later than now that it is after whatever ended before."""
        summary = summary or (f"{key} failed (signal)" if status is Status.CRIT else f"{key} is well")
        clock = clock_ms() + ahead_ms
        box = ("box", next(self._seq))
        known = finding or {"unit": key}
        self.submit(
            Observed(now_ms(), host, "unit_failed", "unit_failed", key, status, known, summary, BOOT, clock, clock, *box)
        )

    def obey(self, host: str, outcome: Outcome = Outcome.DONE, detail: str = "", output: str = "") -> None:
        """The host carries its newest order out."""
        order = next(order for order in reversed(self.orders) if order.host == host)
        self.submit(OrderStarted(now_ms(), host, order.id, "box", next(self._seq)))
        clock = clock_ms()
        ended = OrderEnded(
            now_ms(), host, order.id, outcome, "", detail, BOOT, clock, clock, output, outbox="box", seq=next(self._seq)
        )
        self.submit(ended)

    @contextmanager
    def obeying(self) -> Iterator[None]:
        """Hosts carry out at once whatever is ordered meanwhile."""
        done = threading.Event()
        served = {order.id for order in self.orders}

        def hands() -> None:
            while not done.wait(0.005):
                for order in [order for order in self.orders if order.id not in served]:
                    served.add(order.id)
                    self.obey(order.host, output="restarted")

        thread = threading.Thread(target=hands)
        thread.start()
        try:
            yield
        finally:
            done.set()
            thread.join()

    def follow(self, **changes: Any) -> None:
        """The playbook is another one from now on."""
        rules = policy(replace(RESTART, **changes), playbook("never"))

        async def load() -> None:
            self.rules.policy = rules

        self.do(load())

    def want_approval(self, people: int = 1, within_ms: int = 3_600_000, role: str = "responder") -> None:
        """Whatever interrupts must be approved from now on."""
        self.follow(approval=Approval(NeedApproval.DISRUPTIVE, people, within_ms, role))

    def fail_proofs(self, host: str) -> None:
        """Three repairs that do not hold, each ended by a person: the playbook is demoted."""
        self.follow(steps=(replace(PLAIN, prove=Proof(30_000, 10_000)),), limits=GENEROUS)
        for number in range(3):
            unit = f"weak-{number}.service"
            self.observe(host, Status.CRIT, unit)
            self.obey(host)
            for status in (Status.OK, Status.CRIT, Status.OK):
                self.observe(host, status, unit, ahead_ms=1)
        self.follow()

    def heal(self, host: str) -> str:
        """A unit fails, is restarted and proves itself; the incident."""
        self.observe(host, Status.CRIT)
        incident = self.orders[-1].incident
        self.obey(host, output="nginx.service restarted")
        self.submit_ok_later(host)
        return incident

    def submit_ok_later(self, host: str) -> None:
        """A good result that was sampled after everything before it."""
        clock = clock_ms() + 1
        box = ("box", next(self._seq))
        ok = Observed(
            now_ms() + 1,
            host,
            "unit_failed",
            "unit_failed",
            "nginx.service",
            Status.OK,
            {},
            "is well",
            BOOT,
            clock,
            clock,
            *box,
        )
        self.submit(ok)

    def facts(self, host: str, name: str, body: Mapping[str, Any], error: str = "") -> None:
        """A section of the inventory arrives."""
        row = {"host": host, "name": name, "at_ms": now_ms(), "body": json.dumps(body), "error": error}
        self.write(facts.insert().values(row))

    def lose(self, host: str) -> None:
        """A host falls silent, and no witness is able to look."""
        self.online.discard(host)
        self.submit(HostSilent(now_ms(), host, 30_000))
        lost = self.decider.fleet.incidents[self.decider.fleet.by_subject[Subject(host, "host_lost", "")]]
        words = list(lost.inquiry.words) if lost.inquiry is not None else []
        if words:
            self.submit(*(WitnessSaid(now_ms(), host, lost.id, w.host, 1, Reach.UNABLE, "could not look") for w in words))

    def submit(self, *events: Event) -> None:
        self.do(self.decider.submit(list(events)))

    def write(self, statement: Any) -> None:
        self.do(self.store.write(lambda connection: connection.execute(statement)))

    def damage(self, seq: int) -> None:
        """Change a row behind the controller's back."""
        with sqlite3.connect(self.folder / "fleetmend.db") as connection:
            connection.execute("UPDATE journal SET body = replace(body, 'at_ms', 'at_mz') WHERE seq = ?", (seq,))

    def fill_disk(self) -> None:
        """The journal takes no rows from now on."""

        async def fill() -> None:
            self.decider.writable = False
            self.decider.failure = "cannot write to the store: no space left on device"

        self.do(fill())


def clock_ms() -> int:
    """The boot clock of every host."""
    return now_ms() - 1_700_000_000_000
