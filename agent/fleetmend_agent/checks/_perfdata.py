"""What a Nagios-style plugin prints: text, long text, performance data with units and thresholds. Pure functions.

The first line is text, then optionally `|` and performance data; further lines are long text, up to the next `|`; what follows
that is performance data again.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

VALUES_MAX = 16
_LABEL_LENGTH_MAX = 48
_NUMBER = r"[-+]?(?:\d{1,30}(?:\.\d{0,30})?|\.\d{1,30})(?:[eE][-+]?\d{1,3})?"
_ITEM = re.compile(
    rf"\s*(?:'((?:[^']|''){{1,200}})'|([^\s='|]{{1,200}}))=({_NUMBER}|U)([A-Za-z%]{{0,3}})((?:;[^;\s]{{0,60}}){{0,4}});?(?=\s|$)"
)
_SKIP = re.compile(r"\s*\S+")
_THRESHOLD = re.compile(rf"(@?)(?:({_NUMBER}|~)?:)?({_NUMBER})?")
# Unit words of plugins, as the base unit and the factor to it. Sizes are binary, as the common plugins count them.
_UNITS = {
    "": ("value", 1.0), "s": ("seconds", 1.0), "ms": ("seconds", 1e-3), "us": ("seconds", 1e-6), "ns": ("seconds", 1e-9),
    "%": ("ratio", 0.01), "c": ("total", 1.0), "b": ("bytes", 1.0), "kb": ("bytes", 1024.0), "mb": ("bytes", 1024.0**2),
    "gb": ("bytes", 1024.0**3), "tb": ("bytes", 1024.0**4), "kib": ("bytes", 1024.0), "mib": ("bytes", 1024.0**2),
    "gib": ("bytes", 1024.0**3), "tib": ("bytes", 1024.0**4),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class PerfValue:
    """One value in its base unit, with the upper ends of its thresholds where they have one."""

    label: str
    unit: str
    value: float
    warn: float | None = None
    crit: float | None = None


@dataclass(frozen=True, slots=True)
class PluginOutput:
    """What was printed, taken apart."""

    text: str
    long_text: str
    values: tuple[PerfValue, ...]


def parse_output(stdout: str) -> PluginOutput:
    """Takes the output of a plugin apart; what cannot be understood is left out."""
    first, _, rest = stdout.partition("\n")
    text, _, perf = first.partition("|")
    long_text, _, more = rest.partition("|")
    return PluginOutput(text.strip(), long_text.strip(), parse_perfdata(perf + " " + more.replace("\n", " ")))


def parse_perfdata(text: str) -> tuple[PerfValue, ...]:
    """Values such as `time=12ms;100;200 'free /'=3GB`; at most VALUES_MAX of them, unknown ones (`U`) left out."""
    values: dict[tuple[str, str], PerfValue] = {}
    at = 0
    while at < len(text) and len(values) < VALUES_MAX:
        found = _ITEM.match(text, at)
        if found is None:
            skipped = _SKIP.match(text, at)
            if skipped is None:
                break
            at = skipped.end()
            continue
        at = found.end()
        value = _value(found)
        if value is not None:
            values.setdefault((value.label, value.unit), value)
    return tuple(values.values())


def _value(found: re.Match[str]) -> PerfValue | None:
    unit = _UNITS.get(found[4].lower())
    if found[3] == "U" or unit is None:
        return None
    label = metric_label((found[1] or found[2]).replace("''", "'"))
    number = float(found[3]) * unit[1]
    if not label or not math.isfinite(number):
        return None
    warn, crit = [*found[5].split(";")[1:], "", ""][:2]
    return PerfValue(label, unit[0], number, _upper(warn, unit[1]), _upper(crit, unit[1]))


def metric_label(label: str) -> str:
    """A plugin's label as a part of a metric name: lower case letters, digits and single underscores."""
    words = re.sub(r"[^a-z0-9]+", "_", label.lower()).strip("_")[:_LABEL_LENGTH_MAX].rstrip("_")
    return words or ("root" if label == "/" else "")


def _upper(text: str, factor: float) -> float | None:
    """The upper end of a threshold range; none if the range is open, inverted or not understood."""
    found = _THRESHOLD.fullmatch(text)
    if found is None or found[1] or found[3] is None:
        return None
    end = float(found[3]) * factor
    return end if math.isfinite(end) else None
