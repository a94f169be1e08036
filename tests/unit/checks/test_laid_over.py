"""Hardware and kernels that break on a healthy machine, by files laid over it while its checks run, and are well again."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
from pathlib import Path

import pytest

from fleetmend_agent import boots
from fleetmend_agent.checks import CheckUnknown, Context, Status, prepare
from fleetmend_agent.checks._source import worst
from fleetmend_agent.host import Host, Roots
from tests.tools.cases import CHECKS, said
from tests.tools.engine import engine

MEMINFO = (
    "MemTotal: 16000000 kB\nMemAvailable: 9000000 kB\nSwapTotal: 4000000 kB\nSwapFree: 3900000 kB\nHardwareCorrupted: 0 kB\n"
)
QUIET = "some avg10=0.00 avg60=0.00 avg300=0.00 total=1\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=1\n"
HEALTHY = {
    "proc/meminfo": MEMINFO,
    "proc/vmstat": "pgmajfault 1000\npswpin 0\npswpout 0\noom_kill 0\n",
    "proc/pressure/memory": QUIET,
    "proc/stat": "cpu  1000 0 100 90000 10 0 0 0 0 0\n",
    "proc/diskstats": "   8       0 vda 500 0 4000 100 500 0 4000 100 0 90 200 0 0 0 0 0 0\n",
    "proc/1/stat": "1 (init) S 0 1 1 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 2 99 99\n",
    "proc/uptime": "86400.00 80000.00\n",
    "proc/sys/kernel/random/boot_id": "11111111-2222-3333-4444-555555555555\n",
    "sys/class/net/eth0/statistics/rx_packets": "1000\n",
    "sys/class/net/eth0/statistics/tx_packets": "1000\n",
    "sys/class/net/eth0/speed": "10000\n",
}


class Machine:
    """A healthy machine with a folder over it, and a clock that a test moves."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.laid = folder / "own", folder / "laid"
        self.laid.mkdir(parents=True)
        for path, text in HEALTHY.items():
            self._write(self.folder / path, text)
        roots = Roots.under(str(self.folder))
        self.host = Host(Roots(roots.proc, roots.sys, roots.etc, roots.root, "", str(folder / "kmsg"), str(self.laid)))
        self.now_ms = 86_400_000
        self.host.clock_ns = lambda: self.now_ms * 1_000_000
        self.host.sleep = self.wait
        self.memory: dict[str, dict] = {}
        self.known: dict[str, dict[str, Status]] = {}

    @staticmethod
    def _write(path: Path, text: str) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        if path.parent.name == "bin":
            path.chmod(0o755)

    def wait(self, seconds: float) -> None:
        self.now_ms += int(seconds * 1000)

    def lay(self, **files: str) -> None:
        for path, text in files.items():
            self._write(self.laid / path, text)

    def kernel_says(self, level: int, text: str) -> None:
        with (self.folder.parent / "kmsg").open("a") as log:
            log.write(f"{level},7,{self.now_ms * 1000},-;{text}\n")

    def say(self, check: str, *, fresh: bool = False, **params: object) -> dict[str, Status]:
        """What a check says now, by subject, as the runner would ask it: what it does not name is well."""
        known = self.known.setdefault(check, {})
        context = Context(self.host, prepare(CHECKS[check], params), 5.0, fresh, dict(known), self.memory.setdefault(check, {}))
        statuses = dict.fromkeys(known, Status.OK)
        self.last = asyncio.run(said(CHECKS[check], context))
        statuses |= {result.key: result.status for result in self.last}
        self.known[check] = statuses
        return statuses

    def is_well(self, *checks: str) -> bool:
        return all(worst(list(self.say(check).values())) is Status.OK for check in checks)

    def finding(self) -> dict:
        """Of the first subject of the last check that is not well."""
        return next(result.finding for result in self.last if result.status is not Status.OK)


@pytest.fixture
def machine(tmp_path):
    return Machine(tmp_path)


SHIPPED = (
    "swap_used", "memory_available", "memory_pressure", "memory_thrash", "oom_kill", "cpu_contention", "disk_latency",
    "network_errors", "bond", "link_speed", "smart", "edac", "temperature", "raid", "ups", "unexpected_reboot", "conntrack",
)  # fmt: skip


def test_a_healthy_machine_stays_well(machine):
    for _ in range(5):
        assert machine.is_well(*SHIPPED)
        machine.wait(15)


def test_a_disk_that_foretells_its_failure_is_named_with_its_serial_until_it_is_replaced(machine):
    assert machine.is_well("smart")
    scan = '{"devices":[{"name":"/dev/sdq","type":"sat"}]}'
    answer = {"serial_number": "WX-1", "smart_status": {"passed": False}, "ata_smart_attributes": {"table": []}}
    script = "#!/bin/sh\ncase $* in *--scan*) echo '%s';; *) echo '%s';; esac\n"
    machine.wait(30)
    machine.lay(**{"bin/smartctl": script % (scan, json.dumps(answer))})
    assert machine.say("smart") == {"": Status.OK, "/dev/sdq": Status.CRIT}
    assert machine.finding()["serial"] == "WX-1"
    machine.wait(30)
    machine.lay(**{"bin/smartctl": script % (scan, json.dumps({**answer, "smart_status": {"passed": True}}))})
    os.utime(machine.laid / "bin/smartctl", (5, 5))
    assert machine.is_well("smart")


def test_disks_are_asked_at_their_own_pace_and_at_once_for_a_proof(machine):
    log = machine.folder / "asked"
    answer = '{"smart_status":{"passed":true},"nvme_smart_health_information_log":{"critical_warning":0}}'
    scan = '{"devices":[{"name":"/dev/nvme7","type":"nvme"}]}'
    script = f"#!/bin/sh\necho x >> {log}\ncase $* in *--scan*) echo '{scan}';; *) echo '{answer}';; esac\n"
    machine.lay(**{"bin/smartctl": script})
    for fresh, asked in ((False, 2), (False, 2), (True, 4), (False, 4)):
        machine.wait(30)
        machine.say("smart", fresh=fresh)
        assert len(log.read_text().splitlines()) == asked
    machine.wait(600)
    machine.say("smart")
    assert len(log.read_text().splitlines()) == 6


def test_memory_errors_are_told_with_their_module(machine):
    assert machine.is_well("edac")
    machine.wait(30)
    folder = "sys/devices/system/edac/mc/mc3"
    counts = {f"{folder}/ce_count": "900\n", f"{folder}/ue_count": "2\n", f"{folder}/dimm1/dimm_ue_count": "2\n"}
    machine.lay(**counts, **{f"{folder}/dimm1/dimm_label": "DIMM_B1\n"})
    machine.lay(**{"proc/meminfo": MEMINFO.replace("Corrupted: 0", "Corrupted: 8")})
    assert machine.say("edac") == {"": Status.OK, "mc3": Status.CRIT, "lost pages": Status.CRIT}
    assert machine.finding()["module"] == "DIMM_B1"
    machine.kernel_says(2, "{3}[Hardware Error]: event severity: recoverable")
    assert machine.say("kernel_log")["hardware_error"] is Status.CRIT
    machine.lay(**dict.fromkeys(counts, "0\n"))
    machine.wait(30)
    assert machine.say("edac")["mc3"] is Status.OK
    machine.wait(700)
    assert machine.is_well("edac", "kernel_log")


def test_heat_and_a_fan_that_stands(machine):
    chip = "sys/class/hwmon/hwmon4"
    machine.lay(**{f"{chip}/name": "k10temp\n", f"{chip}/temp1_input": "97000\n", f"{chip}/temp1_crit": "95000\n"})
    machine.lay(**{f"{chip}/fan2_input": "0\n", f"{chip}/fan2_min": "500\n"})
    assert machine.say("temperature")["k10temp hwmon4"] is Status.CRIT
    machine.lay(**{f"{chip}/temp1_input": "60000\n", f"{chip}/fan2_input": "1500\n"})
    assert machine.is_well("temperature")


def test_a_bond_that_lost_a_member_and_a_card_that_comes_with_errors(machine):
    assert machine.is_well("bond", "network_errors", "link_speed")
    machine.wait(15)
    bond = "Bonding Mode: IEEE 802.3ad\nMII Status: up\n\nSlave Interface: eth4\nMII Status: %s\n\n"
    bond += "Slave Interface: eth5\nMII Status: up\n"
    counters = {f"sys/class/net/eth4/statistics/{name}": "50000\n" for name in ("rx_packets", "tx_packets")}
    machine.lay(**{"proc/net/bonding/bond3": bond % "down"}, **counters)
    machine.lay(**{"sys/class/net/eth4/statistics/rx_errors": "2500\n"})
    assert machine.say("bond")["bond3"] is Status.CRIT
    assert machine.finding()["down"] == "eth4"
    assert machine.say("network_errors")["eth4"] is Status.CRIT
    machine.lay(**{"proc/net/bonding/bond3": bond % "up"})
    machine.wait(90)
    machine.say("network_errors")
    machine.wait(15)
    assert machine.is_well("bond", "network_errors")


def test_a_link_that_becomes_slower(machine):
    assert machine.is_well("link_speed")
    machine.lay(**{"sys/class/net/eth0/speed": "100\n"})
    assert machine.say("link_speed")["eth0"] is Status.CRIT
    machine.lay(**{"sys/class/net/eth0/speed": "10000\n"})
    assert machine.is_well("link_speed")


def test_memory_that_runs_out(machine):
    assert machine.is_well("memory_available", "memory_pressure", "swap_used", "memory_thrash")
    machine.wait(15)
    machine.lay(**{"proc/meminfo": MEMINFO.replace("9000000", "300000").replace("3900000", "50000")})
    machine.lay(**{"proc/pressure/memory": QUIET.replace("0.00", "55.00"), "proc/vmstat": "pgmajfault 90000\n"})
    for check in ("memory_available", "memory_pressure", "swap_used", "memory_thrash"):
        assert worst(list(machine.say(check).values())) is Status.CRIT, check
    machine.wait(60)
    shutil.rmtree(machine.laid / "proc")
    assert machine.is_well("memory_available", "memory_pressure", "swap_used", "memory_thrash")


def test_a_service_that_the_kernel_killed_for_memory(machine):
    assert machine.is_well("oom_kill")
    machine.wait(15)
    group = "task_memcg=/system.slice/mail.service,task=maild,pid=4711,uid=8"
    machine.kernel_says(6, f"oom-kill:constraint=CONSTRAINT_NONE,nodemask=(null),cpuset=/,mems_allowed=0,global_oom,{group}")
    machine.kernel_says(3, "Out of memory: Killed process 4711 (maild) total-vm:9000kB, anon-rss:8000kB, file-rss:0kB")
    machine.lay(**{"proc/vmstat": "pgmajfault 1000\noom_kill 1\n"})
    assert machine.say("oom_kill") == {"": Status.CRIT}
    assert machine.finding() | {"kills": 1, "victim_unit": "mail.service", "process": "maild"} == machine.finding()
    assert "unit" not in machine.finding(), "the unit's own fault is healed as that"
    assert "oom_kill" not in machine.say("kernel_log")
    machine.wait(590)
    assert machine.say("oom_kill") == {"": Status.CRIT}
    machine.wait(20)
    assert machine.is_well("oom_kill")


def test_other_guests_take_the_cpu(machine):
    assert machine.is_well("cpu_contention")
    ticks = [500, 0, 100, 500, 500, 0, 0, 500, 0, 0]
    for step in range(4):
        machine.wait(10)
        ticks = [ticks[0] + 100, 0, 100, ticks[3] + 50, ticks[4] + 350, 0, 0, ticks[7] + 500, 0, 0]
        machine.lay(**{"proc/stat": f"cpu  {' '.join(map(str, ticks))}\n"})
        statuses = machine.say("cpu_contention")
        if step:
            assert statuses["steal"] is Status.CRIT
            assert statuses["iowait"] is Status.WARN
    shutil.rmtree(machine.laid / "proc")
    machine.wait(10)
    assert machine.is_well("cpu_contention")


def test_a_disk_that_becomes_slow(machine):
    assert machine.is_well("disk_latency")
    count, spent_ms = 3000, 9000
    for step in range(3):
        machine.wait(10)
        count, spent_ms = count + 40, spent_ms + 12_000
        line = f"{count} 0 {count * 8} {spent_ms} {count} 0 {count * 8} {spent_ms} 20 {spent_ms * 10 // 12} {spent_ms * 9}"
        machine.lay(**{"proc/diskstats": f" 8 16 sdb {line} 0 0 0 0 0 0\n"})
        assert machine.say("disk_latency").get("sdb") is (Status.CRIT if step else None)
    assert machine.finding()["wait_ms"] == 300.0
    machine.lay(**{"proc/diskstats": " 8 16 sdb 10 0 80 5 10 0 80 5 0 9 10 0 0 0 0 0 0\n"})
    machine.wait(10)
    assert machine.is_well("disk_latency")


def test_what_the_kernel_says_is_told_once_for_each_thing_and_ends(machine):
    with pytest.raises(CheckUnknown, match="cannot read the kernel log"):
        machine.say("kernel_log")
    machine.kernel_says(6, "usb 1-1: new high-speed USB device")
    assert machine.is_well("kernel_log")
    for _ in range(3):
        machine.kernel_says(3, "Buffer I/O error on dev sdk2, logical block 9, lost async page write")
    machine.kernel_says(3, "EXT4-fs (sdk2): Remounting filesystem read-only")
    machine.kernel_says(0, "watchdog: BUG: soft lockup - CPU#9 stuck for 26s! [tar:99]")
    machine.kernel_says(12, "EXT4-fs error (device sdz1): somebody wrote this by hand")
    statuses = machine.say("kernel_log")
    assert [key for key, status in statuses.items() if status is Status.CRIT] == [
        "disk_error sdk2", "mounted_readonly sdk2", "soft_lockup CPU#9",
    ]  # fmt: skip
    assert machine.finding()["count"] == 3
    machine.wait(300)
    machine.kernel_says(3, "Buffer I/O error on dev sdk2, logical block 10, lost async page write")
    machine.wait(400)
    statuses = machine.say("kernel_log")
    assert [key for key, status in statuses.items() if status is Status.CRIT] == ["disk_error sdk2"]
    machine.wait(300)
    assert machine.is_well("kernel_log")


def test_a_reboot_that_nobody_announced(machine):
    folder = "/var/lib/fleetmend-agent"
    (machine.folder / "root/var/lib/fleetmend-agent").mkdir(parents=True)
    boots.begin(machine.host, folder, boots.current(machine.host))
    assert machine.is_well("unexpected_reboot")
    machine.lay(**{"proc/uptime": "31.00 20.00\n", "proc/sys/kernel/random/boot_id": "aaaaaaaa-2222-3333-4444-555555555555\n"})
    assert machine.say("unexpected_reboot") == {"": Status.CRIT}
    assert machine.finding()["previous_boot_id"].startswith("11111111")
    machine.wait(100)
    machine.lay(**{"proc/uptime": "900.00 20.00\n"})
    assert machine.is_well("unexpected_reboot")


def test_containers_that_end_and_hang(machine):
    rows = [("c7", "shop", "running", "unhealthy"), ("c8", "mail", "exited", ""), ("c9", "theirs", "exited", "")]
    containers = [dict(zip(("id", "name", "state", "health"), row, strict=True)) for row in rows]
    params = {"names": ["shop", "mail"], "restartable": ["shop"]}
    with engine(str(machine.laid / "run/docker.sock"), containers) as fake:
        assert machine.say("container_health", **params) == {"": Status.OK, "shop": Status.CRIT, "mail": Status.CRIT}
        assert [result.finding.get("restart") for result in machine.last[1:]] == ["allowed", "never"]
        fake.restart("c7")
        fake.restart("c8")
        assert set(machine.say("container_health", **params).values()) == {Status.OK}
        for restarts in (1, 2, 3):
            machine.wait(10)
            fake.containers["c7"]["restarts"] = restarts
            statuses = machine.say("container_health", **params)
        assert statuses["shop"] is Status.CRIT
        assert machine.finding()["fault"] == "restarting"
        fake.containers["c7"] |= {"health": "starting"}
        machine.wait(400)
        assert machine.say("container_health", **params)["shop"] is Status.CRIT, "starting is not well yet"
