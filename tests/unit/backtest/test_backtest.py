"""Backtests on small records whose every number can be counted by hand."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from deploy.samples import generate
from fleetmend_controller.backtest.history import Decided, History, HistoryError, lines, read_file, read_lines, write_file
from fleetmend_controller.backtest.run import backtest
from fleetmend_controller.backtest.variant import Variant, VariantError, parse_limits
from fleetmend_controller.commands.backtest import COMMAND as BACKTEST
from fleetmend_controller.core.effects import ActionEnded, Closed, SendOrder, Why
from fleetmend_controller.core.events import HostConnected, HostEnrolled, Observed, Paused, PolicyLoaded
from fleetmend_controller.core.model import Cost, Order, Status, Subject
from fleetmend_controller.playbooks.load import digest_of

from ..rules.samples import CHECKS, PLAYBOOK

DOCUMENTS = {"checks/a.yaml": CHECKS, "playbooks/a.yaml": PLAYBOOK}
VARIANT = Variant("restart.yaml", PLAYBOOK)
MINUTE_MS = 60_000
BEGIN_MS = 1_000_000


def history(hosts: int = 20) -> History:
    digest = digest_of(DOCUMENTS)
    record = History(BEGIN_MS, BEGIN_MS + 24 * 60 * MINUTE_MS, policies={digest: DOCUMENTS})
    for number in range(hosts):
        labels = {"role": "web"}
        record.before += [HostEnrolled(0, f"h-{number}", f"web-{number}", labels), HostConnected(0, f"h-{number}", "b", 0)]
    record.before.append(PolicyLoaded(0, digest, "ann"))
    return record


def seen(at_ms: int, status: Status, host: str = "h-1", unit: str = "a.service", **more: object) -> Observed:
    boot = str(more.get("boot", "b"))
    return Observed(at_ms, host, "failed-units", "unit_failed", unit, status, {"unit": unit}, "", boot, at_ms, at_ms)


def fault(record: History, at_ms: int, last_ms: int, host: str = "h-1", healed: bool = False) -> None:
    record.events += [seen(at_ms, Status.CRIT, host), seen(at_ms + last_ms, Status.OK, host)]
    if healed:
        record.decided += repaired(at_ms, last_ms, host, len(record.events))
    record.events.sort(key=lambda event: event.at_ms)
    record.decided.sort(key=lambda decided: decided.at_ms)


def repaired(at_ms: int, last_ms: int, host: str, number: int, action: str = "restart_unit") -> list[Decided]:
    incident, order_id, params = f"inc-{number}", f"ord-{number}-1", (("unit", "a.service"),)
    order = Order(
        order_id, incident, host, "failed-units", "a.service", "b", action, params, Cost.DISRUPTIVE, 60_000, at_ms,
        at_ms + 30_000, at_ms + 30_000, "playbook restart",
    )  # fmt: skip
    subject = Subject(host, "failed-units", "a.service")
    return [
        Decided(at_ms, SendOrder(order)),
        Decided(at_ms, SendOrder(order)),
        Decided(at_ms + 900, ActionEnded(incident, order_id, host, action, params, "done", "")),
        Decided(at_ms + last_ms + 10_000, Closed(incident, subject, Why.HEALED, "restart", 0, 0, 900, 10_000, last_ms)),
    ]


def test_the_same_playbook_does_what_was_done():
    record = history()
    fault(record, BEGIN_MS + 60_000, 3_000, healed=True)
    fault(record, BEGIN_MS + 600_000, 4_000, "h-2", healed=True)
    result = backtest(record, VARIANT)
    assert result["certain"] == {
        "faults_matched": 2,
        "faults_acted_then": 2,
        "faults_healed_then": 2,
        "faults_escalated_then": 0,
        "playbook_orders_then": 2,
        "playbook_healed_then": 2,
    }
    assert (result["assumed"]["orders"], result["assumed"]["healed"], result["assumed"]["escalated"]) == (2, 2, 0)
    assert result["basis"] == {"outcomes_recorded": 2, "outcomes_assumed": 0, "faults_prolonged": 0, "person_minutes": 30}
    assert result["where"]["hosts"] == {"web-1": 1, "web-2": 1}


def test_an_action_that_was_not_taken_then_is_not_taken_to_help():
    record = history()
    fault(record, BEGIN_MS + 60_000, 60 * MINUTE_MS)
    result = backtest(record, VARIANT)
    assert (result["assumed"]["orders"], result["assumed"]["healed"], result["assumed"]["escalated"]) == (1, 0, 1)
    assert result["basis"]["outcomes_assumed"] == 1


def test_a_fault_that_ended_in_the_proof_window_counts_as_healed():
    record = history()
    fault(record, BEGIN_MS + 60_000, 5_000)
    assert backtest(record, VARIANT)["assumed"]["healed"] == 1


def test_a_patient_playbook_meets_the_faults_that_its_haste_had_ended():
    record = history()
    fault(record, BEGIN_MS + 60_000, 3_000, healed=True)
    patient = Variant("restart.yaml", PLAYBOOK.replace("check: unit_failed", "check: unit_failed\n  for: 20m"))
    result = backtest(record, patient)
    assert (result["assumed"]["orders"], result["assumed"]["healed"]) == (1, 1)
    never = Variant("restart.yaml", PLAYBOOK.replace("trust: act", "trust: observe"))
    result = backtest(record, never)
    assert (result["assumed"]["orders"], result["basis"]["faults_prolonged"]) == (0, 1)


def test_the_budget_shows_what_it_held():
    record = history()
    for number in range(4):
        fault(record, BEGIN_MS + 60_000 + number, 20 * MINUTE_MS, f"h-{number}")
    result = backtest(record, VARIANT)
    (peak,) = result["peaks"]
    assert peak == {
        "group": "role=web",
        "at_once": 2,
        "allowed": 2,
        "wanted": 4,
        "breaches": 1,
        "at": "1970-01-01T00:17:40Z",
    }
    assert {"gate": "fleet_budget", "answer": "held", "why": "fleet_budget", "incidents": 2} in result["gates"]
    tight = backtest(record, Variant("restart.yaml", PLAYBOOK, parse_limits(["fleet.percent=5"])))
    assert tight["assumed"]["peak_at_once"] == 1
    wide = backtest(record, Variant("restart.yaml", PLAYBOOK, parse_limits(["fleet.percent=50"])))
    assert [(p["at_once"], p["wanted"], p["breaches"]) for p in wide["peaks"]] == [(4, 4, 0)]


def test_each_time_that_more_was_wanted_than_allowed_is_counted():
    record = history()
    for at_ms in (60_000, 90 * MINUTE_MS):
        for number in range(3):
            fault(record, BEGIN_MS + at_ms + number, 3_000, f"h-{number}", healed=True)
    assert [(p["wanted"], p["breaches"]) for p in backtest(record, VARIANT)["peaks"]] == [(3, 2)]


def test_the_pages_of_a_storm_are_counted_and_not_supposed():
    record = history()
    for number in range(2):
        fault(record, BEGIN_MS + 60_000 + number * 10, 60 * MINUTE_MS, f"h-{number}")
    for number in range(2, 15):
        fault(record, BEGIN_MS + 62_000 + number * 10, 60 * MINUTE_MS, f"h-{number}")
    paged = Variant("restart.yaml", PLAYBOOK + "escalate: {to: oncall, severity: page}\n", parse_limits(["attempts.max=1"]))
    (storm,) = backtest(record, paged)["storms"]
    assert storm["pages"] == 3, "the storm, and the two repairs that were under way when it came"


def test_a_storm_is_told_with_what_would_have_been_done_in_it():
    record = history()
    for number in range(15):
        fault(record, BEGIN_MS + 60_000 + number * 10, 20 * MINUTE_MS, f"h-{number}")
    (storm,) = backtest(record, VARIANT)["storms"]
    assert (storm["check"], storm["pages"]) == ("unit_failed", 1)
    assert storm["orders_during"] == 0
    assert storm["incidents_held"] >= 10


def test_what_people_switched_off_stays_off():
    record = history()
    record.events.append(Paused(BEGIN_MS + 1, "global", "ann", "", None))
    fault(record, BEGIN_MS + 60_000, 60 * MINUTE_MS)
    result = backtest(record, VARIANT)
    assert result["assumed"]["orders"] == 0
    assert {"gate": "paused", "answer": "held", "why": "paused", "incidents": 1} in result["gates"]


def test_results_of_an_earlier_boot_count_for_nothing():
    record = history()
    record.events = [seen(BEGIN_MS + 60_000, Status.CRIT, boot="older")]
    assert backtest(record, VARIANT)["certain"]["faults_matched"] == 0


def test_two_subjects_of_one_unit_are_one_fault():
    record = history()
    fault(record, BEGIN_MS + 60_000, 3_000, healed=True)
    for at_ms, status in ((BEGIN_MS + 60_100, Status.CRIT), (BEGIN_MS + 63_000, Status.OK)):
        unit = {"unit": "a.service"}
        record.events.append(Observed(at_ms, "h-1", "health", "tcp_port", "a:1", status, unit, "", "b", at_ms, at_ms))
    record.events.sort(key=lambda event: event.at_ms)
    result = backtest(record, VARIANT)
    assert (result["read"]["faults"], result["assumed"]["orders"], result["assumed"]["healed"]) == (1, 1, 1)


def test_a_new_playbook_joins_those_in_force():
    record = history()
    fault(record, BEGIN_MS + 60_000, 60 * MINUTE_MS)
    new = Variant("other.yaml", PLAYBOOK.replace("playbook: restart", "playbook: another"))
    # The one in force is tried first and answers the same check.
    assert backtest(record, new)["certain"]["faults_matched"] == 0


def test_a_file_gives_back_what_was_written(tmp_path):
    record = history()
    fault(record, BEGIN_MS + 60_000, 3_000, healed=True)
    for name in ("h.jsonl", "h.jsonl.gz"):
        assert write_file(record, tmp_path / name) == sum(1 for _ in lines(record))
        assert read_file(tmp_path / name) == record
    late = read_file(tmp_path / "h.jsonl.gz", since_ms=MINUTE_MS)
    assert (late.events, late.decided, late.before) == ([], [], record.before)


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"{}",
        b"[]",
        b"nonsense",
        b'{"type":"history","version":2,"from_ms":0,"to_ms":1}',
        b'{"type":"history","version":1,"from_ms":0,"to_ms":1}\n{"type":"event","event":{"type":"Observed"}}',
        b'{"type":"history","version":1,"from_ms":0,"to_ms":1}\n{"type":"event","event":7}',
        b'{"type":"history","version":1,"from_ms":0,"to_ms":1}\n' + b"[" * 100_000,
        b"\xff\xfe",
    ],
)
def test_a_bad_file_is_refused_by_name(text):
    with pytest.raises(HistoryError, match=r"cannot read.*"):
        read_lines(text.splitlines(), "h.jsonl")


def test_a_cut_gzip_file_is_refused(tmp_path):
    path = tmp_path / "h.jsonl.gz"
    write_file(history(), path)
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(HistoryError, match="cannot read"):
        read_file(path)


@pytest.mark.parametrize("limit", ["", "x", "=5", "fleet.percent="])
def test_a_limit_that_is_none_is_refused(limit):
    with pytest.raises(VariantError, match="cannot read the limit"):
        parse_limits([limit])


@pytest.mark.parametrize("limit", ["fleet.percent=500", "fleet.percents=5", "per_host.count=5", "attempts.backoff=soon"])
def test_a_limit_that_means_nothing_is_refused(limit):
    with pytest.raises(VariantError, match="cannot"):
        backtest(history(), Variant("restart.yaml", PLAYBOOK, parse_limits([limit])))


def test_a_playbook_without_a_name_or_a_check_is_refused():
    with pytest.raises(VariantError, match="no line"):
        backtest(history(), Variant("x.yaml", "summary: none"))
    with pytest.raises(VariantError, match="cannot find a check"):
        backtest(history(), Variant("x.yaml", PLAYBOOK.replace("unit_failed", "unheard-of")))


def test_the_sample_is_what_it_is_made_of(capsys):
    assert generate.main([]) == 0, capsys.readouterr().err
    assert generate.FILE.stat().st_size < 1_000_000


@pytest.mark.parametrize("output", ["table", "json", "yaml"])
def test_the_command_replays_the_sample(output):
    playbook = Path(generate.HERE) / "rules/playbooks/restart-unit.yaml"
    result = CliRunner().invoke(BACKTEST, [str(playbook), "--history", str(generate.FILE), "--output", output])
    assert result.exit_code == 0, result.output
    if output == "json":
        found = json.loads(result.stdout)
        assert found["assumed"]["orders"] == found["certain"]["playbook_orders_then"] > 50
        assert found["assumed"]["healed"] == found["certain"]["playbook_healed_then"]
    assert "restart-unit" in result.stdout


def test_the_command_says_what_it_cannot(tmp_path):
    playbook = Path(generate.HERE) / "rules/playbooks/restart-unit.yaml"
    result = CliRunner().invoke(BACKTEST, [str(playbook), "--history", str(generate.FILE), "--since", "soon"])
    assert (result.exit_code, "cannot read --since" in result.output) == (1, True)
    config = tmp_path / "controller.yaml"
    config.write_text(f"database: sqlite:///{tmp_path}/none/fleetmend.db\n")
    result = CliRunner().invoke(BACKTEST, [str(playbook), "--config", str(config)])
    assert (result.exit_code, "cannot read the journal" in result.output) == (1, True)
