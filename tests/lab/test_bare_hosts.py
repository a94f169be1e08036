"""The lab itself: hosts boot, see each other and nothing else, can be cut off, and are gone after `down` whatever happened."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab.fleet import LAB, Fleet

STATE = Path("/var/lib/fleetmend-lab-bare")
REACH = "import socket, sys; socket.create_connection((sys.argv[1], int(sys.argv[2])), 2)"


@pytest.fixture(scope="module")
def bare(lab_machine: None) -> Iterator[Fleet]:
    fleet = Fleet(STATE, ("web-1",))
    fleet.must("down")
    fleet.must("up", "--hosts", "1", "--no-product", timeout_s=600)
    yield fleet
    fleet.must("down")


def left_behind() -> list[str]:
    """Mounts, processes and namespaces of the bare lab that exist."""
    mounts = [line for line in Path("/proc/self/mountinfo").read_text().splitlines() if str(STATE) in line]
    argvs = [path.read_bytes() for path in Path("/proc").glob("[0-9]*/cmdline") if path.exists()]
    processes = [argv.decode(errors="replace") for argv in argvs if f"--directory={STATE}/".encode() in argv]
    tag = json.loads(Fleet(STATE, ()).must("status", "--output", "json"))["network_namespace"]
    return mounts + processes + living(tag) + [path.name for path in Path("/run/netns").glob(f"{tag}*")]


def living(tag: str) -> list[str]:
    """Processes in the groups of the lab's hosts."""
    listed = Path("/sys/fs/cgroup").glob(f"**/{tag}-*/**/cgroup.procs")
    return [pid for path in listed if path.exists() for pid in path.read_text().split()]


def test_hosts_run_systemd_and_have_their_names(bare: Fleet):
    hosts = json.loads(bare.must("status", "--output", "json"))["hosts"]
    assert [(host["name"], host["system"]) for host in hosts] == [("ctl", "running"), ("web-1", "running")]
    assert bare.run("web-1", "hostname").strip() == "web-1"
    assert bare.run("web-1", "cat", "/etc/machine-id") != bare.run("ctl", "cat", "/etc/machine-id")


def test_hosts_see_each_other_and_have_no_way_out(bare: Fleet):
    refused = bare.tries("web-1", "python3", "-c", REACH, "ctl", "9")
    assert "Connection refused" in refused.stderr
    outside = bare.tries("web-1", "python3", "-c", REACH, "192.0.2.1", "9")
    assert "Network is unreachable" in outside.stderr


def test_partition_is_silence_until_healed(bare: Fleet):
    bare.must("partition", "web-1")
    assert "timed out" in bare.tries("web-1", "python3", "-c", REACH, "ctl", "9").stderr
    bare.must("heal", "web-1")
    assert "Connection refused" in bare.tries("web-1", "python3", "-c", REACH, "ctl", "9").stderr


def test_each_host_has_control_groups_of_its_own(bare: Fleet):
    pids = [host["pid"] for host in json.loads(bare.must("status", "--output", "json"))["hosts"]]
    groups = [Path(f"/proc/{pid}/cgroup").read_text().splitlines()[-1] for pid in pids]
    assert len(set(groups)) == len(pids)


def test_exec_passes_the_exit_code_on(bare: Fleet):
    assert bare.tries("web-1", "sh", "-c", "exit 7").returncode == 7


@pytest.mark.parametrize(
    "fault_id", ["unit-killed", "service-hangs", "service-frozen", "filesystem-full", "crash-loop", "mount-gone"]
)
def test_a_fault_breaks_its_check_and_its_cleanup_mends_it(bare: Fleet, fault_id: str):
    assert bare.well(fault_id, "web-1")
    bare.fault(fault_id, "web-1")
    assert not bare.well(fault_id, "web-1")
    bare.fault(fault_id, "web-1", "cleanup")
    deadline = time.monotonic() + 10
    while not bare.well(fault_id, "web-1"):
        assert time.monotonic() < deadline, "the cleanup did not mend it"


def test_a_host_can_lose_power_and_boot_again(bare: Fleet):
    before = bare.run("web-1", "cat", "/proc/1/stat").split()[21]
    bare.must("stop", "web-1", "--hard")
    assert bare.tries("web-1", "true").returncode == 1
    bare.must("start", "web-1")
    assert bare.run("web-1", "cat", "/proc/1/stat").split()[21] != before


def test_a_second_up_is_refused_and_harms_nothing(bare: Fleet):
    second = bare.lab("up", "--no-product")
    assert second.returncode == 1
    assert "cannot boot a second lab" in second.stderr
    bare.run("web-1", "true")


def test_down_ends_a_system_that_lost_its_container_manager(bare: Fleet):
    hosts = json.loads(bare.must("status", "--output", "json"))["hosts"]
    tag = json.loads(bare.must("status", "--output", "json"))["network_namespace"]
    mark = f"--directory={STATE}/hosts/".encode()
    managers = [int(p.parent.name) for p in Path("/proc").glob("[0-9]*/cmdline") if p.exists() and mark in p.read_bytes()]
    assert len(managers) >= len(hosts)
    assert living(tag) != []
    for pid in managers:
        os.kill(pid, signal.SIGKILL)
    bare.must("down")
    assert left_behind() == []
    bare.must("up", "--hosts", "1", "--no-product")


@pytest.mark.parametrize("delay_s", [0.15, 0.3, 0.6])
def test_down_ends_what_a_killed_up_left_and_is_harmless_twice(bare: Fleet, delay_s: float):
    bare.must("down")
    with subprocess.Popen(
        [sys.executable, str(LAB), "--state", str(STATE), "up", "--no-product"], stderr=subprocess.DEVNULL
    ) as up:
        time.sleep(delay_s)
        up.send_signal(signal.SIGKILL)
    bare.must("down")
    assert left_behind() == []
    bare.must("down")
    bare.must("up", "--hosts", "1", "--no-product")
