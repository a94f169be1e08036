"""A real Alertmanager on both sides of the controller, and people who are told whatever dies in between."""

from __future__ import annotations

import asyncio
import json
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml

from deploy.demo.ports import free_port, free_ports
from deploy.demo.process import Process, wait_for
from deploy.demo.world import World
from tests.tools import needs
from tests.unit.notify.receivers import OK, Receiver

TIMEOUT_S = 45.0
HOST = "web-1"


class Member:
    """One Alertmanager of a pair that does not know of the other: everything is said twice."""

    def __init__(self, world: World, number: int, webhook: str) -> None:
        program = needs.program("prometheus-alertmanager", "prometheus-alertmanager")
        self.port = free_port()
        folder = world.directory / f"alertmanager-{number}"
        folder.mkdir()
        config = {
            "route": {
                "receiver": "fleetmend",
                "group_by": ["alertname", "instance"],
                "group_wait": "100ms",
                "group_interval": "1s",
                "repeat_interval": "2s",
            },
            "receivers": [
                {
                    "name": "fleetmend",
                    "webhook_configs": [
                        {"url": webhook, "http_config": {"authorization": {"credentials": "sesame"}}, "send_resolved": True}
                    ],
                }
            ],
        }
        (folder / "config.yml").write_text(yaml.safe_dump(config))
        argv = [
            program,
            f"--config.file={folder / 'config.yml'}",
            f"--storage.path={folder / 'data'}",
            f"--web.listen-address=127.0.0.1:{self.port}",
            "--cluster.listen-address=",
        ]
        self.process = Process(f"alertmanager {number}", argv, world.directory / "logs" / f"alertmanager-{number}.log")

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        self.process.start()
        wait_for("Alertmanager to be ready", self.ready, TIMEOUT_S, self.process, every_s=0.1)

    def ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.url}/-/ready", timeout=2) as answer:
                return answer.status == 200
        except OSError:
            return False

    def alerts(self) -> list[dict[str, Any]]:
        """What it shows now."""
        with urllib.request.urlopen(f"{self.url}/api/v2/alerts", timeout=5) as answer:
            return json.load(answer)

    def post(self, alert: dict[str, Any]) -> None:
        """What Prometheus would send."""
        request = urllib.request.Request(
            f"{self.url}/api/v2/alerts", json.dumps([alert]).encode(), {"content-type": "application/json"}
        )
        urllib.request.urlopen(request, timeout=5).close()


class Pair:
    """Two members and a Prometheus that tells both."""

    def __init__(self, members: list[Member]) -> None:
        self.members = members

    def fire(self, name: str, **labels: str) -> dict[str, Any]:
        now = datetime.now(UTC)
        labels = {"alertname": name, "severity": "critical", "job": "shop", "instance": f"{HOST}:9100", **labels}
        alert = {"labels": labels, "annotations": {"summary": f"{name} fires"}, "startsAt": now.isoformat()}
        for member in self.members:
            member.post({**alert, "endsAt": (now + timedelta(minutes=5)).isoformat()})
        return alert

    def end(self, alert: dict[str, Any]) -> None:
        for member in self.members:
            member.post({**alert, "endsAt": datetime.now(UTC).isoformat()})


def settings(world: World, **sections: Any) -> None:
    """Sections beside those that every world has."""
    path = world.directory / "controller.yaml"
    path.write_text(yaml.safe_dump(yaml.safe_load(path.read_text()) | sections))


@contextmanager
def with_alertmanager() -> Iterator[tuple[World, Pair]]:
    with World(heartbeat_ms=500) as world:
        port = free_port()
        pair = Pair([Member(world, n, f"http://127.0.0.1:{port}/api/v1/alertmanager") for n in (1, 2)])
        (world.directory / "token").write_text("sesame\n")
        settings(
            world,
            alertmanager={"listen": f"127.0.0.1:{port}", "token_file": str(world.directory / "token")},
            notify={
                "channels": {"pair": {"type": "alertmanager", "urls": [m.url for m in pair.members]}},
                "default": ["pair"],
                "settle": "100ms",
                "settle_tickets": "100ms",
            },
        )
        mark = world.directory / "healed"
        policy = {
            "actions": {"run_command": {"commands": ["heal"]}},
            "commands": {"heal": {"argv": ["/usr/bin/touch", str(mark)], "timeout": "5s"}},
        }
        world.write_rule("playbooks", "answer-shop-down", playbook())
        try:
            world.init()
            world.start_controller()
            world.add_host(HOST, {"role": "shop"}, policy)
            world.start_hosts()
            for member in pair.members:
                member.start()
            yield world, pair
        finally:
            for member in pair.members:
                member.process.stop()


def playbook() -> dict[str, Any]:
    return {
        "playbook": "answer-shop-down",
        "summary": "Heal the shop.",
        "owner": "shop",
        "trust": "act",
        "when": {"check": "prometheus_alert", "where": 'finding.alertname == "ShopDown"'},
        "steps": [
            {"action": "run_command", "with": {"command": "heal"}, "prove": {"within": "5m", "stay_ok": "1s"}, "timeout": "10s"}
        ],
        "limits": {"per_host": "10 per 1h"},
        "escalate": {"to": "shop-oncall", "severity": "page"},
    }


@pytest.fixture(scope="module")
def both():
    with with_alertmanager() as found:
        yield found


def incident_of(world: World, check: str) -> dict[str, Any]:
    return next((i for i in world.incidents() if i["check"] == check), {})


def until(what: str, world: World, is_so) -> None:
    wait_for(what, is_so, TIMEOUT_S, world.controller, every_s=0.2)


def test_an_alert_of_prometheus_is_healed_and_proved_by_its_end(both):
    world, pair = both
    alert = pair.fire("ShopDown")
    until("the action to end", world, lambda: incident_of(world, "alert:ShopDown").get("phase") == "proving")
    assert (world.directory / "healed").exists()
    pair.end(alert)
    until("the proof", world, lambda: incident_of(world, "alert:ShopDown")["phase"] == "resolved")
    incident = incident_of(world, "alert:ShopDown")
    assert incident["why"] == "healed"
    assert len([i for i in world.incidents() if i["check"] == "alert:ShopDown"]) == 1, "the pair says everything twice"
    story = world.cli_text("explain", incident["id"])
    assert "told by Alertmanager" in story
    assert "alertname=ShopDown" in story


def test_what_people_have_is_shown_by_alertmanager_and_ends_there(both):
    world, pair = both

    def ours() -> list[dict[str, Any]]:
        found = [[a for a in m.alerts() if a["labels"]["alertname"] == "FleetmendIncident"] for m in pair.members]
        return found[0] if all(found) else []

    alert = pair.fire("Unheard")
    until("our alert in both members", world, ours)
    (shown,) = ours()
    incident = incident_of(world, "alert:Unheard")
    assert shown["status"]["state"] == "active"
    assert (shown["labels"]["incident"], shown["labels"]["host"]) == (incident["id"], HOST)
    assert "our own alert comes back and is no fault" and incident_of(world, "alert:FleetmendIncident") == {}  # noqa: PT018
    pair.end(alert)
    until("our alert to end", world, lambda: not ours())
    until("the story to tell of it", world, lambda: "channel pair: resolved: told" in world.cli_text("explain", incident["id"]))


def test_an_alert_without_host_is_in_the_status(both):
    world, pair = both
    alert = pair.fire("Nowhere", instance="unheard-of:9100")
    until("the report", world, lambda: world.cli("status")["unplaced_alerts"])
    (unplaced,) = world.cli("status")["unplaced_alerts"]
    assert (unplaced["name"], unplaced["why"]) == ("Nowhere", "no host is unheard-of")
    assert "Alert without host" in world.cli_text("status")
    pair.end(alert)
    until("its end", world, lambda: not world.cli("status")["unplaced_alerts"])


@contextmanager
def receiving(*answers: bytes | None) -> Iterator[Receiver]:
    """A receiver on a thread of its own, which outlives the controller."""
    found = Receiver(list(answers))
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()

    def do(work: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(work, loop).result(10)

    server = do(asyncio.start_server(found.handle, "127.0.0.1", free_ports(1)[0]))
    found.port = server.sockets[0].getsockname()[1]

    async def end() -> None:
        server.close()
        running = [task for task in found.tasks if task is not None]
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)

    try:
        yield found
    finally:
        do(end())
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


def test_a_controller_killed_between_journal_and_answer_tells_it_once_more_and_then_never_again(tmp_path: Path):
    with receiving(None, OK) as receiver, World(heartbeat_ms=300) as world:
        settings(
            world,
            notify={
                "channels": {"hook": {"type": "webhook", "url": receiver.url}},
                "default": "hook",
                "settle": "100ms",
                "settle_tickets": "100ms",
            },
        )
        world.init()
        world.start_controller()
        world.add_host(HOST, {"role": "shop"}, {"actions": {}})
        world.start_hosts()
        world.hosts[HOST].agent.kill()
        wait_for("the first try", lambda: receiver.got, TIMEOUT_S, world.controller, every_s=0.1)
        (waiting,) = world.cli("status")["undelivered"]
        assert (waiting["channel"], waiting["pending"]) == ("hook", 1)
        assert "Not delivered" in world.cli_text("status")
        world.controller.kill()
        world.start_controller()
        wait_for("the second try", lambda: len(receiver.got) == 2, TIMEOUT_S, world.controller, every_s=0.1)
        until("it to be delivered", world, lambda: not world.cli("status")["undelivered"])
        first, second = receiver.got
        assert first.body == second.body
        assert first.json["incident"]["check"] == "host_lost"
        taken = world.cli("incidents", "ack", first.json["incident"]["id"])
        assert taken["incident"]["taken_by"] == "local"
        wait_for("word of who has it", lambda: len(receiver.got) == 3, TIMEOUT_S, world.controller, every_s=0.1)
        assert receiver.got[2].json["event"] == "acknowledged"
        until("that to be delivered", world, lambda: not world.cli("status")["undelivered"])
        world.controller.kill()
        world.start_controller()
        world.hosts[HOST].agent.start()
        wait_for("the end", lambda: len(receiver.got) == 4, TIMEOUT_S, world.controller, every_s=0.1)
        assert receiver.got[3].json["event"] == "resolved"
        assert "local took it" in world.cli_text("explain", first.json["incident"]["id"])
        tried = world.run("fleetmend-controller", "notify", "test", "hook", "--config", "controller.yaml")
        assert (tried.returncode, receiver.got[4].json["event"]) == (0, "test")
        world.hosts[HOST].stop()
