"""The shared look at the processes, and the checks that judge them over time."""

from __future__ import annotations

import os
import socket
from dataclasses import replace
from pathlib import Path

import pytest

from fleetmend_agent import sockets
from fleetmend_agent.checks import CheckUnknown, Context, Result, Status, _processes, _programs, _units, prepare
from fleetmend_agent.checks.pid_usage import CHECK as PID_USAGE
from fleetmend_agent.checks.process_runaway import CHECK as RUNAWAY
from fleetmend_agent.checks.process_stuck import CHECK as STUCK
from fleetmend_agent.checks.unit_descriptors import CHECK as DESCRIPTORS
from fleetmend_agent.checks.unit_process import CHECK as UNIT_PROCESS
from fleetmend_agent.checks.unit_restarts import CHECK as RESTARTS
from fleetmend_agent.host import Host, Roots, UnitState

PASSWD = "root:x:0:0::/root:/bin/sh\nbatch:x:997:997::/:/bin/false\n"


class Machine:
    """Processes in a folder, and a clock that moves when told."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.now_ms, self.reads = folder, 1_000_000, []
        self.units: dict[str, UnitState] = {}
        (folder / "etc").mkdir(parents=True)
        (folder / "etc/passwd").write_text(PASSWD)
        (folder / "proc").mkdir()
        self.host = Host(Roots.under(str(folder)), clock_ns=lambda: self.now_ms * 1_000_000)
        self.host.unit_source = lambda _fresh: self.units

    def process(
        self, pid: int, name: str = "crunch", unit: str = "stray.service", uid: int = 997, group: str = "", **stat
    ) -> None:
        words = ["0"] * 52
        words[0], words[1], words[17], words[21] = stat.get("state", "S"), str(stat.get("ppid", 1)), "1", "10"
        words[11], words[19] = str(stat.get("ticks", 0)), str(stat.get("start", 90_000))
        place = self.folder / f"proc/{pid}"
        place.mkdir(exist_ok=True)
        (place / "stat").write_text(f"{pid} ({name}) {' '.join(words)}\n")
        (place / "cgroup").write_text(f"0::{group or f'/system.slice/{unit}'}\n")
        (place / "status").write_text(f"Name:\t{name}\nUid:\t{uid}\t{uid}\t{uid}\t{uid}\n")
        (place / "cmdline").write_text(stat.get("cmd", name).replace(" ", "\0") + "\0")

    def gone(self, pid: int) -> None:
        for file in (self.folder / f"proc/{pid}").iterdir():
            file.unlink()
        (self.folder / f"proc/{pid}").rmdir()

    def wait(self, seconds: float) -> None:
        self.now_ms += round(seconds * 1000)

    def run(self, check, fresh: bool = False, **params) -> Result:
        (result,) = check.run(Context(self.host, prepare(check, params), 5.0, fresh))
        return result


@pytest.fixture
def machine(tmp_path):
    return Machine(tmp_path / "m")


def test_one_look_serves_everybody_for_five_seconds(machine):
    machine.process(10)
    first = _processes.look(machine.host)
    machine.process(11)
    machine.wait(4)
    assert _processes.look(machine.host) is first
    assert set(_processes.look(machine.host, fresh=True).by_pid) == {10, 11}
    machine.wait(0.5)
    assert _processes.look(machine.host, fresh=True) is _processes.look(machine.host)
    machine.wait(5)
    assert _processes.look(machine.host) is not first


def test_a_process_that_settled_is_read_by_one_file(machine, monkeypatch):
    machine.process(10)
    for _ in range(3):
        _processes.look(machine.host)
        machine.wait(6)
    read = []
    plain = Host.read_bytes
    monkeypatch.setattr(Host, "read_bytes", lambda host, path, *most: read.append(path) or plain(host, path, *most))
    for _ in range(3):
        _processes.look(machine.host)
        machine.wait(6)
    assert set(read) == {"/proc/10/stat"}


def test_a_reused_number_and_another_program_are_seen(machine):
    machine.process(10, start=5)
    for _ in range(4):
        _processes.look(machine.host)
        machine.wait(6)
    machine.process(10, start=5, name="other", unit="other.service")
    assert _processes.look(machine.host).by_pid[10].unit == "other.service"
    machine.wait(6)
    machine.process(10, start=6, name="other", unit="third.service", uid=0)
    assert (_processes.look(machine.host).by_pid[10].unit, _processes.look(machine.host).by_pid[10].uid) == ("third.service", 0)


@pytest.mark.parametrize(
    ("groups", "unit"),
    [
        ("0::/system.slice/shop.service", "shop.service"),
        ("0::/system.slice/shop.service/worker.scope", "shop.service"),
        ("0::/user.slice/user-1000.slice/user@1000.service/app.slice/shop.service", "user@1000.service"),
        ("4:cpu:/\n1:name=systemd:/system.slice/shop.service\n0::/", "shop.service"),
        ("0::/", ""),
        ("nonsense", ""),
    ],
)
def test_the_system_unit_is_the_outermost(groups, unit):
    assert _processes.system_unit(groups) == unit


@pytest.mark.parametrize("text", [b"", b"1 (x", b"1 (x) S 1", b"1 (x) S " + b"y " * 40])
def test_what_the_kernel_never_writes_is_no_process(text):
    assert _processes.parse(1, text) is None


def test_a_name_with_brackets_is_a_name():
    line = b"7 (a) b (c) R 1 " + b"0 " * 40
    assert _processes.parse(7, line).name == "a) b (c"


def busy(machine, **params) -> Result:
    return machine.run(RUNAWAY, user="batch", declared_units=["report.service"], **params)


def test_a_burst_is_no_runaway_and_what_lasts_is(machine):
    machine.process(10, ticks=0, start=100_000)
    assert busy(machine).status is Status.OK
    machine.wait(6)
    machine.process(10, ticks=570, start=100_000)
    found = busy(machine)
    assert (found.status, found.finding["reason"], found.finding["pid"]) == (Status.CRIT, "cpu", 10)
    machine.wait(6)
    machine.process(10, ticks=580, start=100_000)
    assert busy(machine).status is Status.OK


def test_who_wants_a_processor_and_gets_half_of_it_is_a_runaway_too(machine):
    stat = machine.folder / "proc/10/schedstat"
    for turn in range(3):
        machine.process(10, ticks=240 * turn, start=100_000)
        stat.write_text(f"{2_400_000_000 * turn} {3_500_000_000 * turn} 77\n")
        found = busy(machine)
        machine.wait(6)
    assert (found.status, found.finding["cpu_percent"]) == (Status.CRIT, 40.0)
    machine.process(10, ticks=482, start=100_000)
    stat.write_text("4820000000 12900000000 77\n")
    assert busy(machine).status is Status.OK


def test_one_that_is_new_since_the_last_look_counts_with_all_that_it_wanted(machine):
    """A loop that runs a busy child after the other, on a crowded machine."""
    for turn in range(3):
        pid = 10 + turn
        machine.process(pid, ticks=240, start=100_000 + 600 * turn)
        (machine.folder / f"proc/{pid}/schedstat").write_text("2400000000 3500000000 77\n")
        found = busy(machine)
        machine.gone(pid)
        machine.wait(6)
    assert (found.status, found.finding["cpu_percent"]) == (Status.CRIT, 40.0)


def test_what_lasts_too_short_is_no_runaway(machine):
    machine.process(10, ticks=0, start=100_000)
    busy(machine, lasting=30_000)
    for turn in range(1, 5):
        machine.wait(6)
        machine.process(10, ticks=600 * turn, start=100_000)
        assert busy(machine, lasting=30_000).status is Status.OK
    machine.wait(6)
    machine.process(10, ticks=3000, start=100_000)
    assert busy(machine, lasting=30_000).status is Status.CRIT


def test_a_declared_job_may_be_as_busy_as_it_likes(machine):
    machine.process(10, unit="report.service", ticks=0, start=100_000)
    for turn in range(1, 6):
        machine.wait(6)
        machine.process(10, unit="report.service", ticks=600 * turn, start=100_000)
        assert busy(machine).status is Status.OK


def test_children_that_come_and_go_count_together(machine):
    for turn in range(4):
        for pid in (20, 21):
            machine.process(pid + 10 * turn, ticks=300, start=100_000 + 600 * turn)
        found = busy(machine)
        machine.wait(6)
        for pid in (20, 21):
            machine.gone(pid + 10 * turn)
    assert found.status is Status.CRIT


def test_a_user_that_does_not_exist_and_root_are_never_meant(machine):
    machine.process(10, uid=0, ticks=90_000)
    assert machine.run(RUNAWAY, user="root").status is Status.OK
    assert machine.run(RUNAWAY, user="nosuch").status is Status.OK


def test_the_limit_of_the_control_group_counts_too(machine):
    (machine.folder / "proc/sys/kernel").mkdir(parents=True)
    (machine.folder / "proc/sys/kernel/pid_max").write_text("4194304\n")
    (machine.folder / "sys/fs/cgroup").mkdir(parents=True)
    (machine.folder / "sys/fs/cgroup/pids.max").write_text("4\n")
    for pid in range(10, 14):
        machine.process(pid)
    found = machine.run(PID_USAGE, killable_users=["batch"])
    assert (found.status, found.finding["threads_max"], found.finding["killable"]) == (Status.CRIT, 4, True)
    declared = machine.run(PID_USAGE, killable_users=["batch"], declared_units=["stray.service"])
    assert declared.finding["killable"] is False


def test_processes_are_not_gone_through_while_the_kernel_counts_few_threads(machine, monkeypatch):
    kernel = machine.folder / "proc/sys/kernel"
    kernel.mkdir(parents=True)
    (kernel / "pid_max").write_text("1000\n")
    (machine.folder / "proc/loadavg").write_text("0.10 0.20 0.30 2/140 4711\n")
    for pid in range(10, 13):
        machine.process(pid)
    with monkeypatch.context() as patched:
        patched.setattr("fleetmend_agent.checks.pid_usage.look", lambda *_: pytest.fail("gone through for nothing"))
        found = machine.run(PID_USAGE)
    assert (found.status, found.finding["threads"], found.finding["processes"]) == (Status.OK, 140, 3)
    assert found.gauges == {"process_ids_used_ratio": 0.14, "known_processes": 3.0}


def test_a_container_is_judged_by_its_own_threads_where_the_machine_has_many(machine):
    kernel = machine.folder / "proc/sys/kernel"
    kernel.mkdir(parents=True)
    (kernel / "pid_max").write_text("1000\n")
    (machine.folder / "proc/loadavg").write_text("0.10 0.20 0.30 2/900 4711\n")
    machine.process(10)
    found = machine.run(PID_USAGE)
    assert (found.status, found.finding["threads"]) == (Status.OK, 1)


def test_who_works_between_two_looks_is_not_stuck(machine):
    machine.process(10, state="D", ticks=1)
    for ticks in (2, 3, 4):
        assert machine.run(STUCK, after=60_000).status is Status.OK
        machine.wait(61)
        machine.process(10, state="D", ticks=ticks)
    machine.run(STUCK, after=60_000)
    machine.wait(61)
    assert machine.run(STUCK, after=60_000).finding["pid"] == 10


def test_descriptors_are_counted_by_size_where_their_list_is_closed(machine, monkeypatch):
    machine.process(10, unit="shop.service")
    (machine.folder / "proc/10/limits").write_text(
        "Max open files            256                  4096                 files\n"
    )

    def closed(_host, path):
        raise PermissionError(13, "no")

    monkeypatch.setattr(Host, "stat", lambda _host, _path: os.stat_result((0o40500, 0, 0, 2, 0, 0, 250, 0, 0, 0)))
    seen = _processes.look(machine.host)
    monkeypatch.setattr(Host, "listdir", closed)
    assert seen.by_pid
    found = machine.run(DESCRIPTORS, unit="shop.service")
    assert (found.status, found.finding["descriptors"], found.finding["descriptors_max"]) == (Status.CRIT, 250, 256)


def shop(**changes) -> dict[str, UnitState]:
    return {"shop.service": UnitState("shop.service", **{"active": "active", "sub": "running", **changes})}


def test_a_copy_in_a_container_or_a_declared_unit_is_no_copy(machine):
    machine.units = shop()
    machine.process(10, "shopd", "shop.service")
    machine.process(11, "shopd", group="/system.slice/docker-abc.scope")
    machine.process(12, "shopd", "other.service")
    machine.process(13, "shopd", uid=0)
    machine.process(14, "shopd", cmd="shopd --other")
    found = machine.run(UNIT_PROCESS, service="shop.service", instances=1, declared_units=["other.service"])
    assert found.status is Status.OK
    machine.wait(6)
    machine.process(15, "shopd")
    machine.process(16, "shopd", ppid=15)
    found = machine.run(UNIT_PROCESS, service="shop.service", instances=1, declared_units=["other.service"])
    assert (found.status, found.finding["extra"], found.finding["pid"], "unit" in found.finding) == (Status.CRIT, 1, 15, False)


def test_too_many_inside_the_unit_are_the_units_own(machine):
    machine.units = shop()
    machine.process(10, "shopd", "shop.service")
    machine.process(11, "shopd", "shop.service")
    found = machine.run(UNIT_PROCESS, service="shop.service", instances=1)
    assert (found.status, found.finding["unit"]) == (Status.CRIT, "shop.service")


def test_restarts_count_within_their_time_only(machine):
    machine.units = shop(n_restarts=2)
    assert machine.run(RESTARTS, service="shop.service", most=3).status is Status.OK
    for count in (3, 4, 5):
        machine.wait(10)
        machine.units = shop(n_restarts=count)
        found = machine.run(RESTARTS, service="shop.service", most=3)
    assert (found.status, found.finding["recent"]) == (Status.CRIT, 3)
    machine.wait(10)
    machine.units = shop(n_restarts=0)
    assert machine.run(RESTARTS, service="shop.service", most=3).status is Status.CRIT
    machine.wait(700)
    assert machine.run(RESTARTS, service="shop.service", most=3).status is Status.OK


def test_restarts_are_over_when_somebody_started_the_unit_and_it_stays_up(machine):
    for count in (0, 4, 0):
        machine.units = shop(n_restarts=count, active="active")
        machine.run(RESTARTS, service="shop.service", most=3)
    machine.wait(20)
    assert machine.run(RESTARTS, service="shop.service", most=3).status is Status.CRIT
    machine.units = shop(n_restarts=0, active="activating")
    machine.wait(20)
    assert machine.run(RESTARTS, service="shop.service", most=3).status is Status.CRIT
    machine.units = shop(n_restarts=0, active="active")
    assert machine.run(RESTARTS, service="shop.service", most=3).status is Status.OK


def test_what_is_masked_is_nobodys_fault(machine):
    fault = Result(Status.CRIT, "shop does not answer", finding={"unit": "shop.service"})
    machine.units = shop()
    assert _units.spared(machine.host, fault) is fault
    machine.units = {"shop.service": UnitState("shop.service", load="masked")}
    spared = _units.spared(machine.host, fault)
    assert (spared.status, spared.summary) == (
        Status.OK,
        "shop.service is masked: in maintenance (shop does not answer)",
    )
    assert _units.spared(machine.host, replace(fault, finding={})).status is Status.CRIT


def test_a_program_is_the_same_by_command_line_and_user():
    shown = "ExecStart={ path=/bin/a ; argv[]=/bin/a -x 1 ; ignore_errors=no ; pid=0 }\nUser=shop\n"
    program = _programs.parse(shown)
    assert _programs.is_same(("/bin/a", "-x", "1"), "shop", program)
    assert not _programs.is_same(("/bin/a", "-x", "1"), "root", program)
    assert not _programs.is_same(("/bin/a",), "shop", program)
    assert not _programs.is_same((), "shop", program, "")
    assert _programs.is_same(("/bin/python", "a.py"), "shop", program, "a.py")
    assert _programs.parse("ExecStart=\n").user == "root"


def test_the_kernel_tells_who_listens():
    with socket.create_server(("127.0.0.1", 0), backlog=3) as server:
        port = server.getsockname()[1]
        inode = os.fstat(server.fileno()).st_ino
        (found,) = [each for each in sockets.listening() if each.port == port]
        assert (found.address, found.uid, found.inode) == ("127.0.0.1", os.getuid(), inode)
        assert (found.name, found.waiting, found.limit) == (f"127.0.0.1:{port}", 0, 3)
        with socket.create_connection(("127.0.0.1", port)):
            assert [each.waiting for each in sockets.listening() if each.port == port] == [1]
    assert not [each for each in sockets.listening() if each.port == port]


@pytest.mark.parametrize("answer", [b"", b"\x00" * 15, b"\x10\x00\x00\x00\x14\x00" + b"\x00" * 10])
def test_an_odd_answer_of_the_kernel_is_no_socket(answer):
    assert sockets.parse(answer)[0] == []


def test_nobody_to_be_seen_is_unknown(machine):
    with pytest.raises(CheckUnknown):
        _processes.look(machine.host)
