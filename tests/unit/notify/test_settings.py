"""The sections `notify` and `alertmanager` of the configuration: everything that is wrong with them at once."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from fleetmend_controller.__main__ import main
from fleetmend_controller.config import ConfigError, parse_config

GOOD = """
notify:
  channels:
    oncall: {type: pagerduty, routing_key_file: /etc/k}
    team: {type: slack, url_file: /etc/u}
    am: {type: alertmanager, urls: [http://am-1:9093, http://am-2:9093]}
    mail: {type: email, host: m.test, from: f@test, to: o@test}
    hook: {type: webhook, url: "https://x.test/in", hmac_file: /etc/h}
  routes:
    - {to: shop, severity: page, channels: [oncall, am]}
    - {to: [shop, bank], channels: team}
    - {severity: page, channels: [oncall]}
  default: [mail, hook]
  give_up_after: 2d
  remind: never
  settle: 5s
  settle_tickets: 1m
  source: fm-eu
"""


def test_a_whole_section_is_read():
    notify = parse_config(GOOD).notify
    assert (notify.give_up_ms, notify.remind_ms, notify.source) == (172_800_000, None, "fm-eu")
    assert (notify.first_word_ms("page"), notify.first_word_ms("ticket")) == (5_000, 60_000)
    assert notify.channels["am"].options["urls"] == ("http://am-1:9093", "http://am-2:9093")
    assert notify.channels["oncall"].options["url"] == "https://events.pagerduty.com/v2/enqueue"

    def told(to: str, severity: str) -> list[str]:
        return [each.name for each in notify.channels_for(to, severity)]

    assert told("shop", "page") == ["oncall", "am"]
    assert told("shop", "ticket") == told("bank", "page") == ["team"]
    assert told("ops", "page") == ["oncall"]
    assert told("ops", "ticket") == ["mail", "hook"]


BAD = """
notify:
  channels:
    Oncall: {type: pagerduty, routing_key_file: /etc/k}
    a: {type: pager}
    b: {type: webhook, url: "ftp://x", token: abc, hmac_file: rel}
    c: {type: webhook, url: "https://me:pw@x.test/"}
    d: {url_file: /x}
    e: {type: email, host: m.test, from: f@test, to: [], tls: plain, user: me}
    f: {type: slack}
    g: [1]
    h: {type: slack, url_file: /x, url_file: /y}
  routes:
    - {to: shop, severity: urgent}
    - {channels: [], when: now}
    - never
  give_up_after: 2s
  remind: sometimes
  retries: 3
alertmanager: {listen: "0.0.0.0:7481", silent_after: 9d, token: x}
"""


def test_everything_that_is_wrong_is_said_at_once():
    with pytest.raises(ConfigError) as raised:
        parse_config(BAD, "c.yaml")
    lines = str(raised.value).splitlines()
    assert all(line.startswith("c.yaml:") and ": cannot use '" in line for line in lines)
    assert lines == sorted(lines, key=lambda line: [int(number) for number in line.split(":")[1:3]])
    for place, text in (
        ("4:5", "'Oncall' is no name"),
        ("5:8", "it must be one of alertmanager, apprise, email, pagerduty, slack, webhook"),
        ("6:29", "b: url: it must be a URL"),
        ("6:40", "b: unknown setting 'token'; known are ca_file, hmac_file, token_file, url"),
        ("6:63", "b: hmac_file: it must be an absolute path"),
        ("7:29", "c: url: it must not hold a user or password"),
        ("8:8", "d: type is missing"),
        ("9:54", "e: to: it must be a list of 1 to 32 entries"),
        ("10:8", "f: url_file is missing: a file with the URL of the webhook"),
        ("11:8", "g: it must be a mapping"),
        ("12:36", "h: 'url_file' is given twice"),
        ("14:28", "route 1: severity: it must be one of page, ticket"),
        ("14:7", "route 1: channels is missing"),
        ("15:18", "route 2: channels: it must be a list of 1 to 32 entries"),
        ("15:22", "route 2: unknown setting 'when'"),
        ("16:7", "route 3: it must be a mapping"),
        ("3:3", "default is missing"),
        ("17:18", "give_up_after: it must be a duration from 1m to 30d"),
        ("18:11", "remind: it must be a duration from 1m to 7d, or never"),
        ("19:12", "unknown setting 'retries'"),
        ("20:54", "silent_after: it must be a duration from 1m to 7d"),
        ("20:58", "unknown setting 'token'; known are listen, silent_after, token_file"),
    ):
        assert any(line.startswith(f"c.yaml:{place}: ") and text in line for line in lines), (place, text, lines)


@pytest.mark.parametrize(
    ("more", "text"),
    [
        ("routes: [{channels: nobody}]", "there is no channel 'nobody'; there are am, hook, mail, oncall, team"),
        ("default: [nobody]", "there is no channel 'nobody'"),
    ],
)
def test_a_channel_that_is_not_there_is_named(more, text):
    key = more.partition(":")[0]
    kept = [line for line in GOOD.splitlines() if not line.startswith((f"  {key}:", "    -"))]
    with pytest.raises(ConfigError, match=text):
        parse_config("\n".join([*kept, f"  {more}"]))


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("alertmanager: {listen: '[::]:7481'}", "token_file is missing"),
        ("alertmanager: {listen: '10.0.0.1:7481'}", "token_file is missing"),
        ("alertmanager: []", "it must be a mapping"),
        ("notify: yes", "it must be a mapping"),
        ("notify: {channels: {}, default: a}", "there must be one at least"),
    ],
)
def test_a_section_that_cannot_be_used_says_why(text, problem):
    with pytest.raises(ConfigError, match=problem):
        parse_config(text)


@pytest.mark.parametrize("listen", ["127.0.0.1:7481", "[::1]:7481", "localhost:7481", "127.0.0.9:1"])
def test_on_loopback_no_token_is_needed(listen):
    assert parse_config(f"alertmanager: {{listen: '{listen}'}}").alertmanager.token_file is None


def call(*words: str):
    return CliRunner().invoke(main, list(words))


def test_check_config_also_looks_at_the_secrets(tmp_path: Path):
    rules = tmp_path / "rules"
    rules.mkdir()
    file = tmp_path / "controller.yaml"
    key = tmp_path / "key"
    file.write_text(f"rules_dirs: [{rules}]\nnotify:\n  channels: {{a: {{type: slack, url_file: {key}}}}}\n  default: a\n")
    done = call("check-config", "--config", str(file))
    assert done.exit_code == 1
    assert f"cannot use channel a: url_file: cannot read {key}: No such file or directory" in done.output
    listed = call("notify", "ls", "--config", str(file))
    assert f"url_file: cannot read {key}" in listed.output
    key.write_text("https://x.test/\n")
    done = call("check-config", "--config", str(file))
    assert (done.exit_code, done.output[:24]) == (0, "these rules can be used: "[:24])
    assert call("check-config").exit_code == 2


def test_a_channel_that_is_not_configured_cannot_be_tried(tmp_path: Path):
    file = tmp_path / "controller.yaml"
    file.write_text("notify:\n  channels: {a: {type: webhook, url: 'http://127.0.0.1:1/'}}\n  default: a\n")
    done = call("notify", "test", "b", "--config", str(file))
    assert (done.exit_code, done.output) == (1, "Error: cannot find channel 'b': there are a\n")
    done = call("notify", "test", "a", "--config", str(file), "--output", "json")
    assert done.exit_code == 1
    assert '"outcome": "later"' in done.output
    file.write_text("")
    assert "has no section `notify`" in call("notify", "test", "a", "--config", str(file)).output
