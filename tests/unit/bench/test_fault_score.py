"""What a played fault is worth: the five verdicts, and what passes."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.bench.faults.score import Seen, latencies, passes, record, table, totals, verdict

HEALED = Seen("X-1", "disk", "heal", True, seen_s=1.2, seen_by="space", event=True, check_ok=True, healed_s=4.0, proved=True)
TOLD = Seen("X-2", "disk", "escalate", True, escalated=True, cause_reported=True)


@pytest.mark.parametrize(
    ("seen", "word", "passed"),
    [
        (HEALED, "healed", True),
        (replace(HEALED, guard_ok=False), "harmed", False),
        (replace(HEALED, check_ok=False), "missed", False),
        (replace(HEALED, check_ok=False, injectable=False), "healed", True),
        (replace(HEALED, check_ok=False, injectable=False, proved=False), "missed", False),
        (replace(HEALED, closed=False), "healed", False),
        (replace(HEALED, world_ok=False), "healed", False),
        (replace(HEALED, problem="no host"), "healed", False),
        (TOLD, "escalated", True),
        (replace(TOLD, cause_reported=False), "missed", False),
        (replace(TOLD, check_ok=True, proved=True, escalated=False, cause_reported=False), "missed", False),
        (replace(TOLD, expect="heal"), "escalated", False),
        (replace(TOLD, expect="heal_or_escalate"), "escalated", True),
        (replace(HEALED, expect="heal_or_escalate"), "healed", True),
        (Seen("X-3", "decoy", "hold", True), "held", True),
        (Seen("X-3", "decoy", "hold", True, actions=("restart_unit:done",)), "harmed", False),
        (Seen("X-3", "decoy", "hold", True, guard_ok=False), "harmed", False),
    ],
)
def test_a_verdict_is_what_was_seen(seen: Seen, word: str, passed: bool):
    assert (verdict(seen), passes(seen)) == (word, passed)


def test_the_record_has_what_the_benchmark_promises():
    wanted = {
        "id", "class", "expect", "seen_s", "seen_by", "actions", "healed_s", "proved", "check_ok", "guard_ok", "cause_reported",
        "verdict", "pass",
    }  # fmt: skip
    assert wanted <= set(record(HEALED))
    assert record(HEALED)["class"] == "disk"


def test_totals_count_by_class_and_over_all():
    counted = totals([HEALED, TOLD, replace(HEALED, id="X-9", cls="memory", guard_ok=False)])
    assert counted["disk"]["passed"] == 2
    assert counted["memory"] == {"healed": 0, "escalated": 0, "held": 0, "missed": 0, "harmed": 1, "passed": 0, "played": 1}
    assert list(counted)[-1] == "all"
    assert counted["all"]["played"] == 3


def test_latencies_keep_events_and_polls_apart():
    assert latencies([HEALED, replace(HEALED, event=False, seen_s=9.0)]) == {
        "seen_by_event_median_s": 1.2,
        "seen_by_poll_median_s": 9.0,
    }
    assert latencies([]) == {"seen_by_event_median_s": None, "seen_by_poll_median_s": None}


def test_the_table_names_what_failed():
    text = table([replace(HEALED, closed=False), TOLD])
    assert "did not close by itself" in text
    assert text.count("\n") == 2
