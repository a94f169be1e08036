"""The executor as a process: a permit is used once at most, in its time, on what it is for, and never beside an order."""

from __future__ import annotations

import json
import threading

import pytest

from tests.unit.executor.test_socket import wait_until
from tests.unit.executor.world import BOOT, HOST, KEY, clock_ms, opened, order, sealed

PERMIT = f"permit-{HOST}-1-1"


def permits(command: str = "mark", count: int = 3, ids=(1, 2, 3, 4), **changes) -> dict:
    grant = {
        "playbook": "restart",
        "permits": [f"permit-{HOST}-1-{n}" for n in ids],
        "reach": {"checks": ["http_endpoint"], "where": ["==", "finding.fault", "refused"], "values": {}},
        "unless": [],
        "first": [{"action": "collect_evidence", "params": {}, "timeout_ms": 10_000}],
        "deed": {"action": "run_command", "params": {"command": command}, "timeout_ms": 10_000},
        "for_ms": changes.pop("for_ms", 0),
        "prove": {"within_ms": 10_000, "stay_ok_ms": 1_000},
        "backoff_ms": 1_000,
        "factor": 2,
        "budget": {"count": count, "window_ms": changes.pop("window_ms", 3_600_000)},
    }
    grant |= changes.pop("grant", {})
    document = {
        "kind": "permits",
        "v": 1,
        "host_id": HOST,
        "boot_id": BOOT,
        "epoch": 1,
        "version": 1,
        "expires_clock_ms": clock_ms() + 60_000,
        "grants": [grant],
        "left": {"units": [], "subjects": []},
    }
    return {**document, **changes}


def trigger(**changes) -> dict:
    now = clock_ms()
    seen = {
        "check": "shop",
        "check_type": "http_endpoint",
        "key": "",
        "summary": "it refuses",
        "finding": {"fault": "refused", "seconds": 0.5},
        "since_clock_ms": now - 5_000,
        "sampled_clock_ms": now,
        "away_ms": 42_000,
    }
    return {**seen, **changes}


def use(host, given: dict, permit: str = PERMIT, seen: dict | None = None, key: bytes = KEY) -> list[dict]:
    request = {**sealed(given, key), "op": "permit", "permit_id": permit, "trigger": trigger() if seen is None else seen}
    return host.ask(request)


def numbered(n: int) -> str:
    return f"permit-{HOST}-1-{n}"


def test_a_permit_is_used_once_and_its_outcome_says_on_what(host):
    host.start()
    given = permits()
    first = use(host, given)
    assert [a["event"] for a in first] == ["started", "outcome"]
    end = opened(first)
    assert (end["outcome"], end["order_id"]) == ("done", PERMIT)
    assert end["permit"] == json.loads(first[0]["permit"])
    assert end["permit"]["finding"] == {"fault": "refused", "seconds": "0.5"}
    assert (end["permit"]["playbook"], end["permit"]["params"], end["permit"]["away_ms"]) == (
        "restart",
        {"command": "mark"},
        42_000,
    )
    assert "== processes" in end["output"] or end["output"], "the evidence was taken first"
    assert use(host, given) == first[1:], "a known permit is answered, not used"
    assert host.runs() == 1
    assert host.ask({"op": "used", "permit_id": PERMIT}) == first[1:]
    assert host.ask({"op": "used", "permit_id": numbered(2)})[0]["reason"] == "unknown_permit"


def test_it_survives_the_death_of_the_executor_at_any_instant(host):
    host.start()
    given = permits("slow")
    asker = threading.Thread(target=lambda: use(host, given))
    asker.start()
    wait_until(lambda: host.runs() == 1, "the action to begin")
    host.kill()
    asker.join()
    host.start()
    hello = host.ask({"op": "hello"})[0]
    assert hello["permits_used"] == [PERMIT]
    end = opened(host.ask({"op": "used", "permit_id": PERMIT}))
    assert (end["outcome"], end["permit"]["check"]) == ("unknown", "shop")
    assert opened(use(host, given))["outcome"] == "unknown"
    assert host.runs() == 1


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"host_id": "h-ffffffffffffffff"}, "wrong_host"),
        ({"boot_id": "another"}, "wrong_boot"),
        ({"expires_clock_ms": 1}, "expired"),
        ({"epoch": 0}, "stale_epoch"),
        ({"v": 2}, "unreadable"),
        ({"grants": []}, "unknown_permit"),
    ],
)
def test_a_set_that_is_not_for_here_and_now_is_not_taken(host, changes, reason):
    host.start()
    answer = use(host, permits(**changes))[0]
    assert (answer["event"], answer["reason"]) == ("refused", reason)
    assert host.runs() == 0
    assert opened(use(host, permits(version=2)))["outcome"] == "done", "nothing was used up by it"


@pytest.mark.parametrize(
    ("changes", "seen", "reason"),
    [
        ({}, {"finding": {"fault": "timeout"}}, "not_covered"),
        ({}, {"finding": {}}, "not_covered"),
        ({}, {"check_type": "unit_failed"}, "not_covered"),
        ({"left": {"units": [], "subjects": [["shop", ""]]}}, {}, "not_covered"),
        ({"for_ms": 60_000}, {}, "fault_too_young"),
        ({}, {"sampled_clock_ms": 1}, "evidence_stale"),
        ({}, {"sampled_clock_ms": 10**12}, "evidence_stale"),
        ({"count": 0}, {}, "over_budget"),
        ({"command": "absent"}, {}, "not_permitted"),
        ({"grant": {"deed": {"action": "clear_journal", "params": {}, "timeout_ms": 1}}}, {}, "not_alone"),
        ({"grant": {"deed": {"action": "stop_unit", "params": {"unit": "a.service"}, "timeout_ms": 1}}}, {}, "not_permitted"),
        ({"grant": {"deed": {"action": "restart_unit", "params": {"unit": "a.service"}, "timeout_ms": 1}}}, {}, "undeclared"),
        ({"grant": {"deed": {"action": "restart_unit", "params": {"unit": "../x"}, "timeout_ms": 1}}}, {}, "bad_parameter"),
        ({"grant": {"deed": {"action": "format_disk", "params": {}, "timeout_ms": 1}}}, {}, "unknown_action"),
    ],
)
def test_what_the_permit_is_not_for_is_refused_and_that_is_its_end(host, changes, seen, reason):
    host.start()
    first = use(host, permits(**changes), seen=trigger(**seen))
    end = opened(first)
    assert (end["outcome"], end["reason"]) == ("refused", reason)
    assert use(host, permits(version=2)) == first, "even a good use of it gets the same end"
    assert host.runs() == 0


def test_an_action_without_one_declared_target_never_runs_by_permit(host):
    host.policy.write_text("actions: {stop_unit: {}}")
    host.start()
    stop = {"action": "stop_unit", "params": {"unit": "a.service"}, "timeout_ms": 1}
    assert opened(use(host, permits(grant={"deed": stop})))["reason"] == "not_alone"


@pytest.mark.parametrize("seen", [None, [], {}, {"check": 7}, {"finding": {"x": []}}, {"away_ms": -1}, {"key": "x" * 5000}])
def test_what_was_seen_must_be_told_in_full(host, seen):
    host.start()
    told = seen if not isinstance(seen, dict) or not seen else trigger(**seen)
    request = {**sealed(permits()), "op": "permit", "permit_id": PERMIT, "trigger": told}
    assert host.ask(request)[0]["reason"] == "unreadable"
    assert host.runs() == 0


def test_a_newer_set_withdraws_what_it_lacks_even_over_a_restart(host):
    host.start()
    old = permits(version=5)
    assert host.ask(sealed(old)) == [{"event": "stored", "permits_version": 5}]
    assert host.ask(sealed(permits(version=6, grants=[])))[0]["permits_version"] == 6
    host.stop()
    host.start()
    assert use(host, old)[0]["reason"] == "stale_version"
    assert use(host, permits(version=6))[0]["reason"] == "stale_version", "the same version cannot say two things"
    assert host.runs() == 0
    assert opened(use(host, permits(version=7)))["outcome"] == "done"


def test_a_forged_set_is_not_believed(host):
    host.start()
    assert use(host, permits(), key=b"x" * 32)[0]["reason"] == "bad_seal"
    as_order = {**sealed(permits()), "op": "order"}
    assert host.ask(as_order)[0]["reason"] == "bad_seal"
    assert use(host, {**order("ord-1-1")})[0]["reason"] == "bad_seal", "an order is no set of permits"
    assert host.runs() == 0


def test_a_newer_controller_s_order_ends_the_permits_of_the_one_before_and_the_other_way_round(host):
    host.start()
    assert opened(host.order("ord-1-1", epoch=3))["outcome"] == "done"
    assert use(host, permits(epoch=2))[0]["reason"] == "stale_epoch"
    assert host.ask(sealed(permits(epoch=9)))[0]["event"] == "stored"
    assert host.order("ord-1-2", epoch=8)[0]["reason"] == "stale_epoch"
    assert host.runs() == 1


def test_the_local_budget_counts_every_use_within_its_window(host):
    host.start()
    given = permits(count=2)
    assert [opened(use(host, given, numbered(n)))["reason"] for n in (1, 2, 3)] == ["done", "done", "over_budget"]
    host.kill()
    host.start()
    assert opened(use(host, given, numbered(4)))["reason"] == "over_budget"
    assert host.runs() == 2


def test_a_permit_and_an_order_never_disturb_the_host_together(host):
    host.start()
    ended: list[dict] = []
    ordering = threading.Thread(target=lambda: ended.append(opened(host.order("ord-1-1", "slow"))))
    ordering.start()
    wait_until(lambda: host.runs() == 1, "the order to begin")
    assert use(host, permits())[0]["reason"] == "busy"
    ordering.join()
    using = threading.Thread(target=lambda: ended.append(opened(use(host, permits("slow", version=2)))))
    using.start()
    wait_until(lambda: host.runs() == 2, "the permit's action to begin")
    assert host.ask({"op": "used", "permit_id": PERMIT})[0]["reason"] == "busy"
    ended.append(opened(host.order("ord-1-2", "mark")))
    using.join()
    by_id = {end["order_id"]: end for end in ended}
    assert by_id["ord-1-2"]["started_clock_ms"] >= by_id[PERMIT]["ended_clock_ms"]
    assert host.runs() == 3
