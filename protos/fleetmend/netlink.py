"""What the kernel says about the network, by netlink: links, addresses, routes, rules, queueing disciplines.

Agent and executor both read by it, so that what one reports and what the other removes carry the same words. Reading needs no
privilege and no tool. Changing is left to `ip` and `tc`.
"""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass

TIMEOUT_S = 2.0
ANSWERS_MAX = 20_000
_READ_BYTES = 64 * 1024

MAIN_TABLE = 254
LOCAL_TABLE = 255
KERNEL_PROTOCOL = 2
# Kinds of routes that lead nowhere.
NOWHERE = frozenset({"blackhole", "unreachable", "prohibit", "throw"})

_HEADER = struct.Struct("=IHHII")
_ATTRIBUTE = struct.Struct("=HH")
_DUMP = 0x1 | 0x300  # NLM_F_REQUEST | NLM_F_DUMP
_ERROR, _DONE = 2, 3

_LINK = struct.Struct("=BxHiII")
_ADDRESS = struct.Struct("=BBBBI")
_ROUTE = struct.Struct("=BBBBBBBBI")
_NEIGHBOUR = struct.Struct("=BxxxiHBB")
_QDISC = struct.Struct("=BxxxiIII")

_KINDS = {
    1: "unicast", 2: "local", 3: "broadcast", 4: "anycast", 5: "multicast", 6: "blackhole", 7: "unreachable", 8: "prohibit",
    9: "throw", 10: "nat",
}  # fmt: skip
_OPERSTATES = ("unknown", "notpresent", "down", "lowerlayerdown", "testing", "dormant", "up")
_RULE_ACTIONS = {1: "lookup", 2: "goto", 3: "nop", 6: "blackhole", 7: "unreachable", 8: "prohibit"}
_TABLES = {LOCAL_TABLE: "local", MAIN_TABLE: "main", 253: "default"}
_PROTOCOLS = {1: "icmp", 6: "tcp", 17: "udp", 58: "ipv6-icmp"}
_FAMILIES = {socket.AF_INET: 4, socket.AF_INET6: 6}
_ROOT, _INGRESS = 0xFFFFFFFF, 0xFFFFFFF1
_PERMANENT = 0x80
_INVERTED = 0x2

_Attributes = dict[int, bytes]


@dataclass(frozen=True, slots=True)
class Link:
    """A network interface. `up`: it is administratively up; `carrier`: its other end is there."""

    name: str
    up: bool = True
    carrier: bool = True
    arp: bool = True
    mtu: int = 1500
    state: str = "up"


@dataclass(frozen=True, slots=True)
class Address:
    """An address on an interface, with its prefix length: 192.0.2.7/24."""

    interface: str
    address: str


@dataclass(frozen=True, slots=True)
class Route:
    """One route. `destination` is `default` or a prefix; `interface` and `gateway` are empty where it has none."""

    destination: str
    kind: str = "unicast"
    table: int = MAIN_TABLE
    gateway: str = ""
    interface: str = ""
    metric: int = 0
    protocol: int = 3
    family: int = 4

    def words(self) -> tuple[str, ...]:
        """The route as `ip route del` wants it: this one and no other."""
        return (
            *((self.kind,) if self.kind != "unicast" else ()),
            self.destination,
            *(("via", self.gateway) if self.gateway else ()),
            *(("dev", self.interface) if self.interface and self.kind not in NOWHERE else ()),
            *("table", str(self.table)),
            *(("metric", str(self.metric)) if self.metric else ()),
        )


@dataclass(frozen=True, slots=True)
class Rule:
    """One policy rule: its priority, and the rest in the words of `ip rule`."""

    priority: int
    selector: str
    protocol: int = 3
    family: int = 4

    @property
    def is_standard(self) -> bool:
        """Whether it is one of those that the kernel makes itself."""
        of_kernel = self.protocol == KERNEL_PROTOCOL and self.selector.endswith("l3mdev")
        return of_kernel or (self.priority, self.selector) in STANDARD_RULES


STANDARD_RULES = ((0, "from all lookup local"), (32766, "from all lookup main"), (32767, "from all lookup default"))


@dataclass(frozen=True, slots=True)
class Qdisc:
    """A queueing discipline at the root of an interface, or where packets come in: `attached` is root, ingress or clsact."""

    interface: str
    kind: str
    attached: str = "root"


@dataclass(frozen=True, slots=True)
class Neighbour:
    """A neighbour entry that somebody wrote down for good."""

    interface: str
    address: str
    hardware: str


class Reader:
    """Asks the kernel. Every call raises OSError when it does not answer."""

    def links(self) -> tuple[Link, ...]:
        """All interfaces."""
        return tuple(_link(flags, attributes) for _, flags, attributes in _links())

    def addresses(self) -> tuple[Address, ...]:
        """All addresses of both families."""
        names = _names()
        found = []
        for body in _dump(22, _ADDRESS.pack(0, 0, 0, 0, 0)):
            family, prefix, _, _, index = _ADDRESS.unpack_from(body)
            attributes = _attributes(body, _ADDRESS.size)
            raw = attributes.get(2) or attributes.get(1)
            if raw is not None and family in _FAMILIES:
                found.append(Address(names.get(index, f"if{index}"), f"{socket.inet_ntop(family, raw)}/{prefix}"))
        return tuple(found)

    def routes(self, family: int = 4) -> tuple[Route, ...]:
        """All routes of a family, of every table."""
        names = _names()
        answers = _dump(26, _ROUTE.pack(_number(family), 0, 0, 0, 0, 0, 0, 0, 0))
        return tuple(route for body in answers if (route := _route(body, names)) is not None)

    def rules(self, family: int = 4) -> tuple[Rule, ...]:
        """All policy rules of a family, in their order."""
        answers = _dump(34, _ROUTE.pack(_number(family), 0, 0, 0, 0, 0, 0, 0, 0))
        return tuple(_rule(body) for body in answers)

    def qdiscs(self) -> tuple[Qdisc, ...]:
        """What is attached to each interface; classes below are left out."""
        names = _names()
        found = []
        for body in _dump(38, _QDISC.pack(0, 0, 0, 0, 0)):
            _, index, _, parent, _ = _QDISC.unpack_from(body)
            kind = _text(_attributes(body, _QDISC.size).get(1, b""))
            if index in names and parent in {_ROOT, _INGRESS}:
                found.append(Qdisc(names[index], kind, "root" if parent == _ROOT else kind))
        return tuple(found)

    def static_neighbours(self) -> tuple[Neighbour, ...]:
        """Entries that never age, of both families."""
        names = _names()
        found = []
        for body in _dump(30, _NEIGHBOUR.pack(0, 0, 0, 0, 0)):
            family, index, state, _, _ = _NEIGHBOUR.unpack_from(body)
            attributes = _attributes(body, _NEIGHBOUR.size)
            if state & _PERMANENT and family in _FAMILIES and 1 in attributes and index in names:
                hardware = attributes.get(2, b"").hex(":")
                found.append(Neighbour(names[index], socket.inet_ntop(family, attributes[1]), hardware))
        return tuple(found)


def _link(flags: int, attributes: _Attributes) -> Link:
    state = attributes.get(16, b"\0")[0]
    return Link(
        name=_text(attributes.get(3, b"")),
        up=bool(flags & 0x1),
        carrier=bool(flags & 0x10000),
        arp=not flags & 0x80,
        mtu=_integer(attributes.get(4)),
        state=_OPERSTATES[state] if state < len(_OPERSTATES) else "unknown",
    )


def _links() -> Iterator[tuple[int, int, _Attributes]]:
    for body in _dump(18, _LINK.pack(0, 0, 0, 0, 0)):
        _, _, index, flags, _ = _LINK.unpack_from(body)
        yield index, flags, _attributes(body, _LINK.size)


def _names() -> dict[int, str]:
    return dict(socket.if_nameindex())


def _route(body: bytes, names: dict[int, str]) -> Route | None:
    number, prefix, _, _, table, protocol, _, kind, flags = _ROUTE.unpack_from(body)
    if number not in _FAMILIES or flags & 0x200:  # RTM_F_CLONED: what the kernel remembers of one destination
        return None
    attributes = _attributes(body, _ROUTE.size)
    raw = attributes.get(1)
    gateway, oif = attributes.get(5), attributes.get(4)
    if 9 in attributes and oif is None:  # several ways: the first stands for all
        oif, gateway = _first_hop(attributes[9])
    return Route(
        destination=f"{socket.inet_ntop(number, raw)}/{prefix}" if raw and prefix else "default",
        kind=_KINDS.get(kind, str(kind)),
        table=_integer(attributes.get(15)) or table,
        gateway=socket.inet_ntop(number, gateway) if gateway else "",
        interface=names.get(_integer(oif), "") if oif else "",
        metric=_integer(attributes.get(6)),
        protocol=protocol,
        family=_FAMILIES[number],
    )


def _first_hop(raw: bytes) -> tuple[bytes | None, bytes | None]:
    """Interface and gateway of the first of several next hops: struct rtnexthop, then its attributes."""
    if len(raw) < 8:
        return None, None
    (length,) = struct.unpack_from("=H", raw)
    return raw[4:8], _attributes(raw[:length], 8).get(5)


def _rule(body: bytes) -> Rule:
    number, to_bits, from_bits, tos, table, _, _, action, flags = _ROUTE.unpack_from(body)
    a = _attributes(body, _ROUTE.size)
    words = ["not"] if flags & _INVERTED else []
    words += ["from", _prefix(number, a.get(2), from_bits)]
    words += ["to", _prefix(number, a.get(1), to_bits)] if to_bits else []
    words += ["tos", hex(tos)] if tos else []
    words += _marked(a)
    words += ["iif", _text(a[3])] if 3 in a else []
    words += ["oif", _text(a[17])] if 17 in a else []
    words += ["uidrange", _range("=II", a[20])] if 20 in a else []
    words += ["ipproto", _PROTOCOLS.get(a[22][0], str(a[22][0]))] if 22 in a else []
    words += ["sport", _range("=HH", a[23])] if 23 in a else []
    words += ["dport", _range("=HH", a[24])] if 24 in a else []
    words += _deed(action, _integer(a.get(15)) or table, a)
    return Rule(_integer(a.get(6)), " ".join(words), a.get(21, b"\0")[0], _FAMILIES.get(number, 0))


def _marked(a: _Attributes) -> list[str]:
    mark, mask = _integer(a.get(10)), _integer(a.get(16))
    if not mark and not mask:
        return []
    return ["fwmark", hex(mark) if mask in {0, 0xFFFFFFFF} else f"{hex(mark)}/{hex(mask)}"]


def _deed(action: int, table: int, a: _Attributes) -> list[str]:
    word = _RULE_ACTIONS.get(action, str(action))
    if 19 in a and a[19][0]:
        return ["l3mdev"]
    if word == "goto":
        return [word, str(_integer(a.get(4)))]
    if word != "lookup":
        return [word]
    quiet = struct.unpack("=i", a[14])[0] if len(a.get(14, b"")) == 4 else -1
    return [word, _TABLES.get(table, str(table)), *(["suppress_prefixlength", str(quiet)] if quiet >= 0 else [])]


def _prefix(number: int, raw: bytes | None, bits: int) -> str:
    if raw is None or not bits or number not in _FAMILIES:
        return "all"
    whole = 8 * len(raw)
    return socket.inet_ntop(number, raw) + (f"/{bits}" if bits != whole else "")


def _range(form: str, raw: bytes) -> str:
    first, last = struct.unpack_from(form, raw)
    return str(first) if first == last and form == "=HH" else f"{first}-{last}"


def _number(family: int) -> int:
    return socket.AF_INET if family == 4 else socket.AF_INET6


def _integer(raw: bytes | None) -> int:
    return int(struct.unpack("=I", raw)[0]) if raw is not None and len(raw) == 4 else 0


def _text(raw: bytes) -> str:
    return raw.rstrip(b"\0").decode("utf-8", "replace")


def _attributes(body: bytes, offset: int) -> _Attributes:
    found: _Attributes = {}
    while offset + _ATTRIBUTE.size <= len(body):
        length, kind = _ATTRIBUTE.unpack_from(body, offset)
        if length < _ATTRIBUTE.size:
            break
        found[kind & 0x3FFF] = body[offset + _ATTRIBUTE.size : offset + length]
        offset += (length + 3) & ~3
    return found


def _dump(kind: int, body: bytes) -> list[bytes]:
    """The bodies of all answers to one question. Raises OSError."""
    answers: list[bytes] = []
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE) as connection:
        connection.settimeout(TIMEOUT_S)
        connection.bind((0, 0))
        connection.sendto(_HEADER.pack(_HEADER.size + len(body), kind, _DUMP, 1, 0) + body, (0, 0))
        while _take(connection.recv(_READ_BYTES), answers):
            if len(answers) > ANSWERS_MAX:
                raise OSError(f"the kernel lists more than {ANSWERS_MAX} entries")
    return answers


def _take(data: bytes, answers: list[bytes]) -> bool:
    """Takes what came; whether more is to come."""
    offset = 0
    while offset + _HEADER.size <= len(data):
        length, kind, _, _, _ = _HEADER.unpack_from(data, offset)
        if length < _HEADER.size:
            return False
        if kind == _DONE:
            return False
        if kind == _ERROR:
            (number,) = struct.unpack_from("=i", data, offset + _HEADER.size)
            if number:
                raise OSError(-number, os.strerror(-number))
            return False
        answers.append(data[offset + _HEADER.size : offset + length])
        offset += (length + 3) & ~3
    return True
