"""`network`: the interfaces of these hosts, and whether anything beside the declared may bend their traffic."""

from __future__ import annotations

import re
from collections.abc import Iterator
from ipaddress import ip_address, ip_interface, ip_network
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema

from ...playbooks.schema import Model
from ..schema import DeclarationFile
from ..section import Derived, Section
from .names import ONE_OR_MORE

# The kernel tells at once; this is the safety net behind it.
EVERY_MS = 15_000
NEIGHBOURS_EVERY_MS = 10_000
INTERFACES_MAX = 32
LISTED_MAX = 100


def _interface_name(value: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9_.:@-]{1,15}", value) or value in {".", ".."}:
        raise ValueError("it is no interface name, such as eth0: at most 15 letters, digits and . _ : @ -")
    return value


def _addresses(value: object) -> list[str]:
    given = value if isinstance(value, list) else [value]
    try:
        found = [str(ip_interface(each)) if isinstance(each, str) and "/" in each else "" for each in given]
    except ValueError as error:
        raise ValueError("it is no address with its prefix length, such as 192.0.2.7/24") from error
    if not all(found):
        raise ValueError("it is no address with its prefix length, such as 192.0.2.7/24")
    return found


def _gateway(value: str) -> str:
    try:
        address = ip_address(value)
    except ValueError as error:
        raise ValueError("it is no address, such as 192.0.2.1") from error
    if address.version != 4:
        raise ValueError("only a gateway of IPv4 can be watched")
    return str(address)


def _destination(value: str) -> str:
    try:
        network = ip_network(value)
    except ValueError as error:
        raise ValueError("it is no destination of a route, such as 198.51.100.0/24") from error
    return str(network)


def _rule(value: str) -> str:
    if not re.fullmatch(r"(not )?from [0-9A-Za-z.:/_@ -]{1,200}", value):
        raise ValueError("it is no rule in the words of `ip rule`, such as: from 192.0.2.7 lookup 100")
    return value


class InterfaceModel(Model):
    """One network interface."""

    mtu: Annotated[int, Field(ge=68, le=65536)] | None = None
    """Left away: any."""
    address: Annotated[list[str], BeforeValidator(_addresses), WithJsonSchema(ONE_OR_MORE)] = Field(default_factory=list)
    """One address with its prefix length, or several, that it must have."""
    gateway: Annotated[str, AfterValidator(_gateway)] | None = None
    """Gateway of the default route through it."""


class NetworkModel(Model):
    """The network of these hosts."""

    interfaces: Annotated[
        dict[Annotated[str, AfterValidator(_interface_name)], InterfaceModel], Field(min_length=1, max_length=INTERFACES_MAX)
    ]
    manager: Literal["systemd-networkd", "none"] = "none"
    """Who configures the interfaces: systemd-networkd is asked to do it anew; with none, what is declared is set directly."""
    extra_routes: Literal["none", "any"] = "any"
    """`none`: routes and static neighbours beside the declared are a fault."""
    extra_rules: Literal["none", "any"] = "any"
    """`none`: policy rules of routing beside the kernel's own and the declared are a fault."""
    qdisc: Literal["default", "any"] = "any"
    """`default`: a queueing discipline that the kernel would not have chosen is a fault."""
    remove_undeclared: Literal["allowed", "never"] = "never"
    """Whether such a route, rule or queueing discipline may be removed, one at a time."""
    routes: Annotated[list[Annotated[str, AfterValidator(_destination)]], Field(max_length=LISTED_MAX)] = Field(
        default_factory=list
    )
    """Further destinations that may have a route."""
    rules: Annotated[list[Annotated[str, AfterValidator(_rule)]], Field(max_length=LISTED_MAX)] = Field(default_factory=list)
    """Policy rules that may be there, in the words of `ip rule`, without the priority."""


def _derive(network: NetworkModel | None, _declaration: DeclarationFile) -> Iterator[Derived]:
    if network is None:
        return
    for name, interface in network.interfaces.items():
        params: dict[str, Any] = {"interface": name, "addresses": interface.address, "manager": network.manager}
        params |= {"mtu": interface.mtu or 0, "gateway": interface.gateway or ""}
        yield Derived(("network", "interfaces", name), f"link-up:{name}", "link_up", params, EVERY_MS)
    yield from _extra(network)


def _extra(network: NetworkModel) -> Iterator[Derived]:
    remove = {"remove": network.remove_undeclared}
    names: dict[str, Any] = {"interfaces": list(network.interfaces), **remove}
    if network.extra_routes == "none":
        params = names | {
            "networks": [address for each in network.interfaces.values() for address in each.address],
            "gateways": [each.gateway for each in network.interfaces.values() if each.gateway],
            "routes": network.routes,
        }
        origin = ("network", "extra_routes")
        yield Derived(origin, "route-extra:network", "route_extra", params, EVERY_MS)
        yield Derived(origin, "neighbour-extra:network", "neighbour_extra", names, NEIGHBOURS_EVERY_MS)
    if network.extra_rules == "none":
        yield Derived(
            ("network", "extra_rules"), "rule-extra:network", "rule_extra", {"rules": network.rules, **remove}, EVERY_MS
        )
    if network.qdisc == "default":
        yield Derived(("network", "qdisc"), "qdisc-extra:network", "qdisc_extra", names, EVERY_MS)


def _host(network: NetworkModel | None) -> dict[str, Any] | None:
    if network is None:
        return None
    told = network.model_dump(exclude={"interfaces"})
    told["interfaces"] = {
        name: {"mtu": each.mtu or 0, "addresses": each.address, "gateway": each.gateway or ""}
        for name, each in network.interfaces.items()
    }
    return told


SECTION = Section(
    name="network",
    doc="The network interfaces of these hosts, and what beside them may bend their traffic.",
    kind=NetworkModel | None,
    default=lambda: None,
    derive=_derive,
    host=_host,
)
