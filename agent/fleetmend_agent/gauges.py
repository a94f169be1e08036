"""Gauges on the wire: each series is named once a stream, then only values that changed are sent."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

SERIES_MAX = 10_000
NEW_SERIES_MAX = 500

SeriesName = tuple[str, str, str]
"""Gauge name, check, key."""


@dataclass(slots=True)
class Delta:
    """What a heartbeat carries of the gauges."""

    series: list[tuple[int, SeriesName]] = field(default_factory=list)
    ids: list[int] = field(default_factory=list)
    values: list[float] = field(default_factory=list)
    ended: list[int] = field(default_factory=list)
    refused: int = 0


class GaugeEncoder:
    """Remembers what one stream has been told. A new stream starts with a new encoder; ids are never used again."""

    def __init__(self, series_max: int = SERIES_MAX) -> None:
        self._told: dict[SeriesName, tuple[int, float]] = {}
        self._next_id = 1
        self._series_max = series_max

    def encode(self, now: Iterable[tuple[SeriesName, float]]) -> Delta:
        """The difference between what was told and what is now. Series over the limit are left out and counted.

        At most NEW_SERIES_MAX are named at once, so that a heartbeat fits a message; the others follow with the next.
        """
        delta = Delta()
        ended = set(self._told)
        for name, value in now:
            ended.discard(name)
            known = self._told.get(name)
            if known is None:
                self._begin(name, value, delta)
            elif known[1] != value and not (value != value and known[1] != known[1]):  # noqa: PLR0124 - NaN is like NaN
                self._told[name] = (known[0], value)
                delta.ids.append(known[0])
                delta.values.append(value)
        for name in sorted(ended):
            delta.ended.append(self._told.pop(name)[0])
        return delta

    def _begin(self, name: SeriesName, value: float, delta: Delta) -> None:
        if len(self._told) >= self._series_max:
            delta.refused += 1
            return
        if len(delta.series) >= NEW_SERIES_MAX:
            return
        self._told[name] = (self._next_id, value)
        delta.series.append((self._next_id, name))
        delta.ids.append(self._next_id)
        delta.values.append(value)
        self._next_id += 1
