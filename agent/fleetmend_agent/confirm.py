"""From single results to a status: how many in a row it takes before the word changes."""

from __future__ import annotations

from dataclasses import dataclass

from .checks import Status


@dataclass(slots=True)
class Confirmed:
    """The status of one subject. `status` is None until a first word is settled: OK is at once, a bad one needs its count."""

    status: Status | None = None
    latest: Status = Status.UNKNOWN
    _streak: int = 0
    _streak_good: bool = False

    def settle(self, result: Status, bad: int, good: int) -> bool:
        """Takes one result; True if the status changed. `bad`, `good`: results in a row that a change in that direction takes.

        WARN, CRIT and UNKNOWN are all bad: any mixture of them counts as a row, and the newest names the status.
        """
        self.latest = result
        if result is self.status:
            self._streak = 0
            return False
        is_good = result is Status.OK
        if is_good and self.status is None:
            return self._change(result)
        self._streak = self._streak + 1 if is_good == self._streak_good else 1
        self._streak_good = is_good
        if self._streak < max(1, good if is_good else bad):
            return False
        return self._change(result)

    def adopt(self, result: Status) -> bool:
        """Takes a result as it is: somebody asked and gets the bare truth of this reading. True if the status changed."""
        self.latest = result
        changed = result is not self.status
        self._change(result)
        return changed

    def _change(self, result: Status) -> bool:
        self.status = result
        self._streak = 0
        return True
