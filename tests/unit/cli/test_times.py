"""Times as people read and write them."""

from __future__ import annotations

import time
from datetime import datetime
from zoneinfo import ZoneInfo

import pytest

from fleetmend.v1 import admin_pb2 as pb
from fleetmend_cli.output import plain, word
from fleetmend_cli.times import TimeError, parse_since, parse_until, relative, short, when, zone_name

HOUR_MS = 3_600_000


@pytest.fixture(autouse=True)
def berlin(monkeypatch):
    monkeypatch.setenv("TZ", "Europe/Berlin")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def at(text: str) -> int:
    return round(datetime.fromisoformat(text).replace(tzinfo=ZoneInfo("Europe/Berlin")).timestamp() * 1000)


NOW = at("2026-05-10T14:00:00")


@pytest.mark.parametrize(
    ("instant", "shown"),
    [
        (at("2026-05-10T13:58:30"), "13:58:30 (1m ago)"),
        (at("2026-05-10T14:00:00"), "14:00:00 (now)"),
        (at("2026-05-10T17:30:00"), "17:30:00 (in 3h)"),
        (at("2026-05-08T09:05:00"), "May 08 09:05 (2d ago)"),
        (at("2025-12-31T09:05:00"), "2025-12-31 (130d ago)"),
        (None, "-"),
    ],
)
def test_times_are_local_short_and_relative(instant, shown):
    assert when(instant, NOW) == shown


def test_lengths_have_one_unit():
    assert [short(ms) for ms in (0, 999, 1000, 59_999, 60_000, HOUR_MS - 1, 24 * HOUR_MS)] == [
        "0ms",
        "999ms",
        "1s",
        "59s",
        "1m",
        "59m",
        "1d",
    ]
    assert relative(NOW + 90_000, NOW) == "in 1m"


@pytest.mark.parametrize(
    ("text", "instant"),
    [
        ("2h", NOW - 2 * HOUR_MS),
        ("2026-05-01", at("2026-05-01T00:00:00")),
        ("2026-05-01T18:30", at("2026-05-01T18:30:00")),
        ("2026-05-01T18:30Z", at("2026-05-01T20:30:00")),
    ],
)
def test_since(text, instant):
    assert parse_since(text, NOW) == instant


@pytest.mark.parametrize(
    ("text", "left_ms"),
    [("90m", HOUR_MS * 3 // 2), ("18:30", HOUR_MS * 9 // 2), ("13:00", 23 * HOUR_MS), ("2026-05-10T15:00", HOUR_MS)],
)
def test_until(text, left_ms):
    assert parse_until(text, NOW) == left_ms


def test_a_clock_time_tomorrow_is_right_across_the_change_to_winter_time():
    saturday = at("2026-10-24T14:00:00")
    assert parse_until("13:00", saturday) == 24 * HOUR_MS


@pytest.mark.parametrize("text", ["soon", "", "25:00", "2026-13-01", "5 minutes", "-2h", "2026-05-10T13:59"])
def test_what_is_no_time_or_over_is_said(text):
    with pytest.raises(TimeError):
        parse_until(text, NOW)


def test_the_zone_has_a_name():
    assert zone_name() == "Europe/Berlin"


def test_messages_become_plain_values():
    step = pb.PlaybookStep(wait_ms=5)
    assert plain(step) == {"action": None, "wait_ms": 5}
    incident = pb.Incident(id="inc-1", phase=pb.INCIDENT_PHASE_HELD, opened_ms=2**60)
    values = plain(incident)
    assert (values["phase"], values["opened_ms"], values["closed_ms"]) == ("held", 2**60, None)
    assert word(pb.HostState.DESCRIPTOR, pb.HOST_STATE_NEVER_CONNECTED) == "never_connected"
    assert word(pb.HostState.DESCRIPTOR, 99) == "99", "a word of a later protocol"
