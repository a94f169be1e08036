"""An explanation as text for a terminal of 100 columns."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from datetime import UTC, datetime, tzinfo
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from fleetmend.plain import plain_line

from .explain import Explanation, Line, Section
from .spans import MINUTE_MS, span

COLUMNS = 100
_INDENT = 31


def zone(name: str) -> tzinfo:
    """The time zone of an IANA name; UTC for none or one that this machine does not know."""
    try:
        return ZoneInfo(name) if name else UTC
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return UTC


def render(explanation: Explanation, where: tzinfo, *, all_gates: bool = False) -> str:
    """The text, lines ending with newlines. Without `all_gates` the gates that just allow share one line."""
    case = explanation.case
    begun = _local(case.seen_ms, where)
    subject = plain_line(f"{case.check} {case.key}".strip())
    head = [f"{case.incident}  {subject} on {plain_line(explanation.host_name)} ({case.host})  [{case.phase}]"]
    head += textwrap.wrap(explanation.headline, COLUMNS)
    head.append(f"Times: {begun:%Y-%m-%d}, {begun.tzname() or where}; then since the fault began.")
    parts = ["\n".join(head)]
    parts += ["\n".join(_section(section, explanation, where, all_gates=all_gates)) for section in explanation.sections]
    return "\n\n".join(parts) + "\n"


def compact(lines: Sequence[Line]) -> list[Line]:
    """The lines with those gates' answers merged that allow and never did otherwise; what blocked or mattered stays in full."""
    mattered = {line.gate for line in lines if line.verdict in ("hold", "refuse")}
    mattered |= {line.gate for line in lines if line.gate == "approval" and "approved by" in line.text}
    merged: dict[int, list[str]] = {}
    kept: list[Line] = []
    for line in lines:
        if line.verdict == "allow" and line.gate not in mattered:
            merged.setdefault(line.at_ms, []).append(line.gate)
        else:
            kept.append(line)
    for at_ms, gates in merged.items():
        place = next((index for index, line in enumerate(kept) if line.at_ms > at_ms), len(kept))
        kept.insert(place, Line(at_ms, f"allow  {', '.join(gates)} (each answer: --gates)"))
    return kept


def _section(section: Section, explanation: Explanation, where: tzinfo, *, all_gates: bool) -> list[str]:
    out = [section.title]
    for line in section.lines if all_gates else compact(section.lines):
        out += _line(line, explanation, where)
    return out


def _line(line: Line, explanation: Explanation, where: tzinfo) -> list[str]:
    begun_ms = explanation.case.seen_ms
    at = _local(line.at_ms, where)
    day = "" if at.date() == _local(begun_ms, where).date() else f"{at:%m-%d} "
    stamp = f"  {day}{_clock(at)}  {_since(line.at_ms, begun_ms)}"
    out = textwrap.wrap(sentence(line, where), COLUMNS - _INDENT, break_long_words=True) or [""]
    first = f"{stamp:<{_INDENT - 1}} {out[0]}"
    rest = [" " * _INDENT + text for text in out[1:]]
    evidence = [
        " " * _INDENT + "| " + piece for text in line.evidence for piece in textwrap.wrap(text, COLUMNS - _INDENT - 2) or [""]
    ]
    return [first, *rest, *evidence]


def sentence(line: Line, where: tzinfo = UTC) -> str:
    """A line's words: gates with their answer, and how often it was said."""
    words = f"{line.verdict:<6} {line.gate}: {line.text}" if line.gate else line.text
    if line.count > 1 and line.until_ms is not None and line.verdict != "allow":
        words += f" ({line.count} times until {_clock(_local(line.until_ms, where))})"
    return words


def _since(at_ms: int, begun_ms: int) -> str:
    since_ms = at_ms - begun_ms
    return f"+{since_ms / 1000:.3f} s" if since_ms < MINUTE_MS else f"+{span(since_ms)}"


def _local(at_ms: int, where: tzinfo) -> datetime:
    return datetime.fromtimestamp(at_ms / 1000, where)


def _clock(at: datetime) -> str:
    return f"{at:%H:%M:%S}.{at.microsecond // 1000:03d}"
