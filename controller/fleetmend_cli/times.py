"""Times for people: local, short, and how long ago; and times as people write them."""

from __future__ import annotations

import os
import re
from datetime import datetime, timedelta
from pathlib import Path

SECOND_MS = 1_000
MINUTE_MS = 60 * SECOND_MS
HOUR_MS = 60 * MINUTE_MS
DAY_MS = 24 * HOUR_MS
_CLOCK_TIME = re.compile(r"([01]?\d|2[0-3]):([0-5]\d)")
_UNITS = ((DAY_MS, "d"), (HOUR_MS, "h"), (MINUTE_MS, "m"), (SECOND_MS, "s"))


class TimeError(ValueError):
    """A time that cannot be read; the text says how times are written."""


def when(at_ms: int | None, now_ms: int) -> str:
    """`14:03:22 (2m ago)`; with the date if that is not today; `-` for none."""
    if at_ms is None:
        return "-"
    at, now = _local(at_ms), _local(now_ms)
    if at.date() == now.date():
        shown = f"{at:%H:%M:%S}"
    elif at.year == now.year:
        shown = f"{at:%b %d %H:%M}"
    else:
        shown = f"{at:%Y-%m-%d}"
    return f"{shown} ({relative(at_ms, now_ms)})"


def clock_time(at_ms: int) -> str:
    """`14:03:22`."""
    return f"{_local(at_ms):%H:%M:%S}"


def relative(at_ms: int, now_ms: int) -> str:
    """`2m ago`, `in 3h`, `now`."""
    length_ms = abs(now_ms - at_ms)
    if length_ms < SECOND_MS:
        return "now"
    return f"{short(length_ms)} ago" if at_ms < now_ms else f"in {short(length_ms)}"


def short(length_ms: int) -> str:
    """One unit, cut: `250ms`, `42s`, `5m`, `3h`, `12d`."""
    for unit_ms, letter in _UNITS:
        if length_ms >= unit_ms:
            return f"{length_ms // unit_ms}{letter}"
    return f"{length_ms}ms"


def parse_since(text: str, now_ms: int) -> int:
    """The instant that a duration back (`2h`), a local date (`2026-05-01`) or date and time names. TimeError."""
    length_ms = _duration(text)
    if length_ms is not None:
        return now_ms - length_ms
    return _instant(text)


def parse_until(text: str, now_ms: int) -> int:
    """Milliseconds until a duration is over (`2h`), or until a local time: `18:30`, `2026-05-01T18:30`. TimeError."""
    length_ms = _duration(text)
    if length_ms is not None:
        return length_ms
    clock = _CLOCK_TIME.fullmatch(text)
    if clock is None:
        left_ms = _instant(text) - now_ms
    else:
        # Reckoned on the wall, because a day that changes the clocks has 23 or 25 hours.
        now = _local(now_ms).replace(tzinfo=None)
        then = now.replace(hour=int(clock[1]), minute=int(clock[2]), second=0, microsecond=0)
        # A time that has passed today means tomorrow's.
        then += timedelta(days=1 if then <= now else 0)
        left_ms = round(then.astimezone().timestamp() * 1000) - now_ms
    if left_ms <= 0:
        raise TimeError(f"{text!r} is over")
    return left_ms


def zone_name() -> str:
    """The IANA name of the local time zone, empty if this machine does not say."""
    named = os.environ.get("TZ", "").removeprefix(":")
    if named:
        return named
    try:
        target = str(Path("/etc/localtime").readlink())
    except OSError:
        return ""
    return target.partition("zoneinfo/")[2]


def _duration(text: str) -> int | None:
    from fleetmend.catalogue import ParamError, parse_duration_ms

    try:
        return parse_duration_ms(text)
    except ParamError:
        return None


def _instant(text: str) -> int:
    try:
        return round(datetime.fromisoformat(text).astimezone().timestamp() * 1000)
    except (ValueError, OverflowError, OSError):
        raise TimeError(f"{text!r} is no time; write 30m, 2h, 7d, 18:30, 2026-05-01 or 2026-05-01T18:30") from None


def _local(at_ms: int) -> datetime:
    return datetime.fromtimestamp(at_ms / 1000).astimezone()
