"""The fleet as a whole: up, down, status. Everything is recorded before it is made."""

from __future__ import annotations

import shutil
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import cgroups, hosts, network, product, root
from .machine import LabError, remove_tree, require_machine
from .state import CONTROLLER, HOSTS_MAX, NETWORK, Host, Lab, load, locked

if TYPE_CHECKING:
    from collections.abc import Callable

WORLD = Path(__file__).resolve().parent.parent / "world"
FIRST_ADDRESS = 10
# Another lab may be building what this one needs too.
CACHE_WAIT_S = 600.0


@dataclass(frozen=True)
class Wish:
    """What `up` shall make."""

    hosts: int
    with_product: bool
    rules: Path
    extra_packages: tuple[str, ...] = ()


def up(directory: Path, cache: Path, wish: Wish, say: Callable[[str], None]) -> Lab:
    """Boots the fleet; a lab that is up already is an error, a half-finished one as well (take it down first)."""
    require_machine()
    if not 1 <= wish.hosts <= HOSTS_MAX:
        raise LabError(f"cannot boot {wish.hosts} hosts: between 1 and {HOSTS_MAX} are possible")
    with locked(directory), locked(cache, CACHE_WAIT_S):
        lab = load(directory)
        if lab.hosts or mounted(directory):
            raise LabError(f"cannot boot a second lab in {directory}: one is there; take it down with: lab down")
        say("Debian root: looking in the cache")
        base = root.ensure(cache, wish.extra_packages)
        layers = product.ensure(cache, base, say) if wish.with_product else None
        _plan(lab, wish, base, layers)
        lab.save()
        network.create(lab)
        for host in lab.hosts.values():
            _assemble(lab, host, layers)
            lab.save()
        say(f"booting {', '.join(lab.hosts)}")
        with ThreadPoolExecutor(max_workers=4) as pool:
            list(pool.map(lambda host: hosts.wait_ready(lab, host), lab.hosts.values()))
        if layers is not None:
            product.enrol_fleet(lab, wish.rules, say)
    return lab


def mounted(directory: Path) -> bool:
    """Whether anything of a lab is still mounted or running below a directory."""
    hosts_directory = directory / "hosts"
    return hosts_directory.is_dir() and any(hosts_directory.iterdir())


def _plan(lab: Lab, wish: Wish, base: Path, layers: product.Layers | None) -> None:
    names = [CONTROLLER] + [f"web-{number}" for number in range(1, wish.hosts + 1)]
    lab.product = layers.key if layers else ""
    for index, name in enumerate(names):
        role = "controller" if name == CONTROLLER else "agent"
        own = [] if layers is None else [str(layers.controller if role == "controller" else layers.agent)]
        lab.hosts[name] = Host(name, f"{NETWORK}.{FIRST_ADDRESS + index}", role, [*own, str(base)])


def _assemble(lab: Lab, host: Host, layers: product.Layers | None) -> None:
    """Builds one host up to its boot."""
    tree = hosts.mount_root(lab, host)
    hosts.furnish(lab, host, tree)
    if host.role == "agent":
        shutil.copytree(WORLD, tree, dirs_exist_ok=True, symlinks=True)
    network.connect(lab, host)
    hosts.boot(lab, host, binds=layers.binds() if layers else ())


def down(directory: Path) -> dict[str, Any]:
    """Ends everything of this lab, recorded or not; says what was ended. Doing it twice is harmless."""
    require_machine()
    if not directory.exists():
        return {"containers_ended": 0, "namespaces_removed": []}
    with locked(directory):
        lab = Lab(directory)
        ended = hosts.kill_containers(directory)
        cgroups.kill(f"{lab.tag}-")
        remove_tree(directory / "hosts")
        removed = network.destroy(lab)
        cgroups.remove(f"{lab.tag}-")
        (directory / "lab.json").unlink(missing_ok=True)
        (directory / "lab.json.new").unlink(missing_ok=True)
    return {"containers_ended": len(ended), "namespaces_removed": removed}


def stop(directory: Path, name: str, *, hard: bool) -> None:
    """Powers a host off; hard is pulling the plug."""
    with locked(directory):
        lab = load(directory)
        host = lab.host(name)
        if hard and host.leader is not None:
            hosts.kill_containers(lab.host_directory(name))
            host.leader = host.nspawn = None
        hosts.power_off(host)
        lab.save()


def start(directory: Path, cache: Path, name: str) -> None:
    """Boots a host that was stopped."""
    with locked(directory):
        lab = load(directory)
        host = lab.host(name)
        if host.running():
            raise LabError(f"cannot start {name}: it runs")
        layers = product.layers_of(cache, lab.product) if lab.product else None
        hosts.boot(lab, host, binds=layers.binds() if layers else ())
        lab.save()
        hosts.wait_ready(lab, host)


def set_partition(directory: Path, name: str, *, partitioned: bool) -> None:
    """Cuts a host off, or connects it again."""
    with locked(directory):
        lab = load(directory)
        host = lab.host(name)
        (network.partition if partitioned else network.heal)(lab, host)
        host.partitioned = partitioned
        lab.save()


def status(directory: Path) -> dict[str, Any]:
    """What there is, for people and programs."""
    lab = load(directory)
    rows = []
    for host in lab.hosts.values():
        word = hosts.execute(host, ["systemctl", "is-system-running"], timeout_s=20).stdout.strip() if host.running() else "off"
        rows.append(
            {
                "name": host.name,
                "address": host.address,
                "role": host.role,
                "system": word,
                "partitioned": host.partitioned,
                "pid": host.leader.pid if host.leader else None,
                "root": str(lab.root_of(host.name)),
            }
        )
    return {"state_directory": str(directory), "network_namespace": lab.tag, "product": lab.product, "hosts": rows}
