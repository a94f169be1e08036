"""Space of deleted files that are still open: only who may be restarted or stopped anyway gives it back."""

from __future__ import annotations

import os
import time

import pytest

from fleetmend_executor import deleted
from fleetmend_executor.actions import Refused
from fleetmend_executor.actions.release_deleted import ACTION as RELEASE
from fleetmend_executor.deleted import Holder, ReleaseDeleted
from fleetmend_executor.effects import UnitJob
from fleetmend_executor.processes import Process
from fleetmend_executor.run import ActionFailed, Run

from .world import rules

UNITS = {
    "shop.service": {"restart": "allowed"},
    "store.service": {"restart": "clean-only"},
    "idle.service": {"restart": "allowed", "desired": "stopped"},
    "hello.socket": {"restart": "allowed"},
}
PARTS = {"killable": [{"user": "nobody"}]}


def a_run() -> Run:
    return Run(time.monotonic() + 30)


def plan(here, mount="/srv/data") -> ReleaseDeleted:
    (effect,) = RELEASE.plan({"mount": mount}, here)
    return effect


def held(monkeypatch, unit: str, size_bytes: int, name: str = "shopd") -> None:
    process = Process(pid=4242, start_ticks=7, name=name, uids=(0, 0, 0, 0), state="S", ppid=1, unit=unit)
    monkeypatch.setattr(deleted.strays, "identified", lambda *_: process)
    monkeypatch.setattr(deleted, "holders", lambda _mount, _proc: [Holder(process, size_bytes, "/srv/data/old")])


def test_only_services_that_may_be_restarted_are():
    effect = plan(rules(units=UNITS, parts=PARTS))
    assert [unit for unit, _ in effect.restarts] == ["shop.service"]
    assert effect.restarts[0][1][-1] == UnitJob("restart", "shop.service")
    assert effect.users == ("nobody",)
    assert plan(rules(units=UNITS)).users == ()


@pytest.mark.parametrize("mount", ["/etc", "/usr/lib", "srv", "/srv/*", "/srv/../etc", ""])
def test_one_mount_point_is_named(mount):
    with pytest.raises(Refused) as caught:
        plan(rules(units=UNITS), mount)
    assert caught.value.reason == "bad_parameter"


def test_who_holds_most_is_found_by_the_files_without_a_name(tmp_path):
    with (tmp_path / "old").open("wb") as old, (tmp_path / "kept").open("wb") as kept:
        for file in (old, kept):
            file.write(b"x" * (1 << 20))
            file.flush()
            os.fsync(file.fileno())
        (tmp_path / "old").unlink()
        mine = [each for each in deleted.holders(str(tmp_path)) if each.process.pid == os.getpid()]
    assert [(each.path, each.size_bytes >= 1 << 20) for each in mine] == [(str(tmp_path / "old"), True)]


def test_a_declared_unit_is_restarted(monkeypatch, tmp_path):
    done = []
    monkeypatch.setattr(deleted.runs, "perform", lambda effect, _run: done.append(effect))
    held(monkeypatch, "shop.service", 1 << 60)
    run, job = a_run(), UnitJob("restart", "shop.service")
    deleted.perform(ReleaseDeleted(str(tmp_path), (("shop.service", (job,)),), (), ()), run)
    assert done == [job]
    assert "holds" in run.detail[0]


@pytest.mark.parametrize("unit", ["store.service", "", "other.service"])
def test_whoever_else_holds_it_is_a_persons_and_is_named(monkeypatch, tmp_path, unit):
    held(monkeypatch, unit, 1 << 60)
    with pytest.raises(Refused, match=r"shopd \(pid 4242\) in .* holds"):
        deleted.perform(ReleaseDeleted(str(tmp_path), (("shop.service", ()),), ("nobody",), ()), a_run())


def test_what_is_little_is_not_worth_a_restart(monkeypatch, tmp_path):
    held(monkeypatch, "shop.service", 4096)
    with pytest.raises(ActionFailed) as caught:
        deleted.perform(ReleaseDeleted(str(tmp_path), (("shop.service", ()),), (), ()), a_run())
    assert caught.value.reason == "nothing_held"
