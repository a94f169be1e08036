"""What deploy/install refuses before it touches anything, and whose files it leaves alone.

The installation itself is tried on the lab's hosts. Here the script puts its units and links into folders of the test.
"""

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


UNITS = ["fleetmend-agent.service", "fleetmend-executor.service", "fleetmend-executor.socket"]
LINKS = ["fleetmend-agent", "fleetmend-executor"]
# Programs, users and services are the lab's to try.
STUBS = """
need_machine() { install -d "$PREFIX/installed"; }
programs() { install -d "$PREFIX/venv/bin" && note programs "$PREFIX/venv" 1; }
user() { :; }
folder() { :; }
configure() { :; }
services() { :; }
systemctl() { :; }
"""


class Machine:
    """A server that is nothing but folders."""

    def __init__(self, folder: Path) -> None:
        self.units, self.bin, self.prefix = folder / "units", folder / "bin", folder / "opt"
        for each in (self.units, self.bin):
            each.mkdir()
        text = INSTALL.read_text()
        for before, after in (
            ("UNIT_DIR=/etc/systemd/system", f"UNIT_DIR={self.units}"),
            ("LINK_DIR=/usr/local/bin", f"LINK_DIR={self.bin}"),
            ('SOURCE=$(cd "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")" && pwd)', f"SOURCE={INSTALL.parent}"),
            ('\nmain "$@"\n', f'\n{STUBS}\nmain "$@"\n'),
        ):
            assert text.count(before) == 1
            text = text.replace(before, after)
        self._script = folder / "install"
        self._script.write_text(text)

    def install(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Install or remove the agent."""
        argv = ["bash", str(self._script), "agent", "--prefix", str(self.prefix), *arguments]
        return subprocess.run(argv, capture_output=True, text=True, check=False)

    def seen(self) -> dict[str, str]:
        """Every unit and link with what it holds."""
        return {
            path.name: f"-> {path.readlink()}" if path.is_symlink() else path.read_text()
            for folder in (self.units, self.bin)
            for path in folder.iterdir()
        }


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def test_units_and_links_are_put_there_once_and_taken_away(machine):
    (machine.units / "other.service").write_text("[Service]")
    assert machine.install().returncode == 0
    assert sorted(machine.seen()) == sorted([*UNITS, *LINKS, "other.service"])
    assert f"{machine.prefix}/venv/bin/fleetmend-agent run" in machine.seen()["fleetmend-agent.service"]
    assert machine.seen()["fleetmend-agent"] == f"-> {machine.prefix}/venv/bin/fleetmend-agent"
    assert machine.install().stdout == "install: nothing to change\n"
    assert machine.install("--remove").returncode == 0
    assert machine.seen() == {"other.service": "[Service]"}
    assert not machine.prefix.exists()


def _file(path: Path) -> None:
    path.write_text("theirs")


def _link(path: Path) -> None:
    path.symlink_to("/bin/true")


def _dangling(path: Path) -> None:
    path.symlink_to("/nowhere/at/all")


@pytest.mark.parametrize("make", [_file, _link, _dangling])
@pytest.mark.parametrize(("where", "name"), [("units", UNITS[2]), ("bin", LINKS[1])])
def test_what_somebody_else_put_there_is_refused_untouched_and_never_removed(machine, where, name, make):
    make(getattr(machine, where) / name)
    before = machine.seen()
    done = machine.install()
    assert done.returncode == 1
    assert done.stderr.startswith("install: cannot ")
    assert f"{where}/{name}: something of that name is there" in done.stderr
    assert "move it away" in done.stderr
    assert done.stdout == ""
    assert machine.seen() == before
    assert machine.install("--remove").returncode == 0
    assert machine.seen() == before


def test_a_link_that_was_turned_elsewhere_since_is_left_alone(machine):
    machine.install()
    (machine.bin / LINKS[0]).unlink()
    _link(machine.bin / LINKS[0])
    assert "cannot link" in machine.install().stderr
    machine.install("--remove")
    assert machine.seen() == {LINKS[0]: "-> /bin/true"}


def test_a_folder_of_programs_that_somebody_else_made_is_refused(machine):
    theirs = machine.prefix / "venv" / "theirs"
    theirs.parent.mkdir(parents=True)
    theirs.touch()
    done = machine.install()
    assert done.returncode == 1
    assert f"cannot install into {machine.prefix}/venv: it is there" in done.stderr
    machine.install("--remove")
    assert theirs.exists()


def test_an_older_unit_of_ours_is_replaced_and_an_interrupted_installation_goes_on(machine):
    machine.install()
    unit, manifest = machine.units / UNITS[0], machine.prefix / "installed" / "agent"
    fresh = unit.read_text()
    unit.write_text("[Unit]\nDescription=an older version\n")
    assert machine.install().returncode == 0
    assert unit.read_text() == fresh
    # It died after it had written the last file and before it noted that.
    lines = manifest.read_text().splitlines(keepends=True)
    manifest.write_text("".join(line for line in lines if UNITS[0] not in line))
    assert machine.install().returncode == 0
    assert UNITS[0] in manifest.read_text()
