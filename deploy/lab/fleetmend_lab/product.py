"""The product in the lab: installed once into a cached layer with `deploy/install`, enrolled host by host."""

from __future__ import annotations

import hashlib
import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import cgroups, hosts, network, wheels
from .faults import REPOSITORY
from .machine import LabError, mounts_below, remove_tree, wait_for
from .state import CONTROLLER, Host, Lab

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

MEDIUM = "/mnt/fleetmend"
INSTALL_TIMEOUT_S = 300.0
START_TIMEOUT_S = 60.0
LABELS = {"role": "web", "site": "lab"}
KEPT_VERSIONS = 2
CA_FILE = "/var/lib/fleetmend/pki/ca.crt"


@dataclass(frozen=True)
class Layers:
    """The cached layers of one version of the product, to lie above the Debian root."""

    key: str
    directory: Path

    @property
    def agent(self) -> Path:
        """Files that `deploy/install agent` adds."""
        return self.directory / "agent"

    @property
    def controller(self) -> Path:
        """Files that `deploy/install controller` adds."""
        return self.directory / "controller"

    def binds(self) -> Sequence[tuple[Path, str]]:
        """What hosts see of the installation medium, read-only."""
        return [(self.directory / part, f"{MEDIUM}/{part}") for part in ("deploy", "wheels")]


def layers_of(cache: Path, key: str) -> Layers:
    """The layers of that key."""
    return Layers(key, cache / f"product-{key}")


def ensure(cache: Path, base: Path, say: Callable[[str], None]) -> Layers:
    """The cached layers of the product as it is in this source tree; builds and installs them if they are not there."""
    key = hashlib.sha256(f"{base.name} {wheels.source_key()}".encode()).hexdigest()[:12]
    layers = layers_of(cache, key)
    if layers.directory.is_dir():
        return layers
    building = Layers(key, cache / f"building-product-{key}")
    hosts.kill_containers(building.directory)
    remove_tree(building.directory)
    building.directory.mkdir(parents=True)
    say("wheels: building")
    wheels.build(cache, building.directory / "wheels")
    shutil.copytree(REPOSITORY / "deploy", building.directory / "deploy", ignore=shutil.ignore_patterns("lab", "__pycache__"))
    for role in ("agent", "controller"):
        say(f"{role}: installing into the cached layer")
        _install(building, base, role)
    building.directory.rename(layers.directory)
    _forget_old(cache, layers)
    return layers


def _install(layers: Layers, base: Path, role: str) -> None:
    """Boots a system of its own, runs `deploy/install` in it as on a real server, and keeps what that added."""
    builder = Lab(layers.directory / f"builder-{role}")
    host = Host(role, "198.18.0.9", role, [str(base)])
    network.destroy(builder)
    network.create(builder)
    try:
        root = hosts.mount_root(builder, host)
        hosts.furnish(builder, host, root)
        network.connect(builder, host)
        hosts.boot(builder, host, binds=layers.binds())
        hosts.wait_ready(builder, host)
        argv = [f"{MEDIUM}/deploy/install", role, "--wheels", f"{MEDIUM}/wheels", "--no-start"]
        hosts.must_execute(host, argv, timeout_s=INSTALL_TIMEOUT_S)
        hosts.power_off(host)
    finally:
        hosts.kill_containers(builder.directory)
        hosts.discard(builder)
        network.destroy(builder)
        cgroups.remove(f"{builder.tag}-")
    upper = builder.host_directory(role) / "upper"
    _anonymise(upper)
    upper.rename(layers.directory / role)
    remove_tree(builder.directory)


def _anonymise(upper: Path) -> None:
    """Removes what is one host's own: names, journals, the fleet's certificate authority. Every host makes its own."""
    for name in ("etc/machine-id", "etc/hostname", "etc/hosts", "var/lib/systemd/random-seed", "var/log/wtmp"):
        (upper / name).unlink(missing_ok=True)
    for name in ("var/log/journal", "var/tmp", "tmp", "var/lib/fleetmend"):
        shutil.rmtree(upper / name, ignore_errors=True)


def _forget_old(cache: Path, newest: Layers) -> None:
    """Keeps the newest versions and those that a lab is running on; each takes some hundred megabytes."""
    mounts = Path("/proc/self/mountinfo").read_text()
    versions = sorted(cache.glob("product-*"), key=lambda path: path.stat().st_mtime, reverse=True)
    for directory in versions[KEPT_VERSIONS:]:
        if directory != newest.directory and str(directory) not in mounts and not mounts_below(directory):
            remove_tree(directory)


def enrol_fleet(lab: Lab, rules: Path, say: Callable[[str], None]) -> None:
    """Starts the controller with these rules, then makes every web host one of its hosts."""
    controller = lab.host(CONTROLLER)
    say("controller: starting")
    load_rules(lab, rules)
    install = [f"{MEDIUM}/deploy/install", "controller", "--wheels", f"{MEDIUM}/wheels"]
    hosts.must_execute(controller, install, timeout_s=INSTALL_TIMEOUT_S)
    _wait_with_log(lambda: _controller_answers(controller), controller, "fleetmend-controller.service", "the controller")
    start_prometheus(lab)
    ca = authority(lab)
    for host in lab.hosts.values():
        if host.role == "agent":
            say(f"{host.name}: enrolling")
            enrol(controller, host, ca)
    names = {host.name for host in lab.hosts.values() if host.role == "agent"}
    _wait_with_log(lambda: names <= connected(controller), controller, "fleetmend-controller.service", "the agents to connect")


def _wait_with_log(condition: Callable[[], bool], host: Host, unit: str, what: str) -> None:
    """Waits; when that is in vain, the error carries the unit's last words."""
    try:
        wait_for(condition, timeout_s=START_TIMEOUT_S, what=what, every_s=0.2)
    except LabError as error:
        log = hosts.execute(host, ["journalctl", "--no-pager", "-o", "cat", "-n", "20", "-u", unit]).stdout
        raise LabError(f"{error}; its log on {host.name} ends with:\n{log}") from error


def authority(lab: Lab) -> str:
    """The controller's CA certificate, PEM: what a host must be given before it joins."""
    return hosts.must_execute(lab.host(CONTROLLER), ["cat", CA_FILE])


def start_prometheus(lab: Lab) -> None:
    """Starts the Prometheus beside the controller, with the shipped scrape configuration and alerts."""
    target = lab.root_of(CONTROLLER) / "etc/prometheus"
    for path in (REPOSITORY / "deploy/prometheus").glob("*.yml"):
        shutil.copy2(path, target / path.name)
    hosts.must_execute(lab.host(CONTROLLER), ["systemctl", "start", "prometheus.service"])


def load_rules(lab: Lab, rules: Path) -> None:
    """Copies a rules directory into the controller's host."""
    if not rules.is_dir():
        raise LabError(f"cannot load rules: {rules} is not a directory")
    target = lab.root_of(CONTROLLER) / "etc/fleetmend/rules"
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(rules, target)


def _controller_answers(controller: Host) -> bool:
    return hosts.execute(controller, ["fleetmend", "status", "--output", "json"], timeout_s=20).returncode == 0


def enrol(controller: Host, host: Host, ca: str) -> None:
    """Enrols one host with a token of its own."""
    labels = [word for name, value in LABELS.items() for word in ("--label", f"{name}={value}")]
    made = json.loads(hosts.must_execute(controller, ["fleetmend", "token", "create", "--output", "json", *labels]))
    hosts.must_execute(host, ["sh", "-c", "umask 077; cat > /run/fleetmend-token"], text_in=made["secret"])
    hosts.must_execute(host, ["sh", "-c", "cat > /run/fleetmend-ca.crt"], text_in=ca)
    argv = [
        *(f"{MEDIUM}/deploy/install", "agent", "--wheels", f"{MEDIUM}/wheels", "--controller", CONTROLLER),
        *("--ca", "/run/fleetmend-ca.crt", "--token-file", "/run/fleetmend-token"),
    ]
    hosts.must_execute(host, argv, timeout_s=INSTALL_TIMEOUT_S)


def connected(controller: Host) -> set[str]:
    """Names of the hosts whose agents hold a stream."""
    done = hosts.execute(controller, ["fleetmend", "hosts", "ls", "--output", "json"], timeout_s=20)
    if done.returncode != 0:
        return set()
    answer: dict[str, Any] = json.loads(done.stdout)
    return {host["name"] for host in answer["hosts"] if host["state"] == "up"}
