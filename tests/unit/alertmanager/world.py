"""A decider with compiled rules on a database file, and the inbox for alerts before it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Self

from fleetmend_controller.alertmanager.inbox import Inbox, Taken
from fleetmend_controller.core.effects import AskWitness
from fleetmend_controller.core.events import HostConnected, HostEnrolled, OrderEnded
from fleetmend_controller.core.model import Incident, Order, Outcome, Subject
from fleetmend_controller.decider.loop import Decider
from fleetmend_controller.http.metrics import Metrics
from fleetmend_controller.notify._times import rfc3339
from fleetmend_controller.playbooks.load import compile_rules
from fleetmend_controller.store.engine import Store, open_engine
from fleetmend_controller.store.migrate import upgrade
from fleetmend_controller.store.tables import facts

MASTER = bytes(range(32))
START_MS = 1_764_000_000_000
RULES = {
    "declarations/web.yaml": (
        "declare: web\non: {role: web}\nowner: shop\nunits:\n  shop.service: {desired: running, restart: allowed}\n"
    ),
    "playbooks/a-alert.yaml": """
playbook: answer-down
summary: Restart the unit that the alert names.
owner: shop
trust: act
when:
  check: prometheus_alert
  where: finding.alertname == "ShopDown" && declared.restart == "allowed"
steps:
  - action: restart_unit
    with: {unit: "{finding.unit}"}
    prove: {within: 10m, stay_ok: 30s}
escalate: {to: shop-oncall, severity: page}
""",
}


class World:
    """What Alertmanager talks to."""

    def __init__(self, folder: Path) -> None:
        url = f"sqlite:///{folder / 'fleetmend.db'}"
        if not (folder / "fleetmend.db").exists():
            upgrade(url)
        self.now = START_MS
        self.orders: list[Order] = []
        self.store = Store(open_engine(url))
        self.metrics = Metrics()
        self.decider = Decider(self.store, MASTER, compile_rules, self.metrics, lambda: self.now)
        self.inbox = Inbox(self.decider, self.store, self.metrics, lambda: self.now, silent_after_ms=3_600_000)

    async def __aenter__(self) -> Self:
        await self.decider.start("test", self)
        await self.decider.load_rules(compile_rules(RULES), "test")
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.decider.stop()
        self.store.close()

    # What the decider asks of a gateway.

    def send_order(self, order: Order, epoch: int) -> None:
        self.orders.append(order)

    def ask_witness(self, wish: AskWitness) -> None:
        """Nobody is asked."""

    def request_check(self, subject: Subject) -> None:
        self.inbox.asked(subject)

    def close_host(self, host: str, reason: str) -> None:
        pass

    def rules_changed(self) -> None:
        pass

    # What happens.

    async def host(self, name: str, *addresses: str, hostname: str = "", **labels: str) -> str:
        """A host with its inventory."""
        host = f"h-{name}"
        joined = HostEnrolled(self.now, host, name, labels or {"role": "web"})
        await self.decider.submit([joined, HostConnected(self.now, host, "boot", self.now - 5_000)])
        network = {"interfaces": [{"name": "eth0", "addresses": [f"{a}/24" for a in addresses]}]}
        rows = [("network", network), ("os", {"hostname": hostname or name})]
        values = [
            {
                "host": host,
                "name": section,
                "at_ms": self.now,
                "error": "",
                "body": json.dumps(body, sort_keys=True, separators=(",", ":")),
            }
            for section, body in rows
        ]
        await self.store.write(lambda c: c.execute(facts.insert(), values))
        return host

    def alert(self, status: str = "firing", starts_ms: int = 0, ends_ms: int | None = None, **labels: str) -> dict[str, Any]:
        """One alert as the webhook has it."""
        labels = {"alertname": "ShopDown", "severity": "critical", "job": "node", "instance": "web-1:9100", **labels}
        ends = "0001-01-01T00:00:00Z" if status == "firing" else rfc3339(self.now - 1_000)
        ends = ends if ends_ms is None else rfc3339(ends_ms)
        return {
            "status": status,
            "labels": {name: value for name, value in labels.items() if value},
            "annotations": {"summary": f"{labels['alertname']} on {labels['instance']}"},
            "startsAt": rfc3339(starts_ms or START_MS - 60_000),
            "endsAt": ends,
            "generatorURL": "http://prometheus.test/graph",
        }

    def body(self, *alerts: dict[str, Any]) -> bytes:
        """A call of the webhook."""
        return json.dumps({"version": "4", "receiver": "fleetmend", "status": "firing", "alerts": alerts}).encode()

    async def tell(self, *alerts: dict[str, Any]) -> Taken:
        """Alertmanager calls."""
        return await self.inbox.take(self.body(*alerts))

    async def look(self) -> None:
        """The inbox answers what it was asked and looks after the silent ones."""
        events = self.inbox.look()
        if events:
            await self.decider.submit(events)
        asked, self.inbox._asked = self.inbox._asked, {}
        answers = [event for subject in asked if (event := self.inbox.answer(subject)) is not None]
        if answers:
            await self.decider.submit(answers)

    async def ended(self, order: Order, outcome: Outcome = Outcome.DONE) -> None:
        """The host did it, now."""
        clock = self.now - 5_000
        await self.decider.submit([OrderEnded(self.now, order.host, order.id, outcome, "", "", "boot", clock, clock)])

    @property
    def incidents(self) -> list[Incident]:
        return list(self.decider.fleet.incidents.values())
