"""Tools: never a shell, bounded in time and output, and nothing of them stays behind."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest

from fleetmend_agent.host import Host, Roots

HOST = Host()


def sh(script, timeout_s=10.0, output_bytes_max=1000):
    return HOST.run(("sh", "-c", script), timeout_s, output_bytes_max)


def ends(pid):
    """Whether a process ends soon: the kernel takes a moment to end it, and its new parent another to collect it."""
    for _ in range(200):
        try:
            state = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()[0]
        except (FileNotFoundError, ProcessLookupError):
            return True
        if state in {"Z", "X"}:
            return True
        time.sleep(0.01)
    return False


def test_output_and_exit_code_come_back():
    ended = sh("echo out; echo err >&2; exit 3")
    assert (ended.exit_code, ended.stdout, ended.stderr, ended.timed_out, ended.truncated) == (
        3,
        "out\n",
        "err\n",
        False,
        False,
    )


def test_arguments_are_no_shell_words():
    ended = HOST.run(("echo", "$(id)", "; ls", "*"), 10.0)
    assert ended.stdout == "$(id) ; ls *\n"


def test_a_flood_of_output_is_cut_and_does_not_block_the_tool():
    ended = sh("head -c 3000000 /dev/zero | tr '\\0' x; echo done >&2")
    assert (ended.exit_code, len(ended.stdout), ended.stderr, ended.truncated) == (0, 1000, "done\n", True)


def test_a_tool_that_does_not_end_is_killed_with_all_its_children(tmp_path):
    pids = tmp_path / "pids"
    ended = sh(f"trap '' TERM; sleep 300 & echo $! >> {pids}; echo $$ >> {pids}; echo begun; sleep 300", timeout_s=0.5)
    assert (ended.timed_out, ended.exit_code, ended.stdout) == (True, -signal.SIGKILL, "begun\n")
    found = [int(pid) for pid in pids.read_text().split()]
    assert len(found) == 2
    assert all(ends(pid) for pid in found)


def test_a_child_left_behind_is_not_waited_for_and_does_not_stay(tmp_path):
    pids = tmp_path / "pids"
    ended = sh(f"sleep 300 & echo $! > {pids}; echo parent done")
    assert (ended.timed_out, ended.exit_code, ended.stdout) == (False, 0, "parent done\n")
    assert ends(int(pids.read_text()))


def test_a_tool_that_closes_its_output_is_still_waited_for():
    assert sh("exec >&- 2>&-; sleep 0.1; exit 7").exit_code == 7


def test_a_tool_reads_nothing_and_sees_no_environment_of_ours(monkeypatch):
    monkeypatch.setenv("FLEETMEND_SECRET", "x")
    ended = sh("cat; env")
    assert "SECRET" not in ended.stdout
    assert {line.partition("=")[0] for line in ended.stdout.splitlines()} <= {
        "PATH",
        "LC_ALL",
        "PWD",
        "SHLVL",
        "_",
        "OLDPWD",
    }


def test_a_tool_has_a_session_of_its_own():
    ended = sh("cut -d' ' -f1,5,6 /proc/$$/stat")
    pid, group, session = ended.stdout.split()
    assert pid == group == session
    assert int(session) != os.getsid(0)


@pytest.mark.parametrize("argv", [("no-such-tool-anywhere",), ("/nonexistent/tool",), ()])
def test_what_is_no_tool_cannot_run(argv):
    with pytest.raises(OSError):
        HOST.run(argv, 1.0)


def test_tools_come_from_the_roots(tmp_path):
    (tmp_path / "date").write_text("#!/bin/sh\necho ours\n")
    (tmp_path / "date").chmod(0o755)
    assert Host(roots=Roots(tools=str(tmp_path))).run(("date",), 10.0).stdout == "ours\n"


def test_no_descriptor_is_lost():
    sh("true")
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(5):
        sh("true")
    assert len(list(Path("/proc/self/fd").iterdir())) == before
