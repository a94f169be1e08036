"""What services log, as far as a check asked for it: lines are matched when they come, and only what matched is kept."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from . import CheckUnknown
from ._kernel_log import Journal

if TYPE_CHECKING:
    from ..host import Host

LINE_LENGTH_MAX = 4096
KEPT_MAX = 1000
PATTERNS_MAX = 50
PATTERN_LENGTH_MAX = 500


@dataclass(frozen=True, slots=True)
class Wanted:
    """What one check looks for: expressions in the lines of one unit (an empty name: of all), without those to ignore."""

    unit: str
    patterns: tuple[str, ...]
    ignore: tuple[str, ...] = ()

    def compiled(self) -> tuple[list[re.Pattern[str]], list[re.Pattern[str]]]:
        """Both as expressions. Raises CheckUnknown for what is none."""
        return _compiled(self.patterns), _compiled(self.ignore)


@dataclass(frozen=True, slots=True)
class Line:
    """A line that matched."""

    at_ms: int
    unit: str
    text: str


@dataclass(slots=True)
class _Watched:
    patterns: list[re.Pattern[str]]
    ignore: list[re.Pattern[str]]
    lines: deque[Line] = field(default_factory=lambda: deque(maxlen=KEPT_MAX))


class ServiceLog:
    """Belongs to the event loop's thread."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._watched: dict[Wanted, _Watched] = {}
        self.journal = Journal()
        """Whoever follows the journal says here how that goes."""

    def configure(self, wanted: Iterable[Wanted]) -> None:
        """Looks for these from now on; what was found for those that stay is kept."""
        watched = {}
        for each in wanted:
            try:
                watched[each] = self._watched.get(each) or _Watched(*each.compiled())
            except CheckUnknown:
                # The check itself says so each time it runs.
                continue
        self._watched = watched

    def take(self, unit: str, text: str, *, old: bool) -> bool:
        """Keeps a line if a check looks for it, and says so. What was logged before we looked is not judged."""
        if old:
            return False
        line = Line(self._host.clock_ms(), unit, text[:LINE_LENGTH_MAX])
        found = False
        for wanted, watched in self._watched.items():
            if wanted.unit not in {"", unit} or not any(each.search(line.text) for each in watched.patterns):
                continue
            if not any(each.search(line.text) for each in watched.ignore):
                watched.lines.append(line)
                found = True
        return found

    def lines(self, wanted: Wanted, within_ms: int) -> list[Line]:
        """What was found within the time, oldest first. Raises CheckUnknown when nothing can tell."""
        wanted.compiled()
        if wanted not in self._watched or self.journal.problem:
            raise CheckUnknown(f"cannot read the journal: {self.journal.problem or 'it is not followed yet'}")
        since_ms = self._host.clock_ms() - within_ms
        return [line for line in self._watched[wanted].lines if line.at_ms >= since_ms]


def service_log(host: Host) -> ServiceLog:
    """The one log of this machine's services."""
    log: ServiceLog = host.kept.setdefault("service_log", ServiceLog(host))
    return log


def _compiled(expressions: tuple[str, ...]) -> list[re.Pattern[str]]:
    if len(expressions) > PATTERNS_MAX:
        raise CheckUnknown(f"cannot look for {len(expressions)} patterns: at most {PATTERNS_MAX}")
    found = []
    for expression in expressions:
        if not expression or len(expression) > PATTERN_LENGTH_MAX:
            raise CheckUnknown(f"cannot look for pattern {expression[:80]!r}: 1 to {PATTERN_LENGTH_MAX} characters")
        try:
            found.append(re.compile(expression))
        except (re.error, OverflowError, RecursionError) as error:
            raise CheckUnknown(f"cannot look for pattern {expression[:80]!r}: {error}") from error
    return found
