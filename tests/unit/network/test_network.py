"""What nobody declared, and the words in which the kernel's answers are told."""

from __future__ import annotations

import struct
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleetmend import netlink
from fleetmend.netlink import Neighbour, Qdisc, Reader, Route, Rule
from fleetmend.network import Declared, extra_neighbours, extra_qdiscs, extra_routes, extra_rules, is_removable, ways_out

PART = {
    "interfaces": {"eth0": {"mtu": 1500, "addresses": ["192.0.2.7/24"], "gateway": "192.0.2.1"}},
    "routes": ["198.51.100.0/24"],
    "rules": ["from 192.0.2.7 lookup 100"],
    "manager": "systemd-networkd",
    "extra_routes": "none",
    "extra_rules": "any",
    "qdisc": "default",
    "remove_undeclared": "allowed",
}
DECLARED = Declared.of(PART)


def test_the_part_of_a_declaration_is_understood():
    (eth0,) = DECLARED.interfaces
    assert (eth0.name, eth0.mtu, eth0.addresses, eth0.gateway) == ("eth0", 1500, ("192.0.2.7/24",), "192.0.2.1")
    assert DECLARED.names == ("eth0", "lo")
    assert (DECLARED.removable, DECLARED.bounded) == (True, {"routes", "qdisc"})
    assert Declared.of({}) == Declared()


@pytest.mark.parametrize(
    "part",
    [
        None,
        [],
        "eth0",
        {"interfaces": []},
        {"interfaces": {"eth0": None}},
        {"interfaces": {7: {}}},
        {"interfaces": {"eth0": {"mtu": "1500"}}},
        {"interfaces": {"eth0": {"mtu": True}}},
        {"interfaces": {"eth0": {"addresses": "192.0.2.7/24"}}},
        {"routes": [1]},
        {"rules": "from all"},
    ],
)
def test_a_part_of_another_form_is_refused(part):
    with pytest.raises(ValueError, match=r"^cannot use the declared network"):
        Declared.of(part)


@pytest.mark.parametrize(
    ("route", "extra"),
    [
        (Route("192.0.2.20/32", "blackhole"), True),
        (Route("192.0.2.20/32", "prohibit", table=255), True),
        (Route("203.0.113.0/24", "unreachable"), True),
        (Route("203.0.113.0/24", "unreachable", table=100), False),
        (Route("198.51.100.0/24", "blackhole"), False),
        (Route("default", "blackhole"), True),
        (Route("2001:db8::/32", "blackhole", family=6), True),
        (Route("default", "unreachable", protocol=2, family=6), False),
        (Route("fe80::/64", interface="eth0", family=6), False),
        (Route("192.0.2.0/24", interface="eth0", protocol=2), False),
        (Route("192.0.2.0/24", interface="docker0", protocol=2), False),
        (Route("192.0.2.20/32", gateway="192.0.2.9", interface="eth0"), True),
        (Route("192.0.2.20/32", interface="lo"), True),
        (Route("192.0.2.128/25", interface="dummy0"), True),
        (Route("128.0.0.0/1", gateway="10.8.0.1", interface="tun0"), True),
        (Route("10.8.0.0/24", interface="tun0"), False),
        (Route("default", gateway="192.0.2.1", interface="eth0"), False),
        (Route("default", gateway="192.0.2.99", interface="eth0"), False),
        (Route("default", gateway="192.0.2.99", interface="eth1"), True),
        (Route("192.0.2.7/32", "local", table=255, interface="eth0", protocol=2), False),
    ],
)
def test_which_routes_nobody_declared(route, extra):
    assert bool(extra_routes([route], DECLARED)) is extra


def test_the_way_out_is_never_removable_but_a_black_hole_in_its_place_is():
    assert not is_removable(Route("default", gateway="192.0.2.99", interface="eth0"))
    assert is_removable(Route("default", "blackhole"))
    assert is_removable(Route("192.0.2.20/32", "prohibit"))


def test_the_way_out_that_counts_comes_first():
    late, soon = (Route("default", gateway=f"192.0.2.{n}", interface="eth0", metric=n) for n in (100, 10))
    others = [
        Route("default", "blackhole", metric=1),
        Route("default", interface="eth1"),
        Route("192.0.2.0/24", interface="eth0"),
    ]
    assert ways_out([late, *others, soon], "eth0") == [soon, late]


def test_the_kernels_own_rules_stay_whatever_is_declared():
    own = [Rule(0, "from all lookup local", 2), Rule(32766, "from all lookup main"), Rule(1000, "from all l3mdev", 2)]
    declared, extra = Rule(5, "from 192.0.2.7 lookup 100"), Rule(32766, "from all to 192.0.2.20 prohibit")
    assert extra_rules([*own, declared, extra], DECLARED) == [extra]
    assert extra_rules([Rule(5, "from all lookup main")], DECLARED), "the same words at another place are another rule"


def test_what_the_kernel_attaches_by_itself_is_no_fault():
    usual = [Qdisc("eth0", kind) for kind in ("noqueue", "noop", "mq", "fq_codel", "cake")] + [Qdisc("vxlan0", "netem")]
    extra = [Qdisc("eth0", "tbf"), Qdisc("lo", "netem"), Qdisc("eth0", "clsact", "clsact")]
    assert extra_qdiscs([*usual, *extra], DECLARED, "cake") == extra


def test_static_neighbours_count_on_declared_interfaces_only():
    extra = Neighbour("eth0", "192.0.2.20", "02:00:00:00:00:01")
    assert extra_neighbours([extra, Neighbour("vxlan0", "10.0.0.1", ""), Neighbour("lo", "127.0.0.1", "")], DECLARED) == [extra]


def test_a_route_is_told_in_the_words_that_remove_it():
    assert Route("192.0.2.20/32", "blackhole").words() == ("blackhole", "192.0.2.20/32", "table", "254")
    full = Route("192.0.2.128/25", gateway="192.0.2.9", interface="eth0", metric=7)
    assert " ".join(full.words()) == "192.0.2.128/25 via 192.0.2.9 dev eth0 table 254 metric 7"


def test_this_machine_answers():
    reader = Reader()
    (lo,) = [link for link in reader.links() if link.name == "lo"]
    assert lo.mtu > 1500
    assert all("/" in each.address for each in reader.addresses())
    for family in (4, 6):
        assert all(route.family == family and route.words() for route in reader.routes(family))
        assert (0, "from all lookup local") in [(rule.priority, rule.selector) for rule in reader.rules(family)]
    assert all(qdisc.kind for qdisc in reader.qdiscs())


@given(st.binary(max_size=200))
def test_no_answer_of_the_kernel_breaks_the_reader(data):
    answers: list[bytes] = []
    with suppress(OSError, struct.error):
        netlink._take(data, answers)
    assert all(isinstance(each, bytes) for each in answers)
    assert isinstance(netlink._attributes(data, 0), dict)
