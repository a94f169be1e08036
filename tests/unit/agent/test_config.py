"""The agent's own settings: everything wrong is said at once, with its place."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from fleetmend_agent.config import ConfigError, Settings, load, parse_size, split_address

APART = """
import dataclasses, json, pathlib, sys
from fleetmend_agent.config import ConfigError, load_apart
try:
    print(json.dumps(dataclasses.asdict(load_apart(pathlib.Path(sys.argv[1])))))
except ConfigError as error:
    print(json.dumps(str(error)))
assert "yaml" not in sys.modules
"""


def load_apart(path) -> Settings:
    """As the resident agent reads it: by forking, which a process with threads, like this one, must not."""
    done = subprocess.run([sys.executable, "-c", APART, str(path)], capture_output=True, text=True, check=True, timeout=60)
    found = json.loads(done.stdout)
    if isinstance(found, str):
        raise ConfigError(found)
    return Settings(**found)


def settings(tmp_path, text: str, loader=load) -> Settings:
    path = tmp_path / "agent.yaml"
    path.write_text(text)
    return loader(path)


def errors(tmp_path, text: str, loader=load) -> list[str]:
    with pytest.raises(ConfigError) as wrong:
        settings(tmp_path, text, loader)
    return [line.removeprefix(f"{tmp_path}/agent.yaml:") for line in str(wrong.value).splitlines()]


def test_only_the_controller_must_be_said(tmp_path):
    found = settings(tmp_path, "controller: fleet.example.org\n")
    assert found == Settings(controller="fleet.example.org:7443")
    assert found.enroll_address == "fleet.example.org:7444"


def test_everything_can_be_said(tmp_path):
    text = """
controller: "[2001:db8::1]:9443"
enroll_port: 9444
state_dir: /srv/state
executor_socket: /srv/executor.sock
dbus_socket: /srv/bus
outbox_bytes_max: 64M
report_presence: false
roots: {proc: /fixture/proc, tools: /fixture/tools}
"""
    found = settings(tmp_path, text, load_apart)
    assert found == settings(tmp_path, text)
    assert found.controller == "[2001:db8::1]:9443"
    assert found.enroll_address == "[2001:db8::1]:9444"
    assert found.outbox_bytes_max == 64 << 20
    assert found.report_presence is False
    assert found.roots == {"proc": "/fixture/proc", "tools": "/fixture/tools"}


@pytest.mark.parametrize("loader", [load, load_apart])
def test_all_errors_are_told_at_once_with_their_places(tmp_path, loader):
    text = """controller: "a b"
labels: {role: web}
state_dir: var/lib
outbox_bytes_max: lots
roots:
  procfs: /x
  sys: x
enroll_port: 70000
controller: twice.example.org
"""
    found = errors(tmp_path, text, loader)
    assert [line.split(": ")[0] for line in found] == ["1:13", "2:1", "3:12", "4:19", "6:3", "7:8", "8:14", "9:1"]
    assert all(": cannot " in line for line in found)
    assert "'labels': unknown key" in found[1]


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("", "`controller: host:port` is missing"),
        ("- a\n", "must be a mapping"),
        ("controller: [a]\n", "must be a single value"),
        ("controller: a\nroots: /x\n", "must be a mapping"),
        ("controller: {a\n", "cannot read the settings"),
        ("controller: a\n---\ncontroller: b\n", "cannot read the settings"),
    ],
)
def test_what_is_no_settings_file_is_refused(tmp_path, text, error):
    assert error in errors(tmp_path, text)[0]


def test_a_file_that_cannot_be_read_is_said(tmp_path):
    with pytest.raises(ConfigError, match=r"cannot read the settings: .*No such file"):
        load_apart(tmp_path / "none.yaml")
    (tmp_path / "big.yaml").write_text("# " + "x" * 70_000)
    with pytest.raises(ConfigError, match="larger than"):
        load(tmp_path / "big.yaml")


def test_addresses_and_sizes():
    assert split_address("h", 1) == ("h", 1)
    assert split_address("[::1]:5", 1) == ("[::1]", 5)
    assert parse_size("512K") == 524_288
    for text in ("h:0", "h:99999", "::1", "h:x", ""):
        with pytest.raises(ValueError, match="cannot read address"):
            split_address(text, 1)
    for text in ("0", "-1", "1T", "M", "1.5M"):
        with pytest.raises(ValueError, match="cannot read size"):
            parse_size(text)


def test_people_are_reported_unless_the_host_says_no(tmp_path):
    assert settings(tmp_path, "controller: a\n").report_presence is True
    assert settings(tmp_path, "controller: a\nreport_presence: true\n").report_presence is True
    (wrong,) = errors(tmp_path, "controller: a\nreport_presence: maybe\n")
    assert wrong == "2:18: cannot read 'maybe' as a flag: write true or false"


def test_how_long_the_controller_must_be_away(tmp_path):
    assert settings(tmp_path, "controller: a\n").alone_after_ms == 10_000
    assert settings(tmp_path, "controller: a\nalone_after: 2m\n").alone_after_ms == 120_000
    for wrong in ("500ms", "soon", "0s", "-1"):
        (error,) = errors(tmp_path, f"controller: a\nalone_after: {wrong}\n")
        assert "as a duration of at least 1s" in error
