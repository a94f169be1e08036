"""Who is at work on the machine: logins with a terminal, package managers, nobody else."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from fleetmend_agent.gauges import GaugeEncoder
from fleetmend_agent.host import Host, Roots
from fleetmend_agent.presence import HURRIED_EVERY_MS, LOOK_EVERY_MS, Login, Presence
from fleetmend_agent.pulse import Pulse


class Machine:
    """A machine of files, with a clock that the test moves."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.now_ms = 100_000
        self.logins: list[Login] = []
        self.asked = 0
        for name in ("proc", "root/run"):
            (folder / name).mkdir(parents=True)
        self.host = Host(Roots.under(str(folder)), clock_ns=lambda: self.now_ms * 1_000_000)
        self.presence = Presence(self.host, self._read)

    def _read(self) -> list[Login]:
        self.asked += 1
        return self.logins

    def log_in(self, *logins: Login) -> None:
        self.logins = list(logins)
        utmp = self.folder / "root/run/utmp"
        utmp.write_bytes(b"x" * (384 * len(logins) + 384))
        os.utime(utmp, ns=(self.now_ms * 10**6, self.now_ms * 10**6))

    def process(self, pid: int, name: str, tty: int = 0) -> None:
        folder = self.folder / f"proc/{pid}"
        folder.mkdir(exist_ok=True)
        (folder / "comm").write_text(f"{name}\n")
        (folder / "cmdline").write_text(f"{name}\0")
        (folder / "stat").write_text(f"{pid} (a ) b) S 1 {pid} {pid} {tty} -1 0 0")

    def end(self, pid: int) -> None:
        folder = self.folder / f"proc/{pid}"
        for file in folder.iterdir():
            file.unlink()
        folder.rmdir()

    def session(self, name: str, **fields: str) -> None:
        folder = self.folder / "root/run/systemd/sessions"
        folder.mkdir(parents=True, exist_ok=True)
        fields = {"USER": "anna", "UID": "1000", "CLASS": "user", "STATE": "active", "SCOPE": f"session-{name}.scope"} | fields
        (folder / name).write_text("# This is private data.\n" + "".join(f"{k}={v}\n" for k, v in fields.items()))

    def in_scope(self, name: str, *pids: int) -> None:
        folder = self.folder / f"sys/fs/cgroup/user.slice/user-1000.slice/session-{name}.scope"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "cgroup.procs").write_text("".join(f"{pid}\n" for pid in pids))

    def look(self) -> list[str]:
        self.now_ms += LOOK_EVERY_MS
        return self.presence.look()


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def test_nobody_is_there(machine: Machine):
    machine.process(1, "systemd")
    machine.process(20, "sshd")
    assert machine.look() == []


def test_a_login_counts_while_its_process_lives(machine: Machine):
    machine.process(700, "sshd")
    machine.log_in(Login("anna", "pts/0", "192.0.2.7", 700), Login("bert", "tty1", "", 701))
    assert machine.look() == ["anna at pts/0 from 192.0.2.7"]
    machine.end(700)
    assert machine.look() == []


def test_a_login_without_a_terminal_is_automation(machine: Machine):
    machine.process(700, "sshd")
    machine.log_in(Login("deploy", "", "192.0.2.7", 700))
    assert machine.look() == []


def test_utmp_is_read_again_only_when_it_changed(machine: Machine):
    machine.process(700, "sshd")
    machine.log_in(Login("anna", "pts/0", "", 700))
    machine.look()
    machine.look()
    assert machine.asked == 1
    machine.log_in()
    assert machine.look() == []
    assert machine.asked == 2


def test_within_ten_seconds_nothing_is_read(machine: Machine):
    assert machine.look() == []
    machine.process(900, "dpkg")
    machine.now_ms += LOOK_EVERY_MS - 1
    assert machine.presence.look() == []
    machine.now_ms += 1
    assert machine.presence.look() == ["dpkg at work"]


def test_when_faults_come_a_second_is_long_enough(machine: Machine):
    assert machine.look() == []
    machine.process(900, "dpkg")
    machine.now_ms += HURRIED_EVERY_MS
    machine.presence.hurry()
    assert machine.presence.look() == ["dpkg at work"]
    machine.end(900)
    machine.now_ms += HURRIED_EVERY_MS
    assert machine.presence.look() == ["dpkg at work"], "the hurry was for one look"


@pytest.mark.parametrize("name", ["apt", "apt-get", "dpkg", "dnf", "rpm", "yum", "zypper"])
def test_a_package_manager_counts(machine: Machine, name: str):
    machine.process(900, name)
    assert machine.look() == [f"{name} at work"]
    assert machine.look() == [f"{name} at work"]
    machine.end(900)
    assert machine.look() == []


@pytest.mark.parametrize(
    ("name", "command", "counts"),
    [
        ("dpkg", ["dpkg", "--audit"], False),
        ("dpkg", ["dpkg", "-l", "bash"], False),
        ("dpkg", ["dpkg", "-i", "shop.deb"], True),
        ("dpkg", ["dpkg", "--configure", "-a"], True),
        ("apt-get", ["apt-get", "-q", "-V", "install", "shop"], True),
        ("apt-get", ["apt-get", "-s", "upgrade"], False),
        ("apt", ["apt", "list", "--upgradable"], False),
        ("rpm", ["rpm", "-qf", "/bin/sh"], False),
        ("rpm", ["rpm", "-U", "shop.rpm"], True),
    ],
)
def test_who_only_asks_a_package_manager_is_nobody_at_work(machine: Machine, name: str, command: list[str], counts: bool):
    machine.process(42, name)
    (machine.folder / "proc/42" / "cmdline").write_text("\0".join(command) + "\0")
    assert machine.look() == ([f"{name} at work"] if counts else [])


@pytest.mark.parametrize("group", ["/system.slice/fleetmend-repair-7-9.service", "/system.slice/fleetmend-agent.service"])
def test_what_fleetmend_itself_has_done_is_nobody_at_work(machine: Machine, group: str):
    machine.process(42, "dpkg")
    (machine.folder / "proc/42" / "cgroup").write_text(f"0::{group}\n")
    assert machine.look() == []


@pytest.mark.parametrize("name", ["packagekitd", "unattended-upgr", "python3", "aptly", "dpkg-preconfigu"])
def test_what_only_waits_or_merely_sounds_alike_does_not_count(machine: Machine, name: str):
    machine.process(900, name)
    assert machine.look() == []


def test_a_process_that_becomes_a_package_manager_after_its_fork_is_seen(machine: Machine):
    machine.look()
    machine.process(900, "bash")
    assert machine.look() == []
    machine.process(900, "apt-get")
    assert machine.look() == ["apt-get at work"]


def test_a_settled_process_is_looked_at_again_within_a_minute(machine: Machine):
    machine.process(900, "bash")
    for _ in range(3):
        assert machine.look() == []
    machine.process(900, "apt-get")
    assert "apt-get at work" in [who for _ in range(6) for who in machine.look()]


def test_without_utmp_sessions_with_a_terminal_count(machine: Machine):
    machine.session("1", TTY="tty1")
    machine.session("2", USER="bert", DISPLAY=":0", REMOTE_HOST="192.0.2.9")
    machine.session("3", USER="old", TTY="pts/9", STATE="closing")
    machine.session("4", USER="gdm", TTY="tty2", CLASS="greeter")
    assert machine.look() == ["anna at tty1", "bert at :0 from 192.0.2.9"]


def test_without_utmp_a_session_over_ssh_counts_if_it_has_a_terminal(machine: Machine):
    machine.process(700, "sshd")
    machine.process(701, "bash", tty=os.makedev(136, 3))
    machine.process(702, "rsync")
    machine.session("5", REMOTE_HOST="192.0.2.7")
    machine.in_scope("5", 700, 701)
    machine.session("6", USER="backup")
    machine.in_scope("6", 702)
    machine.session("7", USER="odd", SCOPE="../../etc")
    assert machine.look() == ["anna at pts/3 from 192.0.2.7"]


def test_names_are_bounded_and_clean(machine: Machine):
    machine.process(700, "sshd")
    machine.log_in(*(Login(f"u{n}\x1b[31m" + "x" * 500, "pts/0", "", 700) for n in range(40)))
    seen = machine.look()
    assert len(seen) == 8
    assert all(len(who) <= 100 and who.isprintable() and who.isascii() for who in seen)


def test_a_machine_that_shows_nothing_has_nobody(tmp_path: Path):
    assert Presence(Host(Roots.under(str(tmp_path)))).look() == []


class Nothing:
    """An agent that watches nothing."""

    runs_total = depth = dropped_total = 0

    def subjects(self):
        return []

    def gauges(self):
        return []

    def hung(self) -> int:
        return 0


def test_a_heartbeat_says_who_is_there_unless_it_is_switched_off(machine: Machine):
    machine.process(900, "dpkg")
    (machine.folder / "proc/self").mkdir()
    (machine.folder / "proc/self/statm").write_text("1 2 3 4 5 6 7\n")
    nothing = Nothing()
    told = Pulse(machine.host, "boot", nothing, nothing, machine.presence).heartbeat(GaugeEncoder())
    assert list(told.presence) == ["dpkg at work"]
    silent = Pulse(machine.host, "boot", nothing, nothing, None).heartbeat(GaugeEncoder())
    assert list(silent.presence) == []


def test_the_real_machine_can_be_looked_at():
    assert all(isinstance(who, str) for who in Presence(Host()).look())
