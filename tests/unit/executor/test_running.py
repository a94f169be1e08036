"""Commands, systemd jobs and killing, through the run that carries them."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from fleetmend_executor import commands, evidence, killing, systemd
from fleetmend_executor.actions import Refused
from fleetmend_executor.commands import Finished, run_argv
from fleetmend_executor.effects import Command, KillProcess, UnitGuard, UnitJob
from fleetmend_executor.run import ActionFailed, Run, Runner


def python(text: str, timeout_s: float = 20.0, output_bytes_max: int = 1000) -> Finished:
    return run_argv((sys.executable, "-I", "-c", text), timeout_s, output_bytes_max)


def test_a_command_gets_nothing_of_ours(monkeypatch):
    monkeypatch.setenv("SECRET", "x")
    secret = os.open("/dev/null", os.O_RDONLY)
    os.set_inheritable(secret, True)
    done = python("import os,sys; print(sorted(os.environ), os.getcwd(), os.listdir('/proc/self/fd'), sys.stdin.read())")
    os.close(secret)
    assert done.exit == 0
    assert "SECRET" not in done.output
    assert "PATH" in done.output
    assert " / " in done.output
    assert f"'{secret}'" not in done.output.replace("'3'", "")


def test_output_is_bounded_and_the_command_never_blocks_on_it():
    done = python("print('x' * 1_000_000); print('end')", output_bytes_max=100)
    assert done.exit == 0
    assert done.output.startswith("x" * 100 + "\n[")
    assert "more bytes" in done.output


def test_control_characters_do_not_reach_a_terminal():
    assert commands.plain("a\x1b[31m\tb\r\n\x9bc\u202eé") == "a?[31m\tb?\n?c?é"


def test_a_command_that_overruns_is_ended_with_all_its_children(tmp_path):
    mark = tmp_path / "pid"
    text = (
        f"import subprocess,time; p=subprocess.Popen(['sleep','60']); open({str(mark)!r},'w').write(str(p.pid)); time.sleep(60)"
    )
    done = python(text, timeout_s=1.5)
    assert done.exit == commands.EXIT_TIMEOUT
    assert "cut off after 1.5 s" in done.output
    child = int(mark.read_text())
    deadline = time.monotonic() + 5
    while Path(f"/proc/{child}").exists() and "Z" not in Path(f"/proc/{child}/stat").read_text():
        assert time.monotonic() < deadline, "its child outlived it"
        time.sleep(0.02)


def test_a_child_that_keeps_the_output_open_does_not_keep_us():
    begun = time.monotonic()
    done = python("import subprocess; subprocess.Popen(['sleep','5'], start_new_session=True); print('done')")
    assert (done.exit, done.output.strip()) == (0, "done")
    assert time.monotonic() - begun < 4


def test_what_cannot_be_started_says_so():
    done = run_argv(("/no/such/tool",), 5, 100)
    assert done.exit == commands.EXIT_NOT_STARTED
    assert done.output.startswith("cannot start /no/such/tool")


class Scripted(Run):
    """A run whose commands are answered from a script: (words that must be in the argv, exit, output)."""

    def __init__(self, *script) -> None:
        super().__init__(time.monotonic() + 30)
        self.script = list(script)

    def argv(self, *argv: str, timeout_s=None, output_bytes_max=0) -> Finished:
        words, status, output = self.script.pop(0)
        assert set(words.split()) <= set(argv), argv
        assert argv[-2:][0] == "--", "the unit's name must not be taken for an option"
        self.commands.append(Finished(argv, status, 1, output))
        return self.commands[-1]


def shown(*, left_dead_us: int, result: str = "exit-code", active: str = "failed", load: str = "loaded") -> str:
    state = {"LoadState": load, "ActiveState": active, "SubState": "failed", "Result": result}
    lines = {**state, "InactiveExitTimestampMonotonic": left_dead_us}
    return "".join(f"{name}={value}\n" for name, value in lines.items())


def test_a_job_that_works_is_one_command():
    run = Scripted(("restart shop.service", 0, ""))
    systemd.job(UnitJob("restart", "shop.service"), run)
    assert len(run.commands) == 1


def test_a_start_limit_is_reset_and_the_job_tried_once_more():
    run = Scripted(
        ("restart shop.service", 1, "Start request repeated too quickly."),
        ("show shop.service", 0, shown(left_dead_us=5)),
        ("reset-failed shop.service", 0, ""),
        ("restart shop.service", 0, ""),
    )
    systemd.job(UnitJob("restart", "shop.service"), run)
    assert run.script == []
    assert run.detail == ["its start limit was reset"]


def test_a_service_that_started_and_failed_is_not_started_again():
    later = int(time.monotonic() * 1e6) + 10_000_000
    run = Scripted(("restart shop.service", 1, "Job failed."), ("show shop.service", 0, shown(left_dead_us=later)))
    with pytest.raises(
        ActionFailed, match=r"cannot restart shop.service: failed/failed, result exit-code: Job failed."
    ) as caught:
        systemd.job(UnitJob("restart", "shop.service"), run)
    assert caught.value.reason == "job_failed"


@pytest.mark.parametrize("load", ["not-found", "masked"])
def test_a_unit_that_is_not_there_is_named_so(load):
    run = Scripted(("start x.service", 5, "Unit x.service"), ("show x.service", 0, shown(left_dead_us=0, load=load)))
    with pytest.raises(ActionFailed, match=f"it is {load}") as caught:
        systemd.job(UnitJob("start", "x.service"), run)
    assert caught.value.reason == "unit_not_loaded"


def test_a_job_that_outlives_its_time_is_told_as_such():
    with pytest.raises(ActionFailed, match="its job goes on in systemd") as caught:
        systemd.job(UnitJob("stop", "x.service"), Scripted(("stop x.service", commands.EXIT_TIMEOUT, "")))
    assert caught.value.reason == "timeout"


@pytest.mark.parametrize(
    ("state", "passes"), [("inactive", True), ("failed", True), ("active", False), ("deactivating", False), ("", False)]
)
def test_clean_only_asks_whether_it_is_dead_and_an_unknown_state_is_not(state, passes):
    run = Scripted(("show store.service", 0, f"ActiveState={state}\n"))
    guard = UnitGuard("store.service", (), must_be_dead=True)
    if passes:
        systemd.guard(guard, run)
        return
    with pytest.raises(Refused) as caught:
        systemd.guard(guard, run)
    assert caught.value.reason == "clean_only"


def test_a_surprise_in_an_action_is_a_failure_and_counted():
    said: list[str] = []
    runner = Runner(said.append)

    def broken():
        raise KeyError("surprise")

    result = runner.carry_out(broken, 1.0)
    assert (result.outcome, result.reason, runner.surprises) == ("failed", "internal", 1)
    assert "surprise" in said[0]


def test_a_failing_command_fails_the_action_unless_it_is_optional():
    runner = Runner(lambda text: None)
    false = Command(("false",), optional=True, title="probe")
    assert runner.carry_out(lambda: (false, Command(("true",))), 5).outcome == "done"
    failed = runner.carry_out(lambda: (Command(("false",)), Command(("true",))), 5)
    assert (failed.outcome, failed.reason, len(failed.commands)) == ("failed", "exit_status", 1)


@pytest.fixture
def victim(tmp_path):
    """A process of ours, and a /proc that says it belongs to shop.service."""
    process = subprocess.Popen(["sleep", "60"])
    folder = tmp_path / str(process.pid)
    folder.mkdir()
    (folder / "stat").write_text(Path(f"/proc/{process.pid}/stat").read_text())
    (folder / "cgroup").write_text("12:cpu:/\n1:name=systemd:/system.slice/shop.service\n")
    yield process, str(tmp_path)
    process.kill()
    process.wait()


def marks(process, **changes) -> KillProcess:
    real = killing.read_process(process.pid)
    values = {
        "killable": ("shop.service",),
        "pid": process.pid,
        "start_ticks": real.start_ticks,
        "process_name": "sleep",
        "grace_s": 5,
    }
    return KillProcess(**{**values, **changes})


def test_the_right_process_is_ended_by_term(victim):
    process, proc = victim
    run = Run(time.monotonic() + 30)
    killing.kill(marks(process), run, proc)
    assert process.wait(5) == -15
    assert run.detail == [f"pid {process.pid} ended by SIGTERM"]


def test_one_that_ignores_term_gets_kill_after_the_grace(tmp_path):
    text = "import signal,time; signal.signal(15, signal.SIG_IGN); print('ready', flush=True); time.sleep(60)"
    with subprocess.Popen([sys.executable, "-c", text], stdout=subprocess.PIPE) as process:
        process.stdout.readline()
        folder = tmp_path / str(process.pid)
        folder.mkdir()
        (folder / "stat").write_text(Path(f"/proc/{process.pid}/stat").read_text())
        (folder / "cgroup").write_text("0::/system.slice/shop.service\n")
        name = killing.read_process(process.pid, str(tmp_path)).name
        killing.kill(marks(process, process_name=name, grace_s=0.1), Run(time.monotonic() + 30), str(tmp_path))
        assert process.wait(5) == -9


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"start_ticks": 1}, "other_process"),
        ({"process_name": "bash"}, "other_process"),
        ({"killable": ()}, "undeclared"),
        ({"killable": ("other.service",)}, "undeclared"),
        ({"pid": 1}, "protected"),
        ({"pid": os.getpid()}, "protected"),
    ],
)
def test_any_other_process_is_spared(victim, changes, reason):
    process, proc = victim
    with pytest.raises(Refused) as caught:
        killing.kill(marks(process, **changes), Run(time.monotonic() + 30), proc)
    assert caught.value.reason == reason
    assert process.poll() is None


def test_a_process_that_is_gone_is_a_failure_with_a_reason():
    process = subprocess.Popen(["true"])
    process.wait()
    with pytest.raises(ActionFailed) as caught:
        killing.kill(
            KillProcess(("shop.service",), pid=process.pid, start_ticks=1, process_name="true"), Run(time.monotonic() + 5)
        )
    assert caught.value.reason == "no_process"


@pytest.mark.parametrize(
    ("groups", "unit"),
    [
        ("0::/system.slice/shop.service\n", "shop.service"),
        ("4:memory:/x\n1:name=systemd:/system.slice/shop@1.service/sub\n0::/\n", "shop@1.service"),
        ("0::/user.slice/user-0.slice/session-1.scope\n", "session-1.scope"),
        ("0::/\n", ""),
        ("", ""),
    ],
)
def test_the_unit_of_a_process(groups, unit):
    assert killing.unit_of(groups) == unit


def test_evidence_names_processes_and_listening_sockets(tmp_path):
    stat = "7 (my (odd) name) S 1 " + " ".join(["0"] * 9) + " 250 50 0 0 20 0 1 0 99 1000 256 0\n"
    (tmp_path / "7").mkdir()
    (tmp_path / "7/stat").write_text(stat)
    (tmp_path / "1/net").mkdir(parents=True)
    header = "  sl  local_address rem_address   st\n"
    (tmp_path / "1/net/tcp").write_text(header + "   0: 0100007F:1F90 00000000:0000 0A\n   1: 0100007F:1F91 0100007F:0001 01\n")
    (tmp_path / "1/net/tcp6").write_text(header + "   0: 00000000000000000000000001000000:0050 0:0 0A\n")
    (line,) = evidence.processes(str(tmp_path), 10)
    assert "pid=7 state=S rss_kib=1024 cpu_s=3.0 name=my (odd) name" in line
    assert evidence.sockets(str(tmp_path), 10) == ["listen 127.0.0.1:8080", "listen [::1]:80"]


def test_a_hosted_command_is_a_unit_of_systemd_that_ends_with_its_time(tmp_path, monkeypatch):
    fake = tmp_path / "systemd-run"
    fake.write_text('#!/bin/sh\nfor word; do echo "$word"; done\n')
    fake.chmod(0o755)
    monkeypatch.setitem(commands.ENVIRONMENT, "PATH", f"{tmp_path}:/usr/bin:/bin")
    runner = Runner(say=print)
    result = runner.carry_out(lambda: (Command(("/sbin/ip", "route", "del", "blackhole 1"), timeout_s=7.2, hosted=True),), 60.0)
    words = result.output.splitlines()
    assert result.outcome == "done"
    assert words[0].startswith("--unit=fleetmend-repair-")
    assert {"--wait", "--pipe", "--collect", "--property=RuntimeMaxSec=8"} <= set(words)
    assert words[words.index("--") + 1 :] == ["/sbin/ip", "route", "del", "blackhole 1"]


def test_an_effect_may_live_with_its_performer(monkeypatch):
    done = []

    class Special:
        performer = "killing"

    monkeypatch.setattr(killing, "perform", lambda effect, run: done.append(effect), raising=False)
    effect = Special()
    assert Runner(say=print).carry_out(lambda: (effect,), 10.0).outcome == "done"
    assert done == [effect]
