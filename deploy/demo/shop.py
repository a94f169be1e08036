"""The demo's small fleet: one host with a service that may be restarted, checks of the real machine, one playbook."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import service
from .ports import free_port
from .process import wait_for
from .world import Host, World

HOST = "demo-1"
LABELS = {"role": "shop", "site": "demo"}
STEADY_TIMEOUT_S = 20.0


@dataclass(frozen=True, slots=True)
class Shop:
    """A service that is broken and healed.

    `name` is also that of its check, `delay_s` slows its restart down, `attempts_max` bounds the restarts within an hour.
    """

    name: str
    port: int
    pid_file: Path
    delay_s: float = 0.0
    attempts_max: int = 20

    @classmethod
    def in_world(cls, world: World, name: str = "shop", delay_s: float = 0.0, attempts_max: int = 20) -> Shop:
        """On a free port, with its process number kept in the world's directory."""
        return cls(name, free_port(), world.directory / f"{name}.pid", delay_s, attempts_max)

    @property
    def url(self) -> str:
        """What is checked."""
        return f"http://127.0.0.1:{self.port}/healthz"

    @property
    def command(self) -> str:
        """The name under which the host's owner offers its restart."""
        return f"restart-{self.name}"

    def start(self) -> None:
        """Start it, as a process that is nobody's child here, and return once it answers."""
        subprocess.run(self.restart_argv(delay_s=0.0), check=True, stdout=subprocess.DEVNULL)

    def stop(self) -> None:
        """End it, whoever started it."""
        service.stop(self.pid_file)

    def kill(self) -> None:
        """End it as a crash would."""
        os.kill(int(self.pid_file.read_text()), signal.SIGKILL)

    def hang(self) -> None:
        """Make it live on without ever answering again."""
        os.kill(int(self.pid_file.read_text()), signal.SIGUSR1)

    def answers(self) -> bool:
        """Whether it says ok now."""
        return service.answers(self.port)

    def restart_argv(self, delay_s: float | None = None) -> list[str]:
        """What its restart runs."""
        wait_s = self.delay_s if delay_s is None else delay_s
        argv = [sys.executable, str(Path(service.__file__).resolve()), "restart", "--port", str(self.port)]
        return [*argv, "--pid-file", str(self.pid_file), "--delay-s", str(wait_s)]


def policy(*shops: Shop) -> dict[str, Any]:
    """The host owner's word: one command for each shop, by name, with its whole argument vector; nothing else."""
    return {
        "actions": {"run_command": {"commands": [shop.command for shop in shops]}},
        "commands": {shop.command: {"argv": shop.restart_argv(), "timeout": "20s"} for shop in shops},
    }


def write_rules(world: World, *shops: Shop) -> None:
    """Checks of this very machine, and for each shop a check and a playbook."""
    machine = [
        {"name": "root-disk", "type": "filesystem_space", "with": {"mount": "/"}, "every": "5s", "timeout": "2s"},
        {"name": "memory", "type": "memory_available", "every": "5s", "timeout": "2s"},
        {"name": "load", "type": "cpu_load", "every": "5s", "timeout": "2s"},
    ]
    world.write_rule("checks", "demo", {"checks": [*machine, *map(probe, shops)]})
    for shop in shops:
        world.write_rule("playbooks", shop.command, playbook(shop))


def probe(shop: Shop) -> dict[str, Any]:
    """Every second."""
    return {"name": shop.name, "type": "http_endpoint", "with": {"url": shop.url}, "every": "1s", "timeout": "1s"}


def playbook(shop: Shop) -> dict[str, Any]:
    """Restart it, prove it; hand over when that does not hold."""
    return {
        "playbook": shop.command,
        "summary": f"Restart the {shop.name} when it does not answer.",
        "owner": "shop",
        "trust": "act",
        "when": {"check": shop.name},
        "steps": [
            {
                "action": "run_command",
                "with": {"command": shop.command},
                "prove": {"within": "10s", "stay_ok": "2s"},
                "timeout": "20s",
            }
        ],
        "limits": {
            "per_host": "100 per 1h",
            "attempts": {"max": shop.attempts_max, "within": "1h", "backoff": "1s", "factor": 2},
        },
        "toil_minutes": 15,
        "escalate": {"to": "shop-oncall", "severity": "page"},
    }


def start(world: World, *shops: Shop) -> Host:
    """Start the shops, the controller and one host, and wait until everything is seen to be well."""
    for shop in shops:
        shop.start()
    write_rules(world, *shops)
    world.init()
    world.start_controller()
    host = world.add_host(HOST, LABELS, policy(*shops))
    world.start_hosts()
    for shop in shops:
        wait_ok(world, shop)
    return host


def wait_ok(world: World, shop: Shop) -> None:
    """Wait until the controller knows that a shop is well."""
    watched = (world.controller, *(host.agent for host in world.hosts.values()))
    wait_for(f"{shop.name} to be seen well", lambda: check_status(world, shop.name) == 0, STEADY_TIMEOUT_S, *watched)


def check_status(world: World, check: str) -> float | None:
    """The newest result of a check as Prometheus would read it; None before the first."""
    for line in world.metrics().splitlines():
        if line.startswith("fleetmend_check_status{") and f'check="{check}"' in line:
            return float(line.rpartition(" ")[2])
    return None
