"""The demo's small fleet: one host with a service that may be restarted, checks of the real machine, one playbook."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import service
from .ports import free_port
from .process import wait_for
from .world import World

HOST = "demo-1"
LABELS = {"role": "shop", "site": "demo"}
CHECK = "shop"
STEADY_TIMEOUT_S = 20.0


@dataclass(frozen=True, slots=True)
class Shop:
    """The service that is broken and healed."""

    port: int
    pid_file: Path

    @classmethod
    def in_world(cls, world: World) -> Shop:
        """On a free port, with its process number kept in the world's directory."""
        return cls(free_port(), world.directory / "shop.pid")

    @property
    def url(self) -> str:
        """What is checked."""
        return f"http://127.0.0.1:{self.port}/healthz"

    def start(self) -> int:
        """Start it; its process number."""
        return service.start(self.port, self.pid_file)

    def stop(self) -> None:
        """End it, whoever started it."""
        service.stop(self.pid_file)

    def restart_argv(self) -> list[str]:
        """The command that the host's owner offers."""
        script = str(Path(service.__file__).resolve())
        return [sys.executable, script, "restart", "--port", str(self.port), "--pid-file", str(self.pid_file)]


def policy(shop: Shop) -> dict[str, Any]:
    """The host owner's word: one command, by name, with its whole argument vector; nothing else."""
    return {
        "actions": {"run_command": {"commands": ["restart-shop"]}},
        "commands": {"restart-shop": {"argv": shop.restart_argv(), "timeout": "20s"}},
    }


def write_rules(world: World, shop: Shop) -> None:
    """Checks of this very machine, and a playbook for the service."""
    machine = [
        {"name": "root-disk", "type": "filesystem_space", "with": {"mount": "/"}, "every": "5s"},
        {"name": "memory", "type": "memory_available", "every": "5s"},
        {"name": "load", "type": "cpu_load", "every": "5s"},
    ]
    probe = {"name": CHECK, "type": "http_endpoint", "with": {"url": shop.url}, "every": "500ms", "timeout": "1s"}
    world.write_rule("checks", "demo", {"checks": [*machine, probe]})
    world.write_rule("playbooks", "restart-shop", playbook())


def playbook() -> dict[str, Any]:
    """Restart it, prove it; hand over when that does not hold."""
    return {
        "playbook": "restart-shop",
        "summary": "Restart the shop when it does not answer.",
        "owner": "shop",
        "trust": "act",
        "when": {"check": CHECK},
        "steps": [{"action": "run_command", "with": {"command": "restart-shop"}, "prove": {"within": "10s", "stay_ok": "2s"}}],
        "limits": {"per_host": "10 per 1h", "attempts": {"max": 3, "within": "1h", "backoff": "1s", "factor": 2}},
        "toil_minutes": 15,
        "escalate": {"to": "shop-oncall", "severity": "page"},
    }


def build(world: World) -> Shop:
    """Start the service, the controller and the host, and wait until everything is seen to be well."""
    shop = Shop.in_world(world)
    shop.start()
    write_rules(world, shop)
    world.init()
    world.start_controller()
    host = world.add_host(HOST, LABELS, policy(shop))
    world.start_hosts()
    wait_for("the service to be seen", lambda: check_status(world, CHECK) == 0, STEADY_TIMEOUT_S, world.controller, host.agent)
    return shop


def check_status(world: World, check: str) -> float | None:
    """The newest result of a check as Prometheus would read it; None before the first."""
    for line in world.metrics().splitlines():
        if line.startswith("fleetmend_check_status{") and f'check="{check}"' in line:
            return float(line.rpartition(" ")[2])
    return None
