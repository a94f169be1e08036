"""What deploy/install refuses before it touches anything. The installation itself is tried on the lab's hosts."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

INSTALL = Path(__file__).parents[3] / "deploy/install"


def install(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([str(INSTALL), *arguments], capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["server"], "the part is agent, controller or cli"),
        (["agent", "--fast"], "'--fast': unknown"),
        (["agent", "--wheels"], "its value is missing"),
        (["agent", "--name", "a.b"], "--name with agent"),
        (["controller", "--controller", "a"], "with controller"),
        (["controller", "--name", "a b"], "neither a DNS name nor an address"),
        (["agent", "--purge"], "--purge without --remove"),
        (["agent", "--prefix", "opt"], "absolute path"),
        (["agent", "--prefix", "/opt/../etc"], "absolute path"),
        (["agent", "--controller", "a;reboot"], "not an address"),
        (["agent", "--hostname", "Web 1"], "lower-case letters"),
        (["agent", "--enroll-port", "http"], "not a port"),
    ],
)
def test_usage_is_checked_first(arguments, words):
    done = install(*arguments)
    assert done.returncode == 2
    assert words in done.stderr
    assert done.stderr.startswith("install: cannot use ")
    assert done.stdout == ""


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["agent", "--wheels", "/no/such"], "cannot install from /no/such: no such directory"),
        (["agent", "--controller", "a", "--ca", "/no/ca", "--token-file", "/no/token"], "cannot read /no/ca"),
        (["agent", "--controller", "never.example"], "--ca and --token-file are needed the first time"),
    ],
)
def test_what_is_missing_is_named_before_anything_is_done(arguments, words):
    done = install(*arguments)
    assert done.returncode == 1
    assert words in done.stderr
    assert done.stdout == ""


def test_help_names_every_option():
    done = install("--help")
    assert done.returncode == 0
    for option in ("--controller", "--ca", "--token-file", "--enroll-port", "--hostname", "--name", "--wheels", "--prefix"):
        assert option in done.stdout
    for option in ("--no-start", "--remove", "--purge"):
        assert option in done.stdout
    assert install().returncode == 2


def test_the_script_is_sound_bash_and_executable():
    assert subprocess.run(["bash", "-n", str(INSTALL)], check=False).returncode == 0
    assert INSTALL.stat().st_mode & 0o111
