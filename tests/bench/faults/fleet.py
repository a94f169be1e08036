"""A fault of many hosts: each folder that its inject makes below BENCH_ROOT/fleet/ is the root of a host with its own agent.

These agents live in one lab host, as units of one slice that ends with the fault. Unit files and policy are the product's own;
apart are state, enrolment, executor, and the folder that is laid over the machine's files. What people were told is what a
channel got outside, and how many hosts were disturbed at once is what the journal says of the orders.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any

import yaml

from fleetmend_controller.rules import RuleSet

from . import adapter
from .adapter import BENCH_ROOT
from .catalogue import Fault
from .play import CLOSE_S, HARMLESS, Player, Watch
from .score import Seen
from .world import CA_FILE, CONTROLLER_ADDRESS, PORTS, TOKEN_FILE, WorldError

ROOT = f"{BENCH_ROOT}/fleet"
STATE = "/var/lib/bench-fleet"
UNITS = "/run/systemd/system"
SLICE = "bench-fleet.slice"
ROLE = "fleet"
CONNECT_S = 180.0
ENROL_S = 300.0
QUIET_S = 20.0
# A storm lasts for as long as nothing new may come; only then it ends by itself.
STORM_S = 330.0
HOSTS_MAX = 50
PAGES_MAX = 1
# The shipped unit files for one of many: another name, another state, one slice.
AGENT = "bench-fleet-agent@"
EXECUTOR = "bench-fleet-executor@"
DERIVE = rf"""set -eu
u=/etc/systemd/system
sed -e 's#/var/lib/fleetmend-agent#{STATE}/%i/agent#; s#^StateDirectory=.*#StateDirectory=bench-fleet/%i/agent#' \
  -e 's#fleetmend-executor.socket#{EXECUTOR}%i.socket#g; s#^ExecStart=.* run$#& --config /run/bench-fleet/%i.yaml#' \
  -e 's#^\[Service\]#&\nSlice={SLICE}#' $u/fleetmend-agent.service > {UNITS}/{AGENT}.service
sed -e 's#fleetmend-executor.socket#{EXECUTOR}%i.socket#g; s#^StateDirectory=.*#StateDirectory=bench-fleet/%i/executor#' \
  -e 's#^ExecStart=.*#& --state-dir {STATE}/%i/executor#; s#^\[Service\]#&\nSlice={SLICE}#' \
  $u/fleetmend-executor.service > {UNITS}/{EXECUTOR}.service
sed -e 's#^ListenStream=.*#ListenStream=/run/bench-fleet/%i.sock#; s#^\[Socket\]#&\nSlice={SLICE}#' \
  $u/fleetmend-executor.socket > {UNITS}/{EXECUTOR}.socket
systemctl daemon-reload"""
END = f"""systemctl stop {SLICE} '{AGENT}*' '{EXECUTOR}*' 2>/dev/null
rm -rf {STATE} /run/bench-fleet {UNITS}/{AGENT}* {UNITS}/{EXECUTOR}*; systemctl daemon-reload"""


def wanted(fault: Fault) -> bool:
    """Whether this fault brings hosts of its own. The text says so; only then it is worth a rehearsal."""
    return not fault.injectable and re.search(r"\$\{?BENCH_ROOT\}?/fleet/", fault.inject) is not None


def most_at_once(orders: Iterable[dict[str, Any]]) -> int:
    """The most hosts that were disturbed at one time, from the journal's orders: each with `host`, `ordered_ms`, `ended_ms`."""
    listed = [order for order in orders if order["action"] not in HARMLESS]
    found = 0
    for order in listed:
        at = order["ordered_ms"]
        under_way = {other["host"] for other in listed if other["ordered_ms"] <= at < (other.get("ended_ms") or float("inf"))}
        found = max(found, len(under_way))
    return found


def budget(rules: RuleSet, hosts: int) -> int:
    """The most hosts of one role that may be disturbed at once: by any playbook, and by all of them together."""
    ceiling = rules.policy.ceiling
    whole = min(ceiling.at_most, max(ceiling.at_least, hosts * ceiling.percent // 100))
    return min(whole, max((min(each.at_most, max(1, hosts * each.percent // 100)) for each in rules.policy.budgets), default=0))


@dataclass(frozen=True)
class FleetPlayer(Player):
    """Plays a fault on many agents that live in one host of the world."""

    rules: RuleSet
    names: list[str] = field(default_factory=list)

    def _ready(self, fault: Fault) -> None:
        super()._ready(fault)
        self.names[:] = self._rehearsed(fault)
        self.say(f"{self.host}: {fault.id}: {len(self.names)} agents")
        self._start()
        self.world.wait(self._connected, f"the {len(self.names)} agents to connect", CONNECT_S)
        # Each check has to have said once that all is well.
        time.sleep(QUIET_S)
        self.world.wait(lambda: not self._open(0), "the fleet to have no open incident", CONNECT_S)

    def _rehearsed(self, fault: Fault) -> list[str]:
        """The hosts that the inject makes: it is tried, undone, and what is left of them is healthy."""
        tried = self._snippet(fault.inject)
        listed = self._snippet(f"cd {ROOT} 2>/dev/null && ls -d -- */ | tr -d /")
        self._snippet(fault.undo or f"rm -rf {ROOT}/*/*")
        names = sorted(listed.stdout.split())
        if not names or len(names) > HOSTS_MAX or not all(re.fullmatch(r"[a-z0-9.-]+", name) for name in names):
            raise WorldError(f"cannot make a fleet of {names[:5]}: its inject made no such folders: {tried.stderr[-200:]}")
        return names

    def _start(self) -> None:
        world, host = self.world, self.host
        world.must(host, END)
        for path, text in world.joining(len(self.names), f"role={ROLE}").items():
            world.put(host, path, text)
        world.must(host, f"mkdir -p {STATE} /run/bench-fleet; chmod 755 {STATE} /run/bench-fleet\n{DERIVE}")
        for name in self.names:
            settings = adapter.agent_settings(
                f"{CONTROLLER_ADDRESS}:{PORTS[0]}", f"{ROOT}/{name}", f"/run/bench-fleet/{name}.kmsg"
            )
            own = {"state_dir": f"{STATE}/{name}/agent", "executor_socket": f"/run/bench-fleet/{name}.sock"}
            world.put(host, f"/run/bench-fleet/{name}.yaml", yaml.safe_dump({**settings, **own}))
        enrol = (
            f"/opt/fleetmend/venv/bin/fleetmend-agent enroll --controller {CONTROLLER_ADDRESS}:{PORTS[1]} --hostname $n"
            f" --ca {CA_FILE} --token-file {TOKEN_FILE}"
            f" --state-dir {STATE}/$n/agent --executor-state-dir {STATE}/$n/executor"
        )
        script = f"""set -eu
for n in {" ".join(self.names)}; do
  mkdir -p {STATE}/$n; chmod 755 {STATE}/$n
  touch /run/bench-fleet/$n.kmsg; chmod 644 /run/bench-fleet/$n.*
  {enrol}
  systemctl start {EXECUTOR}$n.socket {AGENT}$n.service
done"""
        world.must(host, script, ENROL_S)

    def _connected(self) -> bool:
        up = {host["name"] for host in self.world.ctl("hosts", "ls")["hosts"] if host["state"] == "up"}
        return up >= set(self.names)

    def _incidents(self) -> list[dict[str, Any]]:
        return [i for i in self.world.all_incidents() if i["host_id"] == "fleet" or i["host_name"] in (*self.names, self.host)]

    def _settled(self, fault: Fault, watch: Watch) -> bool:
        # Whether a second page comes is only known in the end.
        del fault, watch
        return False

    def _noted(self, fault: Fault, seen: Seen, watch: Watch, stories: list[dict[str, Any]]) -> Seen:
        seen = super()._noted(fault, seen, watch, stories)
        ids = {story["incident"]["id"] for story in stories}
        told = {
            m["incident"]["id"]: m["severity"]
            for m in self.world.told()
            if m["incident"]["id"] in ids and m["event"] == "escalated"
        }
        orders = [{**attempt, "host": story["incident"]["host_id"]} for story in stories for attempt in story["attempts"]]
        at_once = most_at_once(orders)
        problem = (
            f"people were told {len(told)} times of one cause, by {', '.join(sorted(told))}" if len(told) > PAGES_MAX else ""
        )
        return replace(
            seen,
            pages=len(told),
            at_once=at_once,
            escalated=seen.escalated and bool(told),
            guard_ok=seen.guard_ok and at_once <= budget(self.rules, len(self.names)),
            problem=seen.problem or problem,
            # One line for all of one check.
            incidents=tuple(dict.fromkeys(re.sub(r"^inc-\d+ ", "", line) for line in seen.incidents)),
        )

    def _close_s(self) -> float:
        return CLOSE_S + STORM_S

    def _put_right(self, fault: Fault) -> dict[str, Any]:
        try:
            self.world.must(self.host, END)
            for name in self.names:
                self.world.ctl("hosts", "rm", name, "--yes")
        except (WorldError, OSError, RuntimeError) as error:
            self.say(f"{self.host}: {fault.id}: {error}")
        return super()._put_right(fault)
