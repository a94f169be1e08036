"""The lab's network: a bridge inside a namespace that has no way out, one namespace and one cable for each host."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

from .machine import run
from .state import NETWORK

if TYPE_CHECKING:
    from .state import Host, Lab

NAMESPACES = Path("/run/netns")


def create(lab: Lab) -> None:
    """Makes the lab's own namespace with its bridge; nothing of it is connected to the machine's network."""
    run(["ip", "netns", "add", lab.tag])
    run(["ip", "-n", lab.tag, "link", "set", "lo", "up"])
    run(["ip", "-n", lab.tag, "link", "add", "br0", "type", "bridge"])
    run(["ip", "-n", lab.tag, "address", "add", f"{NETWORK}.1/24", "dev", "br0"])
    run(["ip", "-n", lab.tag, "link", "set", "br0", "up"])


def connect(lab: Lab, host: Host) -> None:
    """Makes the host's namespace and plugs it into the bridge."""
    namespace = lab.namespace_of(host.name)
    run(["ip", "netns", "add", namespace])
    run(["ip", "-n", namespace, "link", "set", "lo", "up"])
    run(["ip", "-n", lab.tag, "link", "add", host.name, "type", "veth", "peer", "name", "eth0", "netns", namespace])
    run(["ip", "-n", lab.tag, "link", "set", host.name, "master", "br0", "up"])
    run(["ip", "-n", namespace, "address", "add", f"{host.address}/24", "dev", "eth0"])
    run(["ip", "-n", namespace, "link", "set", "eth0", "up"])


def partition(lab: Lab, host: Host) -> None:
    """Drops every frame of the host at the bridge. Its link stays up: as with a broken switch, nobody is told."""
    run(["ip", "netns", "exec", lab.tag, "bridge", "link", "set", "dev", host.name, "state", "0"])


def heal(lab: Lab, host: Host) -> None:
    """Ends a partition."""
    run(["ip", "netns", "exec", lab.tag, "bridge", "link", "set", "dev", host.name, "state", "3"])


def destroy(lab: Lab) -> list[str]:
    """Removes every namespace that carries this lab's tag; returns their names."""
    if not NAMESPACES.is_dir():
        return []
    names = [path.name for path in NAMESPACES.iterdir() if path.name == lab.tag or path.name.startswith(lab.tag + "-")]
    for name in sorted(names):
        subprocess.run(["ip", "netns", "delete", name], capture_output=True, check=False, timeout=30)
    return sorted(names)
