"""Interfaces with their addresses, default gateways and name servers.

Left out is what comes and goes on an unchanged machine: containers' interfaces, and IPv6 addresses that privacy extensions
change daily.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address
from typing import TYPE_CHECKING, Any

from . import Fact
from ._lines import number_or, read_or

if TYPE_CHECKING:
    from ..host import Host

ENTRIES_MAX = 256
_PASSING = ("veth", "cali", "lxc", "tap", "vnet", "ifb", "flannel", "cni")
_IF_INET6_WORDS = 6
_TEMPORARY = 0x01
_ROUTE_WORDS = 8
_ROUTE_GATEWAY = 0x2


def _collect(host: Host) -> dict[str, Any]:
    ipv4 = host.ipv4_addresses()
    ipv6 = parse_if_inet6(read_or(host, "/proc/net/if_inet6"))
    names = sorted(name for name in host.listdir("/sys/class/net") if not name.startswith(_PASSING))
    return {
        "interfaces": [_interface(host, name, [*ipv4.get(name, ()), *ipv6.get(name, ())]) for name in names[:ENTRIES_MAX]],
        "gateways": parse_gateways(read_or(host, "/proc/net/route")),
        "name_servers": parse_name_servers(read_or(host, "/etc/resolv.conf")),
        "truncated": len(names) > ENTRIES_MAX,
    }


def _interface(host: Host, name: str, addresses: list[str]) -> dict[str, Any]:
    at = f"/sys/class/net/{name}"
    return {
        "name": name,
        "mac": read_or(host, f"{at}/address"),
        "mtu_bytes": number_or(host, f"{at}/mtu"),
        # Interfaces without a link of their own (loopback, tunnels) say unknown or refuse.
        "state": read_or(host, f"{at}/operstate", "unknown"),
        "speed_mbit": max(0, number_or(host, f"{at}/speed")),
        "addresses": sorted(addresses)[:ENTRIES_MAX],
    }


def parse_if_inet6(text: str) -> dict[str, list[str]]:
    """Lasting IPv6 addresses with prefix lengths, by interface."""
    found: dict[str, list[str]] = {}
    for line in text.splitlines():
        words = line.split()
        try:
            address, prefix, flags = IPv6Address(bytes.fromhex(words[0])), int(words[2], 16), int(words[4], 16)
        except (ValueError, IndexError):
            # Not a line of this file.
            continue
        if len(words) == _IF_INET6_WORDS and not flags & _TEMPORARY:
            found.setdefault(words[5], []).append(f"{address}/{prefix}")
    return found


def parse_gateways(text: str) -> list[dict[str, str]]:
    """The gateways of the IPv4 default routes."""
    found = []
    for line in text.splitlines()[1:]:
        words = line.split()
        try:
            is_default = (
                len(words) >= _ROUTE_WORDS and words[1] == words[7] == "00000000" and int(words[3], 16) & _ROUTE_GATEWAY
            )
            gateway = str(IPv4Address(bytes.fromhex(words[2])[::-1])) if is_default else ""
        except ValueError:
            # Not a line of this file.
            continue
        if gateway:
            found.append({"interface": words[0], "address": gateway})
    return sorted(found, key=lambda entry: (entry["interface"], entry["address"]))[:ENTRIES_MAX]


def parse_name_servers(text: str) -> list[str]:
    """The name servers in resolv.conf, in their order."""
    lines = (line.split() for line in text.splitlines())
    return [words[1] for words in lines if len(words) > 1 and words[0] == "nameserver"][:ENTRIES_MAX]


FACT = Fact(name="network", summary="Interfaces, addresses, gateways, name servers", collect=_collect)
