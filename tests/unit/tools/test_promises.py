"""A journal and ledgers that agree break no promise; each planted lie breaks the one it is about, and is named."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from tests.tools.promises import Evidence, Row, broken_promises, budgets_are_kept

HOST, BOOT = "h-1", "boot-1"


def order(number: int, **changes: Any) -> dict[str, Any]:
    return {
        "id": f"ord-{number}-1", "incident": f"inc-{number}", "host": HOST, "boot": BOOT, "action": "restart_unit",
        "cost": "disruptive", "expires_clock_ms": 1000 * number + 500, **changes,
    }  # fmt: skip


def record(kind: str, number: int, **changes: Any) -> dict[str, Any]:
    started = 1000 * number
    common = {
        "kind": kind, "order_id": f"ord-{number}-1", "boot_id": BOOT, "epoch": 3, "action": "restart_unit",
        "started_clock_ms": started,
    }  # fmt: skip
    payload = {"payload": json.dumps({"outcome": "done", "ended_clock_ms": started + 400})} if kind == "end" else {}
    return common | payload | changes


def decision(seq: int, at_ms: int, *effects: dict[str, Any]) -> Row:
    return Row(seq, 3, at_ms, "decision", HOST, "", {"effects": list(effects)})


def event(seq: int, at_ms: int, name: str, **body: Any) -> Row:
    return Row(seq, 3, at_ms, "event", HOST, "", {"type": name, **body})


def healed(number: int) -> list[Row]:
    """One order from its sending to its end."""
    at, seq = 1000 * number, 10 * number
    phase = {"type": "PhaseChanged", "incident": f"inc-{number}"}
    ended = {"type": "ActionEnded", "order": f"ord-{number}-1"}
    return [
        decision(seq, at, {"type": "SendOrder", "order": order(number)}, phase | {"after": "ordered"}),
        event(seq + 1, at + 500, "OrderEnded", order=f"ord-{number}-1", outcome="done"),
        decision(seq + 2, at + 500, ended, phase | {"after": "proving"}),
        decision(seq + 3, at + 900, phase | {"after": "resolved"}),
    ]


GOOD = Evidence([*healed(1), *healed(2)], {HOST: [record("begin", 1), record("end", 1), record("begin", 2), record("end", 2)]})


def with_rows(*rows: Row) -> Evidence:
    return replace(GOOD, journal=sorted([*GOOD.journal, *rows], key=lambda row: row.seq))


def without_row(seq: int) -> Evidence:
    return replace(GOOD, journal=[row for row in GOOD.journal if row.seq != seq])


def ledger(*records: dict[str, Any]) -> Evidence:
    return replace(GOOD, ledgers={HOST: list(records)})


def test_what_agrees_breaks_no_promise():
    assert broken_promises(GOOD) == []
    assert budgets_are_kept(GOOD, 1) == []


B1, E1, B2, E2 = (record(kind, number) for number in (1, 2) for kind in ("begin", "end"))
LIES = {
    "nothing_ran_twice": ledger(B1, B1, E1, B2, E2),
    "nothing_ran_unordered": ledger(B1, E1, B2, E2, record("begin", 9)),
    "every_end_was_heard": without_row(21),
    "every_report_is_recorded": ledger(B1, E1),
    "every_order_ends_once": without_row(12),
    "nothing_ran_too_late_or_elsewhere": ledger(B1, E1, B2 | {"boot_id": "boot-2"}, E2),
    "epochs_never_fall": ledger(B1, E1, B2 | {"epoch": 2}, E2),
    "one_at_a_time": ledger(B1, E1, B2 | {"started_clock_ms": 1200}, E2),
    "a_pause_is_a_pause": with_rows(event(15, 1950, "Paused", scope="global", until_ms=None)),
    "time_goes_forward": with_rows(replace(event(99, 2500, "DeciderStarted"), epoch=4)),
}


@pytest.mark.parametrize("promise", LIES)
def test_a_lie_breaks_the_promise_that_it_is_about(promise: str):
    assert [sentence for sentence in broken_promises(LIES[promise]) if sentence.startswith(promise)] != []


@pytest.mark.parametrize(
    ("promise", "evidence"),
    [
        ("every_end_was_heard", with_rows(event(22, 2600, "OrderEnded", order="ord-2-1", outcome="failed"))),
        ("nothing_ran_unordered", ledger(B1, E1, B2 | {"action": "stop_unit"}, E2)),
        ("nothing_ran_too_late_or_elsewhere", ledger(B1, E1, B2 | {"started_clock_ms": 2500}, E2)),
        ("every_order_ends_once", with_rows(decision(24, 2950, {"type": "ActionEnded", "order": "ord-2-1"}))),
    ],
)
def test_the_other_side_of_a_promise_is_seen_too(promise: str, evidence: Evidence):
    assert [sentence for sentence in broken_promises(evidence) if sentence.startswith(promise)] != []


def test_a_pause_that_ran_out_holds_nothing():
    assert broken_promises(with_rows(event(15, 1950, "Paused", scope="global", until_ms=1990))) == []


def test_more_hosts_at_once_than_the_budget_allows_are_seen():
    other = [
        decision(12, 1500, {"type": "SendOrder", "order": order(7, host="h-2")}),
        decision(12, 1500, {"type": "PhaseChanged", "incident": "inc-7", "after": "running"}),
    ]
    assert budgets_are_kept(with_rows(*other), 1) != []
    assert budgets_are_kept(with_rows(*other), 2) == []
