"""What the lab tests say to the lab and read from it: its own commands, the CLI inside `ctl`, the journal, the ledgers."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.tools.promises import Evidence, Row

LAB = Path(__file__).parents[2] / "deploy" / "lab" / "lab"
EVERY_S = 0.2

# Reads the journal as a bystander inside the controller's host; prints one JSON object a row.
READ_JOURNAL = """
import json, sqlite3
db = sqlite3.connect("file:/var/lib/fleetmend/fleetmend.db?mode=ro", uri=True, timeout=10)
for seq, epoch, at_ms, kind, host, incident, body in db.execute(
    "select seq, epoch, at_ms, kind, host, incident, body from journal order by seq"):
    print(json.dumps([seq, epoch, at_ms, kind, host, incident, body]))
"""


class CommandFailed(AssertionError):
    """A command of the lab, or one inside a host, did not succeed."""


class Fleet:
    """The lab that the tests of this session share."""

    def __init__(self, state: Path, agents: tuple[str, ...]) -> None:
        self.state = state
        self.agents = agents

    def lab(self, *arguments: str, timeout_s: float = 120.0, text_in: str = "") -> subprocess.CompletedProcess[str]:
        """One command of the lab."""
        argv = [sys.executable, str(LAB), "--state", str(self.state), *arguments]
        return subprocess.run(argv, input=text_in, capture_output=True, text=True, timeout=timeout_s, check=False)

    def must(self, *arguments: str, timeout_s: float = 120.0) -> str:
        """One command of the lab that has to succeed; its standard output."""
        done = self.lab(*arguments, timeout_s=timeout_s)
        if done.returncode != 0:
            raise CommandFailed(
                f"lab {' '.join(arguments)}: exit {done.returncode}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
            )
        return done.stdout

    def run(self, host: str, *command: str, timeout_s: float = 60.0) -> str:
        """A command inside a host that has to succeed; its standard output."""
        return self.must("exec", host, "--", *command, timeout_s=timeout_s)

    def shell(self, host: str, script: str, timeout_s: float = 60.0) -> str:
        """A bash script inside a host that has to succeed; its standard output."""
        return self.run(host, "bash", "-euc", script, timeout_s=timeout_s)

    def tries(self, host: str, *command: str, timeout_s: float = 60.0) -> subprocess.CompletedProcess[str]:
        """A command inside a host that may fail."""
        return self.lab("exec", host, "--", *command, timeout_s=timeout_s)

    def fault(self, fault_id: str, host: str, phase: str = "inject") -> None:
        """Puts a fault of the lab's catalogue into a host, or takes it back."""
        self.must("fault", fault_id, "--host", host, "--phase", phase)

    def well(self, fault_id: str, host: str) -> bool:
        """Whether the fault's own check succeeds inside the host."""
        return self.lab("fault", fault_id, "--host", host, "--phase", "check").returncode == 0

    def root(self, host: str) -> Path:
        """The host's root as seen from outside."""
        return Path(self._status(host)["root"])

    def address(self, host: str) -> str:
        """Where other hosts of the lab reach it."""
        return str(self._status(host)["address"])

    def _status(self, host: str) -> dict[str, Any]:
        hosts = json.loads(self.must("status", "--output", "json"))["hosts"]
        return next(entry for entry in hosts if entry["name"] == host)

    # -- the product, through its CLI --

    def ctl(self, *command: str, timeout_s: float = 60.0) -> Any:
        """`fleetmend COMMAND --output json` on the controller's host, parsed."""
        return json.loads(self.run("ctl", "fleetmend", *command, "--output", "json", timeout_s=timeout_s))

    def incidents(self, host: str = "", *, everything: bool = False) -> list[dict[str, Any]]:
        """Incidents as the CLI lists them, oldest first."""
        words = ["incidents", "ls", *(("--host", host) if host else ()), *(("--all",) if everything else ())]
        found: list[dict[str, Any]] = self.ctl(*words)["incidents"]
        return sorted(found, key=lambda incident: int(incident["id"].removeprefix("inc-")))

    def newest(self) -> int:
        """Number of the newest incident so far."""
        return max((int(incident["id"].removeprefix("inc-")) for incident in self.incidents(everything=True)), default=0)

    def since(self, number: int, host: str = "") -> list[dict[str, Any]]:
        """Incidents newer than a number."""
        return [i for i in self.incidents(host, everything=True) if int(i["id"].removeprefix("inc-")) > number]

    def story(self, incident_id: str) -> dict[str, Any]:
        """Everything the CLI shows of one incident."""
        found: dict[str, Any] = self.ctl("incidents", "show", incident_id)
        return found

    def host_state(self, name: str) -> str:
        """up, lost or never_connected."""
        return next((str(host["state"]) for host in self.ctl("hosts", "ls")["hosts"] if host["name"] == name), "")

    def calm(self) -> bool:
        """Whether the controller answers, no incident is open and all agents are connected."""
        return not self.unrest()

    def unrest(self) -> str:
        """What keeps the fleet from being calm."""
        try:
            known = [f"{i['id']} {i['host_name']} {i['check']} {i['key']} {i['phase']}: {i['why']}" for i in self.incidents()]
            known += [f"{name} is not up" for name in self.agents if self.host_state(name) != "up"]
        except CommandFailed as error:
            return str(error)
        return "; ".join(known)

    def rest(self, timeout_s: float, when: str = "") -> None:
        """Waits until the fleet is calm; else fails and says what keeps it from that."""
        try:
            wait(self.calm, "", timeout_s)
        except AssertionError:
            unrest = self.unrest()
            raise AssertionError(f"the fleet is not calm {when} within {timeout_s:g} s: {unrest}") from None

    def repair(self) -> None:
        """What a person does after a test that failed half-way: everything runs again, nothing is broken, nobody is cut off."""
        for name in self.agents:
            self.must("heal", name)
            self.shell(name, "rm -f /run/till-broken; systemctl start srv-cache.mount")
            # Killed, it stays failed until the next order starts it.
            self.shell(name, "systemctl reset-failed fleetmend-executor.service || true")
            # What lay on a file system in memory went with it.
            self.shell(name, "systemctl restart shop-data.service; systemctl start shop.service till.service kiosk.service")

    # -- what is on disk --

    def journal(self) -> list[Row]:
        """The whole journal."""
        lines = self.run("ctl", "python3", "-c", READ_JOURNAL).splitlines()
        return [Row(*fields[:6], json.loads(fields[6])) for fields in map(json.loads, lines)]

    def ledger(self, host: str) -> list[dict[str, Any]]:
        """The records of a host's executor ledger: `begin` before an effect, `end` with the sealed outcome."""
        done = self.tries(host, "cat", "/var/lib/fleetmend-executor/ledger.jsonl")
        return [json.loads(line)["record"] for line in done.stdout.splitlines() if line.strip()]

    def evidence(self, from_seq: int = 0) -> Evidence:
        """Journal and ledgers for the promises. `from_seq`: only what was ordered after that row, and what became of it."""
        ledgers = {host["id"]: self.ledger(host["name"]) for host in self.ctl("hosts", "ls")["hosts"]}
        whole = Evidence(self.journal(), ledgers)
        if not from_seq:
            return whole
        journal = [row for row in whole.journal if row.seq > from_seq]
        ours = set(Evidence(journal).orders)
        kept = {host: [entry for entry in entries if entry.get("order_id") in ours] for host, entries in ledgers.items()}
        return Evidence(journal, kept)


def wait(condition: Callable[[], Any], what: str, timeout_s: float = 60.0, every_s: float = EVERY_S) -> Any:
    """Waits until the condition gives something true, and returns it; fails naming `what`."""
    deadline = time.monotonic() + timeout_s
    while True:
        found = condition()
        if found:
            return found
        if time.monotonic() > deadline:
            raise AssertionError(f"{what}: not within {timeout_s:g} s")
        time.sleep(every_s)
