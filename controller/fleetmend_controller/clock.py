"""The controller's clock: the only place that reads time. Wall time anchored once, moved on by the monotonic clock."""

from __future__ import annotations

import time

_ANCHOR_MS = time.time_ns() // 1_000_000
_ANCHOR_MONOTONIC_MS = time.monotonic_ns() // 1_000_000


def now_ms() -> int:
    """Unix milliseconds that never step back while the process lives."""
    return _ANCHOR_MS + time.monotonic_ns() // 1_000_000 - _ANCHOR_MONOTONIC_MS


def wall_ms() -> int:
    """Unix milliseconds of the system's clock as it stands now, for certificates and expiry dates."""
    return time.time_ns() // 1_000_000
