"""Mounts, evidence and the hosted verbs of disks and packages, on real files and scripted tools."""

from __future__ import annotations

import os
import stat
import struct
import subprocess
import sys
import time
from pathlib import Path

import pytest

from fleetmend_executor import clearing, evidence, mounting
from fleetmend_executor.actions import Refused
from fleetmend_executor.commands import Finished
from fleetmend_executor.effects import ClearFiles
from fleetmend_executor.hosted import _dpkg, reinstall_package, remount_rw, set_ownership
from fleetmend_executor.hosted._dpkg import Done
from fleetmend_executor.hosted.reinstall_package import judge
from fleetmend_executor.mounting import MountUnit
from fleetmend_executor.run import ActionFailed, Run

MOUNT = MountUnit("srv-data.mount", "/srv/data", ("shop.service", "old.service"), ("shop.service",))


class Systemd(Run):
    """Units by name with their state; starting what is in `broken` fails."""

    def __init__(self, broken=(), **states) -> None:
        super().__init__(time.monotonic() + 30)
        self.states = {name.replace("_", "-") + ".service": state for name, state in states.items()}
        self.broken = broken
        self.done: list[str] = []

    def argv(self, *argv, **_) -> Finished:
        verb, unit = next(word for word in argv if word in {"show", "start", "stop", "reset-failed"}), argv[-1]
        code, text = 0, ""
        if verb == "show":
            text = f"ActiveState={self.states.get(unit, 'inactive')}\nLoadState=loaded\nSubState=dead\nResult=exit-code\n"
        else:
            self.done.append(f"{verb} {unit}")
            code = 1 if verb == "start" and unit in self.broken else 0
        return Finished(argv, code, 1, text)


def test_users_are_paused_while_the_mount_comes_back(monkeypatch):
    monkeypatch.setattr(mounting, "below", lambda path: iter([f"{path}/web/order-1"]))
    run = Systemd(shop="active")
    mounting.perform(MOUNT, run)
    assert run.done == ["stop shop.service", "start srv-data.mount", "start shop.service"]
    assert "/srv/data/web/order-1" in run.output[0]
    assert "1 entries stay below it" in run.detail[0]


def test_a_user_that_is_dead_and_should_run_is_started_too(monkeypatch):
    monkeypatch.setattr(mounting, "below", lambda path: iter(()))
    run = Systemd()
    mounting.perform(MOUNT, run)
    assert run.done == ["start srv-data.mount", "start shop.service"]


def test_users_are_put_back_when_the_mount_does_not_come(monkeypatch):
    monkeypatch.setattr(mounting, "below", lambda path: iter(()))
    run = Systemd(broken=("srv-data.mount",), shop="active")
    with pytest.raises(ActionFailed):
        mounting.perform(MOUNT, run)
    assert run.done[-1] == "start shop.service"


def test_what_lies_below_a_mount_point_is_listed(tmp_path):
    (tmp_path / "web").mkdir()
    (tmp_path / "web/order-1").write_text("x")
    assert sorted(mounting.below(str(tmp_path))) == [f"{tmp_path}/web", f"{tmp_path}/web/order-1"]
    assert list(mounting.below("/proc")) == []


EXT4 = remount_rw.Mounted("7:3", "ext4", "/dev/loop3", ("ro",), ("ro",))
LOG = """\
EXT4-fs error (device loop3): ext4_find_entry:1612: inode #2: comm ls: reading directory lblock 0
EXT4-fs (loop3): mounted filesystem with ordered data mode. Opts: errors=remount-ro. Quota mode: none.
EXT4-fs (loop31): error count since last fsck: 3
I/O error, dev loop30, sector 8 op 0x0:(READ)
EXT4-fs (loop3): re-mounted. Opts: (null). Quota mode: none.
"""


@pytest.fixture(autouse=True)
def devices(monkeypatch):
    monkeypatch.setattr(remount_rw, "device_name", lambda found: Path(found.source).name)


def test_a_clean_filesystem_may_be_mounted_writable():
    remount_rw.judge("/srv/data", EXT4, 0, LOG)
    remount_rw.judge("/srv/data", EXT4, 0, None)
    remount_rw.judge("/srv/data", EXT4, None, LOG)


@pytest.mark.parametrize(
    "line",
    [
        "EXT4-fs error (device loop3): ext4_journal_check_start:83: comm x: Detected aborted journal",
        "EXT4-fs (loop3): Remounting filesystem read-only",
        "Buffer I/O error on dev loop3, logical block 1, lost async page write",
        "blk_update_request: critical medium error, dev loop3, sector 99",
        "XFS (loop3): Corruption detected. Unmount and run xfs_repair",
        "BTRFS error (device loop3): parent transid verify failed",
    ],
)
def test_what_the_kernel_complained_of_stays_read_only(line):
    with pytest.raises(Refused) as caught:
        remount_rw.judge("/srv/data", EXT4, 0, LOG + line + "\n")
    assert caught.value.reason == "not_clean"


@pytest.mark.parametrize(("counted", "log"), [(2, LOG), (2, None), (None, None)])
def test_errors_in_the_superblock_or_nothing_to_ask_is_not_clean(counted, log):
    with pytest.raises(Refused) as caught:
        remount_rw.judge("/srv/data", EXT4, counted, log)
    assert caught.value.reason == "not_clean"


@pytest.mark.parametrize(("state", "count", "says"), [(1, 0, 0), (0, 0, 0), (3, 0, 1), (1, 5, 5)])
def test_errors_are_read_from_the_device_itself(tmp_path, state, count, says):
    block = bytearray(4096)
    struct.pack_into("<H", block, 1024 + 0x38, 0xEF53)
    struct.pack_into("<H", block, 1024 + 0x3A, state)
    struct.pack_into("<I", block, 1024 + 0x194, count)
    image = tmp_path / "image"
    image.write_bytes(block)
    assert remount_rw.errors(remount_rw.Mounted("0:0", "ext4", str(image), ("ro",), ("ro",))) == says
    image.write_bytes(bytes(4096))
    assert remount_rw.errors(remount_rw.Mounted("0:0", "ext4", str(image), ("ro",), ("ro",))) is None


def owned(path, mode=None, recreate=False) -> list[str]:
    return list(set_ownership.put_right(str(path), -1, -1, mode, recreate))


def test_a_mode_is_set_on_the_path_alone(tmp_path):
    (tmp_path / "web/below").mkdir(parents=True)
    (tmp_path / "web").chmod(0o700)
    (tmp_path / "web/below").chmod(0o700)
    owned(tmp_path / "web", 0o750)
    assert [stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("web", "web/below")] == [0o750, 0o700]


def test_a_missing_folder_is_made_anew_and_a_missing_file_is_not(tmp_path):
    with pytest.raises(ActionFailed):
        owned(tmp_path / "gone", 0o755)
    said = owned(tmp_path / "gone", 0o755, recreate=True)
    assert stat.S_IMODE((tmp_path / "gone").stat().st_mode) == 0o755
    assert "anew" in said[0]


def test_nothing_is_changed_through_links_or_in_what_is_no_file(tmp_path):
    (tmp_path / "real").write_text("x")
    (tmp_path / "link").symlink_to("real")
    (tmp_path / "second").hardlink_to(tmp_path / "real")
    os.mkfifo(tmp_path / "pipe")
    for name, reason in (("link", "symbolic_link"), ("second", "hard_link"), ("pipe", "not_a_file")):
        with pytest.raises(Refused) as caught:
            owned(tmp_path / name, 0o777)
        assert caught.value.reason == reason


def test_only_the_very_package_is_installed_anew():
    judge("shop-tool", "1.0", Done(0, "Inst shop-tool [1.0] (1.0 local [all])\nConf shop-tool (1.0 local [all])\n"))
    for output, reason in (
        ("Inst shop-tool [1.0] (1.1 local [all])\n", "more_than_one"),
        ("Inst shop-lib (2.0 x [all])\nInst shop-tool [1.0] (1.0 local [all])\n", "more_than_one"),
        ("Remv shop [1]\nInst shop-tool [1.0] (1.0 local [all])\n", "more_than_one"),
        ("", "no_source"),
    ):
        with pytest.raises(Refused) as caught:
            judge("shop-tool", "1.0", Done(0, output))
        assert caught.value.reason == reason
    with pytest.raises(Refused):
        judge("shop-tool", "1.0", Done(100, "Inst shop-tool [1.0] (1.0 local [all])\nE: held\n"))


@pytest.fixture
def dpkg(monkeypatch):
    """A package manager that is asked for `states` one after the other, and what apt was told."""
    states: list[str] = []
    told: list[tuple[str, ...]] = []

    def run(*argv):
        if argv[0] == "dpkg-query":
            state = states.pop(0)
            return Done(0 if state else 1, f"{state}\n" if state else "no packages found\n")
        told.append(argv)
        return Done(0, "Inst shop-tool (1.0 local [all])\n" if "--simulate" in argv else "")

    monkeypatch.setattr(_dpkg, "run", run)
    monkeypatch.setattr(_dpkg, "require_free", lambda: None)
    return states, told


@pytest.mark.parametrize("before", ["hold installed 1.0", "install installed 1.0", "deinstall config-files 1.0", ""])
def test_the_declared_version_is_installed_where_it_or_none_is(dpkg, before):
    states, told = dpkg
    after = before if "installed" in before else "install installed 1.0"
    states += [before, after]
    last = list(reinstall_package._run(("shop-tool", "1.0")))[-1]
    assert last == "installed shop-tool 1.0 anew" + (", on hold as before" if before.startswith("hold") else "")
    assert [argv[-1] for argv in told if argv[0] == "apt-get"] == ["shop-tool=1.0", "shop-tool=1.0"]


def test_another_version_is_not_touched_and_not_taken_for_the_declared_one(dpkg):
    states, told = dpkg
    states += ["install installed 1.1"]
    with pytest.raises(Refused, match=r"1\.1 is installed"):
        list(reinstall_package._run(("shop-tool", "1.0")))
    assert told == []
    states += ["deinstall not-installed 1.0", "install installed 1.1"]
    with pytest.raises(ActionFailed, match=r"it is install 1\.1 now"):
        list(reinstall_package._run(("shop-tool", "1.0")))


def test_the_version_on_hold_takes_the_place_of_another_and_of_nothing_else(dpkg):
    states, told = dpkg
    states += ["install installed 1.1", "install installed 1.0"]
    assert list(reinstall_package._run(("shop-tool", "1.0", "over")))[-1] == "installed shop-tool 1.0 over 1.1"
    assert all("--allow-downgrades" in argv for argv in told)
    states += ["hold installed 1.0", ""]
    for _ in range(2):
        with pytest.raises(Refused, match="it or none is installed"):
            list(reinstall_package._run(("shop-tool", "1.0", "over")))
    with pytest.raises(Refused, match="are needed"):
        list(reinstall_package._run(("shop-tool", "1.0", "--allow-unauthenticated")))


def test_deleted_files_that_are_held_open_are_evidence(tmp_path):
    path = tmp_path / "big"
    text = f"import time; f = open({str(path)!r}, 'wb'); f.write(b'x' * (2 << 20)); f.flush()"
    text += "; print('ready', flush=True); time.sleep(60)"
    with subprocess.Popen([sys.executable, "-c", text], stdout=subprocess.PIPE) as holder:
        holder.stdout.readline()
        path.unlink()
        lines = evidence.deleted("/proc", 50)
        holder.kill()
    assert any(f"{path} (deleted) held by pid={holder.pid}" in line for line in lines)


def test_what_takes_the_space_is_evidence(tmp_path):
    (tmp_path / "a/b/c").mkdir(parents=True)
    (tmp_path / "a/b/c/large").write_bytes(b"x" * 100_000)
    (tmp_path / "small").write_bytes(b"x")
    lines = evidence.consumers(str(tmp_path), 10)
    assert lines[0].endswith(f"{tmp_path}/a/b")
    assert lines[1].endswith(f"{tmp_path}/small")


def test_clearing_for_inodes_stops_at_its_target_and_keeps_folders(tmp_path, monkeypatch):
    cache = tmp_path / "cache"
    (cache / "sub").mkdir(parents=True)
    for number in range(10):
        (cache / f"sub/{number}").touch()
    monkeypatch.setattr(clearing, "inodes_percent", lambda _path: 60.0 + 3 * len(list((cache / "sub").iterdir())))
    pattern = (f"{cache}/**",)
    effect = ClearFiles(pattern, pattern, (), 0, until_inodes_percent=75)
    clearing.clear(effect, Run(time.monotonic() + 10), time.time() + 1)
    assert len(list((cache / "sub").iterdir())) == 5
    assert Path(cache).is_dir()
