"""Which network interfaces a check looks at. Those that only exist in software tell of no cable and no card."""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from . import Kind, Param
from ._sysfs import entries

if TYPE_CHECKING:
    from ..host import Host

FOLDER = "/sys/class/net"
_SOFTWARE = (
    *(
        "lo",
        "veth*",
        "docker*",
        "br-*",
        "virbr*",
        "vnet*",
        "tap*",
        "tun*",
        "wg*",
        "ifb*",
        "dummy*",
        "cali*",
        "cni*",
        "flannel*",
    ),
    *("cilium*", "lxc*", "vxlan*", "geneve*", "gre*", "sit*", "ip6tnl*", "kube-*", "nodelocaldns*", "bonding_masters"),
)
INTERFACE = Param("interface", Kind.TEXT, "name of an interface, or * for all that are no mere software", default="*")


def interfaces(host: Host, wanted: str) -> list[str]:
    """By name, in order."""
    names = entries(host, FOLDER)
    if wanted != "*":
        return [name for name in names if name == wanted]
    return [name for name in names if not any(fnmatchcase(name, pattern) for pattern in _SOFTWARE)]
