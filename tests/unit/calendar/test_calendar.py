"""Repeating maintenance: which occurrence covers now, when the next begins, through the nights when clocks change."""

from __future__ import annotations

from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleetmend.catalogue import load_catalogue
from fleetmend_controller.calendar import UNREADABLE_RECHECK_MS, CalendarError, next_start, parse_repeat, window_end
from fleetmend_controller.core.model import Window
from fleetmend_controller.playbooks.load import compile_rules

HOUR_MS = 3_600_000
BERLIN = ZoneInfo("Europe/Berlin")


def at(text: str, zone: str = "Europe/Berlin", fold: int = 0) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone), fold=fold).timestamp()) * 1000


def window(repeat: str, start: int, hours: float = 4) -> Window:
    return Window("mw-1", (("role", ("web",)),), (), start, start + int(hours * HOUR_MS), repeat, "anna", "patch day")


WEEKLY = window("weekly Sat 02:00 Europe/Berlin", at("2026-01-03T02:00"))


def test_a_weekly_window_covers_its_hours_only():
    assert window_end(WEEKLY, at("2026-01-10T01:59")) is None
    assert window_end(WEEKLY, at("2026-01-10T02:00")) == at("2026-01-10T06:00")
    assert window_end(WEEKLY, at("2026-01-10T05:59")) == at("2026-01-10T06:00")
    assert window_end(WEEKLY, at("2026-01-10T06:00")) is None
    assert window_end(WEEKLY, at("2026-01-11T03:00")) is None


def test_nothing_covers_before_the_window_was_to_begin():
    assert window_end(WEEKLY, at("2025-12-27T03:00")) is None
    assert next_start(WEEKLY, at("2025-12-20T03:00")) == at("2026-01-03T02:00")


def test_wall_time_stays_when_clocks_change():
    winter, summer = at("2026-03-21T02:00"), at("2026-04-04T02:00")
    assert window_end(WEEKLY, winter) == winter + 4 * HOUR_MS
    assert window_end(WEEKLY, summer) == summer + 4 * HOUR_MS
    assert (summer - winter) % (24 * HOUR_MS) == 23 * HOUR_MS


def test_four_hours_are_four_hours_in_the_night_that_is_shorter():
    daily = window("daily 01:00 Europe/Berlin", at("2026-01-01T01:00"))
    start = at("2026-03-29T01:00")
    assert window_end(daily, start) == start + 4 * HOUR_MS == at("2026-03-29T06:00")


def test_four_hours_are_four_hours_in_the_night_that_is_longer():
    daily = window("daily 01:00 Europe/Berlin", at("2026-01-01T01:00"))
    start = at("2026-10-25T01:00")
    assert window_end(daily, start) == start + 4 * HOUR_MS == at("2026-10-25T04:00")


def test_a_beginning_that_clocks_skip_comes_as_long_after_midnight_as_ever():
    daily = window("daily 02:30 Europe/Berlin", at("2026-01-01T02:30"), hours=1)
    assert next_start(daily, at("2026-03-28T12:00")) == at("2026-03-29T03:30")
    assert window_end(daily, at("2026-03-29T03:45")) == at("2026-03-29T04:30")


def test_a_beginning_that_comes_twice_counts_once():
    daily = window("daily 02:30 Europe/Berlin", at("2026-01-01T02:30"), hours=0.5)
    first = at("2026-10-25T02:30")
    assert window_end(daily, first) == first + HOUR_MS // 2
    assert window_end(daily, at("2026-10-25T02:30", fold=1)) is None
    assert next_start(daily, first) == at("2026-10-26T02:30")


def test_several_weekdays_and_a_window_over_midnight():
    both = window("weekly Sat, Sun 22:00 UTC", at("2026-01-03T22:00", "UTC"))
    assert window_end(both, at("2026-01-04T01:00", "UTC")) == at("2026-01-04T02:00", "UTC")
    assert window_end(both, at("2026-01-05T01:00", "UTC")) == at("2026-01-05T02:00", "UTC")
    assert next_start(both, at("2026-01-05T01:00", "UTC")) == at("2026-01-10T22:00", "UTC")


def test_far_zones_have_their_own_day():
    far = window("weekly Mon 00:30 Pacific/Kiritimati", at("2026-01-05T00:30", "Pacific/Kiritimati"), hours=1)
    assert window_end(far, at("2026-01-04T11:00", "UTC")) == at("2026-01-04T11:30", "UTC")


def test_occurrences_that_overlap_end_with_the_newest():
    long = window("daily 02:00 UTC", at("2026-01-01T02:00", "UTC"), hours=30)
    assert window_end(long, at("2026-01-05T03:00", "UTC")) == at("2026-01-06T08:00", "UTC")


def test_without_repetition_the_window_is_itself():
    once = window("", at("2026-01-03T02:00"))
    assert window_end(once, once.start_ms) == once.end_ms
    assert next_start(once, once.start_ms - 1) == once.start_ms
    assert next_start(once, once.start_ms) is None


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "cannot read repetition"),
        ("hourly 02:00 UTC", "cannot read repetition"),
        ("daily 2:00 UTC", "cannot read time"),
        ("daily 24:00 UTC", "cannot read time"),
        ("daily ٠٢:00 UTC", "cannot read time"),
        ("daily 02:00", "cannot read repetition"),
        ("weekly 02:00 UTC", "takes no weekdays"),
        ("daily Sat 02:00 UTC", "takes no weekdays"),
        ("weekly Caturday 02:00 UTC", "cannot read weekday"),
        ("daily 02:00 Mars/Olympus", "cannot find time zone"),
        ("daily 02:00 ../../etc/passwd", "cannot find time zone"),
        ("daily 02:00 Europe", "cannot find time zone"),
        ("daily 02:00 UTC" + " " * 300, "cannot read repetition"),
    ],
)
def test_what_cannot_be_read_is_said(text: str, says: str):
    with pytest.raises(CalendarError, match=says) as raised:
        parse_repeat(text)
    assert str(raised.value).startswith("cannot ")


def test_a_repetition_that_cannot_be_read_holds():
    broken = window("daily 02:00 Mars/Olympus", 0)
    assert window_end(broken, 1_000) == 1_000 + UNREADABLE_RECHECK_MS
    assert next_start(broken, 1_000) is None
    assert next_start(window("daily 02:00 UTC", 10**18), 1_000) is None


@given(st.text(max_size=80))
def test_any_text_is_read_or_refused_with_a_sentence(text: str):
    said = ""
    try:
        said = f"cannot refuse {parse_repeat(text)}"
    except CalendarError as error:
        said = str(error)
    assert said.startswith("cannot ")


@given(
    minutes=st.integers(0, 4 * 365 * 24 * 60),
    zone=st.sampled_from(["Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "UTC", "Africa/Casablanca"]),
    clock=st.sampled_from(["00:00", "02:00", "02:30", "03:00", "23:59"]),
    hours=st.sampled_from([0.5, 4, 20]),
)
def test_next_start_and_end_agree_at_every_moment(minutes: int, zone: str, clock: str, hours: float):
    start = at("2024-01-01T00:00", "UTC")
    daily = window(f"daily {clock} {zone}", start, hours)
    now = start + minutes * 60_000
    following = next_start(daily, now)
    assert following is not None
    assert now < following <= now + 26 * HOUR_MS
    assert window_end(daily, following) == following + int(hours * HOUR_MS)
    local = datetime.fromtimestamp(following / 1000, ZoneInfo(zone))
    wall = local.strftime("%H:%M")
    skipped = (local - timedelta(hours=1)).utcoffset() != local.utcoffset()
    assert wall == clock or skipped


def test_the_rules_in_force_know_the_calendar():
    policy = compile_rules({}, load_catalogue()).policy
    assert policy.window_end(WEEKLY, at("2026-01-10T02:00")) == at("2026-01-10T06:00")
