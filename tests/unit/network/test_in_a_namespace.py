"""Reading and repairing a real network: one of the kernel's own, in a namespace that ends with the test."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.tools.needs import program

ROOT = Path(__file__).parents[3]
PART = {
    "interfaces": {"eth0": {"mtu": 1500, "addresses": ["192.0.2.7/24"], "gateway": "192.0.2.1"}},
    "manager": "none",
    "extra_routes": "none",
    "extra_rules": "none",
    "qdisc": "default",
    "remove_undeclared": "allowed",
}
HEALTHY = "ip link set lo up; ip link add eth0 type veth peer name far; ip link set far up; ip link set eth0 up; \
ip address add 192.0.2.7/24 dev eth0; ip route add default via 192.0.2.1 dev eth0\n"
PYTHON = f"{sys.executable} -m fleetmend_executor.hosted"


def inside(script: str) -> subprocess.CompletedProcess[str]:
    """Runs a shell script in a network of its own, where it may change everything."""
    unshare = program("unshare", "util-linux")
    program("ip", "iproute2")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(str(ROOT / part) for part in ("agent", "protos"))}
    argv = [unshare, "--map-root-user", "--net", "--", "/bin/sh", "-c", script]
    if subprocess.run([*argv[:-1], "true"], capture_output=True, check=False).returncode:
        pytest.skip("cannot make a network namespace here")
    return subprocess.run(argv, capture_output=True, text=True, check=False, timeout=60, env=environment, cwd="/")


def repaired(fault: str, verb: str, target: dict, shown: str, part: dict = PART) -> tuple[int, str, str]:
    """Exit code and last line of the verb, and what a tool shows afterwards."""
    call = f"{PYTHON} {verb} '{json.dumps(part)}' '{json.dumps(target)}'"
    done = inside(f"{HEALTHY}{fault}\n{call}; code=$?; echo ==; {shown}; exit $code")
    before, _, after = done.stdout.partition("==\n")
    assert done.stderr == "", done.stderr
    return done.returncode, before.strip().rpartition("\n")[2], after


@pytest.mark.parametrize(
    ("fault", "verb", "target", "shown"),
    [
        ("ip route add blackhole 192.0.2.20", "remove_route", {"route": "blackhole 192.0.2.20/32 table 254"}, "ip route"),
        (
            "ip route add unreachable default metric 9",
            "remove_route",
            {"route": "unreachable default table 254 metric 9"},
            "ip route",
        ),
        (
            "ip -6 route add prohibit 2001:db8::/32",
            "remove_route",
            {"route": "prohibit 2001:db8::/32 table 254 metric 1024"},
            "ip -6 route",
        ),
        (
            "ip route add 192.0.2.20 via 192.0.2.9",
            "remove_route",
            {"route": "192.0.2.20/32 via 192.0.2.9 dev eth0 table 254"},
            "ip route",
        ),
        (
            "ip rule add to 192.0.2.20 ipproto 6 dport 9000 prohibit priority 77",
            "remove_rule",
            {"family": 4, "priority": 77, "selector": "from all to 192.0.2.20 ipproto tcp dport 9000 prohibit"},
            "ip rule",
        ),
        (
            "ip rule add not from 192.0.2.0/25 fwmark 0x5/0xff iif lo uidrange 0-0 sport 1-5 lookup 66 priority 78",
            "remove_rule",
            {
                "family": 4,
                "priority": 78,
                "selector": "not from 192.0.2.0/25 fwmark 0x5/0xff iif lo uidrange 0-0 sport 1-5 lookup 66",
            },
            "ip rule",
        ),
        (
            "ip -6 rule add from all blackhole priority 79",
            "remove_rule",
            {"family": 6, "priority": 79, "selector": "from all blackhole"},
            "ip -6 rule",
        ),
        (
            "ip neigh add 192.0.2.20 lladdr 02:00:00:00:00:09 dev eth0 nud permanent",
            "remove_neighbour",
            {"interface": "eth0", "address": "192.0.2.20"},
            "ip neigh",
        ),
    ],
)
def test_exactly_what_is_too_much_is_removed(fault, verb, target, shown):
    healthy = inside(f"{HEALTHY}{shown}").stdout
    code, said, after = repaired(fault, verb, target, shown)
    assert (code, said.split()[0]) == (0, "removed"), said
    assert after == healthy


@pytest.mark.parametrize(
    ("verb", "target", "part", "word"),
    [
        ("remove_route", {"route": "default via 192.0.2.1 dev eth0 table 254"}, {}, "not_there"),
        ("remove_route", {"route": "blackhole 192.0.2.99/32 table 254"}, {}, "not_there"),
        ("remove_route", {"route": "blackhole 192.0.2.20/32 table 254"}, {"remove_undeclared": "never"}, "undeclared"),
        ("remove_route", {"route": "blackhole 192.0.2.20/32 table 254"}, {"extra_routes": "any"}, "undeclared"),
        ("remove_route", {"route": "blackhole 192.0.2.20/32 table 254"}, {"routes": ["192.0.2.20/32"]}, "not_there"),
        ("remove_rule", {"family": 4, "priority": 32766, "selector": "from all lookup main"}, {}, "not_there"),
        ("remove_qdisc", {"interface": "eth0", "attached": "root", "kind": "noqueue"}, {}, "not_there"),
        ("link_up", {"interface": "eth1"}, {}, "undeclared"),
        ("link_up", {}, {}, "undeclared"),
        ("link_up", {"interface": "eth0"}, {"interfaces": 7}, "bad_parameter"),
    ],
)
def test_the_verb_refuses_on_the_host_what_is_not_too_much(verb, target, part, word):
    fault = "ip route add blackhole 192.0.2.20"
    state = "ip route; ip rule; ip -br address show eth0 | cut -d' ' -f1"
    before = inside(f"{HEALTHY}{fault}\n{state}").stdout
    code, said, after = repaired(fault, verb, target, state, {**PART, **part})
    assert (code, said.partition(":")[0]) == (33, word), said
    assert after == before


@pytest.mark.parametrize(
    "fault",
    [
        "ip link set eth0 down",
        "ip link set eth0 mtu 576",
        "ip link set eth0 arp off",
        "ip address flush dev eth0",
        "ip route del default",
        "ip route replace default via 192.0.2.99",
        "ip route del default; ip route add default via 192.0.2.1 metric 50; ip route add default via 192.0.2.9 metric 5",
        "ip rule del priority 32766",
    ],
)
def test_an_interface_is_brought_to_what_is_declared(fault):
    code, said, after = repaired(
        fault, "link_up", {"interface": "eth0"}, "ip -o link show eth0; ip -4 -br address; ip route; ip rule"
    )
    assert (code, said) == (0, "eth0 is as declared"), (said, after)
    assert "mtu 1500" in after
    assert "NOARP" not in after
    assert "192.0.2.7/24" in after
    assert after.count("default via") == 1
    assert "default via 192.0.2.1" in after
    assert "lookup main" in after


def test_what_is_as_declared_is_not_touched():
    code, said, _ = repaired("", "link_up", {"interface": "eth0"}, "true")
    assert (code, said) == (0, "eth0 is as declared")


COMMANDS = [
    "link set lo up",
    "route add blackhole 192.0.2.20",
    "rule add to 192.0.2.20 prohibit",
    "link add v0 type veth peer name v1",
    "address add 192.0.2.9/32 dev lo",
]
LISTENER = f"""
COMMANDS = {COMMANDS!r}
import asyncio
from fleetmend_agent.signals import netlink
netlink.PAUSE_S = 0.01

async def main():
    told = asyncio.Event()
    signal = netlink.NetlinkSignal(told.set)
    signal.want(True)
    signal.want(True)
    assert signal.problem == "", signal.problem
    for command in COMMANDS:
        await asyncio.sleep(0.05)
        told.clear()
        process = await asyncio.create_subprocess_exec("ip", *command.split())
        assert await process.wait() == 0, command
        async with asyncio.timeout(5):
            await told.wait()
        print("told of", command)
    signal.want(False)
    signal.stop()

asyncio.run(main())
"""


def test_the_kernel_tells_of_each_change():
    done = inside(f"{sys.executable} - <<'E'\n{LISTENER}\nE")
    assert done.stdout.count("told of") == len(COMMANDS), done.stderr
