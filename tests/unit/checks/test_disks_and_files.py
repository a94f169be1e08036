"""What a check of disks, files or packages does over several looks, which one machine in a folder cannot show."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from fleetmend_agent.checks import (
    Context,
    Status,
    filesystem_fill,
    managed_file,
    mount_missing,
    package_files,
    package_state,
    prepare,
    setuid_files,
)
from fleetmend_agent.checks.filesystem_fill import Growth, Sample, growth, lasts
from fleetmend_agent.host import Host, Roots
from fleetmend_agent.runner import Runner, Spec
from fleetmend_agent.workers import Workers

MOUNTS = "22 1 8:1 / / rw - ext4 /dev/sda1 rw\n41 22 0:45 / /mnt/share rw - nfs4 filer:/export rw\n"


class World:
    """A machine in a folder, looked at by one check again and again."""

    def __init__(self, folder: Path, check, **params) -> None:
        self.folder, self.check, self.params = folder, check, prepare(check, params)
        self.host = Host(Roots.under(str(folder)))
        self.known: dict[str, Status] = {}

    def write(self, path: str, text: str, mode: int = 0o644) -> Path:
        file = self.folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        file.chmod(mode)
        return file

    def look(self, fresh: bool = False) -> dict[str, Status]:
        results = list(self.check.run(Context(self.host, self.params, 1.0, fresh=fresh, known=self.known)))
        self.known |= {result.key: result.status for result in results}
        return {result.key: result.status for result in results}


def test_a_mount_that_hangs_is_a_fault_and_costs_one_thread(tmp_path):
    let_go, asked = threading.Event(), []

    def hangs(path: str) -> os.statvfs_result:
        asked.append(path)
        let_go.wait(20)
        return os.statvfs("/")

    world = World(tmp_path, mount_missing.CHECK, mount="/mnt/share")
    world.write("proc/self/mountinfo", MOUNTS)
    world.host.statvfs_of = hangs
    try:
        assert world.look() == {"/mnt/share": Status.CRIT}
        assert world.look() == {"/mnt/share": Status.CRIT}
        assert asked == ["/mnt/share"]
    finally:
        let_go.set()
    world.host.kept["mount_missing"]["/mnt/share"].thread.join()
    assert world.look() == {"/mnt/share": Status.OK}


def test_every_mount_includes_the_network_ones_that_nobody_declared(tmp_path):
    world = World(tmp_path, mount_missing.CHECK, mount="*", ignore=["/mnt/other"])
    world.write("proc/self/mountinfo", MOUNTS)
    world.host.statvfs_of = lambda _path: (_ for _ in ()).throw(OSError(107, "Transport endpoint is not connected"))
    assert world.look() == {"": Status.OK, "/mnt/share": Status.CRIT}
    world.host.statvfs_of = os.statvfs
    (tmp_path / "root/mnt/share").mkdir(parents=True)
    world.host.statvfs_of = lambda _path: os.statvfs("/")
    assert world.look() == {"": Status.OK, "/mnt/share": Status.OK}


def samples(*used: float, every_ms: int = 5000) -> list[Sample]:
    return [Sample(at * every_ms, each) for at, each in enumerate(used)]


@pytest.mark.parametrize(
    ("used", "expected"),
    [
        ((5,), Growth()),
        ((5, 5, 5), Growth()),
        ((5, 4), Growth()),
        ((0, 5, 10), Growth(1.0, 10_000, 2)),
        ((90, 3, 8, 13), Growth(1.0, 10_000, 2)),
        ((0, 10, 10), Growth()),
    ],
)
def test_only_unbroken_growth_counts(used, expected):
    assert growth(samples(*used)) == expected


@pytest.mark.parametrize(
    ("grown", "eta_s", "believed"),
    [
        (Growth(1, 5_000, 2), 1, False),
        (Growth(1, 10_000, 1), 1, False),
        (Growth(1, 10_000, 2), 1, True),
        (Growth(1, 10_000, 2), 300, False),
        (Growth(1, 30_000, 6), 300, True),
        (Growth(1, 60_000, 12), 3600, True),
    ],
)
def test_the_longer_the_time_that_is_left_the_longer_it_must_have_grown(grown, eta_s, believed):
    assert lasts(grown, eta_s) is believed


def managed(folder: Path) -> World:
    world = World(folder, managed_file.CHECK, golden="/usr/share/golden")
    world.write("root/usr/share/golden/etc/app.conf", "port = 1\n")
    world.write("etc/app.conf", "port = 1\n")
    return world


def test_an_edit_of_the_same_size_is_seen_and_its_repair_too(tmp_path):
    world = managed(tmp_path)
    assert world.look() == {"": Status.OK}
    world.write("etc/app.conf", "port = 2\n")
    assert world.look()["/etc/app.conf"] is Status.CRIT
    world.write("etc/app.conf", "port = 1\n")
    assert world.look(fresh=True)["/etc/app.conf"] is Status.OK


def test_files_at_rest_are_not_read_again(tmp_path, monkeypatch):
    world = managed(tmp_path)
    world.look()
    monkeypatch.setattr(Host, "read_bytes", lambda *_: pytest.fail("it read a file that did not change"))
    assert world.look() == {"": Status.OK}


def test_events_come_for_both_sides_of_a_managed_file(tmp_path):
    world = managed(tmp_path)
    assert set(managed_file.CHECK.watched(world.host, world.params)) == {"/etc/app.conf", "/usr/share/golden/etc/app.conf"}
    runner = Runner(world.host, Workers(), lambda _: None)
    specs = [
        Spec("files", "managed_file", {"golden": "/usr/share/golden"}),
        Spec("gone", "managed_file", {"golden": "/no/such"}),
        Spec("stamp", "file_age", {"path": "/var/stamp", "max_age": "1h"}),
        Spec("load", "cpu_load"),
    ]
    runner.configure(specs)
    assert {name: len(watch.paths) for name, watch in runner.watches.items()} == {"files": 2, "gone": 0, "stamp": 1, "load": 0}


def test_a_packaged_program_that_was_right_is_not_read_again_until_it_changes(tmp_path):
    from hashlib import md5

    world = World(tmp_path, package_files.CHECK, package="shop-tool")
    world.host.wall_ns = lambda: 4_102_444_800 * 10**9
    status = "Package: shop-tool\nStatus: install ok installed\nArchitecture: all\nVersion: 1.0\n\n"
    world.write("root/var/lib/dpkg/status", status)
    world.write("root/var/lib/dpkg/info/shop-tool.list", "/.\n/usr/bin/shop-tool\n")
    world.write("root/var/lib/dpkg/info/shop-tool.md5sums", f"{md5(b'right').hexdigest()}  usr/bin/shop-tool\n")
    program = world.write("root/usr/bin/shop-tool", "right")
    assert world.look() == {"": Status.OK}
    program.write_text("wrong")
    assert world.look() == {"": Status.CRIT}
    program.unlink()
    assert world.look() == {"": Status.CRIT}
    program.write_text("right")
    assert world.look(fresh=True) == {"": Status.OK}


@pytest.mark.parametrize(
    ("state", "version", "hold", "remedies"),
    [
        ("install ok installed", "1.1", False, ("", "no")),
        ("install ok installed", "1.1", True, ("", "yes")),
        ("deinstall ok config-files", "1.0", True, ("allowed", "no")),
        ("", "", False, ("allowed", "no")),
    ],
)
def test_a_package_that_is_gone_may_be_installed_and_another_version_replaced_if_one_is_on_hold(
    tmp_path, state, version, hold, remedies
):
    world = World(tmp_path, package_files.CHECK, package="shop-tool", version="1.0", reinstall="allowed", hold=hold)
    world.host.wall_ns = lambda: 4_102_444_800 * 10**9
    entry = f"Package: shop-tool\nStatus: {state}\nArchitecture: all\nVersion: {version}\n\n" if state else ""
    world.write("root/var/lib/dpkg/status", entry)
    (found,) = package_files.CHECK.run(Context(world.host, world.params, 1.0))
    assert (found.status, (found.finding["reinstall"], found.finding["pinned"])) == (Status.CRIT, remedies)


def test_a_set_uid_program_anywhere_is_found_bit_by_bit(tmp_path, monkeypatch):
    monkeypatch.setattr(setuid_files, "SLOW_ENTRIES_MAX", 3)
    monkeypatch.setattr(setuid_files, "is_setuid", lambda status: bool(status.st_mode & 0o4000))
    world = World(tmp_path, setuid_files.CHECK)
    world.write("root/var/lib/dpkg/status", "")
    world.write("root/var/lib/dpkg/info/shop.list", "/x\n")
    hidden = world.write("root/srv/very/deep/er/tool", "x", 0o4755)
    for number in range(10):
        world.write(f"root/usr/local/share/{number}", "x")
    looks = 0
    while "/srv/very/deep/er/tool" not in world.look() and looks < 20:
        looks += 1
    assert 1 < looks < 20
    assert world.look()["/srv/very/deep/er/tool"] is Status.CRIT
    hidden.unlink()
    assert world.look()["/srv/very/deep/er/tool"] is Status.OK


def test_a_set_uid_program_a_few_folders_below_the_usual_places_is_found_at_once(tmp_path, monkeypatch):
    monkeypatch.setattr(setuid_files, "SLOW_ENTRIES_MAX", 0)
    monkeypatch.setattr(setuid_files, "is_setuid", lambda status: bool(status.st_mode & 0o4000))
    world = World(tmp_path, setuid_files.CHECK)
    world.write("root/var/lib/dpkg/status", "")
    world.write("root/var/lib/dpkg/info/shop.list", "/x\n")
    for path in ("tmp/.x/y/tool", "srv/scratch/cache/.tool"):
        world.write(f"root/{path}", "x", 0o4755)
    mounts = "30 1 0:40 / /srv/scratch ro,nosuid,relatime - tmpfs tmpfs rw\n31 1 0:41 / /srv/far rw - nfs filer:/x rw\n"
    world.write("proc/self/mountinfo", mounts)
    assert {path for path, status in world.look().items() if status is Status.CRIT} == {
        "/tmp/.x/y/tool",
        "/srv/scratch/cache/.tool",
    }
    assert setuid_files._mounted(world.host, setuid_files.OFTEN) == ["/srv/scratch"]


def test_a_second_look_at_once_does_not_take_a_pause_for_the_end(tmp_path):
    world = World(tmp_path, filesystem_fill.CHECK, mount="/srv", crit_eta="1h", from_percent=0)
    world.write("proc/self/mountinfo", "40 22 7:3 / /srv rw - ext4 /dev/loop3 rw\n")
    clock, used = [0], [0]
    world.host.clock_ns = lambda: clock[0] * 10**6
    world.host.statvfs_of = lambda _path: os.statvfs_result((4096, 4096, 1000, 1000 - used[0], 1000 - used[0], 0, 0, 0, 0, 255))

    def writes(seconds: float) -> None:
        clock[0] += int(seconds * 1000)
        used[0] += int(seconds * 40)

    world.host.sleep = writes
    for _ in range(4):
        writes(5)
        seen = world.look()
    assert seen == {"/srv": Status.CRIT}
    clock[0] += 100
    assert world.look(fresh=True) == {"/srv": Status.CRIT}
    clock[0] += 3000
    assert world.look(fresh=True) == {"/srv": Status.OK}


def test_what_is_over_when_it_would_be_told_is_no_fault(tmp_path):
    world = World(tmp_path, filesystem_fill.CHECK, mount="/srv", crit_eta="1h", from_percent=0)
    world.write("proc/self/mountinfo", "40 22 7:3 / /srv rw - ext4 /dev/loop3 rw\n")
    clock, used = [0.0], [0.0]
    world.host.clock_ns = lambda: int(clock[0] * 10**9)
    world.host.statvfs_of = lambda _path: os.statvfs_result(
        (4096, 4096, 1000, 1000 - int(used[0]), 1000 - int(used[0]), 0, 0, 0, 0, 255)
    )

    def passes(seconds: float, rate: float) -> None:
        clock[0] += seconds
        used[0] += seconds * rate

    # A log beside it that grows by a little is no sign that it goes on.
    world.host.sleep = lambda seconds: passes(seconds, 2)
    for _ in range(4):
        passes(5, 40)
        assert world.look() == {"/srv": Status.OK}
    world.host.sleep = lambda seconds: passes(seconds, 40 if clock[0] > 25 else 0)
    passes(4, 40)
    assert world.look() == {"/srv": Status.CRIT}, "a writer that pauses for a moment goes on"


def test_what_dpkg_wrote_a_moment_ago_is_not_yet_a_fault(tmp_path):
    world = World(tmp_path, package_state.CHECK)
    status = "Package: shop-tool\nStatus: install ok half-configured\nArchitecture: all\nVersion: 1.0\n\n"
    written_s = world.write("root/var/lib/dpkg/status", status).stat().st_mtime
    world.write("proc/1/comm", "systemd\n")
    world.host.wall_ns = lambda: int((written_s + 2) * 1e9)
    assert world.look() == {"": Status.OK}
    world.host.wall_ns = lambda: int((written_s + 6) * 1e9)
    assert world.look() == {"": Status.CRIT}
