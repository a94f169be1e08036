"""Lengths of time as people say them."""

from __future__ import annotations

SECOND_MS = 1_000
MINUTE_MS = 60 * SECOND_MS
HOUR_MS = 60 * MINUTE_MS
DAY_MS = 24 * HOUR_MS


def span(length_ms: int) -> str:
    """`37 ms`, `4.2 s`, `3 min 20 s`, `2 h 5 min`, `3 d 4 h`."""
    if length_ms < SECOND_MS:
        return f"{max(0, length_ms)} ms"
    if length_ms < MINUTE_MS:
        # Cut, not rounded: 59.96 s is not yet a minute.
        return f"{length_ms // 100 / 10:g} s"
    if length_ms < HOUR_MS:
        return _two(length_ms, MINUTE_MS, "min", SECOND_MS, "s")
    if length_ms < DAY_MS:
        return _two(length_ms, HOUR_MS, "h", MINUTE_MS, "min")
    return _two(length_ms, DAY_MS, "d", HOUR_MS, "h")


def _two(length_ms: int, big_ms: int, big: str, small_ms: int, small: str) -> str:
    rest = length_ms % big_ms // small_ms
    return f"{length_ms // big_ms} {big}" + (f" {rest} {small}" if rest else "")
