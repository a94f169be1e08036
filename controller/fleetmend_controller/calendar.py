"""When maintenance that repeats is in force. Pure: the wall time of a zone is turned into the controller's milliseconds.

A repetition says at which wall time an occurrence begins; the window's own length (`end_ms - start_ms`) says how long it lasts,
as elapsed time. So a window of four hours is four hours on the night when clocks change, too. A beginning that the clocks skip
comes as long after midnight as ever (02:30 becomes 03:30 summer time); one that comes twice counts the first time.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

from .core.model import Window
from .core.policy import one_off

WEEKDAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
REPEAT_CHARS_MAX = 200
# Longer than this an occurrence does not last, whatever the window says.
LENGTH_MS_MAX = 31 * 86_400_000
# While the repetition of a window cannot be read, it counts as in force, and is asked again this much later.
UNREADABLE_RECHECK_MS = 3_600_000

_DAY_MS = 86_400_000
_TIME = re.compile(r"([01]\d|2[0-3]):([0-5]\d)", re.ASCII)
_FORM = "write `daily 02:00 UTC` or `weekly Sat,Sun 02:00 Europe/Berlin`"


class CalendarError(ValueError):
    """A repetition that cannot be understood; the text says what is wrong and how to write it."""


@dataclass(frozen=True, slots=True)
class Repeat:
    """At `at` on each of `weekdays` (0 is Monday) by the clocks of `zone`."""

    weekdays: frozenset[int]
    at: time
    zone: ZoneInfo

    def starts_ms(self, day: date) -> int | None:
        """When the occurrence of a local day begins, in Unix milliseconds; None on other weekdays."""
        if day.weekday() not in self.weekdays:
            return None
        return int(datetime.combine(day, self.at, self.zone).timestamp()) * 1000


@lru_cache(maxsize=1024)
def parse_repeat(text: str) -> Repeat:
    """Read `daily HH:MM ZONE` or `weekly DAY[,DAY...] HH:MM ZONE`. Raises CalendarError."""
    words = text.replace(",", " ").split() if len(text) <= REPEAT_CHARS_MAX else []
    if len(words) < 3 or words[0].lower() not in ("daily", "weekly"):
        raise CalendarError(f"cannot read repetition {text[:REPEAT_CHARS_MAX]!r}: {_FORM}")
    kind, names, clock, zone = words[0].lower(), words[1:-2], words[-2], words[-1]
    at = _TIME.fullmatch(clock)
    if at is None:
        raise CalendarError(f"cannot read time {clock!r}: write hours and minutes, from 00:00 to 23:59; {_FORM}")
    if (kind == "daily") is bool(names):
        raise CalendarError(f"cannot read repetition {text!r}: `daily` takes no weekdays, `weekly` at least one; {_FORM}")
    weekdays = frozenset(_weekday(name) for name in names) or frozenset(range(7))
    return Repeat(weekdays, time(int(at[1]), int(at[2])), _zone(zone))


def window_end(window: Window, now_ms: int) -> int | None:
    """When the occurrence of a window that covers now ends, in Unix milliseconds; None if none does.

    Where occurrences overlap, the end of the newest. A repetition that cannot be read holds: safety lacks data.
    """
    if not window.repeat:
        return one_off(window, now_ms)
    try:
        repeat = parse_repeat(window.repeat)
        today = _local_day(repeat, now_ms)
    except (CalendarError, OverflowError):
        return now_ms + UNREADABLE_RECHECK_MS
    length_ms = _length_ms(window)
    # An occurrence lies at most one day off its local date, on either side.
    for back in range(-1, length_ms // _DAY_MS + 3):
        start_ms = repeat.starts_ms(today - timedelta(days=back))
        if start_ms is not None and window.start_ms <= start_ms <= now_ms < start_ms + length_ms:
            return start_ms + length_ms
    return None


def next_start(window: Window, now_ms: int) -> int | None:
    """When the next occurrence after now begins, in Unix milliseconds; None if there is none, or none can be worked out."""
    if not window.repeat:
        return window.start_ms if window.start_ms > now_ms else None
    try:
        repeat = parse_repeat(window.repeat)
        first = _local_day(repeat, max(now_ms, window.start_ms))
        # A week holds every weekday; one day more on each side for what the clocks' changes move.
        days = [first + timedelta(days=ahead) for ahead in range(-1, 9)]
    except (CalendarError, OverflowError):
        return None
    starts = (repeat.starts_ms(day) for day in days)
    return next((s for s in starts if s is not None and s > now_ms and s >= window.start_ms), None)


def _length_ms(window: Window) -> int:
    return max(0, min(window.end_ms - window.start_ms, LENGTH_MS_MAX))


def _local_day(repeat: Repeat, at_ms: int) -> date:
    return (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=at_ms)).astimezone(repeat.zone).date()


def _weekday(name: str) -> int:
    try:
        return WEEKDAYS.index(name.lower())
    except ValueError as error:
        raise CalendarError(f"cannot read weekday {name!r}: write Mon, Tue, Wed, Thu, Fri, Sat or Sun; {_FORM}") from error


def _zone(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError) as error:
        raise CalendarError(
            f"cannot find time zone {name!r}: write its name as in /usr/share/zoneinfo, for example Europe/Berlin, "
            "and install the Debian package tzdata if none is known"
        ) from error
