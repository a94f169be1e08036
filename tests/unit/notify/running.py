"""A decider with its outbox and sender on a database file, and channels that answer as they are told."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Self

import sqlalchemy as sa

from fleetmend_controller.core.events import AlertSaid, Event, HostConnected, HostEnrolled, Observed
from fleetmend_controller.core.model import Status
from fleetmend_controller.decider.loop import Decider
from fleetmend_controller.handover.outbox import Outbox
from fleetmend_controller.handover.routing import Configured, Notify, Route
from fleetmend_controller.handover.sender import Sender
from fleetmend_controller.http.metrics import Metrics
from fleetmend_controller.notify import Answer, Channel, Kind, Message, Outcome
from fleetmend_controller.store.engine import Store, open_engine
from fleetmend_controller.store.tables import notifications
from tests.unit.core.timeline import playbook, policy

MASTER = bytes(range(32))
ACCEPTED = Answer(Outcome.ACCEPTED)


@dataclass(slots=True)
class Line:
    """A channel of the test. Each answer once, the last one for ever; an Event is waited for first."""

    answers: list[Answer | asyncio.Event] = field(default_factory=lambda: [ACCEPTED])
    got: list[Message] = field(default_factory=list)

    async def send(self, _options: object, message: Message) -> Answer:
        self.got.append(message)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, asyncio.Event):
            await answer.wait()
            return ACCEPTED
        return answer

    @property
    def told(self) -> list[str]:
        """Kind and incident of each message."""
        return [f"{m.kind.value} {m.incident}" for m in self.got]


class Gateway:
    """Nobody is there."""

    def send_order(self, order, epoch):
        pass

    def ask_witness(self, wish):
        """Nobody is asked."""

    def request_check(self, subject):
        pass

    def close_host(self, host, reason):
        pass

    def rules_changed(self):
        pass


class Running:
    """One life of a controller's deciding and telling part."""

    def __init__(self, path: Path, lines: dict[str, Line], answered: bool = False, **more) -> None:
        self.now = 1_000_000
        self.lines = lines
        self.store = Store(open_engine(f"sqlite:///{path}"))
        self.metrics = Metrics()
        channels = {}
        for name, line in lines.items():
            channel = replace(PLAIN, send=line.send, **more.pop(name, {}))
            channels[name] = Configured(name, channel, {})
        first = next(iter(lines))
        routes = more.pop("routes", (Route((), ("page",), (first,)),))
        default = more.pop("default", tuple(lines))
        self.notify = Notify(
            channels, routes, default, **{"settle_ms": 0, "settle_tickets_ms": more.get("settle_ms", 0), **more}
        )
        outbox = Outbox(self.notify)
        book = policy(playbook()) if answered else policy(playbook(check="other"))
        rules = SimpleNamespace(policy=book, digest="p1", documents={}, checks_for=lambda _labels: ())
        self.decider = Decider(self.store, MASTER, lambda _documents: rules, self.metrics, lambda: self.now, None, outbox)
        self.sender = Sender(self.store, self.notify, self.metrics, lambda: self.now, self.decider.require_active)
        outbox.wake = self.sender.wake

    async def __aenter__(self) -> Self:
        await self.decider.start("test", Gateway())
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.sender.stop()
        await self.decider.stop()
        self.store.close()

    def kill(self) -> None:
        """As kill -9 would."""
        for task in (*self.decider._tasks, *self.sender._tasks):
            task.cancel()
        self.store.close()

    async def feed(self, *events: Event) -> None:
        await self.decider.submit(list(events))

    async def join(self, hosts: int = 1) -> None:
        for number in range(1, hosts + 1):
            name = f"h-{number}"
            await self.feed(
                HostEnrolled(self.now, name, f"web-{number}", {"role": "web"}), HostConnected(self.now, name, "b", self.now)
            )

    def crit(self, unit: str = "a", host: str = "h-1", status: Status = Status.CRIT) -> Observed:
        common = ("unit_failed", "unit_failed", unit, status, {"unit": unit}, f"{unit} is down", "b")
        return Observed(self.now, host, *common, self.now, self.now)

    def ok(self, unit: str = "a", host: str = "h-1") -> Observed:
        return self.crit(unit, host, Status.OK)

    def alert(self, host: str, name: str = "Down", status: Status = Status.CRIT) -> AlertSaid:
        starts = (self.now, self.now, 0 if status is Status.CRIT else self.now + 1)
        return AlertSaid(self.now, host, f"alert:{name}", "fp", status, {"alertname": name}, "it fires", *starts)

    async def until(self, what: Callable[[], bool]) -> None:
        """Turn the loop until it is so; time stands still."""
        async with asyncio.timeout(10):
            while not what():
                self.sender.wake()
                await asyncio.sleep(0.005)

    async def quiet(self) -> None:
        """Give everything that is due the time to happen."""
        for _ in range(12):
            self.sender.wake()
            await asyncio.sleep(0.01)

    async def rows(self) -> list[tuple[str, str, str, str]]:
        """(incident, kind, channel, state) of every row."""
        t = notifications.c
        query = sa.select(t.incident, t.kind, t.channel, t.state).order_by(t.number)
        return [tuple(row) for row in await self.store.read(lambda c: c.execute(query).all())]

    def count(self, channel: str, outcome: str) -> float:
        return self.metrics.notifications.labels(channel, outcome)._value.get()


PLAIN = Channel("plain", "", (), None, frozenset(Kind), reminds=False)
