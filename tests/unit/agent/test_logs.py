"""The logs of kernel and services: nothing missed, nothing twice, told at once, and only what the kernel itself said."""

from __future__ import annotations

import asyncio
import json
import os

import pytest

from fleetmend_agent.backoff import Backoff
from fleetmend_agent.checks import CheckUnknown
from fleetmend_agent.checks._kernel_log import KernelLog, kernel_log, parse_entry, parse_record
from fleetmend_agent.checks._kernel_patterns import judge
from fleetmend_agent.checks._service_log import Wanted, service_log
from fleetmend_agent.host import Host, Roots
from fleetmend_agent.signals import logs
from fleetmend_agent.signals.logs import LogsSignal
from tests.unit.agent.gateway import until

ERROR = "Buffer I/O error on dev sdk, logical block {}, async page read"
HOUR_MS = 3_600_000


@pytest.fixture
def host(tmp_path):
    made = Host(Roots(kmsg=str(tmp_path / "kmsg"), tools=str(tmp_path / "tools")))
    made.clock_ns = lambda: HOUR_MS * 1_000_000
    return made


def line(block, at_ms=HOUR_MS, prefix=3):
    return f"{prefix},{block},{at_ms * 1000},-;{ERROR.format(block)}\n SUBSYSTEM=block\n DEVICE=b8:16\n"


def blocks(log, within_ms=600_000):
    return [int(told.text.split("block ")[1].split(",")[0]) for told in log.faults(within_ms)]


def test_records_of_a_file_are_read_once_each_however_they_come(host, tmp_path):
    file, log = tmp_path / "kmsg", KernelLog(host)
    file.write_text(line(1, at_ms=HOUR_MS - 700_000) + line(2, at_ms=HOUR_MS - 5_000) + line(3, at_ms=2 * HOUR_MS))
    assert blocks(log) == [2], "what is old counts by its own age, what is of another boot does not"
    with file.open("a") as out:
        out.write(line(4) + line(5)[:20])
    assert blocks(log) == [2, 4]
    with file.open("a") as out:
        out.write(line(5)[20:])
    assert blocks(log) == [2, 4, 5]
    file.write_text(line(6))
    assert blocks(log) == [2, 4, 5, 6], "cut and begun anew"
    (tmp_path / "new").write_text(line(7) + line(8))
    (tmp_path / "new").rename(file)
    assert blocks(log) == [2, 4, 5, 6, 7, 8], "replaced by a longer one"
    assert log.poll() is False


def test_records_of_a_fifo_come_from_many_writers(host, tmp_path):
    os.mkfifo(tmp_path / "kmsg")
    log = KernelLog(host)
    assert blocks(log) == []
    for number in (1, 2):
        with (tmp_path / "kmsg").open("w") as out:
            out.write(line(number, at_ms=7))
        assert blocks(log)[-1] == number, "a record without a sensible time came now"
    log.close()


def test_a_file_that_is_no_kernel_log_is_refused(tmp_path):
    for path in ("/dev/null", str(tmp_path)):
        with pytest.raises(CheckUnknown, match=r"cannot read the kernel log .*; and nothing follows the journal"):
            KernelLog(Host(Roots(kmsg=path))).faults(1000)


def test_only_what_the_kernel_itself_says_counts():
    assert parse_record(line(1)).text == ERROR.format(1)
    for other in (line(1, prefix=11), line(1, prefix=14), " SUBSYSTEM=block", "", "x,y;z", "3,4"):
        assert parse_record(other) is None
    entry = {"_TRANSPORT": "kernel", "SYSLOG_FACILITY": "0", "PRIORITY": "3", "__REALTIME_TIMESTAMP": "9000000", "MESSAGE": "x"}
    assert parse_entry(entry, wall_ms=10_000, clock_ms=5_000).at_ms == 4_000
    assert parse_entry(entry, wall_ms=90_000, clock_ms=5_000) is None, "another boot's"
    for part in ({"_TRANSPORT": "syslog"}, {"SYSLOG_FACILITY": "1"}, {"PRIORITY": []}):
        assert parse_entry(entry | part, 10_000, 5_000) is None
    assert parse_entry(entry | {"MESSAGE": [69, 255]}, 10_000, 5_000).text == "E\ufffd"


@pytest.mark.parametrize(
    ("text", "kind", "device"),
    [
        ("INFO: task kworker/u8:2:91 blocked for more than 120 seconds.", "hung_task", "kworker/u8:2"),
        ("rcu: INFO: rcu_preempt detected stalls on CPUs/tasks:", "soft_lockup", ""),
        ("kernel BUG at mm/slub.c:321!", "kernel_bug", ""),
        ("general protection fault, probably for non-canonical address 0x1: 0000 [#1] SMP", "kernel_bug", ""),
        ("blk_update_request: critical medium error, dev sdc, sector 8 op 0x0:(READ)", "disk_error", "sdc"),
        ("nvme nvme1: controller is down; will reset: CSTS=0xffffffff", "disk_error", "nvme1"),
        ("ata3.00: failed command: READ FPDMA QUEUED", "disk_error", "ata3.00"),
        ("BTRFS error (device sdd): bdev /dev/sdd errs: wr 1, rd 0", "filesystem_error", "sdd"),
        ("Aborting journal on device dm-2-8.", "filesystem_error", "dm-2"),
        ("overlayfs: invalid origin (/var/x, ftype=8000, origin ftype=4000).", "filesystem_error", ""),
        ("EXT4-fs (vdb1): Remounting filesystem read-only", "mounted_readonly", "vdb1"),
        ("EDAC MC1: 1 UE memory read error on CPU_SrcID#1 (channel:0)", "memory_uncorrected", "MC1"),
        ("mce: [Hardware Error]: CPU 4: Machine Check Exception: 5 Bank 0", "hardware_error", ""),
        ("e1000e 0000:00:1f.6 eno1: Detected Hardware Unit Hang:", "network_timeout", "eno1"),
        ("igb 0000:01:00.0 eno2: igb: eno2 NIC Link is Down", "network_reset", "eno2"),
        ("nfs: server filer1 not responding, still trying", "server_silent", "filer1"),
        ("CIFS: VFS: \\\\filer1 has not responded in 180 seconds. Reconnecting...", "server_silent", "filer1"),
        ("nf_conntrack: nf_conntrack: table full, dropping packet", "table_full", "nf_conntrack"),
    ],
)
def test_what_the_kernel_says_is_understood(text, kind, device):
    fault = judge(text)
    assert (fault.pattern.kind, fault.device) == (kind, device)


@pytest.mark.parametrize(
    "text",
    [
        "blk_update_request: I/O error, dev fd0, sector 0",
        "Buffer I/O error on dev sr0, logical block 0, async page read",
        "traps: shopd[99] general protection fault ip:7f sp:7f error:0",
        "EXT4-fs (sda1): mounted filesystem with ordered data mode",
        "EXT4-fs (sda1): re-mounted. Opts: errors=remount-ro",
        "XFS (sdb1): Ending clean mount",
        "ACPI BIOS Error (bug): Could not resolve symbol",
        'audit: type=1400 audit(1.1:2): apparmor="DENIED" operation="open"',
        "systemd[1]: shop.service: Failed with result 'exit-code'.",
        "BUG: using smp_processor_id() in preemptible code",
        "thermal LNXTHERM:00: registered as thermal_zone0",
        "usb 1-1: device descriptor read/64, error -71",
    ],
)
def test_what_healthy_kernels_say_is_no_fault(text):
    assert judge(text) is None


@pytest.mark.parametrize("kind", ["file", "late file", "fifo"])
def test_the_kernels_own_log_wakes_the_checks_at_once(host, tmp_path, monkeypatch, kind):
    monkeypatch.setattr(logs, "FILE_EVERY_S", 0.01)
    monkeypatch.setattr(logs, "PAUSE_S", 0.01)
    path = tmp_path / "kmsg"
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "file":
        path.touch()

    async def main():
        seen = []
        signal = LogsSignal(host, seen.append)
        signal.follow(kernel=True, services=[])
        for number in (1, 2):
            with path.open("a") as out:
                out.write(line(number))
            await until(lambda: len(seen) >= number)  # noqa: B023 - called before the next number
        assert blocks(kernel_log(host)) == [1, 2]
        await signal.stop()

    asyncio.run(main())
    assert not (tmp_path / "tools").exists(), "no journal is followed where the kernel tells by itself"


def journalctl(tmp_path, *batches):
    """A tool that tells one batch of lines at each start and notes what it was asked."""
    folder = tmp_path / "tools"
    folder.mkdir()
    for number, batch in enumerate(batches):
        (folder / f"batch{number}").write_text("".join(json.dumps(entry) + "\n" for entry in batch))
    tool = folder / "journalctl"
    tool.write_text(
        f'#!/bin/sh\ncd {folder}; n=$(cat asked 2>/dev/null | wc -l); echo "$*" >> asked\n'
        f"cat batch$n 2>/dev/null; [ -e batch$n ] && [ ! -e batch$((n+1)) ] && exec sleep 60; exit 3\n"
    )
    tool.chmod(0o755)
    return folder / "asked"


def entry(cursor, message, unit="", **more):
    kernel = {"_TRANSPORT": "kernel", "SYSLOG_FACILITY": "0"} if not unit else {"_SYSTEMD_UNIT": unit}
    return {"__CURSOR": cursor, "MESSAGE": message, "__REALTIME_TIMESTAMP": "1", **kernel, **more}


def test_without_the_kernels_own_log_the_journal_is_followed_and_goes_on_where_it_broke(tmp_path):
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/machine-id").write_text("mine\n")
    host = Host(Roots(kmsg="/dev/null", tools=str(tmp_path / "tools"), etc=str(tmp_path / "etc")))
    now = str(host.wall_ns() // 1000)
    first = [entry("c1", ERROR.format(1), __REALTIME_TIMESTAMP=now), entry("c2", "nothing", __REALTIME_TIMESTAMP=now)]
    first.append(entry("x1", ERROR.format(9), __REALTIME_TIMESTAMP=now, _MACHINE_ID="of another machine"))
    second = [entry("c3", ERROR.format(2), __REALTIME_TIMESTAMP=now), entry("c4", "denied", "shop.service")]
    asked = journalctl(tmp_path, first, second)
    wanted = Wanted("shop.service", ("denied",))

    async def main():
        seen = []
        signal = LogsSignal(host, seen.append, Backoff(first_s=0.01, cap_s=0.01))
        signal.follow(kernel=True, services=[wanted])
        await until(lambda: seen.count("kmsg") == 2 and "journal" in seen)
        await until(lambda: not service_log(host).journal.problem)
        assert blocks(kernel_log(host)) == [1, 2]
        assert [each.text for each in service_log(host).lines(wanted, 1000)] == ["denied"]
        signal.follow(kernel=True, services=[wanted])
        await signal.stop()
        with pytest.raises(CheckUnknown, match="nothing follows the journal"):
            kernel_log(host).faults(1000)

    asyncio.run(main())
    words = asked.read_text().splitlines()
    assert len(words) == 2, "what is followed already is not begun anew"
    assert "--since=-15min" in words[0]
    assert "--after-cursor=c2" in words[1]
    assert words[1].endswith("_TRANSPORT=kernel + _SYSTEMD_UNIT=shop.service + UNIT=shop.service")


def test_where_nothing_tells_the_checks_say_so(tmp_path):
    host = Host(Roots(kmsg="/dev/null", tools=str(tmp_path / "none")))

    async def main():
        signal = LogsSignal(host, lambda _: None)
        signal.follow(kernel=True, services=[])
        await signal.ready(20)
        with pytest.raises(
            CheckUnknown, match=r"cannot read the kernel log /dev/null: .*; and journalctl cannot be run: no such tool"
        ):
            kernel_log(host).faults(1000)
        await signal.stop()

    asyncio.run(main())


def test_lines_of_services_are_matched_when_they_come(host):
    log = service_log(host)
    log.journal.tell("")
    mine, anyone, broken = Wanted("shop.service", ("fail(ed|ure)",), ("retry",)), Wanted("", ("panic",)), Wanted("", ("(",))
    log.configure([mine, anyone, broken])
    told = [
        log.take(unit, text, old=old)
        for unit, text, old in (
            ("shop.service", "payment failed", False),
            ("shop.service", "payment failed, retry 1", False),
            ("mail.service", "delivery failure", False),
            ("mail.service", "panic: no queue", False),
            ("shop.service", "payment failed long ago", True),
        )
    ]
    assert told == [True, False, False, True, False]
    log.configure([mine, anyone])
    assert [each.text for each in log.lines(mine, 1000)] == ["payment failed"]
    assert [each.unit for each in log.lines(anyone, 1000)] == ["mail.service"]
    with pytest.raises(CheckUnknown, match="cannot look for pattern"):
        log.lines(broken, 1000)
