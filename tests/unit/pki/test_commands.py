"""`fleetmend-controller init` and `operator`, as somebody types them; and the configuration file."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from fleetmend_controller.alertmanager.settings import AlertmanagerIn
from fleetmend_controller.commands.init import COMMAND as INIT
from fleetmend_controller.commands.operator import COMMAND as OPERATOR
from fleetmend_controller.config import SETTINGS, Address, Config, ConfigError, load_config, parse_config
from fleetmend_controller.handover.routing import DAY_MS, REMIND_MS, SETTLE_MS, SETTLE_TICKETS_MS


@pytest.fixture
def config(tmp_path):
    path = tmp_path / "controller.yaml"
    path.write_text(f"state_dir: {tmp_path / 'state'}\n")
    return str(path)


def invoke(command, *args):
    return CliRunner().invoke(command, args)


def test_init_then_operators(config, tmp_path):
    first = invoke(INIT, "--config", config, "-o", "json")
    assert first.exit_code == 0, first.output
    (row,) = json.loads(first.output)
    assert row["created"] is True
    assert Path(row["ca"]).read_bytes().startswith(b"-----BEGIN CERTIFICATE")
    assert json.loads(invoke(INIT, "--config", config, "-o", "json").output)[0]["created"] is False

    out = tmp_path / "ann"
    added = invoke(OPERATOR, "add", "ann", "--role", "admin", "--out", str(out), "--config", config)
    assert added.exit_code == 0, added.output
    assert {path.name: oct(path.stat().st_mode & 0o777) for path in out.iterdir()} == {
        "operator.key": "0o600",
        "operator.crt": "0o600",
        "ca.crt": "0o600",
    }
    again = invoke(OPERATOR, "add", "ann", "--role", "admin", "--out", str(out), "--config", config)
    assert (again.exit_code, "cannot write" in again.output) == (1, True)
    assert "ann" in invoke(OPERATOR, "ls", "--config", config).output
    assert invoke(OPERATOR, "rm", "ann", "--config", config).exit_code == 0
    gone = invoke(OPERATOR, "rm", "ann", "--config", config)
    assert (gone.exit_code, "cannot remove 'ann'" in gone.output) == (1, True)
    assert json.loads(invoke(OPERATOR, "ls", "-o", "json", "--config", config).output)[0]["revoked"] != "-"


def test_operator_before_init_says_what_to_do(config):
    result = invoke(OPERATOR, "ls", "--config", config)
    assert result.exit_code == 1
    assert "`fleetmend-controller init` creates it" in result.output


def test_all_mistakes_of_a_file_are_named_at_once():
    text = """\
listen: x
foo: 1
listen: '[::]:3'
listen: '[::]:4'
names: [a b]
heartbeat_interval: 10
state_dir: rel
missed_heartbeats: 1
"""
    with pytest.raises(ConfigError) as raised:
        parse_config(text, "c.yaml")
    lines = str(raised.value).splitlines()
    assert [line.split(": cannot")[0] for line in lines] == [
        "c.yaml:1:9",
        "c.yaml:2:1",
        "c.yaml:4:1",
        "c.yaml:5:8",
        "c.yaml:6:21",
        "c.yaml:7:12",
        "c.yaml:8:20",
    ]


@pytest.mark.parametrize(
    "text", ["- a", "a: [", "a: !!python/object:x {}", "database: mysql://x", "rules_dirs: []", "listen: '1:70000'"]
)
def test_what_is_no_configuration_is_refused(text):
    with pytest.raises(ConfigError):
        parse_config(text)


def test_values_are_read_as_written():
    read = parse_config("""\
listen: 0.0.0.0:7443
enrol_listen: '[::1]:0'
heartbeat_interval: 500ms
missed_heartbeats: 4
names: [c.example.org, '2001:db8::1']
""")
    assert (read.listen, read.enrol_listen) == (Address("0.0.0.0", 7443), Address("::1", 0))
    assert (read.silent_after_ms, read.start_grace_ms) == (2_000, 60_000)
    assert str(read.enrol_listen) == "[::1]:0"
    assert parse_config("") == Config()


def test_an_absent_file_is_named(tmp_path):
    with pytest.raises(ConfigError, match="there is no such file"):
        load_config(tmp_path / "none.yaml")


def test_the_shipped_file_shows_every_setting_with_its_default():
    text = (Path(__file__).parents[3] / "deploy" / "controller.yaml").read_text()
    assert parse_config(text) == Config()
    shown = parse_config("\n".join(line.removeprefix("# ") for line in text.splitlines()[1:]))
    assert replace(shown, names=(), database="", notify=None, alertmanager=None, drain=None) == Config()
    assert shown.alertmanager == AlertmanagerIn()
    assert shown.notify == replace(
        shown.notify, give_up_ms=DAY_MS, remind_ms=REMIND_MS, settle_ms=SETTLE_MS, settle_tickets_ms=SETTLE_TICKETS_MS
    )
    assert shown.database == Config().database_url
    assert all(f"# {setting}: " in text for setting in SETTINGS)
