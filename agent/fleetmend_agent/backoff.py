"""How long to wait before the next try: quickly at first, then geometrically longer, never in step with other hosts."""

from __future__ import annotations

import random
from dataclasses import dataclass, field


@dataclass(slots=True)
class Backoff:
    """Delays of `first_s`, doubled up to `cap_s`, each shortened by up to half at random. Chance is an argument."""

    first_s: float = 0.2
    cap_s: float = 30.0
    chance: random.Random = field(default_factory=random.Random)
    _failures: int = 0

    def next_s(self) -> float:
        """The delay before the next try, in seconds; each call counts one more failure."""
        full = min(self.cap_s, self.first_s * 2.0 ** min(self._failures, 30))
        self._failures += 1
        return full * (0.5 + self.chance.random() / 2)

    def reset(self) -> None:
        """After a success the next failure is again the first."""
        self._failures = 0
