"""A whole fleet as ordinary processes on loopback: controller, and for each host an agent and an executor.

The product's own programs with their own files, mutual TLS and join tokens; only the user, the places and the ports differ
from a real installation. The demo and the end-to-end tests stand on it.
"""

from __future__ import annotations

import json
import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import yaml

from .ports import free_ports
from .process import DemoError, Process, wait_for

START_TIMEOUT_S = 30.0
COMMAND_TIMEOUT_S = 60.0


@dataclass(slots=True)
class Host:
    """One server of the fleet: its directory, its two processes."""

    name: str
    directory: Path
    agent: Process
    executor: Process

    @property
    def ledger(self) -> Path:
        """Where the executor remembers what it ran."""
        return self.directory / "executor" / "ledger.jsonl"

    @property
    def policy(self) -> Path:
        """What the host's owner permits."""
        return self.directory / "executor.yaml"

    def start(self) -> None:
        """Executor first, so that the agent finds it."""
        self.executor.start()
        self.agent.start()

    def stop(self) -> None:
        """Both."""
        self.agent.stop()
        self.executor.stop()


@dataclass(slots=True)
class World:
    """Everything that one demo or test runs, in one directory; leaving the block ends it all.

    `heartbeat_ms` is the interval of the agents; a host is lost after three of them.
    """

    heartbeat_ms: int = 1000
    directory: Path = field(default_factory=lambda: Path(tempfile.mkdtemp(prefix="fleetmend-")))
    hosts: dict[str, Host] = field(default_factory=dict)
    link_port: int = 0
    enrol_port: int = 0
    metrics_port: int = 0
    controller: Process = field(init=False)

    def __post_init__(self) -> None:
        """Choose ports and write the controller's configuration."""
        self.link_port, self.enrol_port, self.metrics_port = free_ports(3)
        for name in ("rules/checks", "rules/playbooks", "rules/declarations", "logs"):
            (self.directory / name).mkdir(parents=True)
        (self.directory / "controller.yaml").write_text(
            yaml.safe_dump(
                {
                    "listen": f"127.0.0.1:{self.link_port}",
                    "enrol_listen": f"127.0.0.1:{self.enrol_port}",
                    "metrics_listen": f"127.0.0.1:{self.metrics_port}",
                    "admin_socket": str(self.directory / "admin.sock"),
                    "state_dir": str(self.directory / "state"),
                    "rules_dirs": [str(self.directory / "rules")],
                    "heartbeat_interval": f"{self.heartbeat_ms}ms",
                }
            )
        )
        argv = [*self._program("fleetmend-controller"), "run", "--config", str(self.directory / "controller.yaml")]
        self.controller = Process("controller", argv, self.directory / "logs" / "controller.log")

    def __enter__(self) -> Self:
        """The world itself; nothing runs yet."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """End everything. The directory stays when something went wrong, for its logs."""
        self.stop()
        if error is None:
            shutil.rmtree(self.directory, ignore_errors=True)

    @property
    def metrics_url(self) -> str:
        """Where Prometheus would scrape."""
        return f"http://127.0.0.1:{self.metrics_port}/metrics"

    @property
    def database(self) -> Path:
        """The controller's journal and all else it keeps."""
        return self.directory / "state" / "fleetmend.db"

    def _program(self, name: str) -> list[str]:
        """A console script of this very environment."""
        return [str(Path(sys.executable).parent / name)]

    def run(self, *argv: str) -> subprocess.CompletedProcess[str]:
        """Run one of the product's commands to its end."""
        return subprocess.run(
            [*self._program(argv[0]), *argv[1:]],
            capture_output=True,
            text=True,
            check=False,
            timeout=COMMAND_TIMEOUT_S,
            cwd=self.directory,
        )

    def must_run(self, *argv: str) -> str:
        """As `run`; its output, or DemoError with its words."""
        done = self.run(*argv)
        if done.returncode != 0:
            words = done.stderr.strip() or done.stdout.strip()
            raise DemoError(f"cannot run {' '.join(argv[:3])}: exit {done.returncode}: {words}\n{self.controller.tail()}")
        return done.stdout

    def cli(self, *arguments: str) -> Any:
        """What `fleetmend ... --output json` says, through the controller's own socket."""
        return json.loads(self.must_run("fleetmend", *self.cli_options(), *arguments, "--output", "json"))

    def cli_text(self, *arguments: str) -> str:
        """What `fleetmend ...` prints for people."""
        return self.must_run("fleetmend", *self.cli_options(), *arguments)

    def cli_options(self) -> list[str]:
        """How the CLI reaches this controller."""
        return ["--socket", str(self.directory / "admin.sock")]

    def write_rule(self, kind: str, name: str, document: Mapping[str, Any]) -> Path:
        """Write one rule file: kind is checks, playbooks or declarations. A running controller takes it with `reload`."""
        path = self.directory / "rules" / kind / f"{name}.yaml"
        path.write_text(yaml.safe_dump(dict(document), sort_keys=False))
        return path

    def init(self) -> None:
        """Make the CA, the secret and the database."""
        self.must_run("fleetmend-controller", "init", "--config", str(self.directory / "controller.yaml"))

    def start_controller(self) -> None:
        """Start it and wait until it is ready."""
        self.controller.start()
        wait_for("the controller to be ready", lambda: self.ready()[0], START_TIMEOUT_S, self.controller)

    def reload(self) -> None:
        """Ask the controller to read its rules again."""
        self.controller.signal(signal.SIGHUP)

    def ready(self) -> tuple[bool, list[str]]:
        """What /readyz says: whether, and if not, why."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.metrics_port}/readyz", timeout=2) as answer:
                body = answer.read()
        except urllib.error.HTTPError as error:
            body = error.read()
        except OSError as error:
            return False, [str(error)]
        document = json.loads(body)
        return bool(document["ready"]), list(document["reasons"])

    def metrics(self) -> str:
        """What Prometheus would read."""
        with urllib.request.urlopen(self.metrics_url, timeout=10) as answer:  # noqa: S310  loopback, our own address
            return str(answer.read().decode())

    def add_host(self, name: str, labels: Mapping[str, str], policy: Mapping[str, Any]) -> Host:
        """Make a host and enrol it with a token of its own; its processes are not started."""
        directory = self.directory / name
        (directory / "agent").mkdir(parents=True, mode=0o700)
        (directory / "executor").mkdir(mode=0o700)
        socket = directory / "executor.sock"
        (directory / "executor.yaml").write_text(yaml.safe_dump(dict(policy)))
        settings = {
            "controller": f"127.0.0.1:{self.link_port}",
            "enroll_port": self.enrol_port,
            "state_dir": str(directory / "agent"),
            "executor_socket": str(socket),
        }
        (directory / "agent.yaml").write_text(yaml.safe_dump(settings))
        self._enrol(name, labels, directory)
        agent = [*self._program("fleetmend-agent"), "run", "--config", str(directory / "agent.yaml")]
        executor = [
            *self._program("fleetmend-executor"),
            *("--policy", str(directory / "executor.yaml"), "--state-dir", str(directory / "executor")),
            *("--listen", str(socket), "--allow-uid", str(os.getuid()), "--idle-s", "0"),
        ]
        logs = self.directory / "logs"
        self.hosts[name] = Host(
            name,
            directory,
            Process(f"agent {name}", agent, logs / f"{name}-agent.log"),
            Process(f"executor {name}", executor, logs / f"{name}-executor.log"),
        )
        return self.hosts[name]

    def _enrol(self, name: str, labels: Mapping[str, str], directory: Path) -> None:
        words = [word for label, value in labels.items() for word in ("--label", f"{label}={value}")]
        token = directory / "token"
        token.touch(mode=0o600)
        token.write_text(self.cli("token", "create", *words)["secret"])
        self.must_run(
            *("fleetmend-agent", "enroll", "--controller", f"127.0.0.1:{self.enrol_port}"),
            *("--ca", str(self.directory / "state" / "pki" / "ca.crt"), "--token-file", str(token), "--hostname", name),
            *("--state-dir", str(directory / "agent"), "--executor-state-dir", str(directory / "executor")),
            *("--user", pwd.getpwuid(os.getuid()).pw_name),
        )
        token.unlink(missing_ok=True)

    def start_hosts(self) -> None:
        """Start every host and wait until the controller sees them all."""
        for host in self.hosts.values():
            host.start()
        self.wait_connected(*self.hosts)

    def wait_connected(self, *names: str) -> None:
        """Wait until these hosts are up."""
        processes = [self.controller, *(self.hosts[name].agent for name in names)]
        wait_for(
            f"{', '.join(names)} connected", lambda: set(names) <= self.connected(), START_TIMEOUT_S, *processes, every_s=0.2
        )

    def connected(self) -> set[str]:
        """Names of the hosts whose agents hold a stream."""
        return {host["name"] for host in self.cli("hosts", "ls")["hosts"] if host["state"] == "up"}

    def incidents(self) -> list[dict[str, Any]]:
        """All incidents, newest first."""
        return list(self.cli("incidents", "ls", "--all")["incidents"])

    def stop(self) -> None:
        """End every process, hosts first."""
        for host in self.hosts.values():
            host.stop()
        self.controller.stop()
