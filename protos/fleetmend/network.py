"""What of a host's network nobody declared: one judgement for the check that reports it and for the action that removes it.

Pure. Where several answers are thinkable, the one that leaves more alone is taken: routes of interfaces that nobody declared
stay out of it unless they take traffic away from a declared network.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from .netlink import KERNEL_PROTOCOL, LOCAL_TABLE, MAIN_TABLE, NOWHERE, Neighbour, Qdisc, Route, Rule

LOOPBACK = "lo"
DEFAULT = "default"
_JUDGED_TABLES = (253, MAIN_TABLE, LOCAL_TABLE)
# What the kernel attaches by itself, with whatever net.core.default_qdisc says.
DEFAULT_QDISCS = frozenset({"noqueue", "noop", "mq", "pfifo_fast", "fq_codel", "fq"})
MAIN_RULE = (32766, "from all lookup main")


@dataclass(frozen=True, slots=True)
class Interface:
    """One declared interface. `mtu` 0: any; `addresses` with prefix lengths; `gateway` empty: none expected."""

    name: str
    mtu: int = 0
    addresses: tuple[str, ...] = ()
    gateway: str = ""


@dataclass(frozen=True, slots=True)
class Declared:
    """The section `network` of a declaration, as executors and checks are told."""

    interfaces: tuple[Interface, ...] = ()
    routes: tuple[str, ...] = ()
    rules: tuple[str, ...] = ()
    manager: str = "none"
    removable: bool = False
    bounded: frozenset[str] = frozenset()
    """Of what only the declared may be there: `routes`, `rules`, `qdisc`."""

    @classmethod
    def of(cls, part: object) -> Declared:
        """From the part of a sealed declaration. Raises ValueError."""
        if not isinstance(part, Mapping) or not isinstance(part.get("interfaces", {}), Mapping):
            raise ValueError("cannot use the declared network: it is not a mapping")  # noqa: TRY004 - callers catch one kind
        return cls(
            interfaces=tuple(_interface(name, rule) for name, rule in part.get("interfaces", {}).items()),
            routes=_texts(part, "routes"),
            rules=_texts(part, "rules"),
            manager=str(part.get("manager", "none")),
            removable=part.get("remove_undeclared") == "allowed",
            bounded=frozenset(
                word
                for word, key, value in (
                    ("routes", "extra_routes", "none"),
                    ("rules", "extra_rules", "none"),
                    ("qdisc", "qdisc", DEFAULT),
                )
                if part.get(key) == value
            ),
        )

    def interface(self, name: str) -> Interface | None:
        """What is declared about one interface."""
        return next((each for each in self.interfaces if each.name == name), None)

    @property
    def names(self) -> tuple[str, ...]:
        """The declared interfaces, and the loopback, which every host has."""
        return (*(each.name for each in self.interfaces), LOOPBACK)


def _interface(name: object, rule: object) -> Interface:
    if not isinstance(name, str) or not isinstance(rule, Mapping):
        raise ValueError("cannot use the declared network: an interface is not a mapping")  # noqa: TRY004 - as above
    mtu = rule.get("mtu", 0)
    if not isinstance(mtu, int) or isinstance(mtu, bool):
        raise ValueError(f"cannot use the declared network: mtu of {name[:40]} is no number")  # noqa: TRY004 - as above
    return Interface(name, mtu, _texts(rule, "addresses"), str(rule.get("gateway", "")))


def _texts(given: Mapping[Any, Any], key: str) -> tuple[str, ...]:
    values = given.get(key, [])
    if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
        raise ValueError(f"cannot use the declared network: {key} is not a list of texts")
    return tuple(values)


def extra_routes(routes: Iterable[Route], declared: Declared) -> list[Route]:
    """Those that nobody declared and that bear on a declared interface or network, or lead nowhere."""
    return [route for route in routes if _is_extra_route(route, declared)]


def is_removable(route: Route) -> bool:
    """Never the way out: a default route that leads somewhere stays, whoever made it."""
    return route.destination != DEFAULT or route.kind in NOWHERE


def ways_out(routes: Iterable[Route], interface: str) -> list[Route]:
    """The default routes through one interface that lead somewhere, the one that counts first."""
    ways = [
        each
        for each in routes
        if (each.destination, each.kind, each.table, each.interface) == (DEFAULT, "unicast", MAIN_TABLE, interface)
    ]
    return sorted(ways, key=lambda way: way.metric)


def _is_extra_route(route: Route, declared: Declared) -> bool:
    if route.table not in _JUDGED_TABLES or route.destination in declared.routes:
        return False
    if route.kind in NOWHERE:
        return route.protocol != KERNEL_PROTOCOL
    if route.family != 4 or route.kind != "unicast":
        return False
    if route.table == LOCAL_TABLE:
        return True
    if route.protocol == KERNEL_PROTOCOL:
        return False
    if route.destination == DEFAULT:
        # Through a declared interface it is the interface's own question: whether the declared one comes first.
        gateways = {each.gateway for each in declared.interfaces if each.gateway}
        return bool(gateways) and route.gateway not in gateways and route.interface not in declared.names
    return route.interface in declared.names or _overlaps(route.destination, declared)


def _overlaps(destination: str, declared: Declared) -> bool:
    """Whether a destination takes traffic of a declared network, or half of all there is."""
    from ipaddress import ip_network

    wanted = ip_network(destination, strict=False)
    networks = [ip_network(address, strict=False) for each in declared.interfaces for address in each.addresses]
    return wanted.prefixlen <= 1 or any(wanted.version == each.version and wanted.overlaps(each) for each in networks)


def extra_rules(rules: Iterable[Rule], declared: Declared) -> list[Rule]:
    """Those beside the kernel's own and the declared."""
    return [rule for rule in rules if not rule.is_standard and rule.selector not in declared.rules]


def lacks_main_table(rules: Iterable[Rule]) -> bool:
    """Whether no rule leads to the main table any more: then no route counts."""
    return not any(rule.selector == MAIN_RULE[1] for rule in rules)


def extra_qdiscs(qdiscs: Iterable[Qdisc], declared: Declared, default_kind: str) -> list[Qdisc]:
    """Those on declared interfaces that the kernel would not have attached by itself."""
    usual = {*DEFAULT_QDISCS, default_kind}
    return [q for q in qdiscs if q.interface in declared.names and (q.attached != "root" or q.kind not in usual)]


def extra_neighbours(neighbours: Iterable[Neighbour], declared: Declared) -> list[Neighbour]:
    """Entries for good on declared interfaces: nobody declares any."""
    return [each for each in neighbours if declared.interface(each.interface) is not None]
