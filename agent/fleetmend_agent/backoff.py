"""How long to wait before the next try: quickly at first, then geometrically longer, never in step with other hosts."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass


def chance() -> float:
    """A random number from 0 up to 1, without the memory that the random module takes."""
    return int.from_bytes(os.urandom(4), "big") / 2.0**32


@dataclass(slots=True)
class Backoff:
    """Delays of `first_s`, doubled up to `cap_s`, each shortened by up to half at random. Chance is an argument."""

    first_s: float = 0.2
    cap_s: float = 30.0
    chance: Callable[[], float] = chance
    _failures: int = 0

    def next_s(self) -> float:
        """The delay before the next try, in seconds; each call counts one more failure."""
        full = min(self.cap_s, self.first_s * 2.0 ** min(self._failures, 30))
        self._failures += 1
        return full * (0.5 + self.chance() / 2)

    def reset(self) -> None:
        """After a success the next failure is again the first."""
        self._failures = 0
