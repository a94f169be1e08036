"""What machines say, made harmless: bounded, without control characters, finite. Applied to every result of every check."""

from __future__ import annotations

import math
from dataclasses import replace

from . import Result, Scalar

SUMMARY_LENGTH_MAX = 300
TEXT_LENGTH_MAX = 256
FIELDS_MAX = 32
GAUGES_MAX = 96
_INTEGER_MAX = 2**63 - 1


def clean(text: str, length_max: int = TEXT_LENGTH_MAX) -> str:
    """One line of printable characters: controls, line ends, invisible and reordering characters become single blanks."""
    # Four times the limit leaves room for what collapses, and bounds the work on hostile text.
    printable = "".join(c if c.isprintable() else " " for c in text[: 4 * length_max])
    line = " ".join(printable.split())
    return line if len(line) <= length_max else line[: length_max - 3] + "..."


def bounded(result: Result) -> Result:
    """The result with every text clean, and neither more nor larger values than the link carries."""
    finding = {name: _scalar(value) for name, value in list(result.finding.items())[:FIELDS_MAX]}
    gauges = {name: value for name, value in list(result.gauges.items())[:GAUGES_MAX] if math.isfinite(value)}
    return replace(
        result,
        summary=clean(result.summary, SUMMARY_LENGTH_MAX),
        key=clean(result.key),
        finding=finding,
        gauges=gauges,
    )


def _scalar(value: Scalar) -> Scalar:
    if isinstance(value, str):
        return clean(value)
    if isinstance(value, bool):
        return value
    if isinstance(value, int):
        return max(-_INTEGER_MAX, min(value, _INTEGER_MAX))
    return value if math.isfinite(value) else 0.0
