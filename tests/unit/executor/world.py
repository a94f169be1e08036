"""A host for the executor's tests: keys, policy and state in a temporary folder, a real executor process on a real socket."""

from __future__ import annotations

import json
import os
import shutil
import socket
import struct
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from fleetmend import registry
from fleetmend.seal import seal, unseal
from fleetmend_executor import actions
from fleetmend_executor.declaration import parse
from fleetmend_executor.policy import parse as parse_policy
from fleetmend_executor.rules import HostRules

HOST = "h-0123456789abcdef"
KEY = bytes(range(32))
BOOT = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
POLICY = """
actions:
  collect_evidence: {}
  run_command: {}
  restart_unit: {units: ["*"], except: [ssh.service, "systemd-*"]}
  clear_directory: {}
  clear_journal: {}
commands:
  mark: {argv: [/bin/sh, -c, "echo run >> MARK"]}
  slow: {argv: [/bin/sh, -c, "echo run >> MARK; sleep 5"], timeout: 20s}
  hang: {argv: [/bin/sh, -c, "echo run >> MARK; sleep 60"], timeout: 1s}
"""
EXCEPT = '{except: [ssh.service, "systemd-*"]}'
# Actions on units, which the owner keeps away from some; the others have no such limit.
ON_UNITS = (
    *("restart_unit", "start_unit", "stop_unit", "reload_unit", "reset_failed_unit", "kill_process"),
    *("stop_copy", "remove_stale_lock", "mount_unit", "rotate_log", "run_job", "restart_cleanly", "release_deleted"),
)
ALL_ACTIONS = f"actions: {{{', '.join(f'{a}: {EXCEPT if a in ON_UNITS else {}}' for a in registry.names(actions))}}}"


def clock_ms() -> int:
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1_000_000


def declared(**changes) -> dict:
    document = {
        "kind": "declaration",
        "v": 1,
        "host_id": HOST,
        "epoch": 1,
        "version": 1,
        "units": {},
        "disposable": [],
        "protected": [],
    }
    return {**document, **changes}


def rules(policy: str = ALL_ACTIONS, **declaration) -> HostRules:
    return HostRules(parse_policy(policy.encode(), "policy"), parse(declared(**declaration), HOST))


def order(order_id: str, command: str = "mark", **changes) -> dict:
    document = {
        "kind": "order",
        "v": 1,
        "order_id": order_id,
        "host_id": HOST,
        "boot_id": BOOT,
        "epoch": 1,
        "incident": "inc-1",
        "subject": {"check": "c", "key": ""},
        "action": "run_command",
        "params": {"command": command},
        "timeout_ms": 10_000,
        "expires_clock_ms": clock_ms() + 60_000,
        "issued_ms": 0,
        "requested_by": "playbook:test",
    }
    return {**document, **changes}


def sealed(document: dict, key: bytes = KEY) -> dict:
    payload, mac = seal(key, document)
    return {"op": document["kind"], "payload": payload.decode(), "mac": mac.hex()}


def opened(answers: list[dict]) -> dict:
    """The outcome in the last answer, its seal verified."""
    last = answers[-1]
    assert last["event"] == "outcome", answers
    return unseal(KEY, last["payload"].encode(), bytes.fromhex(last["mac"]), "outcome")


class ExecutorHost:
    """One host. `start` begins an executor process; `ask` dials it once."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="fm-"))
        self.state, self.socket = self.folder / "state", self.folder / "s"
        self.policy, self.mark = self.folder / "executor.yaml", self.folder / "mark"
        self.ledger = self.state / "ledger.jsonl"
        self.state.mkdir(mode=0o700)
        key = self.state / "executor.key"
        key.touch(mode=0o600)
        key.write_bytes(KEY)
        (self.state / "identity.json").write_text(json.dumps({"host_id": HOST, "epoch": 1}))
        self.policy.write_text(POLICY.replace("MARK", str(self.mark)))
        self.process: subprocess.Popen[str] | None = None

    def start(self, *options: str, **popen) -> None:
        argv = [sys.executable, "-m", "fleetmend_executor", "--listen", str(self.socket), "--policy", str(self.policy)]
        argv += ["--state-dir", str(self.state), "--allow-uid", str(os.getuid()), *options]
        self.socket.unlink(missing_ok=True)
        paths = os.pathsep.join(["agent", "protos"])
        self.process = subprocess.Popen(
            argv,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": paths},
            cwd=Path(__file__).parents[3],
            **popen,
        )

    def kill(self) -> None:
        """SIGKILL, as a crash."""
        self.process.kill()
        self.process.wait()
        self.process.stderr.close()

    def stop(self) -> str:
        """SIGTERM; what it said."""
        self.process.terminate()
        _, said = self.process.communicate(timeout=20)
        return said

    def dial(self) -> socket.socket:
        deadline = time.monotonic() + 10
        while True:
            connection = socket.socket(socket.AF_UNIX)
            try:
                connection.connect(str(self.socket))
            except OSError:
                connection.close()
                assert time.monotonic() < deadline, "the executor does not listen"
                time.sleep(0.01)
            else:
                connection.settimeout(20)
                return connection

    def ask(self, request: dict) -> list[dict]:
        with self.dial() as connection:
            body = json.dumps(request).encode()
            connection.sendall(struct.pack(">I", len(body)) + body)
            return list(answers(connection))

    def order(self, order_id: str, command: str = "mark", **changes) -> list[dict]:
        return self.ask(sealed(order(order_id, command, **changes)))

    def runs(self) -> int:
        """How often a command of the policy had its effect."""
        return len(self.mark.read_text().splitlines()) if self.mark.exists() else 0

    def records(self) -> list[dict]:
        return [json.loads(line)["record"] for line in self.ledger.read_text().splitlines()]

    def close(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.kill()
        if self.process is not None and not self.process.stderr.closed:
            self.process.stderr.close()
        shutil.rmtree(self.folder)


def answers(connection: socket.socket):
    """Every frame until the executor closes."""
    with connection.makefile("rb") as stream:
        while header := stream.read(4):
            yield json.loads(stream.read(struct.unpack(">I", header)[0]))
