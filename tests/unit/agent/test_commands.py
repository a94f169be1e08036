"""The commands that people type: check and doctor."""

from __future__ import annotations

import errno
import json
import logging
import os
import subprocess
import sys

import pytest

from fleetmend.v1 import link_pb2 as pb
from fleetmend_agent.__main__ import main
from fleetmend_agent.log import LOG
from fleetmend_agent.signals import pressure

DONE, FAILED, USAGE = 0, 1, 2


@pytest.fixture
def config(tmp_path):
    path = tmp_path / "agent.yaml"
    lines = (
        "controller: 127.0.0.1:1",
        f"state_dir: {tmp_path}/state",
        f"executor_socket: {tmp_path}/none",
        f"dbus_socket: {tmp_path}/no",
    )
    path.write_text("\n".join(lines))
    return path


@pytest.fixture(autouse=True)
def _log_as_before():
    handlers = list(logging.getLogger().handlers)
    yield
    LOG.disabled = False
    logging.getLogger().handlers[:] = handlers


def check(config, *words):
    return main(["check", *words, "--config", str(config), "--output", "json"])


def test_a_check_runs_once_and_says_what_it_finds_good_or_bad(config, tmp_path, capsys):
    stamp = tmp_path / "stamp"
    assert check(config, "file_age", "--with", f"path={stamp}", "--with", "max_age=10s") == DONE
    (found,) = json.loads(capsys.readouterr().out)
    assert (found["check"], found["type"], found["status"]) == ("file_age", "file_age", "crit")
    stamp.touch()
    assert main(["check", "file_age", "--with", f"path={stamp}", "--with", "max_age=10s", "--config", str(config)]) == DONE
    out = capsys.readouterr().out
    assert out.startswith("OK      file_age: ")
    assert f"path = {stamp}" in out


def test_a_check_that_cannot_judge_is_exit_code_1(config, capsys):
    assert check(config, "unit_failed") == FAILED
    (found,) = json.loads(capsys.readouterr().out)
    assert found["status"] == "unknown"
    assert "cannot reach systemd" in found["summary"]


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (["warp_core"], "neither a check type nor a check that the controller configured"),
        (["file_age"], "cannot do without parameter 'path'"),
        (["file_age", "--with", "path"], "write it as name=value"),
        (["file_age", "--with", "path=/x", "--with", "max_age=soon"], "not a duration"),
        (["file_age", "--with", "path=/x", "--with", "max_age=1s", "--with", "colour=red"], "colour"),
    ],
)
def test_what_cannot_be_run_like_this_is_exit_code_2(config, capsys, words, error):
    assert check(config, *words) == USAGE
    assert error in capsys.readouterr().err


def test_a_configured_check_can_be_run_by_its_name(config, tmp_path, capsys):
    (tmp_path / "state").mkdir()
    params = json.dumps({"path": str(tmp_path), "max_age": 3_600_000})
    known = pb.AgentConfig(checks=[pb.CheckSpec(name="backup", type="file_age", params_json=params)])
    (tmp_path / "state" / "config.pb").write_bytes(known.SerializeToString())
    assert check(config, "backup") == DONE
    assert json.loads(capsys.readouterr().out)[0]["status"] == "ok"
    assert check(config, "backup", "--with", "path=/nowhere") == DONE
    assert json.loads(capsys.readouterr().out)[0]["status"] == "crit"


def test_doctor_names_all_that_is_broken(config, capsys):
    assert main(["doctor", "--config", str(config), "--output", "json"]) == FAILED
    lines = {line["name"]: line for line in json.loads(capsys.readouterr().out)}
    assert {name for name, line in lines.items() if line["state"] == "broken"} == {
        "state",
        "certificate",
        "controller",
        "executor",
        "outbox",
    }
    assert lines["settings"]["state"] == "ok"
    assert "fleetmend-agent enroll" in lines["state"]["text"]
    assert lines["systemd"]["state"] == "weak"


def pressure_line(capsys, config):
    main(["doctor", "--config", str(config), "--output", "json"])
    (line,) = [line for line in json.loads(capsys.readouterr().out) if line["name"] == "pressure"]
    return line["state"], line["text"]


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (errno.EPERM, "before 6.4 it takes CAP_SYS_RESOURCE"),
        (errno.EOPNOTSUPP, "booted with psi=1"),
        (errno.ENOENT, "booted with psi=1"),
    ],
)
def test_doctor_says_why_pressure_is_polled(config, capsys, monkeypatch, number, words):
    def refused(_path):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(pressure, "open_trigger", refused)
    state, text = pressure_line(capsys, config)
    assert state == "weak"
    assert f"{os.strerror(number)}; pressure is polled" in text
    assert words in text


def test_doctor_tries_pressure_as_the_agents_own_user(config, tmp_path, capsys, monkeypatch):
    read_end, write_end = os.pipe()

    def as_whom(_path):
        os.write(write_end, str(os.geteuid()).encode())
        return os.dup(write_end)

    monkeypatch.setattr(pressure, "open_trigger", as_whom)
    (tmp_path / "state").mkdir(exist_ok=True)
    owner = 65_534 if os.geteuid() == 0 else os.geteuid()
    os.chown(tmp_path / "state", owner, -1)
    assert pressure_line(capsys, config) == (
        "ok",
        "triggers work on /proc/pressure/memory: the kernel tells of pressure at once",
    )
    assert os.read(read_end, 100).decode() == str(owner)
    os.close(read_end)
    os.close(write_end)


def test_doctor_prints_a_line_each(tmp_path, capsys):
    (tmp_path / "agent.yaml").write_text("controler: x\n")
    assert main(["doctor", "--config", str(tmp_path / "agent.yaml")]) == FAILED
    first = capsys.readouterr().out.splitlines()[0]
    assert first.startswith("broken  settings")
    assert "'controler': unknown key" in first


def test_run_refuses_bad_settings_and_a_missing_identity(config, tmp_path):
    def run(path):
        words = [sys.executable, "-m", "fleetmend_agent", "run", "--config", str(path)]
        done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
        return done.returncode, done.stderr

    code, said = run(tmp_path / "none.yaml")
    assert code == FAILED
    assert said.startswith("<3>")
    assert "none.yaml:1:1: cannot read the settings" in said
    code, said = run(config)
    assert code == FAILED
    assert "enrol this host: fleetmend-agent enroll" in said
