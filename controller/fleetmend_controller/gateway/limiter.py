"""A rate for each key in a bounded table: what slows guessing and keeps the audit trail from being flooded."""

from __future__ import annotations

from collections import OrderedDict


class Limiter:
    """Each key may take `burst` at once, then one more every `every_ms`. Beyond `keys_max` the keys longest unused go."""

    def __init__(self, burst: int, every_ms: int, keys_max: int = 4096) -> None:
        self._window_ms = burst * every_ms
        self._every_ms = every_ms
        self._keys_max = keys_max
        # By key: the moment at which everything taken so far is paid back.
        self._paid_ms: OrderedDict[str, int] = OrderedDict()

    def __len__(self) -> int:
        return len(self._paid_ms)

    def wait_ms(self, key: str, now_ms: int) -> int:
        """How long until the key may take again; 0 now. Takes nothing."""
        return max(0, self._paid_ms.get(key, 0) + self._every_ms - self._window_ms - now_ms)

    def take(self, key: str, now_ms: int) -> bool:
        """Take one if the key may."""
        if self.wait_ms(key, now_ms):
            return False
        self._paid_ms[key] = max(self._paid_ms.get(key, 0), now_ms) + self._every_ms
        self._paid_ms.move_to_end(key)
        while len(self._paid_ms) > self._keys_max:
            self._paid_ms.popitem(last=False)
        return True
