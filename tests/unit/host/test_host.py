"""The door to the machine: where files lie, how much is read, clocks, mounts."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from fleetmend_agent.checks import CheckUnknown
from fleetmend_agent.host import Host, Roots, parse_mountinfo


@pytest.fixture
def host(tmp_path):
    for name in ("proc/sys/kernel/random", "sys", "etc", "root/srv", "tools"):
        (tmp_path / name).mkdir(parents=True)
    return Host(roots=Roots.under(str(tmp_path)))


def test_files_lie_under_the_roots_and_nothing_else_does(host, tmp_path):
    assert host.path("/proc/meminfo") == f"{tmp_path}/proc/meminfo"
    assert host.path("/sys") == f"{tmp_path}/sys"
    assert host.path("/etc/fstab") == f"{tmp_path}/etc/fstab"
    assert host.path("/procession") == f"{tmp_path}/root/procession"
    assert host.path("/srv/x") == f"{tmp_path}/root/srv/x"


def test_on_the_real_machine_a_path_is_itself():
    assert Host().path("/srv/x") == "/srv/x"
    assert Host().path("/proc/meminfo") == "/proc/meminfo"


def test_a_file_is_read_whole_up_to_its_limit(host, tmp_path):
    (tmp_path / "etc/x").write_bytes(b"x" * 200_000)
    assert len(host.read_bytes("/etc/x")) == 200_000
    assert len(host.read_bytes("/etc/x", 200_000)) == 200_000
    with pytest.raises(OSError, match="longer than 199999 bytes") as refused:
        host.read_bytes("/etc/x", 199_999)
    assert refused.value.errno == errno.EFBIG


def test_a_fifo_does_not_hang_the_reader(host, tmp_path):
    os.mkfifo(tmp_path / "etc/fifo")
    assert host.read_bytes("/etc/fifo") == b""


def test_bytes_that_are_no_text_are_replaced(host, tmp_path):
    (tmp_path / "etc/x").write_bytes(b"a\xffb")
    assert host.read_text("/etc/x") == "a\ufffdb"


def test_what_is_absent_raises_and_does_not_exist(host):
    with pytest.raises(FileNotFoundError):
        host.read_text("/etc/none")
    assert not host.exists("/etc/none")
    assert host.exists("/srv")


def test_the_clock_of_the_boot_does_not_run_backwards_and_is_the_kernels():
    host = Host()
    first = host.clock_ms()
    uptime_ms = float(Path("/proc/uptime").read_text(encoding="ascii").split()[0]) * 1000
    assert first - 20 <= uptime_ms
    assert host.clock_ms() >= first
    assert len(host.boot_id()) == 36
    assert any(mount.mount_point == "/" for mount in host.mounts())


def test_without_a_connection_to_systemd_units_cannot_be_judged():
    with pytest.raises(CheckUnknown, match="cannot read systemd units"):
        Host().units()


def test_the_hostname_is_the_kernels(host, tmp_path):
    (tmp_path / "proc/sys/kernel/hostname").write_text("web-3\n")
    assert host.hostname() == "web-3"


def test_addresses_come_with_their_prefix():
    assert "127.0.0.1/8" in Host().ipv4_addresses()["lo"]


def test_a_mount_whose_path_no_call_would_take_is_left_out():
    good = "21 1 8:1 / /srv rw - ext4 /dev/sda1 rw"
    assert [mount.mount_point for mount in parse_mountinfo(f"{good}\n22 1 8:2 / /a\0b rw - ext4 /dev/sdb1 rw\n")] == ["/srv"]
