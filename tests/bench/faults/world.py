"""Lab hosts for the benchmark: the catalogue's world in each, and Fleetmend reached the way the world reserves for it.

Inside a host the world makes its own `eth0` and a network namespace `peer` that stands for other machines. The host's real
cable is moved into `peer`, and the controller's ports are offered there at the reserved address: cut `eth0`, and the controller
is out of reach, as on a real server.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from fleetmend_controller.core.policy import DEFAULT_STORM
from fleetmend_controller.core.storms import STORM_HOSTS_MIN

from . import adapter
from .adapter import BENCH_ROOT
from .catalogue import Catalogue

REPOSITORY = Path(__file__).parents[3]
LAB = REPOSITORY / "deploy" / "lab" / "lab"
sys.path.insert(0, str(LAB.parent))
from fleetmend_lab import hosts as lab_hosts  # noqa: E402 - the lab is a program beside its package
from fleetmend_lab import state as lab_state  # noqa: E402

CONTROLLER_ADDRESS = "10.77.0.3"
AGENT_UNIT = "fleetmend-agent.service"
AGENT_STATE = "/var/lib/fleetmend-agent"
BENCH_KMSG = "/run/bench/kmsg"
RULES = "/etc/fleetmend/rules"
CA_FILE, TOKEN_FILE = "/run/fleetmend-ca.crt", "/run/fleetmend-token"
FORGET = "rm -rf /var/lib/fleetmend-agent/* /var/lib/fleetmend-executor/*"
ENROL = f"/mnt/fleetmend/deploy/install agent --wheels /mnt/fleetmend/wheels --ca {CA_FILE} --token-file {TOKEN_FILE}"
UP_TIMEOUT_S = 900.0
SETUP_TIMEOUT_S = 300.0
SNIPPET_TIMEOUT_S = 120.0
PORTS = (7443, 7444)
INCIDENTS_MAX = 10_000
# Whom the controller tells: a program beside it that writes down every message.
TOLD = "/run/bench-told.jsonl"
LISTENER = f"""
import http.server
class Listener(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        with open("{TOLD}", "ab") as out:
            out.write(body + b"\\n")
        self.send_response(204)
        self.end_headers()
http.server.HTTPServer(("127.0.0.1", 9199), Listener).serve_forever()
"""
NOTIFY = {"notify": {"channels": {"bench": {"type": "webhook", "url": "http://127.0.0.1:9199/"}}, "default": "bench"}}
AGENT_HEALTH = f"systemctl -q is-active {AGENT_UNIT} && systemctl show -P StatusText {AGENT_UNIT} | grep -q ^linked"

# The cable gets out of the way of the world's own eth0.
RENAME = "ip link set eth0 down; ip link set eth0 name up0; ip link set up0 up"
# The host's own network settings are its own to change, as on a real server.
WRITABLE = "mount --bind /proc/sys/net /proc/sys/net && mount -o remount,rw,bind /proc/sys/net"
# What the world does not use would only blur what is measured.
LAB_UNITS = sorted(path.name for path in (REPOSITORY / "deploy/lab/world/etc/systemd/system").iterdir() if path.is_file())
QUIET = f"""systemctl disable --now {" ".join(name for name in LAB_UNITS if "@" not in name)} 2>/dev/null || true
cd /etc/systemd/system && rm -f {" ".join(LAB_UNITS)}
systemctl daemon-reload"""
PROXY = """[Unit]
Requires=zz-remote-net.service zz-remote-cable.service
After=zz-remote-net.service zz-remote-cable.service
{section}
[Install]
WantedBy=multi-user.target
"""


class WorldError(RuntimeError):
    """The world could not be set up; the text begins with `cannot`."""


class World:
    """The lab of one run of the benchmark."""

    def __init__(self, state: Path, catalogue: Catalogue, count: int, say: Callable[[str], None]) -> None:
        self.state = state
        self.catalogue = catalogue
        self.names = tuple(f"web-{number}" for number in range(1, count + 1))
        self.others = tuple(f"web-{number}" for number in range(count + 1, count + 1 + bystanders(count)))
        self._say = say

    def up(self) -> None:
        """Boots the fleet, sets the world up in every host, and puts the adapted rules in force."""
        self.lab("down")
        beside = f", {len(self.others)} more that stand by" if self.others else ""
        self._say(f"booting a controller and {len(self.names)} hosts{beside}")
        self.lab("up", "--hosts", str(len(self.names) + len(self.others)), timeout_s=UP_TIMEOUT_S)
        for name in self.others:
            self.must(name, QUIET)
            self.ctl("hosts", "label", name, "role=bystander")
        for name in self.names:
            self._say(f"{name}: setting up the world")
            self._furnish(name)
        self._load_rules()
        self._listen()
        for name in self.names:
            self.wait(lambda name=name: self.connected(name), f"{name} to connect", 60.0)
            self.wait(lambda name=name: self.world_ok(name), f"the world of {name} to be well", 90.0)

    def anew(self, name: str) -> None:
        """Makes the host a newcomer: what was tried on it for one fault must not count for the next."""
        self.ctl("hosts", "rm", name, "--yes")
        self.must(name, f"systemctl stop {AGENT_UNIT} fleetmend-executor.socket fleetmend-executor.service; {FORGET}")
        for path, text in self.joining(1, *labels(name)).items():
            self.put(name, path, text)
        self.must(name, f"{ENROL} --controller {CONTROLLER_ADDRESS} --hostname {name}")
        for playbook in self.ctl("playbooks", "ls")["playbooks"]:
            if playbook["demoted_because"]:
                self.ctl("playbooks", "trust", playbook["name"], "--restore")
        self.wait(lambda: self.connected(name), f"{name} to connect", 60.0)

    def joining(self, uses: int, *labels: str) -> dict[str, str]:
        """What so many newcomers need: path and text of each file."""
        words = [word for label in labels for word in ("--label", label)]
        secret = self.ctl("token", "create", "--uses", str(uses), *words)["secret"]
        return {TOKEN_FILE: secret, CA_FILE: self.run("ctl", ["cat", "/var/lib/fleetmend/pki/ca.crt"]).stdout}

    def down(self) -> None:
        """Ends everything."""
        self.lab("down")

    def lab(self, *words: str, timeout_s: float = 120.0) -> str:
        """One command of the lab that has to succeed."""
        argv = [sys.executable, str(LAB), "--state", str(self.state), *words]
        done = subprocess.run(argv, capture_output=True, text=True, timeout=timeout_s, check=False)
        if done.returncode != 0:
            raise WorldError(f"cannot run lab {' '.join(words)}: {done.stderr.strip()[-2000:]}")
        return done.stdout

    def run(
        self, name: str, argv: list[str], timeout_s: float = SNIPPET_TIMEOUT_S, text_in: str = ""
    ) -> subprocess.CompletedProcess[str]:
        """A command inside a host, as root."""
        return lab_hosts.execute(lab_state.load(self.state).host(name), argv, timeout_s=timeout_s, text_in=text_in)

    def snippet(self, name: str, text: str, timeout_s: float = SNIPPET_TIMEOUT_S) -> subprocess.CompletedProcess[str]:
        """A snippet of the catalogue inside a host, after the prelude, with the parameters that it may use."""
        values = {
            "AGENT_UNIT": AGENT_UNIT,
            "AGENT_STATE": AGENT_STATE,
            "AGENT_HEALTH": AGENT_HEALTH,
            "CONTROLLER_IP": CONTROLLER_ADDRESS,
            "BENCH_ROOT": BENCH_ROOT,
            "BENCH_KMSG": BENCH_KMSG,
        }
        settings = "\n".join(f"export {key}={_quoted(value)}" for key, value in values.items())
        return self.run(name, ["bash", "-s"], timeout_s, f"{settings}\n{self.catalogue.prelude}\n{text}\n")

    def put(self, name: str, path: str, text: str) -> None:
        """Writes a file inside a host; others than root cannot read a token."""
        mask = "077" if path == TOKEN_FILE else "022"
        self.run(name, ["sh", "-c", f"umask {mask}; cat > {path}"], text_in=text)

    def world_ok(self, name: str) -> bool:
        """Whether the host is as the world wants it."""
        return self.snippet(name, "world_ok").returncode == 0

    def ctl(self, *words: str, timeout_s: float = 30.0) -> Any:
        """`fleetmend WORDS --output json` beside the controller, parsed."""
        done = self.run("ctl", ["fleetmend", *words, "--output", "json"], timeout_s)
        if done.returncode != 0:
            raise WorldError(f"cannot run fleetmend {' '.join(words)}: {done.stderr.strip()[-1000:]}")
        return json.loads(done.stdout)

    def incidents(self, name: str) -> list[dict[str, Any]]:
        """Every incident of a host, oldest first."""
        found: list[dict[str, Any]] = self.ctl("incidents", "ls", "--host", name, "--all")["incidents"]
        return sorted(found, key=lambda incident: int(incident["id"].removeprefix("inc-")))

    def all_incidents(self) -> list[dict[str, Any]]:
        """Every incident of every host and of the fleet as a whole, oldest first."""
        found: list[dict[str, Any]] = self.ctl("incidents", "ls", "--all", "--limit", str(INCIDENTS_MAX))["incidents"]
        return sorted(found, key=lambda incident: int(incident["id"].removeprefix("inc-")))

    def told(self) -> list[dict[str, Any]]:
        """What people outside were told, in order."""
        return [json.loads(line) for line in self.run("ctl", ["cat", TOLD]).stdout.splitlines()]

    def story(self, incident_id: str) -> dict[str, Any]:
        """All that is known of an incident."""
        found: dict[str, Any] = self.ctl("incidents", "show", incident_id)
        return found

    def connected(self, name: str) -> bool:
        """Whether the host's agent holds a stream."""
        return any(host["name"] == name and host["state"] == "up" for host in self.ctl("hosts", "ls")["hosts"])

    @staticmethod
    def wait(condition: Callable[[], bool], what: str, timeout_s: float, every_s: float = 1.0) -> None:
        """Waits for a condition; WorldError names it when it does not come."""
        deadline = time.monotonic() + timeout_s
        while not condition():
            if time.monotonic() > deadline:
                raise WorldError(f"cannot wait longer for {what}: not within {timeout_s:g} s")
            time.sleep(every_s)

    def must(self, name: str, script: str, timeout_s: float = SETUP_TIMEOUT_S) -> None:
        done = self.run(name, ["bash", "-s"], timeout_s, script)
        if done.returncode != 0:
            raise WorldError(f"cannot set up {name}: exit {done.returncode}: {(done.stderr or done.stdout).strip()[-2000:]}")

    def _furnish(self, name: str) -> None:
        lab = lab_state.load(self.state)
        controller, address = lab.host("ctl").address, lab.host(name).address
        self.must(name, f"systemctl stop {AGENT_UNIT}\n{QUIET}\n{RENAME}; {WRITABLE}")
        self.must(name, self.catalogue.world_setup)
        cable = f"ip link set up0 netns peer; ip -n peer addr add {address}/24 dev up0; ip -n peer link set up0 up"
        service = f"[Service]\nType=oneshot\nRemainAfterExit=yes\nExecStart=/bin/sh -c '{cable}'"
        units = {"zz-remote-cable.service": _unit("zz-remote-net.service", service)}
        for port in PORTS:
            listen = f"[Socket]\nListenStream={CONTROLLER_ADDRESS}:{port}\nNetworkNamespacePath=/run/netns/peer"
            program = f"/lib/systemd/systemd-socket-proxyd {controller}:{port}"
            proxy = f"[Service]\nNetworkNamespacePath=/run/netns/peer\nExecStart={program}"
            units[f"zz-remote-controller-{port}.socket"] = PROXY.format(section=listen)
            units[f"zz-remote-controller-{port}.service"] = PROXY.format(section=proxy)
        for unit, text in units.items():
            self.run(name, ["sh", "-c", f"cat > /etc/systemd/system/{unit}"], text_in=text)
        started = " ".join(["zz-remote-cable.service", *(f"zz-remote-controller-{port}.socket" for port in PORTS)])
        self.must(name, f"systemctl daemon-reload; systemctl enable -q --now {started}")
        settings = adapter.agent_settings(f"{CONTROLLER_ADDRESS}:{PORTS[0]}", BENCH_ROOT, BENCH_KMSG)
        actions = sorted(action["name"] for action in self.ctl("actions", "ls")["actions"])
        policy = adapter.host_policy(self.catalogue.declare, actions)
        for path, document in (("agent.yaml", settings), ("executor.yaml", policy)):
            self.run(name, ["sh", "-c", f"cat > /etc/fleetmend/{path}"], text_in=yaml.safe_dump(document))
        self.must(name, f"mkdir -p {BENCH_ROOT}; touch {BENCH_KMSG}; chmod 755 {BENCH_ROOT}; systemctl start {AGENT_UNIT}")
        self.ctl("hosts", "label", name, *labels(name))

    def _listen(self) -> None:
        self.put("ctl", "/run/bench-listener.py", LISTENER)
        self.put("ctl", "/run/bench-notify.yaml", yaml.safe_dump(NOTIFY))
        listen = f"touch {TOLD}; systemd-run -q --unit=bench-listener --collect /usr/bin/python3 /run/bench-listener.py"
        settings = "cat /run/bench-notify.yaml >> /etc/fleetmend/controller.yaml"
        self.must("ctl", f"{listen}; {settings}; systemctl restart fleetmend-controller.service")
        self.wait(self._answers, "the controller to answer", 60.0)

    def _answers(self) -> bool:
        return self.run("ctl", ["fleetmend", "status", "--output", "json"]).returncode == 0

    def _load_rules(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            adapter.write_rules(self.catalogue.declare, Path(folder))
            root = lab_state.load(self.state).root_of("ctl")
            subprocess.run(["rm", "-rf", f"{root}{RULES}"], check=True)
            subprocess.run(["cp", "-r", folder, f"{root}{RULES}"], check=True)
        self.run("ctl", ["chmod", "-R", "a+rX", RULES])
        checked = self.run("ctl", ["fleetmend-controller", "check-config", RULES])
        if checked.returncode != 0:
            raise WorldError(f"cannot use the adapted rules: {(checked.stdout + checked.stderr)[-3000:]}")
        self.must("ctl", "systemctl reload fleetmend-controller.service")


def labels(name: str) -> tuple[str, ...]:
    """Labels of a host of the world. A budget is shared by the hosts of a role; each of these is a fleet of its own."""
    return (f"role={name}", f"{adapter.WORLD}={name.replace('web', 'bench')}")


def bystanders(count: int) -> int:
    """How many healthy hosts more it takes for `count` hosts to be no storm of the whole fleet.

    Hosts side by side play faults that have nothing to do with each other; that nobody else is there is the benchmark's doing.
    """
    storm = DEFAULT_STORM
    others = 0
    while count >= storm.hosts:
        size = count + others
        if max(storm.hosts, min(STORM_HOSTS_MIN, size), -(-size * storm.percent // 100)) > count:
            break
        others += 1
    return others


def _unit(after: str, section: str) -> str:
    return f"[Unit]\nRequires={after}\nAfter={after}\n{section}\n[Install]\nWantedBy=multi-user.target\n"


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "'\\''") + "'"
