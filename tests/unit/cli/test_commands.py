"""Every command against a real service: tables for people, JSON and YAML for programs, exit codes for scripts."""

from __future__ import annotations

import json
import os
import pty
import signal

import pytest
import yaml

from fleetmend_controller.core.model import Status
from tests.unit.admin.office import GENEROUS

from .shell import COLUMNS, all_commands

# What each command is called with on the fleet of `fleet`, and words that its table must have.
CALLS = {
    ("status",): ((), ["Controller", "writable", "2 up", "1 open: 1 ordered", "Being healed now"]),
    ("hosts", "ls"): ((), ["web-1", "role=web", "up", "never_connected"]),
    ("hosts", "show"): (("web-1",), ["Certificate", "Open incidents", "inc-2", "1m behind", "collect_evidence"]),
    ("hosts", "label"): (("web-2", "rack=r1"), ["web-2 has labels rack=r1,role=web"]),
    ("hosts", "rm"): (("db-1", "--yes"), ["removed db-1"]),
    ("incidents", "ls"): (("--all",), ["inc-1", "resolved", "inc-2", "ordered", "[healed]"]),
    ("incidents", "show"): (("inc-1",), ["restart_unit unit=nginx.service", "fleet_budget", "Decisions"]),
    ("incidents", "ack"): (("inc-2",), ["has inc-2", "cron.service on web-1"]),
    ("incidents", "watch"): (("--count", "1"), ["inc-2", "ordered", "inc-3"]),
    ("explain",): (("inc-1",), ["What the gates said", "healed by restart_unit"]),
    ("approvals", "ls"): ((), ["ord-2-1", "web-1", "restart_unit", "unit=cron.service", "0 of 1"]),
    ("approve",): (
        ("ord-2-1",),
        ["approved ord-2-1: restart_unit unit=cron.service on web-1 (disruptive", "given to web-1"],
    ),
    ("deny",): (("ord-2-1", "--reason", "still needed"), ["ord-2-1 is not given", "inc-2"]),
    ("maintenance", "add"): (("--on", "role=web", "--for", "2h", "--reason", "kernel"), ["role=web (2 hosts), until"]),
    ("maintenance", "ls"): ((), ["WINDOW", "db-1", "until", "local", "disk swap"]),
    ("maintenance", "rm"): (("WINDOW",), ["healing goes on for db-1"]),
    ("playbooks", "show"): (("restart-failed-unit",), ["Trust", "act", "what cannot be undone", "1 proved, 0 not proved"]),
    ("playbooks", "trust"): (("restart-failed-unit", "--restore"), ["has the trust act again"]),
    ("report", "risk"): ((), ["web-1", "nginx.service", "platform", "TRIES LEFT"]),
    ("report", "toil"): (("--since", "1h"), ["restart-failed-unit", "15m", "1 repairs spared people 15m"]),
    ("pause",): (("host:web-1", "--reason", "disk swap", "--until", "2h"), ["healing is paused for host:", "(in "]),
    ("resume",): (("global",), ["healing goes on for global"]),
    ("facts",): (("web-1",), ["kernel", "release", "6.1.0-13-amd64", "cpus.1.model"]),
    ("run",): (("restart_unit", "--host", "web-2", "-p", "unit=x.service", "--wait", "5s"), ["web-2", "done", "restarted"]),
    ("token", "create"): (("--label", "role=web", "--uses", "2"), ["fm1."]),
    ("token", "ls"): ((), ["role=db", "1 of 1"]),
    ("token", "rm"): (("TOKEN",), ["removed token"]),
    ("playbooks", "ls"): ((), ["restart-failed-unit", "act", "restart_unit"]),
    ("actions", "ls"): ((), ["restart_unit", "disruptive", "unit [wait]"]),
    ("audit", "ls"): ((), ["paused", "local", "scope=global"]),
    ("audit", "verify"): ((), ["the journal is whole"]),
}
OF_AN_OPEN_INCIDENT = {
    ("status",),
    ("hosts", "show"),
    ("incidents", "ls"),
    ("incidents", "ack"),
    ("approvals", "ls"),
    ("approve",),
    ("deny",),
}
# The field that the JSON of a command has at its top.
FIELDS = {
    ("status",): "controller",
    ("hosts", "ls"): "hosts",
    ("hosts", "show"): "boot_id",
    ("hosts", "label"): "host",
    ("hosts", "rm"): "id",
    ("incidents", "ls"): "incidents",
    ("incidents", "show"): "attempts",
    ("incidents", "ack"): "incident",
    ("incidents", "watch"): "listed",
    ("explain",): "sections",
    ("approvals", "ls"): "approvals",
    ("approve",): "ordered",
    ("deny",): "incident_id",
    ("maintenance", "add"): "window",
    ("maintenance", "ls"): "windows",
    ("maintenance", "rm"): "window",
    ("playbooks", "show"): "record",
    ("playbooks", "trust"): "playbook",
    ("report", "risk"): "entries",
    ("report", "toil"): "minutes",
    ("pause",): "pause",
    ("resume",): "pause",
    ("facts",): "sections",
    ("run",): "summary",
    ("token", "create"): "secret",
    ("token", "ls"): "tokens",
    ("token", "rm"): "id",
    ("playbooks", "ls"): "playbooks",
    ("actions", "ls"): "actions",
    ("audit", "ls"): "entries",
    ("audit", "verify"): "intact",
}


@pytest.fixture
def fleet(office, fleetmend):
    """A fleet where every command has something to say; hosts obey orders that a run gives."""
    web = office.enrol("web-1", role="web")
    office.enrol("web-2", role="web")
    office.enrol("db-1", connected=False, role="db")
    office.heal(web)
    office.facts(web, "kernel", {"release": "6.1.0-13-amd64", "cpus": [{"model": "a"}, {"model": "b"}], "flags": ["x", "y"]})
    fleetmend("pause", "global", "--reason", "test")
    window = fleetmend("maintenance", "add", "--host", "db-1", "--for", "1h", "--reason", "disk swap", "--output", "json")
    office.window = window.json["window"]["id"]
    office.token = fleetmend("token", "create", "--label", "role=db", "--output", "json").json["token"]["id"]
    return office


def call(fleetmend, office, words: tuple[str, ...], *more: str):
    """A command with what it needs around it."""
    named = {"TOKEN": office.token, "WINDOW": office.window}
    arguments = tuple(named.get(word, word) for word in CALLS[words][0])
    host = office.registry.find("web-1").id
    if words != ("resume",):
        fleetmend("resume", "global")
    if words == ("incidents", "watch"):
        office.observe(host, Status.CRIT, "cron.service")
        process = fleetmend.process(*words, *arguments, *more)
        first = process.stdout.readline()
        office.observe(host, Status.CRIT, "other.service")
        out, err = process.communicate(timeout=20)
        return process.returncode, first + out, err
    if words == ("run",):
        with office.obeying():
            done = fleetmend(*words, *arguments, *more)
        return done.code, done.out, done.err
    if words in {("approvals", "ls"), ("approve",), ("deny",)}:
        office.want_approval()
    if words == ("playbooks", "trust"):
        office.fail_proofs(host)
    if words == ("report", "risk"):
        office.follow(limits=GENEROUS)
        office.heal(host)
    if words in OF_AN_OPEN_INCIDENT:
        office.observe(host, Status.CRIT, "cron.service")
    done = fleetmend(*words, *arguments, *more)
    return done.code, done.out, done.err


def test_the_lists_above_know_every_command():
    assert sorted(CALLS) == sorted(FIELDS) == sorted(all_commands())


@pytest.mark.parametrize("words", CALLS, ids=" ".join)
def test_a_table_says_what_matters_within_its_columns(fleet, fleetmend, words):
    code, out, err = call(fleetmend, fleet, words)
    assert (code, [text for text in CALLS[words][1] if text not in out]) == (0, []), out + err
    # A watch prints one change a line, for grep, however long.
    assert words == ("incidents", "watch") or max(len(line) for line in out.splitlines()) <= COLUMNS
    assert "\x1b" not in out


@pytest.mark.parametrize("words", FIELDS, ids=" ".join)
def test_json_and_yaml_are_the_same_document(fleet, fleetmend, words):
    if words == ("incidents", "watch"):
        _, out, _ = call(fleetmend, fleet, words, "--output", "json")
        assert [json.loads(line)["listed"] for line in out.splitlines()] == [True, False]
        return
    code, out, err = call(fleetmend, fleet, words, "--output", "json")
    assert code == 0, err
    document = json.loads(out)
    assert FIELDS[words] in document
    if words[-1] in {"rm", "run", "resume", "approve", "deny", "trust"}:
        return  # They can be done once.
    _, text, _ = call(fleetmend, fleet, words, "--output", "yaml")
    assert shape(yaml.safe_load(text)) == shape(document)


def shape(value):
    """Keys and kinds, without what time changes."""
    if isinstance(value, dict):
        return {name: shape(item) for name, item in value.items()}
    if isinstance(value, list):
        return [shape(item) for item in value[:1]]
    return type(value).__name__


def test_json_has_words_for_enums_null_for_unset_and_numbers_for_times(fleet, fleetmend):
    host = next(h for h in fleetmend("hosts", "ls", "--output", "json").json["hosts"] if h["name"] == "db-1")
    assert host["state"] == "never_connected"
    assert host["last_seen_ms"] is None
    assert isinstance(host["enrolled_ms"], int)
    assert host["labels"] == {"role": "db"}


def test_hosts_can_be_picked_by_selector_state_and_number(fleet, fleetmend):
    def names(*words: str) -> list[str]:
        return [host["name"] for host in fleetmend("hosts", "ls", "--output", "json", *words).json["hosts"]]

    assert names("--on", "role=web") == ["web-1", "web-2"]
    assert names("--state", "never-connected") == ["db-1"]
    assert names("--limit", "1") == ["db-1"]
    assert "raise --limit" in fleetmend("hosts", "ls", "--limit", "1").err


def test_incidents_since_are_read_as_a_length_or_a_date(fleet, fleetmend):
    for since, count in (("1h", 1), ("2020-01-01", 1), ("2999-01-01T00:00", 0)):
        found = fleetmend("incidents", "ls", "--all", "--since", since, "--output", "json").json["incidents"]
        assert len(found) == count, since


def test_a_lost_host_waits_for_people_in_status(fleet, fleetmend):
    host = fleet.registry.find("web-2").id
    fleet.lose(host)
    out = fleetmend("status").out
    assert "Waiting for people" in out
    assert "host_lost" in out
    assert "1 up, 1 lost, 1 never connected" in out


def test_status_shouts_when_the_journal_takes_no_rows_and_rules_were_refused(fleet, fleetmend):
    fleet.rules_problem = "playbooks/a.yaml:3:1: cannot use it: why\nplaybooks/b.yaml:1:1: cannot either"
    fleet.fill_disk()
    done = fleetmend("status")
    assert done.code == 0
    assert "NOT WRITABLE, nothing is ordered: cannot write to the store: no space left on device" in " ".join(done.out.split())
    assert "playbooks/b.yaml:1:1" in done.out
    paused = fleetmend("pause", "global", "--reason", "x")
    assert (paused.code, "nothing was changed" in paused.err) == (1, True)


def test_pause_without_scope_lists_and_with_half_a_scope_is_wrong_usage(fleet, fleetmend):
    assert "global  local" in fleetmend("pause").out
    assert fleetmend("pause", "--reason", "x").code == 2
    assert fleetmend("pause", "global").code == 2
    assert fleetmend("pause", "nonsense", "--reason", "x").code == 2
    assert fleetmend("pause", "global", "--reason", "x", "--until", "soon").code == 2
    assert fleetmend("pause", "global", "--reason", "x", "--until", "2001-01-01").code == 2


def test_a_token_goes_alone_to_standard_output(fleet, fleetmend):
    done = fleetmend("token", "create")
    assert done.out.count("\n") == 1
    assert done.out.startswith("fm1.")
    assert "shown this once" in done.err


def test_run_without_hosts_asks_nobody_and_failure_is_exit_code_one(fleet, fleetmend):
    assert fleetmend("run", "restart_unit").code == 2
    assert fleetmend("run", "restart_unit", "--host", "web-1", "-p", "unit").code == 2
    fleetmend("resume", "global")
    done = fleetmend("run", "restart_unit", "--host", "web-1", "-p", "unit=x", "--wait", "100ms", "--output", "json")
    assert done.code == 1
    assert done.json["summary"]["results"][0]["state"] == "wait_over"
    assert "1 of 1 hosts did not do it" in done.err
    fleet.permits = ["collect_evidence"]
    warned = fleetmend("run", "restart_unit", "--host", "web-2", "-p", "unit=y", "--wait", "100ms")
    assert "the own policy of web-2 did not list restart_unit" in warned.err
    never = fleetmend("run", "restart_unit", "--host", "db-1", "-p", "unit=x")
    assert "has not connected" in " ".join(never.out.split())


def test_a_damaged_journal_is_exit_code_one_in_every_form(fleet, fleetmend):
    fleet.damage(3)
    for form in ("table", "json", "yaml"):
        done = fleetmend("audit", "verify", "--output", form)
        assert done.code == 1
        assert "row 3" in done.err
    assert fleetmend("audit", "verify", "--output", "json").json["bad_seq"] == 3


def test_removing_asks_on_a_terminal_only(fleet, fleetmend):
    done = fleetmend("hosts", "rm", "web-1")
    assert (done.code, "--yes" in done.err) == (2, True)
    assert fleet.registry.find("web-1") is not None
    keyboard, terminal = pty.openpty()
    process = fleetmend.process("hosts", "rm", "web-1", stdin=terminal)
    os.write(keyboard, b"n\n")
    _, err = process.communicate(timeout=20)
    os.close(keyboard)
    os.close(terminal)
    assert (process.returncode, "not confirmed" in err) == (1, True)
    assert fleet.registry.find("web-1") is not None


def test_what_servers_wrote_cannot_steer_the_terminal(fleet, fleetmend):
    host = fleet.registry.find("web-1").id
    steering = set("\x1b\x9b\u202e\x07\r")
    evil = "\x1b[2J\x9b31m\u202e\x07\r"
    fleet.observe(host, Status.CRIT, "a.service", summary=f"bad{evil}", unit=f"x{evil}")
    fleet.facts(host, "os", {"name": evil}, error=evil)
    for words in (("status",), ("incidents", "ls"), ("incidents", "show", "inc-2"), ("explain", "inc-2"), ("facts", "web-1")):
        for form in ("table", "json", "yaml"):
            out = fleetmend(*words, "--output", form).out
            assert not steering & set(out), (words, form)
    shown = fleetmend("incidents", "show", "inc-2", "--output", "json").json
    assert shown["incident"]["summary"] == f"bad{evil}", "programs get what was said, unchanged"


def test_explain_says_why_nothing_is_done_on_a_host(fleet, fleetmend):
    done = fleetmend("explain", "--why-not", "web-2")
    assert (done.code, "no fault is known there; if one came now: local paused global: test" in " ".join(done.out.split())) == (
        0,
        True,
    )
    assert fleetmend("explain", "--why-not", "web-2", "--output", "json").json["sections"][0]["topic"] == "host"
    assert fleetmend("explain").code == 2
    assert fleetmend("explain", "inc-1", "--why-not", "web-2").code == 2
    assert "storm: no storm of this check" in fleetmend("explain", "inc-1", "--gates").out
    assert "storm: no storm of this check" not in fleetmend("explain", "inc-1").out


@pytest.mark.parametrize(
    ("words", "repeat", "length_h"),
    [
        (("--every", "Sat 02:00", "--tz", "Europe/Berlin", "--for", "4h"), "weekly Sat 02:00 Europe/Berlin", 4),
        (("--every", "Sat,Sun 02:00", "--for", "1h"), "weekly Sat,Sun 02:00 UTC", 1),
        (("--every", "02:00", "--for", "1h"), "daily 02:00 UTC", 1),
        (("--every", "daily 02:00", "--for", "1h"), "daily 02:00 UTC", 1),
        (("--from", "2999-01-01T10:00", "--until", "13:00"), None, 3),
        (("--until", "2h"), "", 2),
    ],
)
def test_maintenance_is_announced_in_peoples_words(fleet, fleetmend, words, repeat, length_h):
    done = fleetmend("maintenance", "add", "--host", "web-1", "--reason", "x", *words, "--output", "json")
    if repeat is None:
        assert (done.code, "so far away" in done.err) == (2, True)
        return
    window = done.json["window"]
    assert (window["repeat"], window["length_ms"]) == (repeat, length_h * 3_600_000)


@pytest.mark.parametrize(
    "words",
    [
        ("--for", "1h", "--reason", "x"),
        ("--on", "role=web", "--host", "web-1", "--for", "1h", "--reason", "x"),
        ("--on", "role=web", "--reason", "x"),
        ("--on", "role=web", "--for", "1h", "--until", "2h", "--reason", "x"),
        ("--on", "role=web", "--for", "1h"),
        ("--on", "role=web", "--for", "1h", "--tz", "UTC", "--reason", "x"),
        ("--on", "role=web", "--until", "2001-01-01", "--reason", "x"),
    ],
)
def test_half_an_announcement_is_wrong_usage(fleet, fleetmend, words):
    done = fleetmend("maintenance", "add", *words)
    assert (done.code, "cannot " in done.err) == (2, True)


def test_an_order_that_nobody_asks_for_and_half_a_denial_are_said(fleet, fleetmend):
    done = fleetmend("approve", "ord-1-1")
    assert (done.code, "inc-1 is over (healed)" in done.err) == (1, True)
    assert fleetmend("deny", "ord-1-1").code == 2
    assert fleetmend("playbooks", "trust", "restart-failed-unit").code == 2
    refused = fleetmend("playbooks", "trust", "restart-failed-unit", "--restore")
    assert (refused.code, "it is not demoted" in refused.err) == (1, True)


def test_status_shows_what_waits_for_people_and_maintenance(fleet, fleetmend):
    fleetmend("resume", "global")
    fleet.want_approval()
    fleet.observe(fleet.registry.find("web-1").id, Status.CRIT, "cron.service")
    out = fleetmend("status").out
    assert "Waiting for approval" in out
    assert "ord-2-1" in out
    assert f"{fleet.window} on db-1 by local, until" in " ".join(out.split())
    fleet.fail_proofs(fleet.registry.find("web-2").id)
    assert "suggest (demoted)" in fleetmend("playbooks", "ls").out
    assert "demoted from act: 3 repairs in a row were not proved" in " ".join(
        fleetmend("playbooks", "show", "restart-failed-unit").out.split()
    )


@pytest.fixture
def interruptible():
    """A shell has what it starts in its background ignore interrupts, and so would every process started by tests there."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("interruptible")
def test_a_watch_ends_well_when_interrupted(fleet, fleetmend):
    fleet.observe(fleet.registry.find("web-1").id, Status.CRIT)
    process = fleetmend.process("incidents", "watch")
    assert "inc-2" in process.stdout.readline()
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=20)
    assert (process.returncode, err) == (0, "")


def on_terminal(fleetmend, *words: str, **env: str) -> str:
    """What a terminal shows."""
    fleetmend.env.update(env)
    keyboard, terminal = pty.openpty()
    process = fleetmend.process_on(terminal, *words, stdin=terminal)
    os.close(terminal)
    shown = b""
    while piece := read_terminal(keyboard):
        shown += piece
    process.wait(20)
    os.close(keyboard)
    return shown.decode()


def read_terminal(keyboard: int) -> bytes:
    try:
        return os.read(keyboard, 65536)
    except OSError:
        # Linux says so when the last process has let go of the terminal.
        return b""


def test_colour_on_a_terminal_unless_unwanted(fleet, fleetmend):
    assert "\x1b[" in on_terminal(fleetmend, "hosts", "ls", TERM="xterm-256color")
    assert "\x1b[" not in on_terminal(fleetmend, "hosts", "ls", TERM="xterm-256color", NO_COLOR="1")
    assert "\x1b[" not in on_terminal(fleetmend, "hosts", "ls", TERM="dumb", NO_COLOR="")


def test_a_terminal_shows_progress_and_a_pipe_does_not(fleet, fleetmend):
    fleetmend("resume", "global")
    run = ("run", "restart_unit", "--host", "web-2", "-p", "unit=x.service", "--wait", "5s")
    with fleet.obeying():
        shown = on_terminal(fleetmend, *run, TERM="dumb")
        piped = fleetmend(*run)
    assert "web-2: done" in shown
    assert (piped.code, piped.err) == (0, "")
    assert " rows" in on_terminal(fleetmend, "audit", "verify")
    assert fleetmend("audit", "verify").err == ""


def test_explain_marks_titles_and_what_holds_back_on_a_terminal_only(fleet, fleetmend):
    fleetmend("pause", "host:web-1", "--reason", "test")
    fleetmend("resume", "global")
    fleet.observe(fleet.registry.find("web-1").id, Status.CRIT, "cron.service")
    assert "\x1b" not in fleetmend("explain", "inc-2").out
    shown = on_terminal(fleetmend, "explain", "inc-2", TERM="xterm")
    assert "\x1b[1mWhat the gates said\x1b[0m" in shown
    assert any(line.startswith("\x1b[33m") and "hold   paused" in line for line in shown.splitlines())
