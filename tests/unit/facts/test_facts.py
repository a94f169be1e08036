"""The inventory: what it tells, that it stays the same on an unchanged machine, and what it must not tell."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fleetmend_agent.facts
from fleetmend import registry
from fleetmend_agent.facts import Fact
from fleetmend_agent.facts._lines import assignments, pairs
from fleetmend_agent.facts.memory import parse_swaps
from fleetmend_agent.facts.network import parse_gateways, parse_if_inet6, parse_name_servers
from fleetmend_agent.facts.systemd import parse_unit_files, parse_version
from fleetmend_agent.host import Host, Roots, UnitState

FACTS = registry.load(fleetmend_agent.facts, "FACT", Fact)
SERVER = Path(__file__).parents[2] / "fixtures" / "hosts" / "inventory"
UNITS = (
    UnitState("shop.service", active="active", sub="running"),
    UnitState("getty@tty1.service", active="activating", sub="start"),
    UnitState("backup.service", active="inactive"),
    UnitState("backup.timer", active="active"),
    UnitState("ghost.service", load="not-found"),
    UnitState("session-4.scope", active="active"),
    UnitState("run-u7.service", active="active"),
    UnitState("user@1000.service", active="active"),
)


def machine(**more):
    return Host(
        roots=Roots.under(str(SERVER)),
        unit_source=lambda fresh: {unit.name: unit for unit in UNITS},
        ipv4_addresses=lambda: {"eth0": ("192.0.2.7/24",), "lo": ("127.0.0.1/8",), "veth1234": ("198.51.100.1/30",)},
        clock_ns=lambda: 5_000_000_000_000,
        wall_ns=lambda: 1_800_000_000_000_000_000,
        **more,
    )


def collect(name, host=None):
    return FACTS[name].collect(host or machine())


def test_there_are_the_sections_that_people_ask_for():
    assert set(FACTS) == {"agent", "boot", "cpu", "disks", "kernel", "memory", "network", "os", "systemd"}


@pytest.mark.parametrize("name", FACTS)
def test_a_section_is_the_same_each_time_and_is_json(name):
    first = json.dumps(collect(name), allow_nan=False)
    assert first == json.dumps(collect(name), allow_nan=False)
    assert isinstance(json.loads(first), dict)


@pytest.mark.parametrize("name", sorted(set(FACTS) - {"systemd"}))
def test_a_section_can_be_read_on_this_very_machine(name):
    found = FACTS[name].collect(Host())
    assert found == FACTS[name].collect(Host())
    assert len(json.dumps(found)) < 200_000


def test_nothing_secret_is_told():
    everything = json.dumps([collect(name) for name in FACTS])
    assert "s3cret" not in everything


def test_os():
    assert collect("os") == {
        "id": "debian", "id_like": "", "version": "12", "codename": "bookworm", "name": "Debian GNU/Linux 12 (bookworm)",
        "hostname": "web-3", "timezone": "Europe/Berlin", "vendor": "QEMU", "product": "Standard PC",
    }  # fmt: skip


def test_kernel():
    assert collect("kernel") == {
        "release": "6.1.0-28-amd64", "version": "#1 SMP PREEMPT_DYNAMIC Debian 6.1.119-1", "architecture": "x86_64",
        "tainted": 4096, "pid_max": 4194304,
    }  # fmt: skip


def test_cpu():
    assert collect("cpu") == {
        "model": "Some CPU 3000", "vendor": "GenuineIntel", "online": 4, "cores": 2, "sockets": 1, "hypervisor": True,
    }  # fmt: skip


def test_memory():
    assert collect("memory") == {
        "total_bytes": 8 * 1024**3, "swap_total_bytes": 1024**3,
        "swaps": [{"name": "/dev/vda5", "type": "partition", "size_bytes": 1024**3}],
    }  # fmt: skip


def test_disks():
    assert collect("disks") == {
        "devices": [
            {
                "name": "vda",
                "size_bytes": 20 * 1024**3,
                "rotational": False,
                "removable": False,
                "vendor": "0x1af4",
                "model": "",
            }
        ],
        "filesystems": [{"mount": "/", "device": "/dev/vda1", "fstype": "ext4"}],
        "truncated": False,
    }


def test_network_without_what_comes_and_goes():
    assert collect("network") == {
        "interfaces": [
            {"name": "eth0", "mac": "52:54:00:00:00:01", "mtu_bytes": 1500, "state": "up", "speed_mbit": 1000,
             "addresses": ["192.0.2.7/24", "2001:db8::7/64", "fe80::1/64"]},
            {"name": "lo", "mac": "00:00:00:00:00:00", "mtu_bytes": 65536, "state": "unknown", "speed_mbit": 0,
             "addresses": ["127.0.0.1/8"]},
        ],
        "gateways": [{"interface": "eth0", "address": "192.0.2.1"}],
        "name_servers": ["192.0.2.53", "2001:db8::53"],
        "truncated": False,
    }  # fmt: skip


def test_systemd_without_what_comes_and_goes():
    assert collect("systemd") == {
        "version": 252,
        "counts": {"service": 3, "socket": 0, "timer": 1, "mount": 0, "path": 0, "target": 0},
        "units": [
            {"name": "backup.service", "active": "inactive", "enabled": "static"},
            {"name": "backup.timer", "active": "active", "enabled": "enabled"},
            {"name": "getty@tty1.service", "active": "active", "enabled": "enabled"},
            {"name": "shop.service", "active": "active", "enabled": "enabled"},
        ],
        "truncated": False,
    }


def test_systemd_says_why_it_is_unknown():
    with pytest.raises(OSError, match="cannot read systemd units"):
        collect("systemd", Host(roots=Roots.under(str(SERVER))))


def test_the_begin_of_a_boot_does_not_move_with_the_clocks_but_follows_a_clock_that_was_set():
    host = machine()
    first = collect("boot", host)
    assert first["began_s"] == 1_800_000_000 - 5_000
    assert first["restart_required"] is True
    assert first["boot_id"] == "11111111-2222-3333-4444-555555555555"
    host.wall_ns = lambda: 1_800_000_002_000_000_000
    assert collect("boot", host) == first
    host.wall_ns = lambda: 1_800_003_600_000_000_000
    assert collect("boot", host)["began_s"] == first["began_s"] + 3600


def test_agent():
    facts = collect("agent")
    assert facts["version"]
    assert facts["parts"]["h2"]


def test_small_parsers():
    assert assignments('ID=debian\nNAME="A \\"b\\""\nBAD="open\n# no\nx y=1') == {
        "ID": "debian",
        "NAME": 'A "b"',
        "BAD": '"open',
    }
    assert pairs("a\t: 1\na : 2\nnone") == {"a": "1"}
    assert parse_version("nonsense") == 0


@pytest.mark.parametrize(
    "parse",
    [assignments, pairs, parse_swaps, parse_gateways, parse_if_inet6, parse_name_servers, parse_unit_files, parse_version],
)
@settings(deadline=None)
@given(text=st.text(max_size=300) | st.from_regex(r"([0-9a-f]{1,33}[ \t\n]){0,12}", fullmatch=True))
def test_parsers_take_anything(parse, text):
    parse(text)
