"""Stopping strays, copies and locks: real processes of a user of their own, and everything that must be refused."""

from __future__ import annotations

import os
import pwd
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from fleetmend_executor import copies, processes, readiness, semaphores, strays
from fleetmend_executor.actions import Refused, validate
from fleetmend_executor.actions.reload_unit import ACTION as RELOAD
from fleetmend_executor.actions.remove_semaphores import ACTION as REMOVE_SEMAPHORES
from fleetmend_executor.actions.remove_stale_lock import ACTION as REMOVE_LOCK
from fleetmend_executor.actions.restart_unit import ACTION as RESTART
from fleetmend_executor.actions.start_unit import ACTION as START
from fleetmend_executor.actions.stop_copy import ACTION as STOP_COPY
from fleetmend_executor.actions.stop_stray import ACTION as STOP_STRAY
from fleetmend_executor.actions.stop_writer import ACTION as STOP_WRITER
from fleetmend_executor.copies import FreeAddresses, StopCopy
from fleetmend_executor.effects import UnitGuard, UnitJob
from fleetmend_executor.readiness import ConfigTest, RemoveLock
from fleetmend_executor.run import ActionFailed, Run
from fleetmend_executor.stopping import CleanStop
from fleetmend_executor.strays import StopStray
from tests.unit.executor.world import ALL_ACTIONS, rules

UNITS = {
    "shop.service": {"restart": "allowed"},
    "store.service": {"restart": "clean-only"},
    "ledger.service": {"restart": "never"},
    "worker.service": {"restart": "allowed"},
}
PARTS = {
    "killable": [{"user": "nobody"}],
    "jobs": {"report.service": {"heavy": True}},
    "listeners": [{"address": "127.0.0.1:8080", "unit": "shop.service"}],
    "units": {
        "shop.service": {"config_test": "test-shop", "process": "shopd"},
        "store.service": {"lock_file": "/srv/store/LOCK"},
        "worker.service": {"bound_to": "store.service", "reload": "never"},
    },
}
OFFERS = ALL_ACTIONS + "\ncommands: {test-shop: {argv: [/usr/bin/shopd, --check], timeout: 5s}}\nprotected: [/home/**]"
RULES = rules(OFFERS, units=UNITS, parts=PARTS, protected=["/srv/store/**", "vault.service"])
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root: processes of another user")
NOBODY = pwd.getpwnam("nobody").pw_uid


def plan(action, using=RULES, **params):
    return action.plan(validate(action, params), using)


def refusal(action, using=RULES, **params) -> str:
    with pytest.raises(Refused) as caught:
        plan(action, using, **params)
    return caught.value.reason


def a_run() -> Run:
    return Run(time.monotonic() + 20)


@pytest.fixture
def everybodys():
    """A folder that every user reaches: pytest's own are for its user only."""
    with tempfile.TemporaryDirectory(dir="/var/tmp") as folder:
        Path(folder).chmod(0o777)
        yield Path(folder)


@pytest.fixture
def stray(tmp_path):
    """A process of nobody that does what it is told; ended with the test."""
    started: list[subprocess.Popen[bytes]] = []

    def start(script: str = "import time; time.sleep(60)", user: int = NOBODY) -> processes.Process:
        # It becomes that user itself: the interpreter may lie where only root may read.
        whole = f"import os, socket, time; os.setgroups([]); os.setresgid(*[{NOBODY}]*3); os.setresuid(*[{user}]*3); {script}"
        process = subprocess.Popen([sys.executable, "-c", whole], cwd="/", stdout=subprocess.PIPE)
        started.append(process)
        deadline = time.monotonic() + 5
        while (found := processes.read(process.pid)) is None or not found.runs_for(user):
            assert time.monotonic() < deadline
        return found

    yield start
    for process in started:
        process.kill()
        process.wait()
        process.stdout.close()


def test_a_start_tests_the_configuration_and_frees_the_address_first():
    guard, tested, free, job = plan(RESTART, unit="shop.service")
    assert isinstance(guard, UnitGuard)
    assert tested == ConfigTest("shop.service", ("/usr/bin/shopd", "--check"), 5.0, 16 * 1024)
    assert (free.addresses, free.text, free.may_stop) == (("127.0.0.1:8080",), "shopd", True)
    assert {"shop.service", "report.service", "fleetmend-*", "vault.service"} <= set(free.spared)
    assert job == UnitJob("restart", "shop.service")
    assert plan(START, unit="shop.service")[-1] == UnitJob("start", "shop.service")


def test_a_configuration_test_that_the_host_does_not_offer_is_refused():
    bare = rules(units=UNITS, parts=PARTS)
    assert refusal(RESTART, bare, unit="shop.service") == "not_permitted"


def test_a_dead_units_stale_lock_goes_before_its_start():
    guard, lock, job = plan(RESTART, unit="store.service")
    assert guard.must_be_dead
    assert lock == RemoveLock("store.service", "/srv/store/LOCK", in_passing=True)
    assert job == UnitJob("start", "store.service")


def test_what_a_unit_is_bound_to_is_started_before_it():
    assert [effect for effect in plan(RESTART, unit="worker.service") if not isinstance(effect, UnitGuard)] == [
        RemoveLock("store.service", "/srv/store/LOCK", in_passing=True),
        UnitJob("start", "store.service"),
        UnitJob("restart", "worker.service"),
    ]


def test_a_socket_is_started_with_its_service_forgiven():
    sockets = rules(units={"echo.socket": {}})
    _, closed, forgiven, job = plan(RESTART, sockets, unit="echo.socket")
    assert forgiven.argv[-2:] == ("--", "echo.service")
    assert (forgiven.optional, job) == (True, UnitJob("restart", "echo.socket"))
    assert closed == CleanStop("echo.socket", sockets.forbidden_units("restart_unit"))


def test_without_the_owners_word_neither_lock_nor_copy_is_touched():
    careful = rules("actions: {restart_unit: {}}\ncommands: {test-shop: {argv: [/bin/true]}}", units=UNITS, parts=PARTS)
    assert not any(isinstance(effect, RemoveLock) for effect in plan(RESTART, careful, unit="store.service"))
    (free,) = [effect for effect in plan(RESTART, careful, unit="shop.service") if isinstance(effect, FreeAddresses)]
    assert not free.may_stop


def test_reload_never_is_obeyed():
    assert refusal(RELOAD, unit="worker.service") == "reload_never"


def test_a_stray_is_named_for_good_and_spares_what_is_declared():
    (effect,) = plan(STOP_STRAY, pid=42, start_ticks=7, reach="place")
    assert (effect.users, effect.pid, effect.start_ticks, effect.whole) == (("nobody",), 42, 7, True)
    assert {"shop.service", "report.service"} <= set(effect.spared)
    assert refusal(STOP_STRAY, pid=1, start_ticks=7) == "bad_parameter"
    assert refusal(STOP_STRAY, pid=42, start_ticks=0) == "bad_parameter"
    assert refusal(STOP_STRAY, pid=42, start_ticks=7, reach="everything") == "bad_parameter"


@pytest.mark.parametrize("killable", [None, [], [{"user": "root"}], [{"user": "0"}], "nobody", [{}]])
def test_without_a_killable_user_there_is_nobody_to_stop(killable):
    none = rules(units=UNITS, parts={"killable": killable})
    assert refusal(STOP_STRAY, none, pid=42, start_ticks=7) == "undeclared"
    assert refusal(STOP_WRITER, none, mount="/srv/cache") == "undeclared"
    assert refusal(REMOVE_SEMAPHORES, none, user="nobody") == "undeclared"


@pytest.mark.parametrize("mount", ["/", "/etc", "/usr/lib", "srv", "/srv/*", "/srv/../etc", ""])
def test_writers_are_looked_for_below_one_mount_point(mount):
    assert refusal(STOP_WRITER, mount=mount) == "bad_parameter"


def test_semaphores_are_only_those_of_a_killable_user():
    assert refusal(REMOVE_SEMAPHORES, user="root") == "undeclared"
    assert refusal(REMOVE_SEMAPHORES, user="nobody; reboot") == "undeclared"


@pytest.mark.parametrize(("unit", "reason"), [("store.service", "clean_only"), ("ledger.service", "restart_never")])
def test_copies_of_units_that_are_not_restarted_stay(unit, reason):
    assert refusal(STOP_COPY, unit=unit, pid=42, start_ticks=7) == reason


def test_a_lock_must_be_declared_and_may_not_be_the_owners():
    assert refusal(REMOVE_LOCK, unit="shop.service") == "undeclared"
    for path, reason in (("/home/x/LOCK", "protected"), ("/etc/LOCK", "protected"), ("/srv/../etc/LOCK", "bad_parameter")):
        hostile = rules(OFFERS, units=UNITS, parts={"units": {"store.service": {"lock_file": path}}})
        assert refusal(REMOVE_LOCK, hostile, unit="store.service") == reason


@as_root
def test_a_killable_users_process_ends(stray):
    process = stray()
    strays.perform(StopStray(("nobody",), (), process.pid, process.start_ticks, grace_s=5.0), a_run())
    assert processes.read(process.pid) is None or processes.read(process.pid).is_zombie


@as_root
def test_another_process_of_the_same_number_stays(stray):
    process = stray()
    for ticks, name in ((process.start_ticks + 1, ""), (process.start_ticks, "other")):
        with pytest.raises(Refused) as caught:
            strays.perform(StopStray(("nobody",), (), process.pid, ticks, name), a_run())
        assert caught.value.reason == "other_process"
    assert not processes.read(process.pid).is_zombie


@as_root
def test_a_process_of_another_user_stays(stray):
    process = stray(user=0)
    with pytest.raises(Refused) as caught:
        strays.perform(StopStray(("nobody",), (), process.pid, process.start_ticks), a_run())
    assert caught.value.reason == "undeclared"


def stands(**changes) -> processes.Process:
    whole = {"pid": 42, "start_ticks": 7, "name": "x", "state": "S", "ppid": 1, "uids": (NOBODY,) * 4, "unit": "stray.service"}
    return processes.Process(**{**whole, **changes})


@pytest.mark.parametrize(
    ("process", "reason"),
    [
        (stands(unit="shop.service"), "declared_unit"),
        (stands(unit="report.service"), "declared_unit"),
        (stands(unit="systemd-resolved.service"), "protected"),
        (stands(unit="dbus.service"), "protected"),
        (stands(uids=(NOBODY, 0, 0, 0)), "undeclared"),
        (stands(uids=(0, NOBODY, NOBODY, NOBODY)), "undeclared"),
        (stands(uids=()), "undeclared"),
        (stands(pid=1), "protected"),
    ],
)
def test_what_is_not_wholly_a_strangers_stays(process, reason):
    with pytest.raises(Refused) as caught:
        strays.check(process, (NOBODY,), ("shop.service", "report.service"))
    assert caught.value.reason == reason


@pytest.mark.parametrize(
    ("unit", "own"),
    [
        ("stray-crunch.service", True),
        ("run-r1.scope", True),
        ("session-3.scope", False),
        ("user@1000.service", False),
        ("cron.service", False),
        ("ssh.service", False),
        ("init.scope", False),
        ("shop.service", False),
        ("user.slice", False),
        ("", False),
    ],
)
def test_only_a_unit_of_its_own_is_stopped_as_a_whole(unit, own):
    assert processes.is_own_unit(unit, ("shop.service",)) is own


@as_root
def test_everything_of_a_user_in_one_place_is_ended(stray):
    script = "[os.fork() or time.sleep(60) for _ in range(5)]; time.sleep(60)"
    process = stray(script)
    time_out = time.monotonic() + 5
    while sum(p.runs_for(NOBODY) and p.unit == process.unit for p in processes.every()) < 6:
        assert time.monotonic() < time_out
    run = a_run()
    strays._end_all(process.unit, NOBODY, run, "/proc")
    assert not [p for p in processes.every() if p.runs_for(NOBODY) and p.unit == process.unit and not p.is_zombie]


@as_root
def test_who_writes_on_a_filesystem_is_caught_in_the_act(stray, everybodys):
    target = everybodys / "trace.out"
    reader = stray(f"open({str(everybodys)!r}+'/none','w').close(); f=open('/etc/passwd'); import time; time.sleep(60)")
    writer = stray(f"f=open({str(target)!r},'a'); import time; time.sleep(60)")
    deadline = time.monotonic() + 5
    while not target.exists():
        assert time.monotonic() < deadline
    strays.perform(StopStray(("nobody",), (), writes_below=str(everybodys), grace_s=1.0), a_run())
    gone = processes.read(writer.pid)
    assert gone is None or gone.is_zombie
    # Both ran in the same place.
    assert reader.unit == writer.unit


@as_root
def test_a_loop_of_short_lived_writers_is_found_by_what_it_wrote(stray, everybodys, monkeypatch):
    monkeypatch.setattr(strays, "_written", lambda *_of: "")
    monkeypatch.setattr(strays, "_LOOK_S", 0.5)
    loop = f"while True: os.system('head -c 100000 /dev/zero >> {everybodys}/t'); time.sleep(0.02)"
    idle = stray(f"folder = {str(everybodys)!r} + '/'; time.sleep(60)")
    # A loop cannot follow a semicolon.
    writer = stray(f"exec({loop!r})")
    strays.perform(StopStray(("nobody",), (), writes_below=str(everybodys), grace_s=1.0), run := a_run())
    assert f"pid {writer.pid}) wrote" in run.detail[0]
    assert idle.pid != writer.pid


@as_root
def test_who_wrote_all_that_was_added_is_stopped_before_the_look_is_over(stray, everybodys, monkeypatch):
    monkeypatch.setattr(strays, "_written", lambda *_of: "")
    monkeypatch.setattr(strays, "_used_bytes", lambda folder: sum(path.stat().st_size for path in Path(folder).iterdir()))
    monkeypatch.setattr(strays, "_LOOK_S", 3600.0)
    monkeypatch.setattr(strays, "_SURE_S", 0.3)
    loop = f"while True: os.system('head -c 100000 /dev/zero >> {everybodys}/t'); time.sleep(0.02)"
    writer = stray(f"exec({loop!r})")
    strays.perform(StopStray(("nobody",), (), writes_below=str(everybodys), grace_s=1.0), run := a_run())
    assert f"pid {writer.pid}) wrote" in run.detail[0]


@as_root
def test_nobody_who_writes_is_said(tmp_path, monkeypatch):
    monkeypatch.setattr(strays, "_LOOK_S", 0.0)
    with pytest.raises(ActionFailed) as caught:
        strays.perform(StopStray(("nobody",), (), writes_below=str(tmp_path)), a_run())
    assert caught.value.reason == "no_writer"


SHOWN = {"ExecStart": "{ path=/usr/bin/x ; argv[]=%s ; ignore_errors=no ; pid=0 }", "User": "nobody", "ActiveState": "failed"}


@pytest.fixture
def told(monkeypatch):
    """What systemd says of a unit, instead of asking it."""
    answers = dict(SHOWN)
    for module in (copies, readiness):
        monkeypatch.setattr(module, "show", lambda _unit, _run, *names: {name: answers.get(name, "") for name in names})
    return answers


@as_root
def test_only_an_exact_copy_of_the_program_is_ended(stray, told):
    process = stray()
    line = " ".join(processes.command_line(process.pid))
    told["ExecStart"] = SHOWN["ExecStart"] % line
    effect = StopCopy("shop.service", process.pid, process.start_ticks, "", ())
    for key, other in (("User", ""), ("User", "daemon"), ("ExecStart", SHOWN["ExecStart"] % "/bin/other")):
        kept, told[key] = told[key], other
        with pytest.raises(Refused) as caught:
            copies.perform(effect, a_run())
        assert caught.value.reason == "other_program"
        told[key] = kept
    copies.perform(effect, a_run())
    gone = processes.read(process.pid)
    assert gone is None or gone.is_zombie


LISTEN = "import socket,time; s=socket.create_server(('127.0.0.1',0)); print(s.getsockname()[1],flush=True); time.sleep(60)"


@as_root
def test_an_address_is_freed_of_a_copy_and_of_nothing_else(stray, told, monkeypatch):
    monkeypatch.setattr(copies, "_listening", lambda _proc: [(address, inode)])
    process = stray(LISTEN)
    deadline = time.monotonic() + 5
    while not (found := [t for _, t in processes.open_files(process.pid) if t.startswith("socket:")]):
        assert time.monotonic() < deadline
    address, inode = "127.0.0.1:8080", int(found[0][8:-1])
    told["ExecStart"] = SHOWN["ExecStart"] % "/bin/other"
    effect = FreeAddresses("shop.service", (address,), (), "", may_stop=True)
    with pytest.raises(ActionFailed) as caught:
        copies.perform(effect, a_run())
    assert caught.value.reason == "address_taken"
    assert f"pid {process.pid}" in str(caught.value)
    told["ExecStart"] = SHOWN["ExecStart"] % " ".join(processes.command_line(process.pid))
    with pytest.raises(ActionFailed, match="may not be stopped"):
        copies.perform(FreeAddresses("shop.service", (address,), ()), a_run())
    copies.perform(effect, a_run())
    gone = processes.read(process.pid)
    assert gone is None or gone.is_zombie


def lock(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "LOCK"
    path.write_text(text)
    return path


def test_the_lock_of_a_dead_process_is_removed(tmp_path, told):
    path = lock(tmp_path, "4194303\n")
    run = a_run()
    readiness.perform(RemoveLock("store.service", str(path)), run)
    assert not path.exists()
    assert "4194303" in run.detail[0]
    with pytest.raises(ActionFailed, match="no such file"):
        readiness.perform(RemoveLock("store.service", str(path)), run)
    readiness.perform(RemoveLock("store.service", str(path), in_passing=True), run)


def test_a_lock_that_somebody_may_hold_stays(tmp_path, told):
    own = " ".join(processes.command_line(os.getpid()))
    told["ExecStart"] = SHOWN["ExecStart"] % own
    path = lock(tmp_path, f"{os.getpid()}\n")
    with pytest.raises(ActionFailed) as caught:
        readiness.perform(RemoveLock("store.service", str(path), in_passing=True), a_run())
    assert caught.value.reason == "lock_held"
    told["ExecStart"] = SHOWN["ExecStart"] % "/usr/bin/store"
    with path.open() as _held, pytest.raises(ActionFailed) as caught:
        readiness.perform(RemoveLock("store.service", str(path)), a_run())
    assert caught.value.reason == "lock_held"
    readiness.perform(RemoveLock("store.service", str(path)), a_run())
    assert not path.exists()


def test_a_lock_that_names_nobody_stays(tmp_path, told):
    path = lock(tmp_path, "locked")
    with pytest.raises(ActionFailed) as caught:
        readiness.perform(RemoveLock("store.service", str(path)), a_run())
    assert caught.value.reason == "lock_unknown"


def test_a_running_units_lock_stays(tmp_path, told):
    told["ActiveState"] = "active"
    path = lock(tmp_path, "4194303\n")
    readiness.perform(RemoveLock("store.service", str(path), in_passing=True), a_run())
    with pytest.raises(Refused):
        readiness.perform(RemoveLock("store.service", str(path)), a_run())
    assert path.exists()


def test_links_and_large_files_are_no_locks(tmp_path, told):
    data = tmp_path / "data"
    data.write_text("4194303\n" + "x" * 8192)
    (tmp_path / "link").symlink_to(data)
    (tmp_path / "folder").symlink_to(tmp_path)
    (tmp_path / "small").write_text("4194303\n")
    (tmp_path / "twin").hardlink_to(tmp_path / "small")
    for path in (data, tmp_path / "link", tmp_path / "folder/small", tmp_path / "twin"):
        with pytest.raises((Refused, ActionFailed)):
            readiness.perform(RemoveLock("store.service", str(path)), a_run())
    assert data.exists()
    assert (tmp_path / "small").exists()


def test_a_broken_configuration_ends_the_start(monkeypatch):
    monkeypatch.setattr(readiness, "hosted_argv", lambda argv, _timeout_s: argv)
    readiness.perform(ConfigTest("shop.service", ("/bin/true",), 5.0, 1024), a_run())
    with pytest.raises(ActionFailed) as caught:
        readiness.perform(ConfigTest("shop.service", ("/bin/sh", "-c", "echo bad port; exit 3"), 5.0, 1024), a_run())
    assert (caught.value.reason, "bad port" in str(caught.value)) == ("config_broken", True)


def test_whose_semaphores_they_are(tmp_path):
    (tmp_path / "sysvipc").mkdir()
    head = "       key      semid perms      nsems   uid   gid  cuid  cgid      otime      ctime\n"
    rows = "0 11 600 1 997 997 997 997 0 17\n0 12 600 1 0 0 0 0 0 17\n"
    (tmp_path / "sysvipc/sem").write_text(head + rows)
    assert semaphores.owned(997, str(tmp_path)) == ["11"]
